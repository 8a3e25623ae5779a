"""Bits-back over a path z_0, ..., z_T point by point (Bit-Swap: Kingma et al. 2019, arXiv:1905.06845).

x depends on z_0 only, and each point of the guide on the one before it. So x is pushed as soon as z_0 is popped, and
z_t as soon as z_(t+1) is: the first datum needs the bits of one point, and not those of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Normal
from torch import Tensor

from zoo.codec.grids import Grid
from zoo.codec.handlers import Pop, Push
from zoo.codec.rules.latents import NearNormal
from zoo.codec.stack import Stack
from zoo.distributions.diffusion import DenoisingChain, NoisyPath
from zoo.pairs.pair import Pair
from zoo.pairs.sites import random_sites
from zoo.seeding import seeded

BINS_PER_DEVIATION = 1
"""Of a step's noise, or more. The variance that rounding adds is taken from it, so that more bins gain nothing."""
Path = NoisyPath | DenoisingChain


def path_site(pair: Pair) -> str:
    """The only latent site of a pair, if that is a path of which x depends on z_0 only; otherwise empty."""
    x = pair.example.double()
    with seeded(0):
        latents = list(random_sites(poutine.trace(pair.guide).get_trace(x)))
    if len(latents) != 1 or not isinstance(latents[0][1]["fn"], NoisyPath):
        return ""
    ((name, site),) = latents
    later = torch.cat([site["value"][:, :1], site["value"][:, 1:] + 1], 1)
    one, other = (dict(random_sites(_given(pair.model, name, z).get_trace(x))) for z in (site["value"], later))
    same = (
        torch.equal(one[each]["fn"].log_prob(one[each]["value"]), other[each]["fn"].log_prob(other[each]["value"]))
        for each in one
        if each != name
    )
    return name if isinstance(one[name]["fn"], DenoisingChain) and all(same) else ""


def push_path(pair: Pair, stack: Stack, x: Tensor, name: str) -> None:
    """Encode a batch by the path at the site ``name``."""
    guide, model = _paths(pair, x, name)
    grids, z = _grids(guide.v), x.new_zeros(guide.shape())
    z[:, 0] = _popped(guide, 0, z[:, 0], grids[0]).pop(stack)
    with Push(stack, None), poutine.block(hide=[name]):
        _given(pair.model, name, z)(x)
    last = z.shape[1] - 1
    for t in range(1, last + 1):
        z[:, t] = _popped(guide, t, z[:, t - 1], grids[t]).pop(stack)
        _pushed(model, last - t + 1, z[:, t], grids[t - 1]).push(stack, z[:, t - 1])
    _pushed(model, 0, z[:, last], grids[last]).push(stack, z[:, last])


def pop_path(pair: Pair, stack: Stack, known: Tensor, name: str) -> Tensor:
    """Decode the batch that `push_path` encoded: shape ``(n, *event.shape)``."""
    guide, model = _paths(pair, known, name)
    grids, z = _grids(guide.v), known.new_zeros(guide.shape())
    last = z.shape[1] - 1
    z[:, last] = _pushed(model, 0, z[:, last], grids[last]).pop(stack)
    for t in range(last, 0, -1):
        z[:, t - 1] = _pushed(model, last - t + 1, z[:, t], grids[t - 1]).pop(stack)
        _popped(guide, t, z[:, t - 1], grids[t]).push(stack, z[:, t])  # of t > 0 it does not depend on x
    with poutine.trace() as drawn, Pop(stack, None), poutine.block(hide=[name]):
        _given(poutine.uncondition(pair.model), name, z)(known)
    x = pair.layout.assemble(drawn.trace, known)
    _popped(_paths(pair, x, name)[0], 0, z[:, 0], grids[0]).push(stack, z[:, 0])
    return x


def _grids(v: Tensor) -> list[Grid]:
    """Of each point: the coarsest grid with `BINS_PER_DEVIATION` bins to the noise of a step to it, either way."""
    gained = v.diff(prepend=v.new_zeros(1))
    taken = torch.cat([v[:-1] * (1 - v[:-1] / v[1:]), v[-1:]])
    deviations = (torch.minimum(gained, taken) / (1 + v)).sqrt()
    return [Grid(math.ceil(math.log2(BINS_PER_DEVIATION / each))) for each in deviations.tolist()]


def _given(program: Callable[[Tensor], Any], name: str, z: Tensor) -> Any:
    """The program with its path set, traced."""
    return poutine.trace(poutine.condition(program, data={name: z}))


def _paths(pair: Pair, x: Tensor, name: str) -> tuple[NoisyPath, DenoisingChain]:
    """The guide's and the model's path for a batch."""
    with seeded(0):
        guide = poutine.trace(pair.guide).get_trace(x).nodes[name]
    return guide["fn"], _given(pair.model, name, guide["value"]).get_trace(x).nodes[name]["fn"]


def _popped(path: NoisyPath, t: int, last: Tensor, grid: Grid) -> NearNormal:
    """The guide's code of z_t, given the ``last`` that was drawn.

    It has no bins far from the mean: each would have the least probability of a symbol, and one of so many points would
    be popped there, at a cost of thousands of bits.
    """
    return NearNormal(_normal(path, t, last, grid), grid, beyond=False)


def _pushed(path: DenoisingChain, i: int, last: Tensor, grid: Grid) -> NearNormal:
    """The model's code of point ``i`` in the order of drawing."""
    return NearNormal(_normal(path, i, last, grid), grid, beyond=True)


def _normal(path: Path, i: int, last: Tensor, grid: Grid) -> Normal:
    """The distribution of point ``i`` in the order of drawing, less the variance that rounding adds (Sheppard 1898)."""
    mean, variance = path.point(i, last)
    return Normal(mean, (variance - grid.width**2 / 12).sqrt().expand_as(mean))
