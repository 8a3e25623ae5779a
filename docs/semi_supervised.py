"""Test errors of ``ssvae`` on data of which few have labels, and of its classifier trained on these labels alone.

``python docs/semi_supervised.py`` prints a line for each seed, which draws the labels and all else; the data are the
digits with 100 labels, or those of ``--data mnist-static --labels 600 --steps 15000``. The weights of
``ssvae`` are those of its best validation score, as in every run. The classifier alone has the same layers, optimiser
and learning rate; of its weights at every `EVERY` steps, and of all `DROPOUTS` and `DECAYS`, those of the least
validation error are tested, which favours it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Dataset, load_data
from zoo.nn.amortised import scaled
from zoo.nn.mlp import MLP
from zoo.pairs.build import build, parse_settings
from zoo.pairs.registry import families, load_shelves
from zoo.seeding import seeded
from zoo.training.loop import fit
from zoo.training.recipe import Recipe

DROPOUTS, DECAYS = (0.0, 0.2, 0.5), (0.01, 1.0)
STEPS, EVERY = 600, 20


def alone(data: Dataset, hidden: int, lr: float, seed: int) -> tuple[float, float]:
    """Validation and test error of the classifier trained on the data with a label, all in every step."""
    known = data.train[~data.event.missing(data.train)]
    found = []
    for dropout, decay in itertools.product(DROPOUTS, DECAYS):
        with seeded(seed):
            net = MLP(data.event.main.size, (hidden,), 10, dropout)
            optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=decay)
            for step in range(1, STEPS + 1):
                optimiser.zero_grad()
                F.cross_entropy(net(inputs(data, known)), known[:, -1].long()).backward()
                optimiser.step()
                if step % EVERY == 0:
                    found.append((error(net, data, data.validation), error(net, data, data.test)))
    return min(found, key=lambda errors: errors[0])


def inputs(data: Dataset, x: Tensor) -> Tensor:
    return scaled(data.event.array, data.event.main_of(x))


def error(net: nn.Module, data: Dataset, x: Tensor) -> float:
    """The share of data that a classifier gets wrong."""
    net.eval()
    with torch.no_grad():
        wrong = net(inputs(data, x)).argmax(1) != x[:, -1]
    net.train()
    return float(wrong.double().mean())


def main(name: str, labels: int, seeds: int, steps: int | None, hyper: Mapping[str, Any]) -> None:
    load_shelves()
    recipe = Recipe.read(families["ssvae"].recipe).updated({"steps": steps} if steps else {})
    print("seed  alone: validation, test  ssvae: validation, test")
    rows = []
    for seed in range(seeds):
        data = load_data(f"{name}:labels={labels}", seed=seed)
        pair = build("ssvae", data.event, hyper, seed)
        fit(pair, data, recipe, seed=seed, device="cpu")
        made = pair.modules["SSVAE"].classifier
        of_ssvae = (error(made, data, data.validation), error(made, data, data.test))
        rows.append((*alone(data, made.out.in_features, recipe.lr, seed), *of_ssvae))
        print(seed, *(f"{value:.3f}" for value in rows[-1]), flush=True)
    gains = [row[1] - row[3] for row in rows]
    print("mean ", *(f"{fmean(column):.3f}" for column in zip(*rows, strict=True)))
    print(f"test error saved: {fmean(gains):.3f}" + (f" (sd over seeds {stdev(gains):.3f})" if seeds > 1 else ""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits", help="a data set that takes labels=")
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of ssvae; by default as in its recipe")
    parser.add_argument("--set", action="append", default=[], help="hyper-parameter of ssvae: alpha=10")
    given = parser.parse_args()
    torch.set_num_threads(1)
    main(given.data, given.labels, given.seeds, given.steps, parse_settings(given.set))
