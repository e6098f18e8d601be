"""Networks with Tanh between affine layers, and squared errors: controllers, policies, fits of curves."""

from benchmarks.networks.functions import TANH
from benchmarks.networks.losses import SQUARED_ERROR
from benchmarks.networks.mlp import Layers

SURROGATE = Layers((4, 32, 16, 4), TANH, SQUARED_ERROR)
POLICY = Layers((17, 64, 64, 6), TANH, SQUARED_ERROR)
DYNAMICS = Layers((4, 64, 64, 2), TANH, SQUARED_ERROR)
CURVE = Layers((24, 8, 2), TANH, SQUARED_ERROR)


def name(layers: Layers) -> str:
    return f"MLP {'-'.join(map(str, layers.sizes))}, Tanh"
