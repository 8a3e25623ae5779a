"""Small networks that several declarations share."""

from __future__ import annotations

import itertools

from torch import nn


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """A perceptron from ``(..., inputs)`` to ``(..., outputs)``: SiLU, then dropout, after each layer of ``hidden`` units."""
    sizes = (inputs, *hidden)
    layers = [(nn.Linear(m, n), nn.SiLU(), nn.Dropout(dropout)) for m, n in itertools.pairwise(sizes)]
    return nn.Sequential(*itertools.chain.from_iterable(layers), nn.Linear(sizes[-1], outputs))
