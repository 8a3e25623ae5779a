"""Small networks that several declarations share."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from zoo.dropout import Dropout


class MLP(nn.Module):
    """A perceptron from ``(..., inputs)`` to ``(..., outputs)``: each layer of ``hidden`` is linear, SiLU, dropout."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        sizes = (inputs, *hidden)
        layers = [(nn.Linear(m, n), nn.SiLU(), Dropout(dropout)) for m, n in itertools.pairwise(sizes)]
        self.body = nn.Sequential(*itertools.chain.from_iterable(layers))
        self.out = nn.Linear(sizes[-1], outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.body(inputs))
        return outputs
