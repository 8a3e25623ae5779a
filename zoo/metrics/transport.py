"""Latents of a guide as functions of standard normal numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.transforms import LowerCholeskyAffine
from torch import Tensor
from torch.distributions import AffineTransform, ComposeTransform, Independent, Transform, biject_to, constraints

from zoo.pairs.pair import Pair
from zoo.pairs.sites import data_first, data_plate
from zoo.pairs.traces import capabilities

MOMENTS = 64
"""Draws of a distribution whose moments are taken."""
SMALLEST = 1e-4
"""Least deviation."""


def from_normal(fn: Any) -> Transform | None:
    """The transform from independent standard normal numbers to draws of a distribution.

    Args:
        fn: any distribution.

    Returns:
        ``t`` such that ``t(e)`` is distributed as ``fn`` if e, of shape ``t.inverse_shape(fn.batch_shape +
        fn.event_shape)``, is standard normal; none where it is not known.

    Example:
        >>> t = from_normal(dist.Uniform(2.0, 4.0))
        >>> t(torch.tensor([-1.0, 0.0, 9.0])), t.inv(torch.tensor(3.0))
        (tensor([2.3173, 3.0000, 4.0000]), tensor(0.))
    """
    if isinstance(fn, Independent):
        return from_normal(fn.base_dist)
    if isinstance(fn, torch.distributions.TransformedDistribution):
        base = from_normal(fn.base_dist)
        return None if base is None else ComposeTransform([base, *fn.transforms])
    if isinstance(fn, torch.distributions.Normal):
        return AffineTransform(fn.loc, fn.scale)
    if isinstance(fn, torch.distributions.MultivariateNormal):
        return LowerCholeskyAffine(fn.loc, fn.scale_tril)
    if isinstance(fn, torch.distributions.LowRankMultivariateNormal):
        return LowerCholeskyAffine(fn.loc, torch.linalg.cholesky(fn.covariance_matrix))
    if isinstance(fn, torch.distributions.Uniform):
        return ComposeTransform([_NormalCdf(), AffineTransform(fn.low, fn.high - fn.low)])
    return None


class _NormalCdf(Transform):
    """The standard normal distribution function; its inverse is NaN outside [0, 1], and finite at both ends."""

    domain = constraints.real
    codomain = constraints.unit_interval
    bijective = True
    sign = 1

    def _call(self, x: Tensor) -> Tensor:
        return torch.special.ndtr(x)

    def _inverse(self, y: Tensor) -> Tensor:
        smallest = torch.finfo(y.dtype).eps / 2
        return torch.special.ndtri(y.clamp(smallest, 1 - smallest)).where((y >= 0) & (y <= 1), math.nan)


def normal_with_moments(fn: Any, values: Tensor) -> Any:
    """A distribution with the support and the shapes of ``fn``: a normal, mapped from the real numbers.

    Args:
        fn: a distribution whose support has a bijection to the real numbers.
        values: some of its draws, shape ``(draws, *batch_shape, *event_shape)``.

    Example:
        >>> fn = dist.Gamma(torch.ones(3), 1.0)
        >>> normal_with_moments(fn, fn.sample((50,))).sample().shape
        torch.Size([3])
    """
    to_support = biject_to(fn.support)
    free = to_support.inv(values)
    normal = dist.Normal(free.mean(0), free.std(0).clamp(min=SMALLEST))
    dims = free.dim() - 1 - len(fn.batch_shape)
    return dist.TransformedDistribution(normal.to_event(dims), [to_support.with_cache(1)])


@dataclass(frozen=True)
class Place:
    """How the value of one site comes of standard normal vectors ``(n, d)``."""

    transform: Transform
    shape: tuple[int, ...]
    """Of the numbers of one datum."""
    axis: int
    """Of the data, in values and numbers alike."""

    @classmethod
    def of(cls, site: Any, n: int) -> Place:
        """The place of a site of ``n`` data, whose distribution `from_normal` knows."""
        fn = site["fn"]
        transform = from_normal(fn)
        assert transform is not None
        shape = list(transform.inverse_shape(torch.Size(fn.batch_shape + fn.event_shape)))
        axis = data_plate(site["name"], site, n).dim + len(fn.batch_shape)
        return cls(transform, tuple(shape[:axis] + shape[axis + 1 :]), axis)

    def value(self, e: Tensor) -> Tensor:
        """The value of vectors ``(n, d)``."""
        drawn: Tensor = self.transform(e.reshape(len(e), *self.shape).movedim(0, self.axis))
        return drawn

    def numbers(self, z: Tensor) -> Tensor:
        """The vectors ``(n, d)`` of values ``(n, ...)``; not finite where a site never takes them."""
        found: Tensor = self.transform.inv(z.movedim(0, self.axis))
        return found.movedim(self.axis, 0).reshape(len(z), -1)


class _Computed(poutine.messenger.Messenger):
    """Inside, a guide computes its latents instead of drawing them.

    Args:
        n: number of data.
        starts: by site, the distribution that replaces the guide's, or none.
        e: standard normal vectors, shape ``(n, d)``, of which the latents are computed.
        z: values of the latents, each ``(n, ...)``, whose vectors are wanted instead.
    """

    def __init__(
        self, n: int, starts: Mapping[str, Any], e: Tensor | None = None, z: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.n, self.starts, self.e, self.z = n, starts, e, z or {}
        self.parts, self.places = list[Tensor](), list[Place]()

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.starts:
            return
        msg["fn"] = self.starts[msg["name"]] or msg["fn"]
        place = Place.of(msg, self.n)
        if self.e is None:
            part = place.numbers(self.z[msg["name"]])
        else:
            used = sum(each.shape[1] for each in self.parts)
            part = self.e[:, used : used + math.prod(place.shape)]
        msg["value"] = place.value(part)
        self.parts.append(part)
        self.places.append(place)


class Transport:
    """The draw of a guide as a function of standard normal vectors: z = f(e; x).

    A latent whose distribution is no known transform of normals is drawn from a normal with its moments instead,
    mapped to its support. Where there is a single latent, which depends on nothing but the data, its distribution is
    computed once.

    Args:
        pair: in evaluation mode; its latents are continuous and inside the data plate.
        x: data, shape ``(n, *event.shape)``.

    Example:
        >>> import zoo
        >>> pair = zoo.build("ppca", zoo.Event(3, "real"), {"latent": 2})
        >>> with pair.evaluating():
        ...     transport = Transport(pair, torch.zeros(5, 3))
        ...     trace = transport.trace(torch.randn(5, 2))
        >>> transport.size, trace.nodes["z"]["value"].shape
        (2, torch.Size([5, 2]))
    """

    @torch.no_grad()
    def __init__(self, pair: Pair, x: Tensor) -> None:
        self.pair, self.x = pair, x
        guide = self._guide()
        sites = {name: guide.nodes[name] for name in capabilities(pair).latents}
        self.starts = dict[str, Any].fromkeys(sites)
        if unknown := [name for name, site in sites.items() if from_normal(site["fn"]) is None]:
            draws = [guide, *(self._guide() for _ in range(MOMENTS - 1))]
            for name in unknown:
                values = torch.stack([draw.nodes[name]["value"] for draw in draws])
                self.starts[name] = normal_with_moments(sites[name]["fn"], values)
        found, guide = self._computed(z={name: data_first(name, site, len(x)) for name, site in sites.items()})
        self.size = sum(part.shape[1] for part in found.parts)
        self.alone = (guide.nodes[next(iter(sites))], found.places[0]) if len(sites) == 1 else None

    def trace(self, e: Tensor) -> Any:
        """A trace of the guide whose latents are those of vectors ``e``, shape ``(n, d)``."""
        if self.alone is None:
            return self._computed(e=e)[1]
        site, place = self.alone
        trace = poutine.Trace()
        trace.add_node(site["name"], **{**site, "value": place.value(e)})
        return trace

    def numbers(self, z: Mapping[str, Tensor]) -> Tensor:
        """The vectors ``(n, d)`` of latents, each ``(n, ...)``; not finite where the guide never draws them."""
        if self.alone is None:
            return torch.cat(self._computed(z=z)[0].parts, 1)
        site, place = self.alone
        return place.numbers(z[site["name"]])

    def _computed(self, e: Tensor | None = None, z: Mapping[str, Tensor] | None = None) -> tuple[_Computed, Any]:
        with _Computed(len(self.x), self.starts, e, z) as found:
            trace = self._guide()
        return found, trace

    def _guide(self) -> Any:
        trace = poutine.trace(self.pair.guide).get_trace(self.x)
        self.pair.structure.forget_plates(trace)
        return trace
