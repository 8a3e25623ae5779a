"""Peak memory of 20 training steps on images of the size of CIFAR-10, for each family of images: docs/networks.md.

python docs/memory.py [--steps 20] [FAMILY ...]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch

import zoo
from zoo.nn.networks import networks_of
from zoo.pairs.registry import families, load_shelves

EVENT = zoo.Event((3, 32, 32), 256)
TRAIN, HELD_OUT = 640, 512
"""Of more than 500 validation data a checkpoint scores 200 and draws 50 samples: less work than the steps."""
TEXT = ("rnnlm", "sentence-vae", "sentence-vae-freebits")
"""Families of levels that are words."""


def names() -> list[str]:
    """Every family that takes levels, with each of its networks."""
    load_shelves()
    found = list[str]()
    for family in families:
        if "levels" in family.supports and family.group != "floor" and family.name not in TEXT:
            nets = networks_of(family.make)
            found += [f"{family.name}:net={net}" for net in nets] or [family.name]
    return found


def images(n: int) -> torch.Tensor:
    """Smooth made-up images: three waves in each colour, and noise."""
    places = torch.arange(32.0) / 32
    phase, steep = 6.28 * torch.rand(n, 3, 1, 1, 3), 6.28 * torch.randn(2, n, 3, 1, 1, 3)
    waves = (steep[0] * places[:, None, None] + steep[1] * places[:, None] + phase).sin().sum(-1)
    return (128 + 40 * waves + 4 * torch.randn(n, 3, 32, 32)).round().clamp(0, 255)


def measure(name: str, steps: int) -> str:
    """Train, and give the row of the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train, validation, test = images(TRAIN + 2 * HELD_OUT).split([TRAIN, HELD_OUT, HELD_OUT])
    data = zoo.Dataset("waves", EVENT, train, validation, test, "Made up.")
    pair = zoo.build(name, EVENT)
    began = time.process_time()
    progress = zoo.fit(pair, data, {"steps": steps, "checkpoints": 1, "engine": "eager"}, device="cpu")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    weights = sum(each.numel() for each in pair.parameters()) / 1e6
    batch = pair.recipe.get("batch", 128)
    seconds = time.process_time() - began
    return f"| `{name}` | {weights:.1f} | {batch} | {peak:.1f} | {seconds:.0f} | {progress.status} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FAMILY")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--one", action="store_true", help="measure this process, which has the peak")
    asked = parser.parse_args()
    if asked.one:
        print(measure(asked.names[0], asked.steps), flush=True)
        sys.exit()
    print("| family | weights, millions | batch | peak memory, GiB | seconds of the processor | |")
    print("|---|---|---|---|---|---|")
    for name in asked.names or names():
        command = [sys.executable, __file__, "--one", "--steps", str(asked.steps), name]
        done = subprocess.run(command, capture_output=True, text=True)
        said = done.stdout.strip() or f"| `{name}` | {(done.stderr.strip().splitlines() or ['killed'])[-1]} |"
        print(said, flush=True)
