"""protocols.py states what every build of a family offers: the compiled modules are compared with it."""

import inspect
from typing import get_type_hints

import numpy as np
import pytest

from cgraph import _kernels
from cgraph._kernels.runtime.step import Port, Step
from cgraph._lowering.ops import ROWS


def functions(holder):
    """Returns the parameter names of each public function or method, without self."""
    found = {
        name: list(inspect.signature(value).parameters)
        for name, value in vars(holder).items()
        if not name.startswith("_") and inspect.isroutine(value)
    }
    if inspect.isclass(holder):
        return {name: parameters[1:] for name, parameters in found.items()}
    return found


def own_types(module):
    """Returns the names of the steps and ports that a module defines, without private base classes."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Step | Port)
        and not name.startswith("_")
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", _kernels.Build._fields)
def test_every_build_of_a_family_is_what_its_protocol_says(family, dtype, build_name):
    module = getattr(_kernels.build(np.dtype(dtype)), family)
    assert module.__name__ == f"cgraph._kernels.builds.{family}_{dtype}_{build_name}"
    protocol = get_type_hints(_kernels.Build)[family]
    named = functions(protocol)
    types = {name for name in named if name.endswith(("Step", "Port"))}
    there, own = functions(module), own_types(module)
    if hasattr(protocol, "__getattr__"):  # operations are objects, with one step for all of them
        own.remove(f"{family.capitalize()}Step")
    # Python cannot introspect the constructor of an extension type.
    assert there == {name: named[name] for name in named.keys() - types}
    assert own == types


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_operation_of_each_row_is_in_one_family(dtype, build_name):
    build = _kernels.build(np.dtype(dtype))
    found = [getattr(op.node_class, "_operation", None) for op in ROWS]
    names = [name for name in found if isinstance(name, str)]  # of learning nodes it is a class
    assert len(names) > 30
    for name in names:
        assert sum(hasattr(family, name) for family in build) == 1, name
