"""Shift-based AdaMax: every product of the step but the momentum's is by a power of two, a shift in hardware."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from bincompress.binarize.shift_norm import ap2

_EPS = 2.0**-27


def ap2_of(x: float) -> float:
    """`ap2` of one number."""
    return float(ap2(torch.tensor(x, dtype=torch.float64)))


class ShiftAdaMax(torch.optim.Optimizer):
    """m = b1 m + (1 - b1) g;  v = AP2(max(b2 v, |g|));  w -= AP2(lr / (1 - b1^t)) AP2(lr_scale) m / (v + 2^-27).

    `lr_scale` of a group is BinaryConnect's factor on the steps of binary weights, rounded to a power of two as well;
    `lr` does not contain it. Source: BNN, arXiv 1602.02830, algorithm 4, in the form of its Torch code.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "lr_scale": 1.0, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            scale = ap2_of(group["lr_scale"])
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_inf"] = torch.zeros_like(parameter)
                gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                state["step"] += 1
                state["exp_avg"].lerp_(gradient, 1 - beta1)
                state["exp_inf"].copy_(ap2(torch.maximum(state["exp_inf"] * beta2, gradient.abs())))
                rate = ap2_of(group["lr"] / (1 - beta1 ** float(state["step"])))
                parameter.addcdiv_(state["exp_avg"], state["exp_inf"] + _EPS, value=-rate * scale)
