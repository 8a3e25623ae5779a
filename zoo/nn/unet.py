"""A U-Net that sees noisy images and how much noise is in them."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.event import Event
from zoo.nn.convolutional import norm
from zoo.nn.denoiser import FREQUENCIES
from zoo.nn.dropout import Dropout
from zoo.nn.images import halved_sides, image_shape

HALVINGS = 3
"""Most halvings of the sides: 32x32 becomes 4x4."""


class UNet(nn.Module):
    """From noisy images ``(m, D)`` and the log of their signal-to-noise ratio ``(m,)`` to ``(m, D, count)``.

    On the way down each size has ``blocks`` residual convolutions and a halving of the sides; on the way up each has as
    many, which also see the maps of the way down. The smallest maps have self-attention between two blocks. Each block
    adds an embedding of the noise. The output starts at zero.

    Args:
        event: an image ``(channels, height, width)`` or ``(height, width)``.
        count: outputs of each entry.
        width: channels at full size; twice as many below it.
        blocks: residual convolutions of each size on each way.
        dropout: share of the units of each block dropped in training.

    Raises:
        ZooError: an event that is no image.

    Example:
        >>> UNet(Event((3, 8, 8), 5), 5, 8, 1)(torch.zeros(2, 192), torch.zeros(2)).shape
        torch.Size([2, 192, 5])

    Reference:
        Ronneberger et al. 2015, arXiv:1505.04597; for diffusion Ho et al. 2020, arXiv:2006.11239, appendix B.
    """

    single: ClassVar[bool] = True  # while coding, too: see `zoo.codec.lossless.precisely`

    def __init__(self, event: Event, count: int, width: int, blocks: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.image, self.count = image_shape(event), count
        self.sides = halved_sides(*self.image[1:], HALVINGS)
        channels = [width * 2 ** min(i, 1) for i in range(len(self.sides))]
        noise = 4 * width
        self.embed = nn.Sequential(nn.Linear(2 * FREQUENCIES, noise), nn.SiLU(), nn.Linear(noise, noise), nn.SiLU())
        self.first = nn.Conv2d(self.image[0], width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        for m in channels:
            self.down.append(nn.ModuleList(NoisyResidual(m, m, noise, dropout) for _ in range(blocks)))
            self.up.append(nn.ModuleList(NoisyResidual(m if i else 2 * m, m, noise, dropout) for i in range(blocks)))
        for m, n in itertools.pairwise(channels):
            self.shrink.append(nn.Conv2d(m, n, 3, stride=2, padding=1))
            self.grow.append(nn.Conv2d(n, m, 3, padding=1))
        self.middle = Attention(channels[-1])
        self.last = nn.Sequential(norm(width), nn.SiLU(), nn.Conv2d(width, self.image[0] * count, 3, padding=1))
        for parameter in self.last[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor, log_snr: Tensor) -> Tensor:
        angles = log_snr[:, None] * torch.arange(1, FREQUENCIES + 1, device=z.device) * 0.25
        kind = self.first.weight.dtype
        noise = self.embed(torch.cat([angles.sin(), angles.cos()], 1).to(kind))
        h, seen = self.first(z.to(kind).reshape(-1, *self.image)), list[Tensor]()
        for place, blocks in enumerate(self.down):
            h = _through(blocks, self.shrink[place - 1](h) if place else h, noise)
            seen.append(h)
        h = self.middle(h)
        for place in reversed(range(len(self.up))):
            if place < len(self.grow):
                h = self.grow[place](F.interpolate(h, size=self.sides[place], mode="nearest"))
            h = _through(self.up[place], torch.cat([h, seen[place]], 1), noise)
        out = self.last(h).unflatten(1, (self.image[0], self.count)).movedim(2, -1)
        return out.reshape(len(z), -1, self.count).to(z.dtype)


def _through(blocks: nn.Module, h: Tensor, noise: Tensor) -> Tensor:
    for block in blocks.children():
        h = block(h, noise)
    return h


class NoisyResidual(nn.Module):
    """A residual block of two 3x3 convolutions, from ``inputs`` to ``width`` channels, that adds the embedded noise."""

    def __init__(self, inputs: int, width: int, noise: int, dropout: float) -> None:
        super().__init__()
        self.one = nn.Sequential(norm(inputs), nn.SiLU(), nn.Conv2d(inputs, width, 3, padding=1))
        self.noise = nn.Linear(noise, width)
        self.two = nn.Sequential(norm(width), nn.SiLU(), Dropout(dropout), nn.Conv2d(width, width, 3, padding=1))
        self.skip = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, h: Tensor, noise: Tensor) -> Tensor:
        inner = self.one(h) + self.noise(noise)[:, :, None, None]
        out: Tensor = self.skip(h) + self.two(inner)
        return out


class Attention(nn.Module):
    """Self-attention of one head over all places of a map, added to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.seen, self.out = norm(width), nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        query, key, value = self.seen(self.norm(h)).flatten(2).mT.chunk(3, -1)
        weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        mixed: Tensor = self.out((weights @ value).mT.reshape(h.shape))
        return h + mixed
