"""RMSprop: gradients in units of their recent size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from cgraph.optimizers.optimizer import Groups, Optimizer
from cgraph.optimizers.rule import Rule
from cgraph.optimizers.settings import Rate, Setting, amount, factor, flag


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012; centered: Graves, 2013), as ``torch.optim.RMSprop``.

    For each parameter w with the mean gradient g:  g ← g + weight_decay w;  v ← alpha v + (1 − alpha) g²;
    if centered, a ← alpha a + (1 − alpha) g and s = v − a², else s = v;
    b ← momentum b + g / (√s + eps);  w ← w − lr b.
    All running means begin at 0.

    If centered, a gradient that stays the same has s = 0 up to rounding: steps grow to lr / eps times the gradient, and
    a root of what is less than 0 is NaN (so it is in PyTorch).

    Parameters
    ----------
    lr : float or function of int, optional
        The learning rate.
    alpha : float, optional
        The factor of the running mean of squares, in [0, 1).
    eps : float, optional
        Added to the root.
    weight_decay : float, optional
        The factor of the parameters that is added to their gradients.
    momentum : float, optional
        The factor of the running sum of steps.
    centered : bool, optional
        Whether the mean of gradients is subtracted, so that their variance counts.
    max_grad_norm, nonfinite, decay_bias, groups
        As for `Optimizer`; a group may have ``lr``, ``alpha``, ``eps``, ``weight_decay`` and ``momentum``.

    Raises
    ------
    TypeError, ValueError
        As for `Optimizer`.
    """

    alpha = Setting(factor)
    eps = Setting(amount)
    momentum = Setting(amount)
    centered = Setting(flag)

    _state_names: ClassVar = ("square_avg", "momentum_buffer", "grad_avg")
    _of_groups: ClassVar = ("lr", "alpha", "eps", "weight_decay", "momentum")

    def __init__(
        self,
        lr: Rate = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        max_grad_norm: float | None = None,
        nonfinite: str = "ignore",
        decay_bias: bool = True,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(
            lr,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            nonfinite=nonfinite,
            decay_bias=decay_bias,
            groups=groups,
        )
        self.alpha, self.eps, self.momentum, self.centered = alpha, eps, momentum, centered

    @property
    def _rule(self) -> Rule:
        momenta = (group.get("momentum", 0) for group in self._groups.values())
        buffer = "momentum_buffer" if self.momentum or any(momenta) else None
        return Rule("rmsprop", ("square_avg", buffer, "grad_avg" if self.centered else None))

    def _numbers(self, settings: Mapping[str, Any]) -> dict[str, float]:
        return {
            "momentum": settings["momentum"],
            "decay": settings["alpha"],
            "eps": settings["eps"],
        }
