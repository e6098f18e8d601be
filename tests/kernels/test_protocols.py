"""protocols.py states what every build of a family offers: the compiled modules are compared with it."""

import inspect
from typing import get_type_hints

import numpy as np
import pytest

from cgraph import _kernels
from cgraph._kernels.runtime.step import Port, Step


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
    """Returns the names of the steps and ports that a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Step | Port)
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", _kernels.Build._fields)
def test_every_build_of_a_family_is_what_its_protocol_says(family, dtype, build_name):
    module = getattr(_kernels.build(np.dtype(dtype)), family)
    assert module.__name__ == f"cgraph._kernels.builds.{family}_{dtype}_{build_name}"
    protocol = functions(get_type_hints(_kernels.Build)[family])
    types = {name for name in protocol if name.endswith(("Step", "Port"))}
    # Python cannot introspect the constructor of an extension type.
    assert functions(module) == {name: protocol[name] for name in protocol.keys() - types}
    assert own_types(module) == types
