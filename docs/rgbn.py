"""How sparse the units of a trained ``rgbn`` are: ``python docs/rgbn.py RUN`` takes the folder of a run.

For each layer it prints the share of units that are zero, y <= 0, given test data (by draws of the guide), and the
share in draws of the model.
"""

from __future__ import annotations

import sys

import torch
from pyro import poutine

import zoo

DATA = 1000


def main(run: str) -> None:
    model = zoo.load(run, device="cpu")
    x = model.data.test[:DATA]
    with model.pair.evaluating():
        inferred = poutine.trace(model.pair.guide).get_trace(x).nodes
        drawn = poutine.trace(poutine.uncondition(model.pair.model)).get_trace(torch.zeros_like(x)).nodes
    print("layer zero_given_data zero_in_draws")
    for layer in ("y2", "y1"):
        shares = [float((nodes[layer]["value"] <= 0).float().mean()) for nodes in (inferred, drawn)]
        print(layer, *(f"{share:.3f}" for share in shares))


if __name__ == "__main__":
    main(*sys.argv[1:])
