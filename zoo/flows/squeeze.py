"""Flat images: the squeeze (space to depth), checkerboards and halves of the channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.nn.images import Shape


def squeezed(shape: Shape) -> Shape:
    """The shape after `Squeeze`."""
    channels, height, width = shape
    return 4 * channels, height // 2, width // 2


def squeezable(shape: Shape) -> bool:
    """Whether both sides are even."""
    return shape[1] % 2 == 0 and shape[2] % 2 == 0


class Squeeze(nn.Module):
    """Turn each 2x2 square of pixels into four channels: ``(C, H, W)`` to ``(4 C, H / 2, W / 2)``, images flat.

    New channels are ordered by the old channel, then by row and column in the square.

    Reference:
        Dinh et al. 2016, arXiv:1605.08803, section 3.6.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        channels, height, width = self.shape
        squares = h.reshape(-1, channels, height // 2, 2, width // 2, 2)
        return squares.permute(0, 1, 3, 5, 2, 4).reshape(h.shape), h.new_zeros(len(h))

    def inverse(self, h: Tensor) -> Tensor:
        channels, height, width = self.shape
        squares = h.reshape(-1, channels, 2, 2, height // 2, width // 2)
        return squares.permute(0, 1, 4, 2, 5, 3).reshape(h.shape)


def checkerboard(shape: Shape) -> Tensor:
    """The colour, 0 or 1, of each pixel, the same in all channels: shape ``(C * H * W,)``."""
    channels, height, width = shape
    colour = (torch.arange(height)[:, None] + torch.arange(width)) % 2
    return colour.expand(channels, -1, -1).flatten()


def channel_halves(shape: Shape) -> Tensor:
    """0 in the first half of the channels, 1 in the second: shape ``(C * H * W,)``."""
    channels, height, width = shape
    return (torch.arange(channels) >= channels // 2).long().repeat_interleave(height * width)
