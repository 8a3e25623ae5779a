"""A density that a network tilts: known up to a constant, with Langevin chains that keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.distributions import Unnormalised
from zoo.flows.flow import FlowDensity


@dataclass(frozen=True)
class Chains:
    """Where chains are: z ``(n, D)``, log p_0 and the energy there, ``(n,)``, and the gradients of both."""

    z: Tensor
    log_base: Tensor
    energy: Tensor
    base_force: Tensor
    energy_force: Tensor

    def log_path(self, b: float) -> Tensor:
        return self.log_base - b * self.energy

    def force(self, b: float) -> Tensor:
        return self.base_force - b * self.energy_force

    def where(self, kept: Tensor, other: Chains) -> Chains:
        """These chains where ``kept``, the others elsewhere."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in Chains.__dataclass_fields__)
        return Chains(*(torch.where(kept.reshape(-1, *(1 for _ in a.shape[1:])), a, b) for a, b in pairs))


class Tilted(Unnormalised):
    """p(y) = p_0(y) exp(-E(y)) / Z, where p_0 is a flow and E grows slower than -log p_0, so that Z is finite.

        log f_b(y) = log p_0(y) - b E(y)

    Its transition is a step of Langevin dynamics in the flow's z with noise of scale ``step``,

        z' = z + (step^2 / 2) grad log f_b + step N(0, I),

    accepted or rejected by Metropolis and Hastings, so that it keeps f_b at whatever step.

    Args:
        base: p_0, of event shape ``event_shape``.
        energy: E, from ``(n, *event_shape)`` to ``(n,)``.
        step: scale of the noise, a scalar.
        moves: see `zoo.distributions.Unnormalised`.
        chains: z that training left, ``(C, D)``, from which `settled` goes on.

    Reference:
        Roberts & Tweedie 1996, Bernoulli 2 (the transition).
    """

    def __init__(
        self, base: FlowDensity, energy: Callable[[Tensor], Tensor], step: Tensor, moves: int, chains: Tensor
    ) -> None:
        self.base, self.energy, self.step, self.chains = base, energy, step, chains
        self._last: tuple[Tensor, Chains] | None = None
        super().__init__(base.event_shape, moves)

    @property
    def support(self) -> Any:
        return self.base.support

    def base_sample(self, n: int) -> Tensor:
        return self._started(self.base.base.rsample(torch.Size([n])))

    def log_path(self, value: Tensor, b: float) -> Tensor:
        log_base: Tensor = self.base.log_prob(value)
        return log_base - b * self._energy_of(value) if b else log_base

    def rise(self, value: Tensor, before: float, after: float) -> Tensor:
        # without p_0, which cancels: far out, y rounds to the edge, where p_0(y) is not a number
        return (before - after) * self._energy_of(value)

    def _energy_of(self, value: Tensor) -> Tensor:
        if self._last and value is self._last[0] and not torch.is_grad_enabled():
            return self._last[1].energy
        batch = value.shape[: value.dim() - len(self.event_shape)]
        return self.energy(value.reshape(-1, *self.event_shape)).reshape(batch)

    def move(self, x: Tensor, b: float) -> Tensor:
        if self._last is None or x is not self._last[0]:
            self._last = x, self.at(self.base.forward(x.flatten(1))[0])
        chains, _ = self.langevin(self._last[1], b)
        self._last = self._data(chains.z), chains
        return self._last[0]

    def settled(self, n: int) -> Tensor:
        """The chains of training, after ``moves`` more."""
        x = self._started(self.chains[torch.randint(len(self.chains), (n,), device=self.chains.device)])
        for _ in range(self.moves):
            x = self.move(x, 1.0)
        return x

    def _started(self, z: Tensor) -> Tensor:
        """The data of z, from which `move` goes on without their way back."""
        self._last = self._data(z), self.at(z)
        return self._last[0]

    def at(self, z: Tensor) -> Chains:
        """Chains at z, ``(n, D)``."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_base, energy = self.base.base.log_prob(z), self.energy(self._data(z))
            [base_force] = torch.autograd.grad(log_base.sum(), z)
            [energy_force] = torch.autograd.grad(energy.sum(), z)
        return Chains(z.detach(), log_base.detach(), energy.detach(), base_force, energy_force)

    def langevin(self, chains: Chains, b: float) -> tuple[Chains, Tensor]:
        """A step of each chain, and the probability that it was accepted, ``(n,)``."""
        half, noise = self.step.square() / 2, torch.randn_like(chains.z)
        new = self.at(chains.z + half * chains.force(b) + self.step * noise)
        back = (chains.z - new.z - half * new.force(b)) / self.step
        log_ratio = new.log_path(b) - chains.log_path(b) + 0.5 * (noise.square() - back.square()).sum(1)
        accepted = log_ratio.clamp(max=0).exp().nan_to_num(nan=0.0)
        return new.where(torch.rand_like(accepted) < accepted, chains), accepted

    def _data(self, z: Tensor) -> Tensor:
        return self.base.inverse(z).reshape(-1, *self.event_shape)
