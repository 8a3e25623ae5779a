"""The environment that a model dreams: latents that follow from latents and actions, without a frame of the world."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo.worlds.controller import choose

State = tuple[Tensor, Tensor]


@runtime_checkable
class Memory(Protocol):
    """A model of sequences that is stepped by hand; its state is (output, cell), each of shape ``(n, H)``."""

    def begin(self, n: int) -> State:
        """The state before the first step of ``n`` sequences."""

    def advance(self, state: State, z: Tensor, a: Tensor) -> State:
        """The state after one more step, of latents ``z``, shape ``(n, L)``, and actions ``a``, shape ``(n,)``."""

    def imagine(self, state: State, temperature: float, generator: torch.Generator | None = None) -> Tensor:
        """Draw the next latents, shape ``(n, L)``."""

    def ending(self, state: State) -> Tensor:
        """The probability that the step that led to ``state`` was the last one, shape ``(n,)``."""


@torch.no_grad()
def rollouts(
    memory: Memory, weights: Tensor, z: Tensor, *, temperature: float, longest: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Let linear controllers live in the dream.

    All rollouts are one batch. In each decision a controller acts on the latents and the memory's output, the memory
    goes one step, death is drawn by its probability, and the next latents at the temperature.

    Args:
        memory: the model.
        weights: of the controller of each rollout, shape ``(n, L + H + 1)``.
        z: latents of the first frame of each rollout, shape ``(n, L)``.
        temperature: of the latents; at 1 they are draws of the model.
        longest: decisions after which a rollout is ended.
        generator: of all draws.

    Yields:
        At each decision the numbers of the rollouts that are alive, shape ``(m,)``, and their latents ``(m, L)``.
    """
    rows, state = torch.arange(len(z)), memory.begin(len(z))
    for _ in range(longest):
        yield rows, z
        state = memory.advance(state, z, choose(weights, z, state[0]))
        alive = torch.rand(len(z), generator=generator) >= memory.ending(state)
        if not alive.all():
            rows, weights, state = rows[alive], weights[alive], (state[0][alive], state[1][alive])
        if not len(rows):
            return
        z = memory.imagine(state, temperature, generator)


def lasted(
    memory: Memory, weights: Tensor, z: Tensor, *, temperature: float, longest: int, generator: torch.Generator
) -> Tensor:
    """How many decisions each of the `rollouts` lasts, shape ``(n,)``, int64."""
    total = torch.zeros(len(z), dtype=torch.long)
    for rows, _ in rollouts(memory, weights, z, temperature=temperature, longest=longest, generator=generator):
        total[rows] += 1
    return total
