"""p(y | x) of a label of finitely many classes, as a function that can be differentiated by x."""

from __future__ import annotations

import math

import torch
from pyro import poutine
from torch import Tensor

from zoo.event import Event, Field
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.seeding import seeded


def class_field(event: Event) -> Field | None:
    """The label, if it is a single number of finitely many classes."""
    label = event.label
    return None if label is None or label.levels is None or label.shape else label


def guided(pair: Pair, x: Tensor, field: Field) -> Tensor | None:
    """log q(y = k | x) of each class k, if the guide draws a label that is missing.

    Args:
        pair: of a record with that label.
        x: packed data, shape ``(n, event.size)``; their labels are not read.
        field: the label.

    Returns:
        Shape ``(n, field.levels)``, differentiable by ``x`` where gradients are on.
    """
    place = sum(each.size for each in pair.event.fields[: pair.event.fields.index(field)])
    site = next((name for name, places in pair.layout.places.items() if places.tolist() == [place]), "")
    grads = torch.is_grad_enabled()
    with pair.evaluating(), torch.set_grad_enabled(grads):
        nodes = poutine.trace(pair.unlabelled.guide).get_trace(pair.event.drop_label(x)).nodes
        if site not in nodes:
            return None
        levels = [torch.full((len(x),), float(level), device=x.device) for level in range(field.levels or 0)]
        return torch.stack([nodes[site]["fn"].log_prob(level) for level in levels], 1)


def posterior(pair: Pair, x: Tensor, field: Field, particles: int, seed: int = 0) -> Tensor:
    """log p(y = k | x) of each class k: the guide's, where it draws the label, else by the joint.

        p(y = k | x) = p(x, y = k) / sum_j p(x, y = j)

    with the importance-weighted bound for p(x, y) where that is not derivable; all classes are given the same draws.

    Args:
        pair: of a record with that label.
        x: packed data, shape ``(n, event.size)``; their labels are not read.
        field: the label.
        particles: draws of the guide for each datum and class.
        seed: of the draws.

    Returns:
        Shape ``(n, field.levels)``, differentiable by ``x`` where gradients are on.
    """
    by_guide = guided(pair, x, field)
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
