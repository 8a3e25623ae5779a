"""A pair as an autoencoder: its guide takes data to a vector of latents, its model takes the vector to expected data.

What lossy coding needs of a pair is here; `zoo.codec.lossy` makes bytes of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from zoo.codec.rates import Floats
from zoo.distributions import DiscretisedNormal
from zoo.errors import ZooError
from zoo.pairs.pair import Pair
from zoo.pairs.sites import data_first, entries_of, is_discrete, random_sites, unmasked_entries_of
from zoo.pairs.traces import Capabilities, capabilities, traced
from zoo.seeding import seeded

DRAWS = 64
"""Draws of the guide per datum, of which mean and deviation are taken."""
CHUNK = 1000
"""Data per pass of the model."""


def no_bottleneck(pair: Pair) -> str:
    """Why ``pair`` has no lossy code; empty if it has one."""
    can = capabilities(pair)
    if pair.event.fields:
        return "a record of fields: lossy codes are of data of one array"
    if not can.observed:
        return "an implicit model: no guide infers the latents of a datum"
    if can.shared:
        return f"all data share {', '.join(can.shared)}: a code of the latents would need their values as well"
    if can.enumerated:
        return f"{', '.join(can.enumerated)} is summed: a reconstruction would need its value"
    if not _latents(can):
        return "no latents: there is nothing but the datum itself to quantise"
    if not can.lossy(pair.event):
        size = sum(map(math.prod, _latents(can).values()))
        return f"no bottleneck: {size} latent dimensions for a datum of {pair.event.size}"
    x = torch.zeros(3, *pair.event.shape, device=pair.device)
    with pair.evaluating(), seeded(0):
        model_trace, guide_trace = traced(pair, x)
    for name, shape in _latents(can).items():
        site = guide_trace.nodes[name]
        if is_discrete(site["fn"]):
            return f"latent {name!r} is discrete: only real latents are rounded on a grid"
        if data_first(name, site, len(x)).shape[1:] != shape:
            return (
                f"latent {name!r} stands in a plate inside that of the data: declare its dimensions by .to_event(...)"
            )
    likelihoods = [entries_of(model_trace.nodes[name]["fn"]) for name in can.observed]
    if pair.event.levels is not None and not can.dequantising and any(each.event_shape for each in likelihoods):
        return "its entries depend on each other given the latents: they have no mean entry by entry"
    return ""


@dataclass(frozen=True)
class Inferred:
    """The latents of n data, side by side in a vector of d numbers.

    ``location`` is the guide's mean, shape ``(n, d)``; ``scale`` its deviation, the root mean square over data, shape
    ``(d,)``: how precisely each latent has to be known.
    """

    location: Floats
    scale: Floats


class Bottleneck:
    """A pair with fewer latent than data dimensions.

    ``shapes`` are the latent sites with their event shapes; a vector of latents holds their entries in this order.

    Raises:
        ZooError: the pair has no bottleneck; the message says why.
    """

    def __init__(self, pair: Pair) -> None:
        if reason := no_bottleneck(pair):
            raise ZooError(f"{pair.label} is no lossy codec: {reason}")
        self.pair, self.can = pair, capabilities(pair)
        self.shapes = _latents(self.can)
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]

    def infer(self, x: Tensor, seed: int = 0) -> Inferred:
        """The latents of ``x``, shape ``(n, *event.shape)``, from `DRAWS` draws of the guide."""
        total, square = np.zeros(()), np.zeros(())
        with self.pair.evaluating(), seeded(seed):
            for _ in range(DRAWS):
                sites = poutine.trace(self.pair.guide).get_trace(x).nodes
                z = torch.cat([data_first(name, sites[name], len(x)).flatten(1) for name in self.shapes], 1)
                total, square = total + z.cpu().double().numpy(), square + z.cpu().double().numpy() ** 2
        location = total / DRAWS
        variance = np.maximum(square / DRAWS - location**2, 0).mean(0) * DRAWS / (DRAWS - 1)
        return Inferred(location, np.sqrt(variance))

    def reconstruct(self, z: Floats) -> Floats:
        """The mean of the model's likelihood given latents ``(n, d)``: the data of least expected squared error.

        Shape ``(n, *event.shape)``, within the range of the levels.

        Raises:
            ZooError: the likelihood has no mean over levels entry by entry.
        """
        with self.pair.evaluating(), seeded(0):
            parts = [self.mean(self.trace(torch.from_numpy(part))) for part in np.split(z, range(CHUNK, len(z), CHUNK))]
        found: Floats = torch.cat(parts).cpu().double().numpy()
        return found

    def trace(self, z: Tensor) -> Any:
        """The model's trace with latents ``z``, shape ``(n, d)``."""
        x = torch.zeros(len(z), *self.pair.event.shape, device=self.pair.device)
        parts = z.to(x).split(self.sizes, 1)
        given = {name: part.reshape(-1, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        return poutine.trace(poutine.condition(self.pair.model, given)).get_trace(x)

    def mean(self, trace: Any) -> Tensor:
        """The likelihood's mean in a trace, shape ``(n, *event.shape)``."""
        first = next(iter(self.shapes))
        x = self.pair.event.zeros(len(trace.nodes[first]["value"])).to(self.pair.device)
        return expected_data(self.pair, self.can, trace, x)

    def prior(self) -> tuple[Floats, Floats] | None:
        """Mean and deviation of each latent, ``(d,)``, if all are normal and depend on nothing; else ``None``."""
        x = torch.zeros(2, *self.pair.event.shape, device=self.pair.device)
        with self.pair.evaluating(), seeded(0):
            sites = dict(random_sites(poutine.trace(poutine.uncondition(self.pair.model)).get_trace(x)))
        normals = [entries_of(sites[name]["fn"]) for name in self.shapes]
        if not all(isinstance(normal, dist.Normal) for normal in normals):
            return None
        mean, deviation = (
            torch.cat([getattr(normal, name).expand(normal.batch_shape).reshape(2, -1) for normal in normals], 1)
            for name in ("loc", "scale")
        )
        if any((moment[0] != moment[1]).any() for moment in (mean, deviation)):
            return None  # they differ between two draws of the latents before
        return mean[0].cpu().double().numpy(), deviation[0].cpu().double().numpy()


def expected_data(pair: Pair, can: Capabilities, trace: Any, x: Tensor) -> Tensor:
    """``x`` with what the model observes replaced by the likelihood's mean in a trace, within the range of the levels.

    Labels and fields that are given stay as they are.

    Args:
        pair: any pair with a likelihood.
        can: its capabilities.
        trace: of its model on ``x``, in which the latents have their values.
        x: a batch, shape ``(n, *event.shape)``.

    Raises:
        ZooError: the likelihood has no mean over levels entry by entry.
    """
    means, fields = poutine.Trace(), [field for field in pair.event.parts for _ in range(field.size)]
    held = {name: {fields[entry] for entry in pair.layout.places[name].tolist()} for name in can.observed}
    sites = [name for name in can.observed if not any(field.role == "label" for field in held[name])]
    for place, name in enumerate(sites):
        if name not in trace.nodes:
            continue  # a sequence may end before
        if len({field.levels for field in held[name]}) > 1:
            raise ZooError(f"site {name!r} has entries of several fields, of different levels: observe each apart")
        site, levels, shift = trace.nodes[name], held[name].pop().levels, 0.0
        most = None if levels is None else levels - 1
        if can.dequantising:  # x is the floor of a real number, on average half a level below it
            site, levels, shift = trace.nodes[can.dequantising[place]], None, 0.5
        mean = _expected(levels, site["fn"]) - shift
        means.add_node(name, **{**site, "name": name, "value": mean if most is None else mean.clamp(0, most)})
    return pair.layout.assemble(means, x)


def in_a_chain(pair: Pair, can: Capabilities) -> bool:
    """Whether the expected entries of one site depend, given the latents, on what another site observes."""
    x = pair.event.zeros(3).to(pair.device)
    free = torch.tensor([field.role == "observed" for field in pair.event.parts for _ in range(field.size)])
    other = torch.where(free.to(x.device).reshape(pair.event.shape), 1.0, x)
    with pair.evaluating(), seeded(0):
        _, latents = traced(pair, x)
        means = [
            expected_data(pair, can, poutine.trace(poutine.replay(pair.model, trace=latents)).get_trace(batch), x)
            for batch in (x, other)
        ]
    return not torch.equal(*means)


def _latents(can: Capabilities) -> dict[str, tuple[int, ...]]:
    """The latents with their event shapes, without those that only dequantise the datum."""
    return {name: shape for name, shape in can.latents.items() if name not in can.dequantising}


def _expected(levels: int | None, likelihood: Any) -> Tensor:
    """The mean of a distribution of data, in the shape of its draws; over levels by summation."""
    if levels is None:
        return likelihood.mean
    entries = unmasked_entries_of(likelihood)
    if entries.event_shape:
        raise ZooError(f"{type(entries).__name__} has no mean over levels entry by entry: its entries are dependent")
    if isinstance(entries, (dist.Bernoulli, DiscretisedNormal)):
        return entries.mean
    values = torch.arange(levels, dtype=torch.get_default_dtype())
    if isinstance(entries, dist.Categorical):
        return entries.probs @ values.to(entries.probs)
    means = (value * entries.log_prob(value.expand(entries.batch_shape)).exp() for value in values)
    return sum(means, torch.zeros(()))
