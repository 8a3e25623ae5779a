"""Nats per frame of ``dmm`` on Bach's chorales.

``python docs/dmm.py`` prints, for each seed, the negative ELBO and the importance-weighted bound of the validation and
test chorales; and, as a floor, those of keys independent of each other and of time. The weights are those of the best
validation score, as in every run. ``--train steps=600`` and ``--set latent=64`` differ from the recipe; choose them by
the validation columns. Published splits differ (see `zoo.data.chorales`): compare with published numbers only roughly.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data import Dataset, load_data
from zoo.metrics.bounds import bounds
from zoo.pairs.build import build, parse_settings
from zoo.pairs.registry import families, load_shelves
from zoo.training.loop import fit
from zoo.training.recipe import Recipe


def frames(data: Dataset, x: Tensor) -> Tensor:
    """Every chord of all chorales, shape ``(frames, 88)``."""
    steps = data.event.steps(x)
    assert steps is not None  # chorales are sequences
    chords = x[:, : data.event.main.size].reshape(len(x), -1, 88)
    return chords[torch.arange(chords.shape[1]) < steps[:, None]]


def independent(data: Dataset) -> float:
    """Nats per frame of the test split by the rates of the keys in the training split, each with one count added."""
    train, test = frames(data, data.train), frames(data, data.test)
    rates = ((train.sum(0) + 1) / (len(train) + 2)).expand_as(test)
    return float(F.binary_cross_entropy(rates, test, reduction="sum")) / len(test)


def main(seeds: int, particles: int, changes: Mapping[str, Any], hyper: Mapping[str, Any]) -> None:
    load_shelves()
    data, recipe = load_data("chorales"), Recipe.read(families["dmm"].recipe).updated(changes)
    print(f"independent keys {independent(data):.3f}")
    print("seed  -ELBO: validation, test  bound: validation, test")
    for seed in range(seeds):
        pair = build("dmm", data.event, hyper, seed)
        fit(pair, data, recipe, seed=seed, device="cpu")
        scores = []
        for split in (data.validation, data.test):
            found, count = bounds(pair, split, particles, seed=seed), len(frames(data, split))
            scores.append((-float(found.elbo.sum()) / count, -float(found.importance.sum()) / count))
        print(seed, *(f"{value:.3f}" for column in zip(*scores, strict=True) for value in column), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--particles", type=int, default=100, help="of the importance-weighted bound")
    parser.add_argument("--train", action="append", default=[], help="training setting: steps=600")
    parser.add_argument("--set", action="append", default=[], help="hyper-parameter of dmm: latent=64")
    given = parser.parse_args()
    torch.set_num_threads(1)
    main(given.seeds, given.particles, parse_settings(given.train), parse_settings(given.set))
