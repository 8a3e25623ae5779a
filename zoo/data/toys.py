"""Two-dimensional real toys, drawn independently and identically from a seed."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.labels import with_labels
from zoo.event import Event
from zoo.pairs.registry import dataset

MOON_NOISE = 0.1
"""Standard deviation of the moons' normal noise, in each coordinate."""

MOON_NODES = 128
"""Angles of each moon by which its density is integrated: a tenth of a radian, its noise, has about four of them."""

RADII = (1.0, 2.0, 3.0)
"""Radii of the rings, which are equally likely."""

RING_NOISE = 0.1
"""Standard deviation of the rings' normal noise, along the radius."""

CENTRES = ((-2.0, 0.0), (2.0, 0.0))
"""Centres of the blobs, which are equally likely."""

BLOB_NOISE = 0.6
"""Standard deviation of the blobs, in each coordinate."""

_SIZES = (20_000, 2000, 2000)


def moons_log_density(x: Tensor) -> Tensor:
    """Log-density of the moons with respect to area: ``(n, 2)`` to ``(n,)``, in nats.

        p(x) = 1/2 sum_m 1/pi integral over angles a from 0 to pi of N(x; c_m(a), s^2 I)

    c_m(a) runs along the half circle m. The integral is a Gauss-Legendre sum of `MOON_NODES` terms.
    """
    nodes, weights = (torch.from_numpy(each).to(x) for each in np.polynomial.legendre.leggauss(MOON_NODES))
    places = torch.cat(_half_circles(math.pi * (nodes + 1) / 2))
    away = torch.cdist(x, places, compute_mode="donot_use_mm_for_euclid_dist").square()
    normal = -away / (2 * MOON_NOISE**2) - math.log(2 * math.pi * MOON_NOISE**2)
    log_density: Tensor = (normal + (weights / 4).log().repeat(2)).logsumexp(-1)
    return log_density


def draw_moons(n: int, generator: torch.Generator) -> Tensor:
    """``n`` points of the moons, shape ``(n, 2)``."""
    lower = torch.randint(2, (n,), generator=generator).bool()
    upper_moon, lower_moon = _half_circles(math.pi * torch.rand(n, generator=generator))
    noise = MOON_NOISE * torch.randn(n, 2, generator=generator)
    return torch.where(lower[:, None], lower_moon, upper_moon) + noise


def _half_circles(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Points of the upper and of the lower moon, without noise: shape ``(n, 2)`` each."""
    upper = torch.stack([angle.cos(), angle.sin()], -1)
    return upper, torch.stack([1 - angle.cos(), 0.5 - angle.sin()], -1)


@dataset(
    "moons",
    about="two half circles in the plane, real, drawn with the seed",
    log_density=moons_log_density,
    sampler=draw_moons,
)
def moons(seed: int = 0) -> Dataset:
    """Two interleaved half circles of radius 1, with normal noise of standard deviation `MOON_NOISE`."""
    points = draw_moons(sum(_SIZES), torch.Generator().manual_seed(seed))
    return _toy("moons", points, seed, f"two half circles with noise {MOON_NOISE}")


def rings_log_density(x: Tensor) -> Tensor:
    """Log-density of the rings with respect to area: ``(n, 2)`` to ``(n,)``, in nats.

        p(x) = 1/K sum_k [N(r; R_k, s) + N(-r; R_k, s)] / (2 pi r)    r = |x|

    The angle is uniform and the signed radius is normal around one of the K radii R_k, with standard deviation s. At
    the origin, where the density is infinite, r is clamped to the smallest positive number.
    """
    radius = x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    signed = torch.cat([radius, -radius], -1).unsqueeze(-1)
    normal = torch.distributions.Normal(x.new_tensor(RADII), RING_NOISE).log_prob(signed)
    circumference = 2 * math.pi * radius.squeeze(-1)
    log_density: Tensor = normal.flatten(-2).logsumexp(-1) - math.log(len(RADII)) - circumference.log()
    return log_density


def draw_rings(n: int, generator: torch.Generator) -> Tensor:
    """Draw ``n`` points of the rings, shape ``(n, 2)``."""
    radius = torch.tensor(RADII)[torch.randint(len(RADII), (n,), generator=generator)]
    radius = radius + RING_NOISE * torch.randn(n, generator=generator)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


@dataset(
    "rings",
    about="three rings in the plane, real, of known density, drawn with the seed",
    log_density=rings_log_density,
    sampler=draw_rings,
)
def rings(seed: int = 0) -> Dataset:
    """Concentric rings with radii `RADII`."""
    radii = ", ".join(f"{radius:g}" for radius in RADII)
    points = draw_rings(sum(_SIZES), torch.Generator().manual_seed(seed))
    return _toy("rings", points, seed, f"rings of radii {radii} with radial noise {RING_NOISE}")


@dataset("blobs", about="two round clouds in the plane, real, drawn with the seed; y is the cloud of a point")
def blobs(seed: int = 0, *, labels: int | str = "all", unlabelled: bool = True) -> Dataset:
    """Two normals of standard deviation `BLOB_NOISE` around `CENTRES`; y says which (see `zoo.data.labels`)."""
    n, generator = sum(_SIZES), torch.Generator().manual_seed(seed)
    y = torch.randint(len(CENTRES), (n,), generator=generator)
    points = torch.tensor(CENTRES)[y] + BLOB_NOISE * torch.randn(n, 2, generator=generator)
    places = " and ".join(str(centre) for centre in CENTRES)
    data = _toy("blobs", points, seed, f"normals of standard deviation {BLOB_NOISE} around {places}")
    return with_labels(data, y.split(_SIZES), labels, unlabelled, seed)


def _toy(name: str, points: Tensor, seed: int, story: str) -> Dataset:
    train, validation, test = points.split(_SIZES)
    sizes = "{} train, {} validation, {} test".format(*_SIZES)
    return Dataset(name, Event(2, "real"), train, validation, test, f"{story}, drawn with seed {seed}: {sizes}.")
