"""Networks that are ready for training: their nodes have names, and they print as a table of their layers."""

from cgraph.models.images import LENET5_TABLE, lenet5, residual, vgg
from cgraph.models.network import Network
from cgraph.models.perceptrons import actor_critic, autoencoder, mlp

__all__ = [
    "LENET5_TABLE",
    "Network",
    "actor_critic",
    "autoencoder",
    "lenet5",
    "mlp",
    "residual",
    "vgg",
]
