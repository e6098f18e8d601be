"""cgraph: computation graphs for small networks on a CPU.

A graph is built by hand from nodes, each of which computes one sample at a time with compiled kernels; a `Graph` of
them computes whole batches. By convention the package is imported as ``import cgraph as CG``.
"""

import sys
from typing import TYPE_CHECKING

from cgraph._kernels import show_config
from cgraph.node import Node
from cgraph.nodes.activations import ELU, GELU, LeakyReLU, SiLU, Softplus
from cgraph.nodes.affine import Affine
from cgraph.nodes.cells import GRUCell, LSTMCell
from cgraph.nodes.concatenation import Concatenation, Slice
from cgraph.nodes.convolution import Convolution2d
from cgraph.nodes.dropout import Dropout
from cgraph.nodes.elementwise import Add, MMtoM, MtoM, ReLU, Sigmoid, Sub, Tanh
from cgraph.nodes.filter2d import Filter2d
from cgraph.nodes.functions import Abs, Clip, Exp, Log, Reciprocal, Scale, Sqrt, Square
from cgraph.nodes.layer_norm import LayerNorm
from cgraph.nodes.leaf import Leaf1, Leaf2
from cgraph.nodes.losses import BCE, GaussianNLL, Huber
from cgraph.nodes.pairs import Div, Maximum, Minimum, Mul
from cgraph.nodes.pooling import AveragePooling2d, MaxPooling, MaxPooling2d
from cgraph.nodes.reduction import CEE, MSE, Dots, Expand, Mean, MMto1, Mto1, Norm2, Sum
from cgraph.nodes.softmax import LogSoftmax, Softmax, SoftmaxCEE
from cgraph.parameter import Parameter, parameters
from cgraph.targets import one_hot
from cgraph.traversal import ancestors, evaluate

# What nodes do without is imported when it is first used, by `__getattr__` below. Type checkers see it here.
if TYPE_CHECKING:
    from cgraph import data as data
    from cgraph import init, layers, models
    from cgraph import io as io
    from cgraph.checks.anomaly import AnomalyError, detect_anomaly
    from cgraph.checks.gradcheck import gradcheck
    from cgraph.checks.report import GradientError, GradientReport
    from cgraph.copying.graphs import clone
    from cgraph.copying.parameters import copy_parameters, polyak_update
    from cgraph.fitting.call import fit
    from cgraph.fitting.callbacks import Callback
    from cgraph.fitting.history import History
    from cgraph.graph import Graph
    from cgraph.io.graphs import load, save
    from cgraph.io.model import Model
    from cgraph.io.parameters import (
        ModelFileError,
        load_parameters,
        read_metadata,
        save_parameters,
    )
    from cgraph.optimizers import schedules
    from cgraph.optimizers.adam import Adam, AdamW
    from cgraph.optimizers.optimizer import Optimizer
    from cgraph.optimizers.rmsprop import RMSprop
    from cgraph.optimizers.sgd import SGD
    from cgraph.streaming.learner import Learner

# The modules that are imported at their first use, by their names here.
_MODULES = {
    "data": "cgraph.data",
    "init": "cgraph.init",
    "io": "cgraph.io",
    "layers": "cgraph.layers",
    "models": "cgraph.models",
    "schedules": "cgraph.optimizers.schedules",
}
# The modules of the classes and functions that are imported at their first use.
_MODULE_OF = {
    "Adam": "cgraph.optimizers.adam",
    "AdamW": "cgraph.optimizers.adam",
    "AnomalyError": "cgraph.checks.anomaly",
    "Callback": "cgraph.fitting.callbacks",
    "GradientError": "cgraph.checks.report",
    "GradientReport": "cgraph.checks.report",
    "Graph": "cgraph.graph",
    "History": "cgraph.fitting.history",
    "Learner": "cgraph.streaming.learner",
    "Model": "cgraph.io.model",
    "ModelFileError": "cgraph.io.parameters",
    "Optimizer": "cgraph.optimizers.optimizer",
    "RMSprop": "cgraph.optimizers.rmsprop",
    "SGD": "cgraph.optimizers.sgd",
    "clone": "cgraph.copying.graphs",
    "copy_parameters": "cgraph.copying.parameters",
    "detect_anomaly": "cgraph.checks.anomaly",
    "fit": "cgraph.fitting.call",
    "gradcheck": "cgraph.checks.gradcheck",
    "load": "cgraph.io.graphs",
    "load_parameters": "cgraph.io.parameters",
    "polyak_update": "cgraph.copying.parameters",
    "read_metadata": "cgraph.io.parameters",
    "save": "cgraph.io.graphs",
    "save_parameters": "cgraph.io.parameters",
}

__version__ = "0.1.0"

__all__ = [
    "BCE",
    "CEE",
    "ELU",
    "GELU",
    "MSE",
    "SGD",
    "Abs",
    "Adam",
    "AdamW",
    "Add",
    "Affine",
    "AnomalyError",
    "AveragePooling2d",
    "Callback",
    "Clip",
    "Concatenation",
    "Convolution2d",
    "Div",
    "Dots",
    "Dropout",
    "Exp",
    "Expand",
    "Filter2d",
    "GRUCell",
    "GaussianNLL",
    "GradientError",
    "GradientReport",
    "Graph",
    "History",
    "Huber",
    "LSTMCell",
    "LayerNorm",
    "Leaf1",
    "Leaf2",
    "LeakyReLU",
    "Learner",
    "Log",
    "LogSoftmax",
    "MMto1",
    "MMtoM",
    "MaxPooling",
    "MaxPooling2d",
    "Maximum",
    "Mean",
    "Minimum",
    "Model",
    "ModelFileError",
    "Mto1",
    "MtoM",
    "Mul",
    "Node",
    "Norm2",
    "Optimizer",
    "Parameter",
    "RMSprop",
    "ReLU",
    "Reciprocal",
    "Scale",
    "SiLU",
    "Sigmoid",
    "Slice",
    "Softmax",
    "SoftmaxCEE",
    "Softplus",
    "Sqrt",
    "Square",
    "Sub",
    "Sum",
    "Tanh",
    "ancestors",
    "clone",
    "copy_parameters",
    "detect_anomaly",
    "evaluate",
    "fit",
    "gradcheck",
    "init",
    "layers",
    "load",
    "load_parameters",
    "models",
    "one_hot",
    "parameters",
    "polyak_update",
    "read_metadata",
    "save",
    "save_parameters",
    "schedules",
    "show_config",
]

# Hidden from type checkers, for which any name would be one of the package otherwise.
if not TYPE_CHECKING:

    def __getattr__(name):
        """Imports a public name when it is first used (PEP 562); the next use finds it in the module itself."""
        from importlib import import_module

        if name in _MODULES:
            value = import_module(_MODULES[name])
        elif name in _MODULE_OF:
            value = getattr(import_module(_MODULE_OF[name]), name)
        else:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=sys.modules[__name__])
        globals()[name] = value
        return value

    def __dir__():
        """Returns all names, those that are not imported yet among them."""
        return sorted({*globals(), *_MODULES, *_MODULE_OF})
