"""SGD: gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from cgraph.optimizers.optimizer import Groups, Optimizer
from cgraph.optimizers.rule import Rule
from cgraph.optimizers.settings import Rate, Setting, amount, flag


class SGD(Optimizer):
    """Gradient descent with momentum (Sutskever et al., 2013), as ``torch.optim.SGD``.

    For each parameter w with the mean gradient g:  g ← g + weight_decay w;  b ← momentum b + g;  w ← w − lr b, or with
    Nesterov's momentum  w ← w − lr (g + momentum b). The momentum b begins at 0. A plain number in the place of an
    optimiser is another rule: it descends on the SUM of the losses.

    Parameters
    ----------
    lr : float or function of int
        The learning rate.
    momentum : float, optional
        The factor of the running sum of gradients, in [0, 1).
    nesterov : bool, optional
        Whether the momentum is Nesterov's.
    weight_decay, max_grad_norm, nonfinite, decay_bias, groups
        As for `Optimizer`; a group may have ``lr``, ``momentum`` and ``weight_decay``.

    Raises
    ------
    TypeError, ValueError
        As for `Optimizer`; `nesterov` without momentum.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, t = CG.Leaf1(1), CG.Leaf1(1)
    >>> y = CG.Affine(x, [[1.0], [0.0]])
    >>> graph = CG.Graph(CG.MSE(y, t))
    >>> graph.step({x: [[1], [2]], t: [[0], [0]]}, CG.SGD(lr=0.1, momentum=0.9))
    array([1., 4.])
    >>> y.weight.ravel()
    array([ 0.5, -0.3])
    """

    momentum = Setting(amount)
    nesterov = Setting(flag)

    _state_names: ClassVar = ("momentum_buffer",)
    _of_groups: ClassVar = ("lr", "momentum", "weight_decay")

    def __init__(
        self,
        lr: Rate,
        momentum: float = 0,
        nesterov: bool = False,
        weight_decay: float = 0,
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
        self.momentum, self.nesterov = momentum, nesterov
        if self.nesterov and self._momentum == 0:
            raise ValueError("SGD: nesterov needs a momentum larger than 0, got 0")

    @property
    def _momentum(self) -> float:
        """The largest momentum of a parameter."""
        groups = (group.get("momentum", 0) for group in self._groups.values())
        largest: float = max(self.momentum, *groups, 0)
        return largest

    @property
    def _rule(self) -> Rule:
        state = "momentum_buffer" if self._momentum else None
        return Rule("nesterov" if self.nesterov else "sgd", (state,))

    def _numbers(self, settings: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum": settings["momentum"]}
