"""Two-dimensional real toys, drawn independently and identically from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.event import Event

MOON_NOISE = 0.1
"""Standard deviation of the moons' normal noise, in each coordinate."""

RADII = (1.0, 2.0, 3.0)
"""Radii of the rings, which are equally likely."""

RING_NOISE = 0.1
"""Standard deviation of the rings' normal noise, along the radius."""

_SIZES = (20_000, 2000, 2000)


def moons(seed: int = 0) -> Dataset:
    """Two interleaved half circles of radius 1, blurred by normal noise of standard deviation `MOON_NOISE`."""
    return _toy("moons", _draw_moons, seed, f"two half circles with noise {MOON_NOISE}")


def rings(seed: int = 0) -> Dataset:
    """Concentric rings with radii `RADII`; their density is `rings_log_density`."""
    radii = ", ".join(f"{radius:g}" for radius in RADII)
    return _toy("rings", _draw_rings, seed, f"rings of radii {radii} with radial noise {RING_NOISE}")


def rings_log_density(x: Tensor) -> Tensor:
    """Log-density of `rings` with respect to area: ``(n, 2)`` to ``(n,)``, in nats.

    With the angle uniform and the signed radius normal around each of the K radii R_k with deviation s, r = |x| has
    p(x) = 1/K sum_k [N(r; R_k, s) + N(-r; R_k, s)] / (2 pi r). At the origin, its pole, it is cut.
    """
    radius = x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    signed = torch.cat([radius, -radius], -1).unsqueeze(-1)
    normal = torch.distributions.Normal(x.new_tensor(RADII), RING_NOISE).log_prob(signed)
    circumference = 2 * math.pi * radius.squeeze(-1)
    log_density: Tensor = normal.flatten(-2).logsumexp(-1) - math.log(len(RADII)) - circumference.log()
    return log_density


def _toy(name: str, draw: Callable[[int, torch.Generator], Tensor], seed: int, story: str) -> Dataset:
    points = draw(sum(_SIZES), torch.Generator().manual_seed(seed))
    train, validation, test = points.split(_SIZES)
    sizes = "{} train, {} validation, {} test".format(*_SIZES)
    return Dataset(name, Event(2, "real"), train, validation, test, f"{story}, drawn with seed {seed}: {sizes}.")


def _draw_moons(n: int, generator: torch.Generator) -> Tensor:
    lower = torch.randint(2, (n,), generator=generator).bool()
    angle = math.pi * torch.rand(n, generator=generator)
    upper_moon = torch.stack([angle.cos(), angle.sin()], -1)
    lower_moon = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], -1)
    noise = MOON_NOISE * torch.randn(n, 2, generator=generator)
    return torch.where(lower[:, None], lower_moon, upper_moon) + noise


def _draw_rings(n: int, generator: torch.Generator) -> Tensor:
    radius = torch.tensor(RADII)[torch.randint(len(RADII), (n,), generator=generator)]
    radius = radius + RING_NOISE * torch.randn(n, generator=generator)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


@dataclass(frozen=True)
class Known:
    """A toy whose density is known: ``log_density(x)``, ``(n, 2)`` to ``(n,)`` nats, and its sampler."""

    log_density: Callable[[Tensor], Tensor]
    sampler: Callable[[int, torch.Generator], Tensor]

    def draw(self, n: int, seed: int) -> Tensor:
        """New data, shape ``(n, 2)``; other than those of the data set with this seed."""
        return self.sampler(n, torch.Generator().manual_seed(seed + FRESH))


FRESH = 1_000_003
"""Added to the seed of new data, so that they are not those of a data set of the same seed."""

KNOWN = {"rings": Known(rings_log_density, _draw_rings)}
"""By the data set's name."""
