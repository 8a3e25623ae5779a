"""The latents of a datum as one vector: inferred by the guide or an invertible map, and taken back to expected data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pyro import poutine
from torch import Tensor

from zoo.codec.bottleneck import expected_data
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
            self.shapes = {"z": (pair.event.size,)}
        elif not self.can.observed:
            output = output_site(trace, pair.event)
            sites = {name: trace.nodes[name] for name in latent_sites(trace) if name != output}
            self.shapes = {name: tuple(data_first(name, site, 3).shape[1:]) for name, site in sites.items()}
        if self.can.enumerated:
            raise ZooError(f"{pair.label} sums {listed(self.can.enumerated)} exactly: it is drawn by no program")
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
            middle = x.flatten(1) + (0.0 if pair.event.levels is None else 0.5)
            return self._map(x).forward(middle)[0]
        sites = poutine.trace(pair.guide).get_trace(x).nodes
        return torch.cat([data_first(name, sites[name], len(x)).flatten(1) for name in self.shapes], 1)

    def _map(self, x: Tensor) -> FlowDensity:
        density: FlowDensity = traced(self.pair, x[:1])[0].nodes[self.flow]["fn"]
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

    def decode(self, z: Tensor) -> Tensor:
        """Expected data given latents ``(n, d)``: shape ``(n, *event.shape)``, within the range of the levels.

        Raises:
            ZooError: the model gives no mean: a record, a latent that all data share, entries that are dependent.
        """
        event, pair = self.pair.event, self.pair
        if event.fields:
            raise ZooError(f"{pair.label} is of a record, which has no mean; draw data by sample(n, given={{...}})")
        if self.can.shared:
            raise ZooError(f"all data of {pair.label} share {', '.join(self.can.shared)}, so z alone gives no mean")
        x = torch.zeros(len(z), *event.shape, device=pair.device)
        if self.flow:
            mean = self._map(x).inverse(z).reshape(x.shape)
            return mean if event.levels is None else mean.floor().clamp(0, event.levels - 1)
        trace = poutine.trace(poutine.condition(pair.model, self.split(z))).get_trace(x)
        if not self.can.observed:
            name = self.can.output
            return data_first(name, trace.nodes[name], len(z)).reshape(x.shape)
        try:
            mean = expected_data(pair, self.can, trace, len(z))
        except (NotImplementedError, ZooError) as error:
            reason = str(error) or "its likelihood states no mean"
            raise ZooError(f"{pair.label} has no expected data: {reason}; draw data by sample(len(z), z=z)") from error
        return mean if event.levels is None else mean.clamp(0, event.levels - 1)
