"""What of a pair can be shown in the plane: a density over it, and latents of two dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from zoo.metrics.bounds import log_probs
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, traced

POINTS = 500
"""Points of a cloud."""
SIDE = 108
"""Points along a side of the grid of a density."""
DENSITY, POSTERIOR, PRIOR = "log_density", "posterior", "prior"

Frame = tuple[float, float, float, float]
"""Left, right, bottom, top."""


def frame(points: np.ndarray) -> Frame:
    """What points ``(n, 2)`` are shown in: all of them, and a fifth of their extent around them."""
    (left, below), (right, above) = points.min(0), points.max(0)
    room_x, room_y = 0.2 * (right - left) or 1.0, 0.2 * (above - below) or 1.0
    return float(left - room_x), float(right + room_x), float(below - room_y), float(above + room_y)


def grid(around: Frame) -> Tensor:
    """`SIDE` x `SIDE` points in the middles of a frame's cells, row by row from the top: ``(SIDE * SIDE, 2)``."""
    left, right, bottom, top = around
    middles = (torch.arange(SIDE) + 0.5) / SIDE
    x, y = left + (right - left) * middles, top - (top - bottom) * middles
    return torch.cartesian_prod(y, x).flip(1)


def views(pair: Pair, x: Tensor) -> dict[str, Tensor]:
    """What there is to show of a pair, for data ``x``, shape ``(n, *event.shape)``; empty if nothing.

    ``log_density``, of real points in the plane under an exact likelihood: on the `grid` about the first `POINTS` data,
    in nats, shape ``(SIDE, SIDE)``. ``posterior``, of a latent of two dimensions that is the pair's only one: a draw of
    the guide for each of them, and ``prior``, as many draws of the model; shapes ``(n, 2)``.
    """
    can, x = capabilities(pair), x[:POINTS]
    found = {}
    if can.likelihood == "exact" and pair.event.shape == (2,) and pair.event.levels is None:
        values = log_probs(pair, grid(frame(x.cpu().numpy())).to(x))
        found[DENSITY] = values.reshape(SIDE, SIDE).float()
    told = set(can.latents) - set(can.dequantising)
    if [can.latents[name] for name in told] == [(2,)]:
        found |= _latents(pair, told.pop(), x)
    return found


def _latents(pair: Pair, name: str, x: Tensor) -> dict[str, Tensor]:
    with pair.evaluating():
        _, guided = traced(pair, x)
        drawn = poutine.trace(poutine.uncondition(pair.model)).get_trace(x)

    def at(trace: Any) -> Tensor:
        return trace.nodes[name]["value"].reshape(len(x), 2).cpu()

    return {POSTERIOR: at(guided), PRIOR: at(drawn)}
