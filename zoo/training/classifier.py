"""Training of a classifier on labelled data, for a fixed number of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.classifier import Classifier
from zoo.seeding import seeded
from zoo.training.players import OPTIMISERS
from zoo.training.recipe import Recipe

CLASSIFIER = Recipe(steps=500, batch=64, optimiser="adamw", lr=3e-3, weight_decay=0.01, schedule="onecycle")
"""How a classifier is trained by default."""
SETTINGS = ("steps", "batch", "optimiser", "lr", "weight_decay", "schedule")
"""The settings of a recipe that apply to a classifier."""


def classifier_recipe(settings: Mapping[str, Any]) -> Recipe:
    """`CLASSIFIER` with other ``settings``.

    Raises:
        ZooError: a setting that does not apply to a classifier, or a value out of range.
    """
    for name in settings:
        if name not in SETTINGS:
            raise ZooError(f"a classifier has no training setting {name!r}; it has: {', '.join(SETTINGS)}")
    return CLASSIFIER.updated(settings)


def fit_classifier(
    event: Event,
    classes: int,
    x: Tensor,
    y: Tensor,
    recipe: Recipe = CLASSIFIER,
    *,
    kind: str = "auto",
    seed: int = 0,
) -> Classifier:
    """Train a new `Classifier` by cross-entropy, from scratch; the result depends on the arguments alone.

    All data are used to train, and the last weights are kept: there is no early stopping, so no other labels are read.

    Args:
        event: of ``x``, one array.
        classes: number of values of ``y``.
        x: shape ``(n, *event.shape)``.
        y: whole numbers from 0 to ``classes - 1``, shape ``(n,)``, int64.
        recipe: its `SETTINGS` apply.
        kind: of the network (see `Classifier`).
        seed: of the initial weights, the order of the data and dropout.

    Returns:
        The classifier, in evaluation mode.

    Raises:
        ZooError: data without a label, labels out of range, or a wrong ``kind``.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> fitted = fit_classifier(Event(2, "binary"), 2, x, x[:, 1].long())
        >>> fitted.log_probs(x).argmax(1).tolist()
        [0, 1, 0, 1]
    """
    if len(x) != len(y) or not len(y) or int(y.min()) < 0 or int(y.max()) >= classes:
        raise ZooError(f"a classifier needs one label from 0 to {classes - 1} of each datum, got {len(y)} of {len(x)}")
    batch = min(recipe.batch, len(x))
    with seeded(seed):
        classifier = Classifier(event, classes, kind).to(x.device)
        optimiser = OPTIMISERS[recipe.optimiser](
            classifier.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        for step in range(recipe.steps):
            place = step % (len(x) // batch) * batch
            if place == 0:
                order = torch.randperm(len(x), device=x.device)
            rows = order[place : place + batch]
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr_at(step)
            optimiser.zero_grad()
            cross_entropy(classifier(x[rows]), y[rows]).backward()
            optimiser.step()
    return classifier.train(False)
