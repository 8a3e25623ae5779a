"""The tables of novelty of docs/decisions.md: AUROC of each measure, with its standard error.

    python docs/novelty.py ppca vae realnvp pixelcnn independent --background 0.3
    python docs/novelty.py ppca vae --data fashion --against mnist --steps 1000 --no-shifts

Families are trained by their recipes with seed 0 on one thread of the processor, with ``--steps`` steps if they are
given; what is in ``--runs`` is not trained again. The numbers are those of the evaluation ``novelty``, of as many test
data as ``Settings.samples``. ``--no-shifts`` leaves the shifts out of the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from zoo.data import load_data
from zoo.metrics.shifted import SHIFTS
from zoo.pairs.registry import load_shelves
from zoo.runs.config import DataSpec, configure
from zoo.runs.evaluation import Settings
from zoo.runs.run import Run
from zoo.runs.stored_scores import evaluate_run
from zoo.scores import Score

MEASURES = ("log_p", "typicality", "complexity", "ratio")


def main(names: Sequence[str], data: str, steps: int | None, shifts: bool, runs: Path, settings: Settings) -> None:
    """Print a table for each measure: a row for each family, a column for each kind of novel data."""
    torch.set_num_threads(1)
    load_shelves()
    known = load_data(data, data_dir=settings.data_dir)
    found: dict[str, dict[str, Score]] = {}
    for name in names:
        recipe = {"engine": "eager"} | ({"steps": steps} if steps else {})
        config = configure(name, DataSpec(name=data), known, seed=0, recipe=recipe)
        run = Run.of(config, runs)
        run.train(config, known, "cpu")
        found[name] = {score.metric: score for score in evaluate_run(run, known, "novelty", settings, "cpu")}
        print(f"`{name}`: {config.recipe.steps} steps, best validation {run.status['best_score']:.4g}", flush=True)
    columns = [*(SHIFTS if shifts else ()), *settings.against]
    for measure in MEASURES:
        print(f"\n| {measure} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", sep="\n")
        for name, scores in found.items():
            cells = (_cell(scores[f"auroc_{measure}_{column}"]) for column in columns)
            print(f"| `{name}` | {' | '.join(cells)} |")


def _cell(score: Score) -> str:
    return f"{score.value:.3f} ± {score.stderr:.3f}" if score.value is not None else score.status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--against", action="append", default=[], help="a data set; may be repeated")
    parser.add_argument("--background", type=float, default=0.0, help="mutation rate of the background models")
    parser.add_argument("--steps", type=int, help="of each family; by default as in its recipe")
    parser.add_argument("--no-shifts", action="store_true")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()
    settings = Settings(against=tuple(given.against), background=given.background, data_dir=given.data_dir)
    main(given.families, given.data, given.steps, not given.no_shifts, given.runs, settings)
