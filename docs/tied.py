"""Two tied copies of p(x, y) over their tie: accuracy and nats of ``classwise`` with few labels.

``python docs/tied.py`` trains ``classwise:x=dense:layers=1`` on digits of which 100 have a label, for each tie and
seed, and prints a table: errors and nats are of the test split, whose labels are all known.
"""

from __future__ import annotations

import argparse
import math
from statistics import fmean, stdev
from typing import Any

import torch

import zoo
from zoo.data import load_data
from zoo.metrics.labels import log_joint
from zoo.pairs.build import build
from zoo.pairs.registry import families, load_shelves
from zoo.training.loop import fit
from zoo.training.recipe import Recipe

TIES: dict[str, Any] = {"none (s = 0)": None, "0.01": 0.01, "0.1": 0.1, "1": 1.0, "inf": math.inf}
PARTICLES = 8


def measured(data: zoo.Dataset, family: str, tie: float | None, seed: int, steps: int) -> tuple[float, float, float]:
    """Error in percent, nats of p(y | x) and of p(x) by the bound of `PARTICLES` draws, of the test split."""
    pair = build("classwise", data.event, {"x": family, "tie": tie}, seed)
    settings = {"steps": steps, "checkpoints": 1, "average": 0.98}  # the last weights, averaged over few steps
    recipe = Recipe.read(families["classwise"].recipe).updated(settings)
    fit(pair, data, recipe, seed=seed, device="cpu")
    joint = log_joint(pair, data.test, PARTICLES)
    y = data.test[:, -1].long()
    right = joint.log_softmax(1).gather(1, y[:, None])
    return 100 * float((joint.argmax(1) != y).double().mean()), -float(right.mean()), -float(joint.logsumexp(1).mean())


def main(labels: str, family: str, seeds: int, steps: int, ties: list[str]) -> None:
    load_shelves()
    print("| tie s | error, % | nats of p(y \\| x) | nats of p(x) |\n|---|---|---|---|")
    for tie in ties:
        rows = []
        for seed in range(seeds):
            data = load_data(f"digits:labels={labels}", seed=seed)
            rows.append(measured(data, family, TIES[tie], seed, steps))
        cells = []
        for values, digits in zip(zip(*rows, strict=True), (1, 2, 1), strict=True):
            error = stdev(values) / math.sqrt(seeds) if seeds > 1 else math.nan
            cells.append(f"{fmean(values):.{digits}f} ± {error:.{digits}f}")
        print("|", tie, "|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ties", nargs="*", help=f"of {', '.join(TIES)}; by default all")
    parser.add_argument("--labels", default="100")
    parser.add_argument("--family", default="dense:layers=1", help="of p(x | y)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=250)
    given = parser.parse_args()
    torch.set_num_threads(1)
    main(given.labels, given.family, given.seeds, given.steps, given.ties or list(TIES))
