"""The tables of docs/certificates.md: brackets of families, chains against particles, and which orders are certain.

    for name in vae vae+planar vae+iaf hvae ppca realnvp; do zoo train $name; done
    python docs/certificates.py vae vae+planar vae+iaf hvae ppca realnvp

Runs are those under ``--runs``, of one seed each. Chains are those of the evaluation ``certificate``, on the first
``--data`` test data instead of its 100, and as many of the model's own instead of 50. Both bounds are computed on one
thread, and cost seconds of the processor.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import zoo
from zoo.evaluations.certificate import CHAINS, LEAPFROGS, TEMPERATURES
from zoo.metrics.ais import anneal, simulated
from zoo.metrics.bounds import particle_weights

PARTICLES = 5000
EVALUATIONS = 3
"""Evaluations of the model that a gradient counts for."""
CERTAIN = 2.0
"""Standard errors by which an order has to hold."""


@dataclass(frozen=True)
class Measured:
    """A family: bounds on log p(x) of test data, and the bracket's width on data of its own, each in nats."""

    particles: Tensor
    chains: Tensor
    width: Tensor
    gradients: int
    seconds: tuple[float, float]
    """Of the processor: by particles, by chains."""


def measure(name: str, x: Tensor, runs: Path) -> Measured:
    """Both bounds of the test data ``x`` under the run of a family, and its bracket."""
    pair = zoo.load(name, runs=runs).pair
    chains = partial(anneal, pair, chains=CHAINS, temperatures=TEMPERATURES, leapfrogs=LEAPFROGS, seed=0)
    began = time.process_time()
    particles = particle_weights(pair, x, PARTICLES).logsumexp(1) - math.log(PARTICLES)
    between = time.process_time()
    [test] = chains(x)
    ended = time.process_time()
    below, above = chains(*simulated(pair, len(x), 0))
    seconds = between - began, ended - between
    return Measured(particles, test.bound, above.bound - below.bound, test.gradients, seconds)


def mean(values: Tensor, digits: int) -> str:
    """The mean with its standard error."""
    return f"{float(values.mean()):.{digits}f} ± {stderr(values):.{digits}f}"


def stderr(values: Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values))


def main(names: Sequence[str], count: int, runs: Path) -> None:
    """Measure each family, and print the tables."""
    torch.set_num_threads(1)
    x = zoo.load_data("digits").test[:count]
    print(f"{len(x)} test data; {CHAINS} chains, {TEMPERATURES} temperatures, {LEAPFROGS} leapfrogs\n")
    head = (
        "family",
        "within, on data of its own",
        "`ais_nats`",
        f"above {PARTICLES:,} particles, paired",
        f"evaluations, of {PARTICLES:,}",
        "seconds, those of particles",
    )
    print(f"| {' | '.join(head)} |", "|---" * len(head) + "|", sep="\n")
    found = dict[str, Measured]()
    for name in names:
        each = found[name] = measure(name, x, runs)
        better = mean(each.chains - each.particles, 3)
        cost = f"{EVALUATIONS * each.gradients:,} | {each.seconds[1]:.1f}, {each.seconds[0]:.1f}"
        print(f"| `{name}` | {mean(each.width, 3)} | {mean(-each.chains, 2)} | {better} | {cost} |", flush=True)
    print(
        "\n| better | worse | by, nats, paired | less the bracket of the worse | certain |",
        "|---|---|---|---|---|",
        sep="\n",
    )
    for best, worst in itertools.combinations(sorted(found, key=lambda name: -float(found[name].chains.mean())), 2):
        by, width = found[best].chains - found[worst].chains, found[worst].width
        left = float(by.mean()) - max(float(width.mean()), 0.0)
        noise = math.hypot(stderr(by), stderr(width))
        answer = "yes" if left > CERTAIN * noise else "no"
        print(f"| `{best}` | `{worst}` | {mean(by, 2)} | {left:.2f} ± {noise:.2f} | {answer} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--data", type=int, default=200)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    asked = parser.parse_args()
    main(asked.names, asked.data, asked.runs)
