"""What latents cost: ``python docs/text.py VAE RNNLM [SENTENCES [PARTICLES]]`` takes the folders of two runs.

It prints the nats of the first test sentences under both, and the mean difference with its standard error over
sentences: at most so much is the VAE, by its bound of as many particles, behind the language model. $ZOO_DATA is where
the package of ``brown`` is looked for.
"""

from __future__ import annotations

import math
import os
import sys

import zoo
from zoo.metrics.bounds import bounds, log_probs


def main(vae: str, rnnlm: str, sentences: str = "500", particles: str = "500") -> None:
    ours, theirs = (zoo.load(run, device="cpu", data_dir=os.environ.get("ZOO_DATA")) for run in (vae, rnnlm))
    x = ours.data.test[: int(sentences)]
    found = bounds(ours.pair, x, int(particles))
    exact = log_probs(theirs.pair, x)
    print("sentences elbo bound rnnlm difference stderr")
    difference = exact - found.importance
    error = float(difference.std()) / math.sqrt(len(x))
    means = (-found.elbo.mean(), -found.importance.mean(), -exact.mean(), difference.mean())
    print(len(x), *(f"{float(mean):.2f}" for mean in means), f"{error:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
