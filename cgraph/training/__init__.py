"""Training of classifiers on datasets of images."""

from cgraph.training.loop import Epoch, evaluate, predict_all, train_epochs

__all__ = ["Epoch", "evaluate", "predict_all", "train_epochs"]
