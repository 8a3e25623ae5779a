"""The latents of a datum as one vector: inferred by the guide or an invertible map, and taken back to expected data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import torch
from pyro import poutine
from torch import Tensor

from zoo.codec.bottleneck import expected_data, in_a_chain
from zoo.errors import ZooError
from zoo.flows.flow import FlowDensity
from zoo.pairs.pair import Pair
from zoo.pairs.records import in_parts
from zoo.pairs.sites import data_first, is_discrete, latent_sites, output_site
from zoo.pairs.structure import listed
from zoo.pairs.traces import capabilities, traced


class Latents:
    """The latents of each datum of a pair, side by side in a vector of d numbers.

    They are those that the guide samples (those of an implicit model, that the model samples), less any that
    dequantise. A flow has no latents but an invertible map: its vector is z = f(x), or f(x + 1/2) of levels.

    Attributes:
        shapes: site -> shape of a datum's latent, in the order of the vector.
        flow: the site with the invertible map; empty if there is none.

    Args:
        pair: any pair.

    Raises:
        ZooError: the pair has none, or they make no vector.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair, self.can = pair, capabilities(pair)
        x = pair.event.zeros(3).to(pair.device)
        with pair.evaluating():
            trace, _ = traced(pair, x)
        carrier = (*self.can.dequantising, *self.can.observed)[:1]
        density = trace.nodes[carrier[0]]["fn"] if carrier else None
        self.flow = carrier[0] if isinstance(density, FlowDensity) else ""
        data = {*self.can.dequantising, *(each.name for each in pair.event.parts)}  # a missing label is no code of x
        self.shapes = {name: shape for name, shape in self.can.latents.items() if name not in data}
        if self.flow:
            self.shapes = {"z": (pair.event.main.size,)}
        elif not self.can.observed:
            output = output_site(trace, pair.event)
            sites = {name: trace.nodes[name] for name in latent_sites(trace) if name != output}
            self.shapes = {name: tuple(data_first(name, site, 3).shape[1:]) for name, site in sites.items()}
        if summed := {name for name in self.can.enumerated if name not in self.can.observed}:  # or a missing label
            raise ZooError(f"{pair.label} sums {listed(summed)} exactly: it is drawn by no program")
        if not self.shapes:
            raise ZooError(f"{pair.label} has no latents of a datum: there is nothing to infer or to decode")
        for name in self.shapes:
            if not self.flow and is_discrete(trace.nodes[name]["fn"]):
                raise ZooError(f"latent {name!r} of {pair.label} is discrete: it is no vector of real numbers")
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]

    def draw(self, x: Tensor) -> Tensor:
        """One draw of the latents of data ``x``, shape ``(n, *event.shape)`` to ``(n, d)``.

        Raises:
            ZooError: an implicit model.
        """
        if not self.can.observed:
            raise ZooError(f"{self.pair.label} is implicit: no guide infers the latents of a datum; draw z ~ N(0, 1)")
        self.pair.structure.require_sound()
        return in_parts(self.pair, x, self._draw)

    def _draw(self, pair: Pair, x: Tensor) -> Tensor:
        if self.flow:
            middle = pair.event.main_of(x).flatten(1) + (0.0 if pair.event.array.levels is None else 0.5)
            return self._map(pair, x).forward(middle)[0]
        sites = poutine.trace(pair.guide).get_trace(x).nodes
        return torch.cat([data_first(name, sites[name], len(x)).flatten(1) for name in self.shapes], 1)

    def _map(self, pair: Pair, x: Tensor) -> FlowDensity:
        density: FlowDensity = traced(pair, x[:1])[0].nodes[self.flow]["fn"]
        return density

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """The latents of a vector ``(n, d)`` by site."""
        parts = z.split(self.sizes, 1)
        return {name: part.reshape(-1, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def join(self, z: Tensor | Mapping[str, Tensor]) -> Tensor:
        """The vector of latents that are given by site or side by side: shape ``(n, d)``.

        Raises:
            ZooError: another size, or other sites.
        """
        if isinstance(z, Mapping):
            if set(z) != set(self.shapes):
                raise ZooError(f"{self.pair.label} has the latents {', '.join(self.shapes)}; got {', '.join(z)}")
            z = torch.cat([z[name].reshape(len(z[name]), -1) for name in self.shapes], 1)
        if z.dim() != 2 or z.shape[1] != sum(self.sizes):
            raise ZooError(f"latents of {self.pair.label} have shape (n, {sum(self.sizes)}), got {tuple(z.shape)}")
        return z

    def decode(self, z: Tensor, x: Tensor) -> Tensor:
        """Expected data given latents ``(n, d)``: shape ``(n, *event.shape)``, within the range of the levels.

        Args:
            z: latents.
            x: a batch with the labels and the fields that are given, shape ``(n, *event.shape)``; they stay.

        Raises:
            ZooError: the model gives no mean: a latent that all data share, entries that are dependent.
        """
        pair, array = self.pair, self.pair.event.array
        if self.can.shared:
            raise ZooError(f"all data of {pair.label} share {', '.join(self.can.shared)}, so z alone gives no mean")
        if self.flow:
            mean = self._map(pair, x).inverse(z).reshape(-1, *array.shape)
            mean = mean if array.levels is None else mean.floor().clamp(0, array.levels - 1)
            return pair.event.pack({**pair.event.unpack(x), pair.event.main.name: mean}) if pair.event.fields else mean
        if not self.can.observed:
            trace = poutine.trace(poutine.condition(pair.model, self.split(z))).get_trace(x)
            return data_first(self.can.output, trace.nodes[self.can.output], len(z)).reshape(x.shape)
        try:
            if self._in_a_chain:
                raise ZooError("what one of its sites observes depends on what another does")
            trace = poutine.trace(poutine.condition(pair.model, self.split(z))).get_trace(x)
            return expected_data(pair, self.can, trace, x)
        except (NotImplementedError, ZooError) as error:
            reason = str(error) or "its likelihood states no mean"
            raise ZooError(f"{pair.label} has no expected data: {reason}; draw data by sample(len(z), z=z)") from error

    @cached_property
    def _in_a_chain(self) -> bool:
        return in_a_chain(self.pair, self.can)
