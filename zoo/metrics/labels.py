"""What a pair says of the label of a datum: p(x, y = k) for each class k, and p(y = k | x) with its gradients."""

from __future__ import annotations

import math

import torch
from pyro import poutine
from torch import Tensor

from zoo.errors import UnfitError
from zoo.event import Field
from zoo.metrics.bounds import bounds, log_probs
from zoo.metrics.memory import MEMORY, in_chunks
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.seeding import seeded

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


def labelled(pair: Pair, x: Tensor) -> tuple[Field, Tensor, Tensor]:
    """The label that the model takes, the data that have one, and their classes, int64.

    Args:
        pair: of a record with a label.
        x: packed data, shape ``(n, event.size)``.

    Raises:
        UnfitError: the pair has no such label (see `label_of`), or fewer than two data have one.
    """
    field, rows = label_of(pair), x[~pair.event.missing(x)]
    if len(rows) < 2:
        raise UnfitError("fewer than two test data have a label")
    y = pair.event.unpack(rows)[field.name]
    assert y is not None  # data without one are left out
    return field, rows, y.long()


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


def guided(pair: Pair, x: Tensor) -> Tensor | None:
    """log q(y = k | x) of each class k, if the guide draws a label that is missing.

    Args:
        pair: of a record with that label.
        x: packed data, shape ``(n, event.size)``; their labels are not read.

    Returns:
        Shape ``(n, K)``, differentiable by ``x`` where gradients are on.
    """
    field = label_of(pair)
    place = sum(each.size for each in pair.event.fields[: pair.event.fields.index(field)])
    site = next((name for name, places in pair.layout.places.items() if places.tolist() == [place]), "")
    grads = torch.is_grad_enabled()
    with pair.evaluating(), torch.set_grad_enabled(grads):
        nodes = poutine.trace(pair.unlabelled.guide).get_trace(pair.event.drop_label(x)).nodes
        if site not in nodes:
            return None
        levels = [torch.full((len(x),), float(level), device=x.device) for level in range(field.levels or 0)]
        return torch.stack([nodes[site]["fn"].log_prob(level) for level in levels], 1)


def with_likely_labels(pair: Pair, x: Tensor, particles: int, seed: int = 0) -> Tensor:
    """Data whose missing labels are the most probable ones; those of a pair that takes no label as they are.

    Args:
        pair: any.
        x: packed data, shape ``(n, *event.shape)``.
        particles: see `posterior`.
        seed: of the draws.
    """
    label, missing = pair.event.label, pair.event.missing(x)
    if label is None or label.name not in pair.takes or not missing.any():
        return x

    def likely(part: Tensor) -> Tensor:
        with torch.no_grad():
            return posterior(pair, part, particles, seed).argmax(1)

    rows = x[missing]
    found = in_chunks(rows, likely)
    fields = pair.event.unpack(x)
    held = fields[label.name]
    assert held is not None  # a packed batch has its column
    return pair.event.pack({**fields, label.name: held.masked_scatter(missing, found.to(held))}).to(x)


def posterior(pair: Pair, x: Tensor, particles: int, seed: int = 0) -> Tensor:
    """log p(y = k | x) of each class k: the guide's, where it draws the label, else by the joint.

        p(y = k | x) = p(x, y = k) / sum_j p(x, y = j)

    with the importance-weighted bound for p(x, y) where that is not derivable; all classes are given the same draws.

    Args:
        pair: of a record with that label.
        x: packed data, shape ``(n, event.size)``; their labels are not read.
        particles: draws of the guide for each datum and class.
        seed: of the draws.

    Returns:
        Shape ``(n, K)``, differentiable by ``x`` where gradients are on.
    """
    field, by_guide = label_of(pair), guided(pair, x)
    if by_guide is not None:
        return by_guide
    values, joint, grads = pair.event.unpack(x), list[Tensor](), torch.is_grad_enabled()
    for level in range(field.levels or 0):
        batch = pair.event.pack(values | {field.name: x.new_full((len(x),), float(level))}, x.dtype)
        exact = capabilities(pair, batch[:1].detach()).likelihood == "exact"
        with pair.evaluating(), torch.set_grad_enabled(grads), seeded(seed):
            if exact:
                joint.append(log_prob(pair, batch))
            else:
                weights = log_weights(pair, batch.repeat_interleave(particles, 0)).reshape(-1, particles)
                joint.append(weights.logsumexp(1) - math.log(particles))
    return torch.stack(joint, 1).log_softmax(1)
