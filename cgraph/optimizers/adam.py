"""Adam and AdamW: steps in units of the size of recent gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from cgraph.optimizers.optimizer import Groups, Optimizer
from cgraph.optimizers.rule import Rule
from cgraph.optimizers.settings import Rate, Setting, amount, as_betas


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), as ``torch.optim.Adam``.

    For each parameter w with the mean gradient g, in its k-th update:  g ← g + weight_decay w;
    m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  w ← w − lr / (1 − β₁ᵏ) · m / (√(v / (1 − β₂ᵏ)) + eps).
    The running means m and v begin at 0, and k counts for each parameter on its own.

    Where a gradient vanishes, Adam divides noise by noise: with float32 the signs of gradients that are 0 up to
    rounding decide about steps of size lr. Runs that differ in rounding alone, on another build say, then part, though
    their loss curves agree.

    Parameters
    ----------
    lr : float or function of int, optional
        The learning rate.
    betas : (float, float), optional
        The factors β₁ and β₂ of the running means, in [0, 1).
    eps : float, optional
        Added to the root.
    weight_decay, max_grad_norm, nonfinite, decay_bias, groups
        As for `Optimizer`; a group may have ``lr``, ``betas``, ``eps`` and ``weight_decay``.

    Raises
    ------
    TypeError, ValueError
        As for `Optimizer`.

    Examples
    --------
    >>> import cgraph as CG
    >>> x, t = CG.Leaf1(1), CG.Leaf1(1)
    >>> y = CG.Affine(x, [[1.0], [0.0]])
    >>> graph = CG.Graph(CG.MSE(y, t))
    >>> adam = CG.Adam(lr=0.25)
    >>> losses = graph.train({x: [[1], [1]], t: [[0], [0]]}, adam)
    >>> adam.updates, [round(loss, 6) for loss in losses.tolist()]
    (2, [1.0, 0.25])
    """

    betas = Setting(as_betas)
    eps = Setting(amount)

    _state_names: ClassVar = ("exp_avg", "exp_avg_sq")
    _of_groups: ClassVar = ("lr", "betas", "eps", "weight_decay")

    def __init__(
        self,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
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
        self.betas, self.eps = betas, eps

    @property
    def _rule(self) -> Rule:
        return Rule("adam", self._state_names)

    def _numbers(self, settings: Mapping[str, Any]) -> dict[str, float]:
        momentum, decay = settings["betas"]
        return {"momentum": momentum, "decay": decay, "eps": settings["eps"]}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as ``torch.optim.AdamW``.

    As `Adam`, but that  w ← (1 − lr weight_decay) w  comes first, instead of a term of the gradient.

    Parameters
    ----------
    lr, betas, eps, max_grad_norm, nonfinite, decay_bias, groups
        As for `Adam`.
    weight_decay : float, optional
        The weight decay.

    Raises
    ------
    TypeError, ValueError
        As for `Optimizer`.
    """

    _decoupled: ClassVar = True

    def __init__(
        self,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        max_grad_norm: float | None = None,
        nonfinite: str = "ignore",
        decay_bias: bool = True,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(
            *(lr, betas, eps, weight_decay),
            max_grad_norm=max_grad_norm,
            nonfinite=nonfinite,
            decay_bias=decay_bias,
            groups=groups,
        )
