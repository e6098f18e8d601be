"""Networks that are ready for training: their nodes have names, and they print as a table of their layers."""

from cgraph.models.classifier import CHANNELS, Classifier, convolutional_classifier
from cgraph.models.images import LENET5_TABLE, lenet5, residual, vgg
from cgraph.models.network import Network
from cgraph.models.perceptrons import actor_critic, autoencoder, mlp

__all__ = [
    "CHANNELS",
    "LENET5_TABLE",
    "Classifier",
    "Network",
    "actor_critic",
    "autoencoder",
    "convolutional_classifier",
    "lenet5",
    "mlp",
    "residual",
    "vgg",
]
