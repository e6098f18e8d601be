"""Functions of elements, of one array or of two, in cgraph and in PyTorch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import cgraph as CG


class ElementFunction(NamedTuple):
    """A function; `torch_name` is its name in torch or torch.nn.functional, `aten` its compiled derivative.

    `aten(ops, x, dy, dx)` writes the derivative of a function of one array into dx, which may be dy. `options` and
    `torch_options` are further arguments. Results of a `random` function differ, and predictions leave it out.
    """

    node: Callable[..., CG.Node]
    inputs: int
    torch_name: str
    aten: Callable[[Any, Any, Any, Any], object] | None = None
    options: tuple[Any, ...] = ()
    torch_options: tuple[Any, ...] = ()
    random: bool = False

    @property
    def name(self) -> str:
        return self.node.__name__


FUNCTIONS = [
    ElementFunction(
        CG.Dropout, 1, "dropout", options=(0.5, 1), torch_options=(0.5, True), random=True
    ),
    ElementFunction(CG.Mul, 2, "mul"),
    ElementFunction(CG.Div, 2, "div"),
    ElementFunction(CG.Maximum, 2, "maximum"),
    ElementFunction(
        CG.LeakyReLU,
        1,
        "leaky_relu",
        lambda ops, x, dy, dx: ops.leaky_relu_backward.grad_input(
            dy, x, 0.01, False, grad_input=dx
        ),
    ),
    ElementFunction(
        CG.GELU,
        1,
        "gelu",
        lambda ops, x, dy, dx: ops.gelu_backward.grad_input(dy, x, grad_input=dx),
    ),
    ElementFunction(
        CG.SiLU,
        1,
        "silu",
        lambda ops, x, dy, dx: ops.silu_backward.grad_input(dy, x, grad_input=dx),
    ),
    ElementFunction(
        CG.Softplus,
        1,
        "softplus",
        lambda ops, x, dy, dx: ops.softplus_backward.grad_input(dy, x, 1, 20, grad_input=dx),
    ),
]
