"""Networks that are ready to be trained."""

from cgraph.models.classifier import CHANNELS, Classifier, convolutional_classifier

__all__ = ["CHANNELS", "Classifier", "convolutional_classifier"]
