"""Small networks that several declarations share."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.nn.dropout import Dropout


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


class MADE(nn.Module):
    """A perceptron whose outputs for entry d see the entries before it only (Germain et al. 2015, arXiv:1502.03509).

    From ``(n, size)`` to ``(n, size, count)``; ``size`` is two or more. Each hidden layer (linear, SiLU, dropout) has a
    block of units for each entry but the last, about ``hidden`` units in all, and that of entry d sees the entries up
    to d. One pass gives all outputs; a `stream` gives them one after another, each unit computed once.
    """

    def __init__(self, size: int, hidden: tuple[int, ...], count: int, dropout: float = 0.0) -> None:
        super().__init__()
        blocks = size - 1
        sizes = [1, *(max(1, round(units / blocks)) for units in hidden)]
        self.body: Any = nn.ModuleList(BlockTriangular(blocks, m, n) for m, n in itertools.pairwise(sizes))
        self.out = BlockTriangular(blocks, sizes[-1], count)
        self.first = nn.Parameter(torch.zeros(count))
        self.dropout = Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        h = inputs[:, :-1]
        for layer in self.body:
            h = self.dropout(F.silu(layer(h)))
        return torch.cat([self.first.expand(len(h), 1, -1), self.out(h).unflatten(1, (-1, len(self.first)))], 1)

    def stream(self, n: int) -> Generator[Tensor, Tensor, None]:
        """Yields the outputs for entry 1, shape ``(n, count)``, is sent entry 1, shape ``(n,)``, yields those for 2."""
        entry = yield self.first.expand(n, -1)
        seen = [entry.new_zeros(n, 0)] * (len(self.body) + 1)
        for block in range(self.out.blocks):
            h = entry.unsqueeze(1)
            for depth, layer in enumerate(self.body):
                seen[depth] = torch.cat([seen[depth], h], 1)
                h = self.dropout(F.silu(layer.block(block, seen[depth])))
            seen[-1] = torch.cat([seen[-1], h], 1)
            entry = yield self.out.block(block, seen[-1])


class BlockTriangular(nn.Linear):
    """A linear layer from ``blocks`` blocks of ``inputs`` units to as many of ``outputs``; each sees those up to it."""

    mask: Tensor

    def __init__(self, blocks: int, inputs: int, outputs: int) -> None:
        super().__init__(blocks * inputs, blocks * outputs)
        self.blocks = blocks
        mask = torch.ones(blocks, blocks).tril().kron(torch.ones(outputs, inputs))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight * self.mask, self.bias)

    def block(self, block: int, h: Tensor) -> Tensor:
        """The outputs of one block (0-based), given the blocks up to it."""
        units = self.out_features // self.blocks
        rows = slice(block * units, (block + 1) * units)
        return F.linear(h, self.weight[rows, : h.shape[1]], self.bias[rows])
