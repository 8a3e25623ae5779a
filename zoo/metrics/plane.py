"""Views of a pair in the plane: its density over two-dimensional data, and two-dimensional latents."""

from __future__ import annotations

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from zoo.metrics.bounds import log_probs
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, traced

POINTS = 500
"""Points in a scatter plot."""
SIDE = 108
"""Points per side of the grid of a density."""
DENSITY, POSTERIOR, PRIOR = "log_density", "posterior", "prior"

Frame = tuple[float, float, float, float]
"""Left, right, bottom, top."""


def frame(points: np.ndarray) -> Frame:
    """The frame of points ``(n, 2)``, with a margin of a fifth of their extent."""
    low, high = points.min(0), points.max(0)
    margin = np.where(high > low, 0.2 * (high - low), 1.0)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return left, right, bottom, top


def grid(around: Frame) -> Tensor:
    """`SIDE` x `SIDE` points in the centres of a frame's cells, row by row from the top: ``(SIDE * SIDE, 2)``."""
    left, right, bottom, top = around
    middles = (torch.arange(SIDE) + 0.5) / SIDE
    x, y = left + (right - left) * middles, top - (top - bottom) * middles
    return torch.cartesian_prod(y, x).flip(1)


def views(pair: Pair, x: Tensor) -> dict[str, Tensor]:
    """The density of a pair in the plane and draws of its two-dimensional latent, where it has them.

    Args:
        pair: a trained pair.
        x: data, shape ``(n, *event.shape)``, of which the first `POINTS` are used.

    Returns:
        For real data in the plane with an exact likelihood, ``log_density`` on the `grid` around the data, in nats,
        shape ``(SIDE, SIDE)``. For a pair whose only latent has two dimensions, ``posterior``, a draw of the guide for
        each datum, and ``prior``, as many draws of the model, shapes ``(n, 2)``. Otherwise, and for records, empty.
    """
    can, x = capabilities(pair), x[:POINTS]
    found = dict[str, Tensor]()
    if pair.event.fields:
        return found
    if can.likelihood == "exact" and pair.event.shape == (2,) and pair.event.levels is None:
        values = log_probs(pair, grid(frame(x.cpu().numpy())).to(x))
        found[DENSITY] = values.reshape(SIDE, SIDE).float()
    latents = [name for name in can.latents if name not in can.dequantising]
    if [can.latents[name] for name in latents] == [(2,)]:
        with pair.evaluating():
            _, guided = traced(pair, x)
            drawn = poutine.trace(poutine.uncondition(pair.model)).get_trace(x)
        for view, trace in {POSTERIOR: guided, PRIOR: drawn}.items():
            found[view] = trace.nodes[latents[0]]["value"].reshape(len(x), 2).cpu()
    return found
