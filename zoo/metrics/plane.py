"""Views of a pair in the plane: its density over two-dimensional data, and two-dimensional latents."""

from __future__ import annotations

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from zoo.errors import UnfitError
from zoo.metrics.bounds import log_probs
from zoo.metrics.labels import label_of, log_joint
from zoo.metrics.risk import QUANTILE
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, traced

POINTS = 500
"""Points in a scatter plot."""
SIDE = 108
"""Points per side of the grid of a density."""
DENSITY, POSTERIOR, PRIOR = "log_density", "posterior", "prior"
AROUND = 0.5
"""Margin of the frame of a decision, as a share of the extent of the data."""
EDGE = 6
"""Cells of a frame's edge in which the point far from all data does not lie."""
PARTICLES = 16
"""Draws of the guide for each point and class, where p(x, y) is a bound."""

Frame = tuple[float, float, float, float]
"""Left, right, bottom, top."""


def frame(points: np.ndarray, share: float = 0.2) -> Frame:
    """The frame of points ``(n, 2)``, with a margin of a share of their extent."""
    low, high = points.min(0), points.max(0)
    margin = np.where(high > low, share * (high - low), 1.0)
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


def decision(pair: Pair, test: Tensor, validation: Tensor) -> dict[str, Tensor]:
    """What a pair says of points with a label, among its data and far from them.

    Args:
        pair: a trained pair.
        test: packed data, shape ``(n, *event.shape)``.
        validation: the same, of another split.

    Returns:
        For records of a real point in the plane and a label alone, with p(x, y): ``frame``, shape ``(4,)``, wider than
        the data; on its `grid`, ``log_p`` of log p(x), shape ``(SIDE, SIDE)``, and ``p_y`` of p(y | x), shape ``(SIDE,
        SIDE, K)``; ``points`` and their classes ``y``, the first `POINTS` test data; ``cross``, that point of the grid
        which is farthest from the nearest datum, with ``cross_log_p`` and ``cross_p_y``; and ``least``, the quantile
        `zoo.metrics.risk.QUANTILE` of log p(x) of validation data. Otherwise empty.
    """
    event = pair.event
    if len(event.fields) != 2 or event.array.shape != (2,) or event.array.levels is not None:
        return {}
    try:
        field = label_of(pair)
    except UnfitError:
        return {}

    def joint(points: Tensor) -> Tensor:
        return log_joint(pair, event.pack({event.main.name: points}).to(test), PARTICLES)

    known = torch.cat([event.main_of(test), event.main_of(validation)]).cpu()
    around = frame(known.numpy(), AROUND)
    cells = grid(around)
    inner = cells.reshape(SIDE, SIDE, 2)[EDGE:-EDGE, EDGE:-EDGE].reshape(-1, 2)
    cross = inner[torch.cdist(inner, known).amin(1).argmax()]
    shown = test[~event.missing(test)][:POINTS]
    y = event.unpack(shown)[field.name]
    assert y is not None  # data without one are left out
    of_cells, of_cross = joint(cells), joint(cross[None])[0]
    return {
        "frame": torch.tensor(around),
        "log_p": of_cells.logsumexp(1).reshape(SIDE, SIDE),
        "p_y": of_cells.softmax(1).reshape(SIDE, SIDE, -1),
        "points": event.main_of(shown).cpu(),
        "y": y.cpu(),
        "cross": cross,
        "cross_log_p": of_cross.logsumexp(0),
        "cross_p_y": of_cross.softmax(0),
        "least": joint(event.main_of(validation)).logsumexp(1).quantile(QUANTILE),
    }
