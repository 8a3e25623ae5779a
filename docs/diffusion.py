"""The bound of a trained ``ddpm`` by its number of steps in time: its network knows the noise, not the number of steps.

``python docs/diffusion.py RUN 20 50 100 1000`` takes a run's folder and prints, for each number of steps and each
variance that its steps may have, the nats of the test split with their standard error over data, the Monte Carlo error,
and the terms. Up to 20 steps also the bound by importance weights of whole paths, `PARTICLES` for each datum.
"""

from __future__ import annotations

import math
import sys
from itertools import product

import zoo
from zoo.metrics.bounds import bounds, particle_weights

DRAWS = 96
PARTICLES, FEW_STEPS = 64, 20


def main(run: str, *steps: str) -> None:
    model = zoo.load(run, device="cpu")
    x = model.data.test
    variances = ("fixed", "matched") if model.event.levels else ("fixed",)
    print("steps variance nats stderr monte_carlo reconstruction diffusion prior")
    for count, variance in product(steps, variances):
        hyper = {**model.run.config.hyper, "timesteps": int(count), "variance": variance}
        pair = zoo.build("ddpm", model.event, hyper).train(False)
        weights = {name: value for name, value in model.pair.state().items() if not name.endswith(".v")}
        pair.load({**pair.state(), **weights})
        found = bounds(pair, x, DRAWS)
        error = (found.stderr.square().sum().sqrt() / len(x), *(-term.mean() for term in found.terms.values()))
        numbers = (-found.elbo.mean(), found.elbo.std() / len(x) ** 0.5, *error)
        print(count, variance, *(f"{float(number):.2f}" for number in numbers), flush=True)
        if int(count) <= FEW_STEPS:
            nats = math.log(PARTICLES) - particle_weights(pair, x, PARTICLES).logsumexp(1)
            error = float(nats.std()) / len(x) ** 0.5
            print(count, variance, f"{PARTICLES} paths: {float(nats.mean()):.2f} {error:.2f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
