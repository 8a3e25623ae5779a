"""Energy-based model with Langevin chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.distributions import dequantise, observe
from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.entry import Marginals, Standardise
from zoo.flows.flow import FlowDensity
from zoo.flows.tilted import Tilted
from zoo.nn.energy import Energy
from zoo.pairs.pair import Player
from zoo.pairs.registry import family

ACCEPTANCE, RATE = 0.6, 0.02
"""Of the chains' steps that training adapts their size to, and how fast."""


@family(
    "ebm",
    group="energy",
    paper="Du & Mordatch 2019, arXiv:1903.08689",
    recipe={
        "steps": 2000,
        "batch": 128,
        "lr": 1e-3,
        "schedule": "onecycle",
        "optimiser": "adamw",
        "weight_decay": 1e-2,
        "average": 0.995,
        "checkpoints": 5,
        "clip": 10.0,
    },
)
class EBM(nn.Module):
    """An energy that a network computes tilts a model of independent dimensions.

        p(y) = p_0(y) exp(-E(y)) / Z        x = y for real data, x = floor(y) for integers (uniform dequantisation)

    p_0 is fixed: each dimension's marginal distribution among the training data, normal for real data. E is a network
    with bounded slope, convolutional for images, that starts at zero. Log-probabilities are known up to a constant; the
    evaluation ``likelihood`` estimates log Z by annealing from p_0 (`zoo.metrics.normaliser`). Of integers they are
    lower bounds up to that constant.

    Training descends E of data less E of chains that go on from step to step, plus ``penalty`` times the squares of
    both. The chains move in the coordinates in which p_0 is a standard distribution and are corrected by Metropolis and
    Hastings: they keep p at temperature 1, at which the model is scored too. Langevin chains without that correction
    sample another temperature where noise and step do not match (Du & Mordatch take noise far smaller), so that the log
    Z of the density they learn is that of E over this temperature. The scale of the noise is adapted to an acceptance
    of 60 % in training, and fixed after it. Not promised: convergence.

    Args:
        event: any shape and support.
        width: channels of the first convolution, or a fourth of the units of each layer.
        chains: persistent chains.
        updates: steps of the chains at each step of training.
        moves: steps of one draw, of which the first half anneals from p_0.
        penalty: of squared energies.

    Raises:
        ZooError: a number that is not positive.

    Reference:
        Du & Mordatch 2019, arXiv:1903.08689; the correction: Roberts & Tweedie 1996, Bernoulli 2; persistent chains:
        Tieleman 2008, ICML.
    """

    persistent: Tensor
    step: Tensor

    def __init__(
        self,
        event: Event,
        *,
        width: int = 16,
        chains: int = 64,
        updates: int = 5,
        moves: int = 500,
        penalty: float = 1e-3,
    ) -> None:
        super().__init__()
        if min(width, chains, updates, moves) < 1:
            raise ZooError(f"width, chains, updates and moves are 1 or more; got {width}, {chains}, {updates}, {moves}")
        self.event, self.updates, self.moves, self.penalty = event, updates, moves, penalty
        self.entry = Standardise(event.size) if event.levels is None else Marginals(event.size, event.levels)
        self.net = Energy(event, width)
        self.register_buffer("step", torch.tensor(0.5 / event.size**0.25))
        self.register_buffer("persistent", self._independent().sample(torch.Size([chains])))

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            return observe(self.event, self.density(), x)

    def guide(self, x: Tensor) -> None:
        if self.event.levels is not None:
            with pyro.plate("data", len(x)):
                dequantise(self.event, x)

    def density(self) -> Tilted:
        """The density of y, event shape ``event.shape``."""
        base = FlowDensity(self.entry, self.entry.inverse, self._independent(), self.event.shape)
        return Tilted(base, self.energy, self.step, self.moves, self.persistent)

    def energy(self, y: Tensor) -> Tensor:
        """E: ``(n, *event.shape)`` to ``(n,)``."""
        flat = y.flatten(1)
        scaled = self.entry(flat)[0] if self.event.levels is None else 2 * flat / self.event.levels - 1
        energies: Tensor = self.net(scaled)
        return energies

    def players(self) -> Sequence[Player]:
        """Gradient ascent on log p(y) with the chains in place of draws."""
        return [Player("energy", list(self.net.parameters()), self.contrast)]

    def contrast(self, x: Tensor) -> Tensor:
        """Mean energy of data less that of the chains, with the penalty; in training mode the chains move first."""
        density = self.density()
        z = self._advance(density) if self.training else self.persistent
        y = x if self.event.levels is None else x + torch.rand_like(x)
        ours, theirs = self.energy(y), self.energy(self.entry.inverse(z).reshape(-1, *self.event.shape))
        return ours.mean() - theirs.mean() + self.penalty * (ours.square().mean() + theirs.square().mean())

    def _advance(self, density: Tilted) -> Tensor:
        with torch.no_grad():
            chains = density.at(self.persistent)
            for _ in range(self.updates):
                chains, accepted = density.langevin(chains, 1.0)
                self.step.mul_((RATE * (accepted.mean() - ACCEPTANCE)).exp())
            self.persistent.copy_(chains.z)
        return chains.z

    def initialise(self, x: Tensor) -> None:
        """Set p_0 from the training data; the chains, draws of it in its own coordinates, are exact at E = 0."""
        self.entry.initialise(x.flatten(1))

    def _independent(self) -> Any:
        zero = next(self.net.parameters()).new_zeros(self.event.size)
        return (dist.Normal if self.event.levels is None else dist.Logistic)(zero, zero + 1).to_event(1)
