"""What a pair says of the label of a datum: p(x, y = k) for each class k."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.errors import UnfitError
from zoo.event import Field
from zoo.metrics.bounds import MEMORY, bounds, log_probs
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities

MOST_PARTICLES = 64
"""Draws of the guide for each datum and class, where settings ask for more."""


def label_of(pair: Pair) -> Field:
    """The label of finitely many classes that the model takes.

    Raises:
        UnfitError: the event has none, or the model has no argument of its name.

    Example:
        >>> import zoo
        >>> str(label_of(zoo.build("hybrid:x=independent", zoo.Event.parse("x=2:real,y=:3@label"))))
        'y=:3@label'
    """
    field = pair.event.label
    if field is None or field.levels is None or field.shape or field.name not in pair.takes:
        raise UnfitError("the data have no label of finitely many classes that the model knows of")
    if capabilities(pair).likelihood == "none":
        raise UnfitError("an implicit model: it observes nothing, so it has no p(x, y)")
    return field


def log_joint(pair: Pair, x: Tensor, particles: int, *, memory: int = MEMORY, seed: int = 0) -> Tensor:
    """log p(x, y = k) of each datum and class, or its importance-weighted bound; labels in ``x`` are not read.

    All classes of a datum have the same random numbers, so that the noise of a bound on p(x) cancels in p(y | x) where
    the guide does not depend on y.

    Args:
        pair: of a record with a label.
        x: packed data, shape ``(n, *event.shape)``.
        particles: draws of the guide, of which at most `MOST_PARTICLES` are used.
        memory: bytes that a chunk of draws may take.
        seed: of the draws.

    Returns:
        Shape ``(n, K)``, float64, on the CPU. Its ``log_softmax(1)`` is log p(y | x), its ``logsumexp(1)`` log p(x).

    Raises:
        UnfitError: the pair has no such label (see `label_of`).

    Example:
        >>> import zoo
        >>> pair = zoo.build("hybrid:x=independent", zoo.Event.parse("x=2:real,y=:3@label"))
        >>> log_joint(pair, torch.zeros(5, 3), particles=1).shape
        torch.Size([5, 3])
    """
    field = label_of(pair)
    values = pair.event.unpack(x)
    columns = []
    for level in range(field.levels or 0):
        batch = pair.event.pack({**values, field.name: torch.full((len(x),), float(level), device=x.device)}).to(x)
        if capabilities(pair, batch).likelihood == "exact":
            columns.append(log_probs(pair, batch, memory=memory, seed=seed))
        else:
            columns.append(bounds(pair, batch, min(particles, MOST_PARTICLES), memory=memory, seed=seed).importance)
    return torch.stack(columns, 1)
