"""Convolutions from flat images to numbers of each entry, at the image's own size: the networks of couplings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.nn.convolutional import Residual
from zoo.nn.dropout import Dropout
from zoo.nn.images import Shape


class Convolutions(nn.Module):
    """A residual CNN from flat images ``(n, inputs * places)`` to ``count`` numbers of each of ``outputs`` channels.

    From ``(n, D)`` to ``(n, outputs * places, count)``; it gives 0 before training. The convolutions are 3x3 with
    ``hidden`` channels; a learned vector for each place is added after the first.

    Args:
        shape: of the images: channels, height and width.
        hidden: channels inside.
        blocks: residual convolutions.
        count: numbers of each entry.
        dropout: share of the activations dropped in training.
        outputs: channels of the result, by default those of the images.

    Example:
        >>> Convolutions((2, 4, 4), 8, 1, 3, 0.0)(torch.zeros(5, 32)).shape
        torch.Size([5, 32, 3])
    """

    def __init__(
        self, shape: Shape, hidden: int, blocks: int, count: int, dropout: float, outputs: int | None = None
    ) -> None:
        super().__init__()
        self.shape, self.count = shape, count
        self.into = nn.Conv2d(shape[0], hidden, 3, padding=1)
        self.place = nn.Parameter(0.1 * torch.randn(hidden, *shape[1:]))
        self.blocks = nn.ModuleList(self.block(hidden, dropout) for _ in range(blocks))
        last = nn.Conv2d(hidden, count * (outputs or shape[0]), 3, padding=1)
        self.out = nn.Sequential(nn.SiLU(), Dropout(dropout), last)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def block(self, hidden: int, dropout: float) -> nn.Module:
        """What is added to its input."""
        return nn.Sequential(nn.SiLU(), Dropout(dropout), nn.Conv2d(hidden, hidden, 3, padding=1))

    def forward(self, h: Tensor) -> Tensor:
        v = self.into(h.reshape(-1, *self.shape)) + self.place
        for block in self.blocks:
            v = v + block(v)
        return self.out(v).reshape(len(h), self.count, -1).movedim(1, -1)


class ResidualConvolutions(Convolutions):
    """`Convolutions` whose blocks are those of residual networks: two convolutions each, and group norms.

    Example:
        >>> ResidualConvolutions((2, 4, 4), 8, 1, 3, 0.0)(torch.zeros(5, 32)).shape
        torch.Size([5, 32, 3])
    """

    def block(self, hidden: int, dropout: float) -> nn.Module:
        return Residual(hidden, dropout).body
