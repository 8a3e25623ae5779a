"""Pairs inside a family: densities of the zoo, by name, that a family of records is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.errors import UnfitError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import HasInitialise, HasPlayers, Pair
from zoo.pairs.traces import capabilities


def inner_pairs(data: Event, name: str, count: int, same: bool = False) -> list[Pair]:
    """So many pairs called ``name`` of p(x), with initial parameters of their own unless they are the ``same``.

    Raises:
        UnfitError: it has no likelihood, observes x in several sites, or is trained by no likelihood.
    """
    seeds = torch.randint(2**31, (1 if same else count,)).tolist()
    pairs = [build(name, data, seed=seeds[place % len(seeds)]) for place in range(count)]
    can = capabilities(pairs[0])
    if len(can.observed) != 1:
        raise UnfitError(f"p(x) takes a family that observes x, in one site; {name} has {len(can.observed)} of them")
    if isinstance(pairs[0].extras, HasPlayers):
        raise UnfitError(f"p(x) takes a family that is trained by its likelihood, and {name} has a loss of its own")
    held = {id(tensor) for module in pairs[0].modules.values() for tensor in module.parameters()}
    if loose := [key for key, tensor in pairs[0].named_parameters().items() if id(tensor) not in held]:
        raise UnfitError(f"p(x) takes a family whose parameters are in modules; {loose[0]} of {name} is in none")
    return pairs


def main_and_label(event: Event, batch: Tensor) -> tuple[Tensor, Tensor | None]:
    """x as data of the main field's event, and y, ``None`` where it is missing."""
    return event.main_of(batch), event.unpack(batch)["y"]


def initialise(pair: Pair, x: Tensor) -> None:
    """Start a pair from training data ``x`` of its event, if it does so."""
    if isinstance(pair.extras, HasInitialise):
        with pair.scope():
            pair.extras.initialise(x)
