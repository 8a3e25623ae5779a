"""Pairs of one-dimensional images of bars, one of them shifted: what two eyes see of a surface at some distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.labels import with_labels
from zoo.event import Event
from zoo.pairs.registry import dataset

BARS = 3
"""In each datum."""
BLUR = 0.7
"""Standard deviation of a bar's profile, in pixels."""
BAR_NOISE = 0.1
"""Standard deviation of the normal noise of each pixel; the height of a bar is from 0.5 to 1.5."""

_SIZES = (10_000, 2000, 2000)


@dataset("shifted-bars", about="bars seen by two eyes, real, drawn with the seed; y says which way they are shifted")
def shifted_bars(
    seed: int = 0,
    *,
    labels: int | str = 0,
    unlabelled: bool = True,
    width: int = 16,
    bars: int = 3,
    disparity: float = 2.0,
    noise: float = 0.1,
    grid: bool = False,
) -> Dataset:
    n, generator = sum(_SIZES), torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=generator)
    place = width * torch.rand(n, 1, bars, generator=generator)
    if grid:
        place = place.floor()
    height = 0.5 + torch.rand(n, 1, bars, 1, generator=generator)
    shift = disparity * torch.tensor([[0.0, -1.0], [0.0, 1.0]])[y]
    x = (height * profile(place + shift[:, :, None], width)).sum(2)
    x = x + noise * torch.randn(x.shape, generator=generator)
    sizes = "{} train, {} validation, {} test".format(*_SIZES)
    story = f"drawn with seed {seed}: {sizes}."
    data = Dataset("shifted-bars", Event((2, width), "real"), *x.split(_SIZES), story)
    return with_labels(data, y.split(_SIZES), labels, unlabelled, seed)


def profile(place: Tensor, width: int) -> Tensor:
    """A bar of height 1 at each place, ``(...)`` to ``(..., width)``, around a circle of ``width`` pixels."""
    distance = (torch.arange(width) - place[..., None] + width / 2) % width - width / 2
    return torch.exp(-0.5 * (distance / BLUR) ** 2)
