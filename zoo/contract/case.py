"""What the laws are checked on: a pair, random data for it, and a few steps of its training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice

import pyro
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor

from zoo.contract.values import random_data, supports
from zoo.event import Event
from zoo.pairs.enumeration import enumerated_elbo
from zoo.pairs.pair import HasInitialise, HasPlayers, Pair, Player
from zoo.pairs.records import cut, pair_for
from zoo.pairs.sampling import contexts, sample
from zoo.pairs.sites import observed_sites
from zoo.seeding import seeded

STEPS, BATCH = 4, 16
FIRST_DATA = 64
"""Number of random data given to `initialise`."""


class Case:
    """A pair under test: how it is built, and data for it: random ones, or those ``given``.

    With ``given`` data, ``make`` gives a pair that is initialised already. ``device`` is where the pair is to run.
    """

    def __init__(
        self, make: Callable[[int], Pair], event: Event, seed: int, given: Tensor | None = None, device: str = "auto"
    ) -> None:
        self.event, self.seed, self.given, self.device = event, seed, given, device
        self.make = lambda seed: make(seed).relative  # laws compare, so they need no constant

    @property
    def sizes(self) -> list[int]:
        """Two batch sizes that differ from every dimension of the event."""
        taken = {*self.event.shape, self.event.size}
        return list(islice((n for n in (5, 7, 11, 13, 19, 23, 29, 31) if n not in taken), 2))

    def fresh(self, device: torch.device | str | None = None) -> Pair:
        """A new pair, initialised as for training, on ``device``; by default where it is made."""
        pair = self.make(self.seed)
        pair = pair.to(device) if device else pair
        if self.given is None and isinstance(pair.extras, HasInitialise):
            with seeded(self.seed), torch.no_grad():
                pair.extras.initialise(self._random(FIRST_DATA, 0).to(device))
        return pair

    @cached_property
    def pair(self) -> Pair:
        """One such pair, which no law changes."""
        return self.fresh()

    @cached_property
    def unlabelled(self) -> Case:
        """The same pair on random data without a label."""
        make, event, own, given = self.make, self.event, self.given, self.event.drop_label(self.x(FIRST_DATA))
        return Case(lambda seed: Case(make, event, seed, own).fresh().unlabelled, event.unlabelled, self.seed, given)

    def x(self, n: int, key: int = 0) -> Tensor:
        """Data, shape ``(n, *event.shape)``; random ones are draws of the model if it does not take all reals."""
        if self.given is not None:
            return self.given[(torch.arange(n, device=self.given.device) + key * n) % len(self.given)]
        return self._random(n, key)

    def _random(self, n: int, key: int) -> Tensor:
        with seeded(self.seed + 1000 * key + n):
            x = random_data(self.event, n)
            if self._takes_all_reals:
                return x
            return sample(self.make(self.seed), n, given=contexts(self.event, x, n))

    @cached_property
    def _takes_all_reals(self) -> bool:
        if all(field.levels is not None for field in self.event.parts):
            return True
        pair = self.make(self.seed)
        with pair.evaluating():
            trace = poutine.trace(pair.model).get_trace(random_data(self.event, BATCH))
        return all(supports(trace.nodes[name]["fn"], trace.nodes[name]["value"]) for name in observed_sites(trace))

    @cached_property
    def trained(self) -> Trained:
        """Another such pair after a few steps of training; half of a batch has no label, if one may be missing."""
        batches = [self.x(BATCH, key) for key in range(1, STEPS + 1)]
        if label := self.event.label:
            for known in (self.event.unpack(batch)[label.name] for batch in batches):
                known[: BATCH // 2] = torch.nan  # type: ignore[index] # a view of the batch, which has the label
        return Trained(self.fresh(), batches)


class Trained:
    """A pair after one step per batch: its losses, and which parameters received a gradient from which player."""

    def __init__(self, pair: Pair, batches: list[Tensor]) -> None:
        self.pair, self.losses = pair, list[tuple[str, float]]()
        self.players = players_of(pair)
        self.named = {id(tensor): name for name, tensor in pair.named_parameters().items()}
        self.reached: set[tuple[str, int]] = set()
        optimizers = [torch.optim.Adam([*player.parameters] or [torch.zeros(1)], lr=1e-3) for player in self.players]
        for x in batches:
            for player, optimizer in zip(self.players, optimizers, strict=True):
                self._step(player, optimizer, x)

    def _step(self, player: Player, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
        self.pair.train(True)
        with pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Encountered")  # Pyro's warning of nan: it becomes a finding
            loss = player.loss(x)
        self.losses.append((player.name, float(loss.detach().sum())))
        optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward(inputs=list(player.parameters))
        for parameter in player.parameters:
            if parameter.grad is not None and (parameter.grad != 0).any():
                self.reached.add((player.name, id(parameter)))
        optimizer.step()

    def unreached(self) -> Iterator[str]:
        """Parameters without a gradient, and the loss that gives them none."""
        for player in self.players:
            for parameter in player.parameters:
                if (player.name, id(parameter)) not in self.reached:
                    name = self.named.get(id(parameter), "a tensor outside the pair")
                    yield f"{name} gets none from the {player.name} loss"
        owned = {id(parameter) for player in self.players for parameter in player.parameters}
        yield from (f"{name} belongs to no player" for key, name in self.named.items() if key not in owned)


def players_of(pair: Pair) -> list[Player]:
    """The family's own players, or one that descends minus the ELBO."""
    if isinstance(pair.extras, HasPlayers):
        return list(pair.extras.players())

    def loss(x: Tensor) -> Tensor:
        total = x.new_zeros(())
        for _, part in cut(pair.event, x):
            own = pair_for(pair, part)
            if own.structure.plain:
                total = total + Trace_ELBO().differentiable_loss(own.model, own.guide, part)
            else:
                total = total - enumerated_elbo(own, part, 1.0, len(x))
        return total

    return [Player("elbo", pair.parameters(), loss)]
