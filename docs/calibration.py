"""What the calibration of this machine predicts of the families of the suite, and what is measured.

    python docs/calibration.py [FAMILY ...]

For each family, on the digits by its default recipe, one thread: milliseconds that compiling saves of a step, and
seconds of the processor that compiling takes, with nothing on disk; then the mode that ``auto`` takes for one run and
for three. The table of docs/speed.md is printed by it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

import zoo
from zoo import engine
from zoo.engine.cost import compile_growth, fastest_mode, work_of
from zoo.pairs.build import find
from zoo.pairs.pair import HasInitialise
from zoo.seeding import seeded
from zoo.training.callbacks import Progress
from zoo.training.loop import Batches
from zoo.training.players import ActivePlayer, active_players
from zoo.training.recipe import Recipe

FAMILIES = ("ppca", "vae", "vae+planar", "vae+iaf", "hvae", "realnvp", "idf", "wavenet", "pixelcnn")
ROUNDS, STEPS, RUNS = 9, 10, 3
HEAD = "| | saved, predicted | measured | compiling, predicted | measured | one run | three |"


def main(names: list[str]) -> None:
    """Print a row for each family."""
    torch.set_num_threads(1)
    calibration = engine.calibration(1)
    if calibration is None:
        sys.exit("the calibration is switched off by ZOO_CALIBRATION")
    print(HEAD, "|---" * 7 + "|", sep="\n")
    for name in names or FAMILIES:
        recipe = Recipe.read(find(name)[0].recipe)
        players, batches, compiling = {}, None, 0.0
        for mode in ("eager", "compiled"):
            players[mode], batches, compiling = _first_step(name, recipe.model_copy(update={"engine": mode}))
        assert batches is not None
        with seeded(0):
            step, x = engine.compile(zoo.build(name, batches.data.event), mode="eager"), batches(0)
            work = work_of(partial(step, x))
        times = {mode: _step_seconds(player, batches) for mode, player in players.items()}
        saved = calibration.handlers + work.operations * calibration.compiled + work.numbers * calibration.number
        cells = [
            f"{1e3 * saved:.2g}",
            f"{1e3 * (times['eager'] - times['compiled']):.2g}",
            f"{calibration.compiling * compile_growth(work.operations):.0f}",
            f"{compiling:.0f}",
            *(f"`{fastest_mode(work, recipe.steps, runs, calibration)}`" for runs in (1, RUNS)),
        ]
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


def _first_step(name: str, recipe: Recipe) -> tuple[ActivePlayer, Batches, float]:
    """The player of a pair after its first step, its batches, and the seconds that the step took."""
    with seeded(0):
        data = zoo.load_data("digits")
        pair = zoo.build(name, data.event)
        if isinstance(pair.extras, HasInitialise):
            pair.extras.initialise(data.train)
    batches = Batches(data, recipe.batch, 0)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder))
        [player] = active_players(pair.train(True), recipe, Progress(), batches(0), len(data.train), 1)
        began = _cpu_seconds()
        player.gradients(batches(0), 1.0)
        return player, batches, _cpu_seconds() - began


def _step_seconds(player: ActivePlayer, batches: Batches) -> float:
    times = []
    for first in range(0, ROUNDS * STEPS, STEPS):
        began = time.process_time()
        for step in range(first, first + STEPS):
            player.gradients(batches(step), 1.0)
            player.step(1e-3)
        times.append((time.process_time() - began) / STEPS)
    return statistics.median(times[2:])


def _cpu_seconds() -> float:
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


if __name__ == "__main__":
    main(sys.argv[1:])
