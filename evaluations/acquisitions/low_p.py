"""Data that a density finds least probable."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.data import Dataset
from zoo.errors import ZooError
from zoo.experiments.query import Query
from zoo.pairs.build import build, find
from zoo.pairs.registry import acquisition
from zoo.pairs.traces import capabilities
from zoo.training.loop import fit
from zoo.training.recipe import Recipe
from zoo.use.model import TrainedModel

SCORED = 1000
"""Training data on which the density's weights are scored at its checkpoints."""


@acquisition("low-p", paper="Tomczak 2022, Deep Generative Modeling, chapter 1")
def low_p(query: Query, *, density: str = "ppca", steps: int = 250, particles: int = 4) -> Tensor:
    """The lowest log p(x) under a density of all x, labelled or not.

    The density is trained from scratch by its own recipe in ``steps`` steps; no label is used. Where its likelihood is
    a lower bound, the bound with ``particles`` draws takes its place. It looks for what is unlike the rest, so it asks
    for outliers: see the share of them that ``zoo active --outliers`` reports.

    Args:
        density: a family with a likelihood, by name.
        steps: of its training.
        particles: draws of its guide for each datum.

    Raises:
        ZooError: a family that does not take the data, or has no likelihood.
    """
    everything, event = torch.cat([query.x, query.pool]), query.classifier.event
    pair = build(density, event, seed=query.seed)
    if capabilities(pair).likelihood == "none":
        raise ZooError(f"low-p needs a family with a likelihood, and {density} has none; take ppca or vae")
    some = everything[torch.randperm(len(everything), generator=query.generator)[:SCORED]]
    data = Dataset("everything", event, everything, some, some, "The labelled data and the pool.")
    recipe = Recipe.read(find(density)[0].recipe).updated({"steps": steps, "engine": "eager", "checkpoints": 1})
    fit(pair, data, recipe, seed=query.seed, device=str(everything.device), unchecked=True)
    return query.lowest(torch.as_tensor(TrainedModel(pair, data).log_prob(query.pool, particles=particles).value))
