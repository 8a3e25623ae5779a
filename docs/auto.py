"""What ``--train engine=auto`` costs or saves of whole processes: ``python docs/auto.py ROUNDS [FAMILY ...]``.

Each round is one ``zoo train FAMILY --data digits`` by its default recipe for ``auto`` and for ``eager``, by turns the
one and the other first, each with nothing on disk; the calibration is measured before. Prints for each family the
processor's seconds of ``auto`` over those of ``eager``: the median, then every round. ``gan`` is not trained by the
engine, so its two are the same run. Then, by family, milliseconds of one plain step, and of one whose operations are
counted, which is what ``auto`` adds to a run.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

import zoo
from zoo import engine
from zoo.engine.cost import Calibration, counted
from zoo.pairs.pair import HasInitialise, HasPlayers
from zoo.seeding import seeded

FAMILIES = ("ppca", "vae", "vae+planar", "vae+iaf", "hvae", "realnvp", "idf", "wavenet", "pixelcnn", "gan")
STEPS, BATCH = 5, 128


def main(rounds: str, *names: str) -> None:
    torch.set_num_threads(1)
    calibration = engine.calibration(1)
    if calibration is None:
        sys.exit("the calibration is switched off by ZOO_CALIBRATION")
    train_seconds("uniform", "eager", calibration)  # the first process reads its files from disk
    print("family auto/eager rounds")
    for name in names or FAMILIES:
        ratios = []
        for turn in range(int(rounds)):
            order = ("auto", "eager") if turn % 2 == 0 else ("eager", "auto")
            seconds = {mode: train_seconds(name, mode, calibration) for mode in order}
            ratios.append(seconds["auto"] / seconds["eager"])
        print(name, f"{median(ratios):.2f}", *(f"{ratio:.2f}" for ratio in ratios), flush=True)
    print("family plain counted")
    for name in names or FAMILIES:
        if step := plain_step(name):
            times = [(milliseconds(step), milliseconds(partial(counted, step))) for _ in range(STEPS)]
            print(name, *(f"{median(each):.0f}" for each in zip(*times, strict=True)), flush=True)


def train_seconds(name: str, mode: str, calibration: Calibration) -> float:
    """Of the processor, for a process and those that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        words = ["zoo", "train", name, "--data", "digits", "--train", f"engine={mode}", "--runs", folder]
        own = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/compiled"}
        own["ZOO_CALIBRATION"] = f"{folder}/calibration.json"  # the usual one lies next to the libraries
        Path(own["ZOO_CALIBRATION"]).write_text(json.dumps(asdict(calibration)))
        subprocess.run([sys.executable, "-m", *words], env=os.environ | own, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def plain_step(name: str) -> Callable[[], Any] | None:
    """A step of the default pair on digits; none if the engine does not train it."""
    data = zoo.load_data("digits")
    with seeded(0):
        pair = zoo.build(name, data.event)
        if isinstance(pair.extras, HasPlayers):
            return None
        if isinstance(pair.extras, HasInitialise):
            with torch.no_grad():
                pair.extras.initialise(data.train)
    return partial(engine.compile(pair.train(True), mode="eager"), data.train[:BATCH])


def milliseconds(step: Callable[[], Any]) -> float:
    start = time.process_time()
    step()
    return 1e3 * (time.process_time() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
