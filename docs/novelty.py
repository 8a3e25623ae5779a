"""The tables of novelty and of attacks of docs/decisions.md: AUROC with its standard error, in Markdown.

    python docs/novelty.py independent ppca vae realnvp pixelcnn --background 0.3
    python docs/novelty.py ppca vae --data fashion --against mnist --train steps=400 --particles 16
    python docs/novelty.py ppca vae --data mnist --train steps=400 --particles 16 --evaluation attack

Families are trained by their recipes, with seed 0, on one thread of the processor; ``--train`` changes a recipe, and
what is in ``--runs`` is not trained again. The numbers are those of the evaluation, of as many test data as
``Settings.samples``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from zoo.data import load_data
from zoo.metrics.attacks import ATTACKS
from zoo.metrics.shifted import SHIFTS
from zoo.pairs.build import parse_settings
from zoo.pairs.registry import load_shelves
from zoo.runs.config import DataSpec, configure
from zoo.runs.evaluation import Settings
from zoo.runs.run import Run
from zoo.runs.stored_scores import evaluate_run
from zoo.scores import Score

MEASURES = ("log_p", "typicality", "complexity", "deflate", "ratio")


def main(names: Sequence[str], data: str, train: Mapping[str, Any], asked: str, runs: Path, settings: Settings) -> None:
    """Train and evaluate each family, and print the tables."""
    torch.set_num_threads(1)
    load_shelves()
    known = load_data(data, data_dir=settings.data_dir)
    found: dict[str, dict[str, Score]] = {}
    for name in names:
        began = time.process_time()
        recipe = {"engine": "eager"} | dict(train)
        config = configure(name, DataSpec(name=data), known, seed=0, recipe=recipe)
        run = Run.of(config, runs)
        run.train(config, known, "cpu")
        trained = time.process_time()
        found[name] = {score.metric: score for score in evaluate_run(run, known, asked, settings, "cpu")}
        print(
            f"`{name}`: {config.recipe.steps} steps, best validation {run.status['best_score']:.5g} nats; trained in "
            f"{trained - began:.0f} s, evaluated in {time.process_time() - trained:.0f} s",
            flush=True,
        )
    for title, metrics in (_novelty if asked == "novelty" else _attack)(settings):
        rows = {name: [scores[metric] for metric in metrics.values()] for name, scores in found.items()}
        rows = {name: scores for name, scores in rows.items() if any(score.status == "ok" for score in scores)}
        if rows:
            print(f"\n| {title} | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|", sep="\n")
        for name, scores in rows.items():
            print(f"| `{name}` | {' | '.join(map(_cell, scores))} |")


def _novelty(settings: Settings) -> Iterator[tuple[str, dict[str, str]]]:
    """Title of each table, and its columns: heading -> metric."""
    for measure in MEASURES:
        yield measure, {name: f"auroc_{measure}_{name}" for name in [*SHIFTS, *settings.against]}


def _attack(settings: Settings) -> Iterator[tuple[str, dict[str, str]]]:
    cases = [f"{name}_{epsilon:g}" for name in ATTACKS for epsilon in (0.1, 0.2, 0.3)]
    for victim, measures in (("plain", ["log_p"]), ("own", ["log_p", "log_joint"])):
        yield f"{victim} accuracy", {case: f"{victim}_accuracy_{case}" for case in ("clean", *cases)}
        for measure in measures:
            yield f"{victim} {measure}", {case: f"{victim}_auroc_{measure}_{case}" for case in cases}


def _cell(score: Score) -> str:
    return f"{score.value:.3f} ± {score.stderr:.3f}" if score.value is not None else score.status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--evaluation", default="novelty", choices=("novelty", "attack"))
    parser.add_argument("--against", action="append", default=[], help="a data set; may be repeated")
    parser.add_argument("--background", type=float, default=0.0, help="mutation rate of the background models")
    parser.add_argument("--train", action="append", default=[], help="a training setting: steps=400; may be repeated")
    parser.add_argument("--particles", type=int, default=512)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()
    settings = Settings(given.particles, against=given.against, background=given.background, data_dir=given.data_dir)
    main(given.families, given.data, parse_settings(given.train), given.evaluation, given.runs, settings)
