"""Convolutions whose channels lie side by side (channels last, NHWC): all siblings of a group in one step."""
