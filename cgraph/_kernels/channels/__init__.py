"""Convolutions whose channels lie side by side (channels last, NHWC): the sibling nodes of a fused group in one step."""
