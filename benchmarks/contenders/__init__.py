"""Contenders: one piece of work (a training step, a prediction, a layer) as cgraph and each peer library do it."""
