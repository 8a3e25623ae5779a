"""A step of an optimiser without its book-keeping.

torch sorts parameters and memories by device and type at every step, which for networks of many small tensors takes
several times as long as the arithmetic. That of fused Adam and AdamW is asked for directly here; every other optimiser,
and every step on which something has changed, is torch's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

UNUSUAL = ("amsgrad", "capturable", "differentiable")
"""Options of Adam that are left to torch."""


@dataclass(frozen=True)
class Memory:
    """What Adam keeps of one group of parameters."""

    group: dict[str, Any]
    parameters: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    counts: list[Tensor]
    all_counts: Tensor
    """The one tensor that ``counts`` are entries of."""


class Stepper:
    """``step()`` does what ``optimiser.step()`` does, to the bit."""

    def __init__(self, optimiser: Optimizer) -> None:
        self.optimiser = optimiser
        self._known_by: list[Any] = []
        self._memories: list[Memory] = []

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters by their gradients."""
        gradients = [[each.grad for each in memory.parameters if each.grad is not None] for memory in self._memories]
        if not (self._same() and self._complete(gradients)):
            self.optimiser.step()
            self._memories, self._known_by = list(_memories(self.optimiser)), _known_by(self.optimiser)
            return
        for memory, each in zip(self._memories, gradients, strict=True):
            _move(memory, each)

    def _same(self) -> bool:
        now = _known_by(self.optimiser)
        return len(now) == len(self._known_by) and all(
            one is other for one, other in zip(now, self._known_by, strict=True)
        )

    def _complete(self, gradients: list[list[Tensor]]) -> bool:
        counts = [len(memory.parameters) for memory in self._memories]
        return bool(counts) and [len(each) for each in gradients] == counts


def _known_by(optimiser: Optimizer) -> list[Any]:
    """What is another after ``load_state_dict``, ``add_param_group`` or a new hook: held, lest an address recur."""
    return [optimiser.state, _hooks(optimiser), *optimiser.param_groups]


def _hooks(optimiser: Optimizer) -> int:
    return len(optimiser._optimizer_step_pre_hooks) + len(optimiser._optimizer_step_post_hooks)


def _memories(optimiser: Optimizer) -> Iterator[Memory]:
    """Of each group, where all of them are fused Adam's of parameters that are all of one kind and trained."""
    groups = optimiser.param_groups
    usual = type(optimiser) in (Adam, AdamW) and not _hooks(optimiser)
    if usual and all(_direct(optimiser, group) for group in groups):
        for group in groups:
            states = [optimiser.state[each] for each in group["params"]]
            means, squares = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq"))
            yield Memory(group, group["params"], means, squares, *_joined_counts(states))


def _joined_counts(states: list[dict[str, Any]]) -> tuple[list[Tensor], Tensor]:
    """The numbers of steps taken, made entries of one tensor: they are raised at once."""
    joined = torch.stack([state["step"] for state in states])
    for state, count in zip(states, joined.unbind(), strict=True):
        state["step"] = count
    return [state["step"] for state in states], joined


def _direct(optimiser: Optimizer, group: dict[str, Any]) -> bool:
    kinds = {(each.device.type, each.dtype) for each in group["params"]}
    return (
        bool(group.get("fused"))
        and not any(group[name] for name in UNUSUAL)
        and not isinstance(group["lr"], Tensor)
        and len(kinds) == 1
        and all(each in optimiser.state for each in group["params"])
    )


def _move(memory: Memory, gradients: list[Tensor]) -> None:
    group = memory.group
    memory.all_counts.add_(1)
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    kernel(
        memory.parameters,
        gradients,
        memory.means,
        memory.squares,
        [],
        memory.counts,
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=group["maximize"],
    )
