"""Convolutions whose channels lie side by side (channels last, NHWC): the siblings of a fused group in one step."""
