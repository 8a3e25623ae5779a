"""Optimizer steps by the kernel of fused Adam, without torch's bookkeeping.

At every step torch sorts parameters and states by device and type, which for small networks takes longer than the
arithmetic: on the smallest VAE of the benchmark a whole compiled step takes 0.74 of the time (docs/speed.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from zoo.engine.private import FUSED_ADAM, has_step_hooks

UNSUPPORTED = ("amsgrad", "capturable", "differentiable")
"""Options of Adam that are left to torch."""


@dataclass(frozen=True)
class _Group:
    """A group of parameters with the state that Adam keeps of them."""

    options: dict[str, Any]
    parameters: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    counts: list[Tensor]
    all_counts: Tensor
    """The tensor that ``counts`` are entries of."""


class Stepper:
    """``step()`` does what ``optimiser.step()`` does, to the bit.

    Optimizers other than fused Adam and AdamW, and any step after a change of the optimizer's state, groups or hooks,
    are left to torch.

    Args:
        optimiser: any optimizer of torch; its ``state_dict`` stays its own.
    """

    def __init__(self, optimiser: Optimizer) -> None:
        self.optimiser = optimiser
        self._references: list[Any] = []
        self._groups: list[_Group] = []

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters by their gradients."""
        gradients = [[each.grad for each in group.parameters] for group in self._groups]
        if self._changed() or any(each is None for group in gradients for each in group):
            self.optimiser.step()
            self._groups, self._references = list(_groups(self.optimiser)), self._current_references()
            return
        for group, each in zip(self._groups, gradients, strict=True):
            options = group.options
            group.all_counts.add_(1)
            kernel: Any = FUSED_ADAM[options["decoupled_weight_decay"]]
            kernel(
                group.parameters,
                each,
                group.means,
                group.squares,
                [],
                group.counts,
                lr=options["lr"],
                beta1=options["betas"][0],
                beta2=options["betas"][1],
                weight_decay=options["weight_decay"],
                eps=options["eps"],
                amsgrad=False,
                maximize=options["maximize"],
            )

    def _current_references(self) -> list[Any]:
        """Objects that ``load_state_dict`` and ``add_param_group`` replace; held, so that no address is reused."""
        return [self.optimiser.state, *self.optimiser.param_groups]

    def _changed(self) -> bool:
        now = self._current_references()
        same = len(now) == len(self._references) and all(map(lambda a, b: a is b, now, self._references))
        return not (self._groups and same) or has_step_hooks(self.optimiser)


def _groups(optimiser: Optimizer) -> Iterator[_Group]:
    """All groups of ``optimiser``, or none where one of them is left to torch."""
    if type(optimiser) not in (Adam, AdamW) or not all(_supported(optimiser, each) for each in optimiser.param_groups):
        return
    for options in optimiser.param_groups:
        states = [optimiser.state[each] for each in options["params"]]
        counts = torch.stack([state["step"] for state in states])  # one addition counts the steps of all parameters
        for state, count in zip(states, counts.unbind(), strict=True):
            state["step"] = count
        means, squares, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
        yield _Group(options, options["params"], means, squares, steps, counts)


def _supported(optimiser: Optimizer, group: dict[str, Any]) -> bool:
    kinds = {(each.device.type, each.dtype) for each in group["params"]}
    return (
        all(FUSED_ADAM)
        and bool(group.get("fused"))
        and not any(group[name] for name in UNSUPPORTED)
        and not isinstance(group["lr"], Tensor)
        and len(kinds) == 1
        and all(each in optimiser.state for each in group["params"])
    )
