"""Gated linear layers."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.nn.dropout import Dropout


class GatedDense(nn.Linear):
    """h = (W x + b) * sigmoid(V x + c), from ``(..., inputs)`` to ``(..., outputs)``.

    Example:
        >>> import torch
        >>> GatedDense(3, 2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])

    Reference:
        Tomczak & Welling 2018, arXiv:1705.07120, section 5 and its code.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, 2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(super().forward(x), -1)


class GatedMLP(nn.Module):
    """`GatedDense` layers with dropout, and a linear output layer, ``out``.

    Args:
        inputs: size of the last axis.
        hidden: width of each gated layer; may be empty.
        outputs: size of the last axis of the result.
        dropout: share of hidden units dropped in training.

    Example:
        >>> import torch
        >>> GatedMLP(3, (16, 16), 2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        sizes = (inputs, *hidden)
        layers = [(GatedDense(m, n), Dropout(dropout)) for m, n in itertools.pairwise(sizes)]
        self.body = nn.Sequential(*itertools.chain.from_iterable(layers))
        self.out = nn.Linear(sizes[-1], outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.body(inputs))
        return outputs.to(inputs.dtype)  # under autocast, distributions take float32 parameters
