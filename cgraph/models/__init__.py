"""Networks that are ready for training."""

from cgraph.models.classifier import CHANNELS, Classifier, convolutional_classifier

__all__ = ["CHANNELS", "Classifier", "convolutional_classifier"]
