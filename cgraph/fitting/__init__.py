"""Training of a Graph on data: `fit`, its metrics, callbacks and checkpoints."""
