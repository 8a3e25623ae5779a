"""Convolutions from images to features and from latents to images, plain or residual."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.dropout import Dropout
from zoo.nn.images import SMALLEST, Shape, halved_sides, image_shape

HALVINGS = 3
"""Most halvings of the sides: 32x32 becomes 4x4."""
WIDTH = 32
"""Channels at full size; they double at the first and the second halving."""


class Residual(nn.Module):
    """h + C2 dropout(silu(norm(C1 silu(norm(h))))), with convolutions C of 3x3; C2 starts at zero.

    Reference:
        He et al. 2016, arXiv:1603.05027; the norm: Wu & He 2018, arXiv:1803.08494.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        one, two = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(two.weight)
        self.body = nn.Sequential(norm(width), nn.SiLU(), one, norm(width), nn.SiLU(), Dropout(dropout), two)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.body(h)


def norm(width: int) -> nn.GroupNorm:
    """A group norm over at most eight groups of two channels or more: one number by itself would become zero."""
    groups = math.gcd(8, width)
    return nn.GroupNorm(groups if groups < width else max(1, width // 2), width)


class ImageEncoder(nn.Module):
    """From flat images ``(n, size)`` to ``(n, features)``: convolutions of 3x3 that halve the sides up to three times.

    Args:
        event: an image ``(channels, height, width)`` or ``(height, width)``.
        residual: before each halving comes a `Residual` block.
        width: channels at full size.

    Raises:
        ZooError: an event that is no image, or one with a side below four.

    Example:
        >>> encoder = ImageEncoder(Event((3, 8, 8), 256))
        >>> encoder(torch.zeros(5, 192)).shape, encoder.features
        (torch.Size([5, 1024]), 1024)
    """

    def __init__(self, event: Event, residual: bool = False, width: int = WIDTH) -> None:
        super().__init__()
        self.image, sides, channels = _pyramid(event, width)
        self.body = nn.Sequential(nn.Conv2d(self.image[0], channels[0], 3, padding=1))
        for m, n in itertools.pairwise(channels):
            self.body.append(Residual(m) if residual else nn.SiLU())
            self.body.append(nn.Conv2d(m, n, 3, stride=2, padding=1))
        self.body.extend([nn.SiLU(), nn.Flatten()])
        self.features = channels[-1] * math.prod(sides[-1])

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x.reshape(-1, *self.image))
        return features.to(x.dtype)


class ImageDecoder(nn.Module):
    """From ``(..., inputs)`` to ``count`` numbers of each entry of an image, ``(..., size * count)``.

    A linear layer makes the smallest maps; each doubling of the sides is a transposed convolution of 4x4. The last
    convolution, ``out``, has a bias for each output.

    Args:
        event: an image ``(channels, height, width)`` or ``(height, width)``.
        inputs: size of the last axis.
        count: outputs of each entry.
        residual: after each doubling comes a `Residual` block.
        dropout: share of the activations of these blocks dropped in training.
        width: channels at full size.

    Raises:
        ZooError: an event that is no image, or one with a side below four.

    Example:
        >>> ImageDecoder(Event((3, 8, 8), 256), 4, 2)(torch.zeros(5, 4)).shape
        torch.Size([5, 384])
    """

    def __init__(
        self, event: Event, inputs: int, count: int, residual: bool = False, dropout: float = 0.0, width: int = WIDTH
    ) -> None:
        super().__init__()
        image, sides, channels = _pyramid(event, width)
        self.small = (channels[-1], *sides[-1])
        self.enter = nn.Linear(inputs, math.prod(self.small))
        self.sides = sides[-2::-1]
        self.up, self.blocks = nn.ModuleList(), nn.ModuleList()
        for n, m in itertools.pairwise(reversed(channels)):
            self.up.append(nn.ConvTranspose2d(n, m, 4, stride=2, padding=1))
            self.blocks.append(Residual(m, dropout) if residual else nn.Identity())
        self.out = BiasedMap(image, channels[0], count)

    def forward(self, z: Tensor) -> Tensor:
        h = self.enter(z.flatten(0, -2) if z.dim() > 1 else z[None]).reshape(-1, *self.small)
        for up, block, (height, width) in zip(self.up, self.blocks, self.sides, strict=True):
            h = block(up(F.silu(h))[..., :height, :width])
        outputs: Tensor = self.out(F.silu(h))
        return outputs.reshape(*z.shape[:-1], -1).to(z.dtype)


class BiasedMap(nn.Module):
    """A convolution of 3x3 to ``count`` numbers of each entry, ``(n, size * count)``, each with a bias of its own."""

    def __init__(self, image: Shape, width: int, count: int) -> None:
        super().__init__()
        self.channels, self.count = image[0], count
        self.conv = nn.Conv2d(width, image[0] * count, 3, padding=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(math.prod(image) * count))

    def forward(self, h: Tensor) -> Tensor:
        maps = self.conv(h).unflatten(1, (self.channels, self.count))
        return maps.movedim(2, -1).flatten(1) + self.bias


def _pyramid(event: Event, width: int) -> tuple[Shape, list[tuple[int, int]], list[int]]:
    """The image's shape, its sides at each size, and the channels there."""
    image = image_shape(event)
    if min(image[1:]) < SMALLEST:
        raise ZooError(f"convolutions take images with sides of {SMALLEST} or more, got {event}; take net=mlp")
    sides = halved_sides(*image[1:], HALVINGS)
    return image, sides, [width * 2 ** min(i, 2) for i in range(len(sides))]
