"""Networks that see data and how much noise is in them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.event import Event
from zoo.nn.dropout import Dropout

FREQUENCIES = 16
"""Sines and cosines of the level of noise."""
FINE = (1.0, 2.0, 4.0, 8.0)
"""Frequencies of the sines and cosines of real data, in radians: where little noise is left, small moves matter."""


class Denoiser(nn.Module):
    """From noisy data ``(m, D)`` and the log of its signal-to-noise ratio ``(m,)`` to ``(m, D, count)``.

    Residual blocks: of an image convolutions of 3x3, each block also mixing all places; of other data linear layers.
    Each block adds an embedding of the noise. Real data come with their sines and cosines at `FINE` frequencies
    (Kingma et al. 2021, arXiv:2107.00630, appendix C).

    Args:
        event: shape ``(height, width)`` or ``(channels, height, width)`` is an image.
        count: outputs of each entry.
        width: channels of an image, or units.
        blocks: number of residual blocks.
        dropout: share of the units of each block dropped in training.

    Example:
        >>> Denoiser(Event((4, 4), 5), 5, 8, 1)(torch.zeros(3, 16), torch.zeros(3)).shape
        torch.Size([3, 16, 5])
    """

    single: ClassVar[bool] = True  # while coding, too: see `zoo.codec.lossless.precisely`

    def __init__(self, event: Event, count: int, width: int, blocks: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.image = event.shape if len(event.shape) == 3 else (1, *event.shape) if len(event.shape) == 2 else ()
        self.count = count
        self.fine = FINE if event.levels is None else ()
        channels = self.image[0] if self.image else event.size
        inputs = channels * (1 + 2 * len(self.fine))
        self.embed = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU())
        places = self.image[1] * self.image[2] if self.image else 0
        self.first = nn.Conv2d(inputs, width, 3, padding=1) if self.image else nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, places, dropout) for _ in range(blocks))
        last = channels * count
        self.last = nn.Conv2d(width, last, 1) if self.image else nn.Linear(width, last)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None  # by default there is one
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor, log_snr: Tensor) -> Tensor:
        angles = log_snr[:, None] * torch.arange(1, FREQUENCIES + 1, device=z.device) * 0.25
        kind = self.last.weight.dtype
        noise = self.embed(torch.cat([angles.sin(), angles.cos()], 1).to(kind))
        h = z.to(kind).reshape(-1, *self.image) if self.image else z.to(kind)
        h = self.first(torch.cat([h, *(wave(f * h) for f in self.fine for wave in (torch.sin, torch.cos))], 1))
        for block in self.blocks:
            h = block(h, noise)
        out = self.last(F.silu(h)).reshape(len(z), self.count, -1)
        return out.mT.to(z.dtype)


class ResidualBlock(nn.Module):
    """h + W2 dropout(silu(W1 silu(norm(h)) + the noise's embedding)), the W convolutions where there are places."""

    def __init__(self, width: int, places: int, dropout: float) -> None:
        super().__init__()
        self.places = places
        self.norm = nn.GroupNorm(4 if width > 4 and width % 4 == 0 else 1, width)
        layers = [nn.Conv2d(width, width, 3, padding=1) if places else nn.Linear(width, width) for _ in range(2)]
        self.one, self.two = layers
        self.noise, self.drop = nn.Linear(width, width), Dropout(dropout)
        self.mix = nn.Linear(places, places) if places else None
        if self.mix is not None:
            nn.init.zeros_(self.mix.weight)

    def forward(self, h: Tensor, noise: Tensor) -> Tensor:
        more: Tensor = self.noise(noise)
        inner = self.one(F.silu(self.norm(h))) + more.reshape(*more.shape, *(1 for _ in h.shape[2:]))
        h = h + self.two(self.drop(F.silu(inner)))
        if self.mix is None:
            return h
        mixed: Tensor = self.mix(h.flatten(2)).reshape(h.shape)
        return h + mixed
