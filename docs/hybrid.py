"""Joint models of digits and their class: accuracy, nats, and errors of the answers that are given.

    python docs/hybrid.py --seeds 5 --data-dir FOLDER

prints the tables of docs/decisions.md, a line for each setting: the mean over seeds with its standard error and, of
what p(x) saves, the 95 % interval of the paired difference over seeds. Models are smaller and trained for fewer steps
than by their recipe, and scored by their last weights: the best validation score is of p(x, y), which a weight of 0
does not train. FOLDER holds the files of MNIST, whose digits are mixed in as ``mnist8``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from zoo.data import Dataset, load_data
from zoo.pairs.build import build
from zoo.pairs.registry import families, load_shelves
from zoo.report.active import t_interval
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
MIXTURES = ("alone", "shuffled", "mnist8")
COLUMNS = {
    "error": ("labels", "error"),
    "label nats": ("labels", "label_nats"),
    "nats": ("likelihood", "nats"),
    "ece": ("calibration", "ece"),
    "ece rotated": ("calibration", "ece_rotated"),
    "AUROC mnist8": ("novelty", "auroc_log_p_mnist8"),
    **{
        f"{rule} {mixture}": ("selective", f"error_90_{rule}_{mixture}")
        for mixture in MIXTURES
        for rule in ("posterior", "joint", "gated")
    },
    **{
        f"saved by {rule} {mixture}": ("selective", f"error_90_{rule}_{mixture}_gain")
        for mixture in MIXTURES
        for rule in ("joint", "gated")
    },
    **{f"aurc {rule} shuffled": ("selective", f"aurc_{rule}_shuffled") for rule in ("posterior", "joint", "gated")},
}
"""Column -> evaluation and metric."""


@zoo.dataset("mnist8", about="MNIST's test digits made 8x8 with 17 levels, as scikit-learn's were")
def mnist8(data_dir: Path | None) -> Dataset:
    """Bright pixels of MNIST counted in blocks of 4x4, as NIST's were counted for scikit-learn's digits."""
    data = load_data("mnist", data_dir=data_dir)

    def counted(split: Tensor) -> Tensor:
        return 16 * F.avg_pool2d(F.pad((split[:2000] > 127).float(), (2, 2, 2, 2))[:, None], 4)[:, 0]

    return Dataset("mnist8", zoo.Event((8, 8), 17), *map(counted, (data.train, data.validation, data.test)), "MNIST")


def measured(family: str, hyper: Mapping[str, Any], seed: int, steps: int, settings: Settings) -> dict[str, float]:
    """The columns of one run."""
    data = load_data("digits:labels=all", seed=seed)
    pair = build(family, data.event, {"x": FLOW, **hyper}, seed)
    recipe = Recipe.read(families[family].recipe).updated({"steps": steps, "checkpoints": 1})  # the last weights
    run = TrainedRun(pair, data, seed, fit(pair, data, recipe, seed=seed, device="cpu").history)
    found = {}
    for evaluation in dict.fromkeys(of for of, _ in COLUMNS.values()):
        scores = {score.metric: score for score in evaluate(evaluation, [run], settings)}
        for column, (of, metric) in COLUMNS.items():
            if of == evaluation:
                value = scores[metric].value
                found[column] = math.nan if value is None else value
    return found


def cell(values: list[float], interval: bool) -> str:
    """The mean over seeds, with its 95 % interval or its standard error."""
    if len(values) < 2:
        return f"{fmean(values):.4f}"
    if not interval:
        return f"{fmean(values):.4f} ± {stdev(values) / math.sqrt(len(values)):.4f}"
    found = t_interval(values)
    return f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


def main(names: list[str], seeds: int, steps: int, settings: Settings) -> None:
    load_shelves()
    print("setting", *COLUMNS, sep=" | ")
    for name in names:
        family, hyper = SETTINGS[name]
        rows = [measured(family, hyper, seed, steps, settings) for seed in range(seeds)]
        cells = []
        for column in COLUMNS:
            values = [row[column] for row in rows]
            cells.append(cell(values, interval=column.startswith("saved")))
        print(name, *cells, sep=" | ", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", help=f"of {', '.join(SETTINGS)}; by default all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--particles", type=int, default=4)
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    asked = Settings(given.particles, against=("mnist8",), data_dir=given.data_dir)
    main(given.settings or list(SETTINGS), given.seeds, given.steps, asked)
