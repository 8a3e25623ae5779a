"""Joint models of digits and their class: accuracy, nats, and errors of the answers that are given.

``python docs/hybrid.py`` prints the tables of docs/decisions.md, a line for each setting: the mean over seeds and, of
what p(x) saves, the standard error of the paired difference over seeds. Models are smaller and trained for fewer steps
than by their recipe, and scored by their last weights: the best validation score is of p(x, y), which a weight of 0
does not train.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

import torch

from zoo.data import load_data
from zoo.pairs.build import build
from zoo.pairs.registry import families, load_shelves
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.training.loop import fit
from zoo.training.recipe import Recipe

FLOW = "realnvp:layers=6,hidden=64"
SETTINGS: dict[str, tuple[str, Mapping[str, Any]]] = {
    **{f"hybrid, shared, weight {a:g}": ("hybrid", {"shared": True, "weight": a}) for a in (0.0, 0.01, 0.1, 1.0)},
    "hybrid, separate": ("hybrid", {}),
    **{f"hybrid, tie {s:g}": ("hybrid", {"tie": s}) for s in (0.001, 0.01, 0.1)},
    "classwise": ("classwise", {}),
}
COLUMNS = {
    "error": ("labels", "error"),
    "label nats": ("labels", "label_nats"),
    "nats": ("likelihood", "nats"),
    "ece": ("calibration", "ece"),
    "ece rotated": ("calibration", "ece_rotated"),
    **{
        f"{rule} {mixture}": ("selective", f"error_90_{rule}_{mixture}")
        for mixture in ("alone", "shuffled")
        for rule in ("posterior", "joint", "gated")
    },
    **{
        f"saved by {rule} {mixture}": ("selective", f"error_90_{rule}_{mixture}_gain")
        for mixture in ("alone", "shuffled")
        for rule in ("joint", "gated")
    },
    **{f"aurc {rule} shuffled": ("selective", f"aurc_{rule}_shuffled") for rule in ("posterior", "joint", "gated")},
}
"""Column -> evaluation and metric."""


def measured(family: str, hyper: Mapping[str, Any], seed: int, steps: int, particles: int) -> dict[str, float]:
    """The columns of one run."""
    data = load_data("digits:labels=all", seed=seed)
    pair = build(family, data.event, {"x": FLOW, **hyper}, seed)
    recipe = Recipe.read(families[family].recipe).updated({"steps": steps, "checkpoints": 1})  # the last weights
    run = TrainedRun(pair, data, seed, fit(pair, data, recipe, seed=seed, device="cpu").history)
    settings = Settings(particles=particles)
    found = {}
    for evaluation in dict.fromkeys(of for of, _ in COLUMNS.values()):
        scores = {score.metric: score for score in evaluate(evaluation, [run], settings)}
        for column, (of, metric) in COLUMNS.items():
            if of == evaluation:
                value = scores[metric].value
                found[column] = math.nan if value is None else value
    return found


def main(names: list[str], seeds: int, steps: int, particles: int) -> None:
    load_shelves()
    print("setting", *COLUMNS, sep=" | ")
    for name in names:
        family, hyper = SETTINGS[name]
        rows = [measured(family, hyper, seed, steps, particles) for seed in range(seeds)]
        cells = []
        for column in COLUMNS:
            values = [row[column] for row in rows]
            error = f" ± {stdev(values) / math.sqrt(seeds):.4f}" if seeds > 1 else ""
            cells.append(f"{fmean(values):.4f}{error}")
        print(name, *cells, sep=" | ", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", help=f"of {', '.join(SETTINGS)}; by default all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--particles", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    main(given.settings or list(SETTINGS), given.seeds, given.steps, given.particles)
