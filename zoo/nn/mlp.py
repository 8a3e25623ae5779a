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
    """A multilayer perceptron from ``(..., inputs)`` to ``(..., outputs)``.

    Each hidden layer is linear, SiLU, dropout; the output layer, ``out``, is linear.

    Args:
        inputs: size of the last axis.
        hidden: width of each hidden layer; may be empty.
        outputs: size of the last axis of the result.
        dropout: share of hidden units dropped in training.

    Example:
        >>> MLP(3, (16, 16), 2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        sizes = (inputs, *hidden)
        layers = [(nn.Linear(m, n), nn.SiLU(), Dropout(dropout)) for m, n in itertools.pairwise(sizes)]
        self.body = nn.Sequential(*itertools.chain.from_iterable(layers))
        self.out = nn.Linear(sizes[-1], outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.body(inputs))
        return outputs.to(inputs.dtype)  # under autocast, distributions take float32 parameters


class MADE(nn.Module):
    """A masked MLP whose outputs for entry d depend on the entries before it only.

    From ``(n, size)`` to ``(n, size, count)``. Each hidden layer (linear, SiLU, dropout) has a block of units for each
    entry but the last; the block of entry d depends on the entries up to d. One pass gives all outputs; a `stream`
    gives them one after another, each unit computed once.

    Args:
        size: number of entries, two or more.
        hidden: total units of each hidden layer, rounded to whole blocks.
        count: outputs of each entry.
        dropout: share of hidden units dropped in training.

    Example:
        >>> MADE(4, (12, 12), 2)(torch.zeros(5, 4)).shape
        torch.Size([5, 4, 2])

    Reference:
        Germain et al. 2015, arXiv:1502.03509.
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
        """Yield the outputs for entry 1, ``(n, count)``; when sent entry 1, ``(n,)``, those for entry 2; and so on."""
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
    """A linear layer between ``blocks`` blocks of ``inputs`` and ``outputs`` units; block i sees blocks up to i."""

    mask: Tensor

    def __init__(self, blocks: int, inputs: int, outputs: int) -> None:
        super().__init__(blocks * inputs, blocks * outputs)
        self.blocks = blocks
        mask = torch.ones(blocks, blocks).tril().kron(torch.ones(outputs, inputs))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight * self.mask, self.bias)

    def block(self, block: int, h: Tensor) -> Tensor:
        """The outputs of one block (0-based), given the inputs of the blocks up to it."""
        units = self.out_features // self.blocks
        rows = slice(block * units, (block + 1) * units)
        return F.linear(h, self.weight[rows, : h.shape[1]], self.bias[rows])
