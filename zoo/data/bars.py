"""Bars seen by two eyes: pairs of one-dimensional images, the second of which is shifted by a disparity."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.labels import with_labels
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.registry import dataset

BLUR = 0.7
"""Standard deviation of a bar's profile, in pixels."""
NOISE = 0.1
"""Standard deviation of each pixel's normal noise; a bar is 0.5 to 1.5 high."""

_SIZES = (10_000, 2000, 2000)


@dataset("shifted-bars", about="bars seen by two eyes, real, drawn with the seed; labels=all adds the disparity's sign")
def shifted_bars(
    seed: int = 0,
    *,
    labels: int | str = 0,
    unlabelled: bool = True,
    width: int = 16,
    bars: int = 3,
    disparity: float = 2.0,
) -> Dataset:
    """Images ``(2, width)``: so many ``bars`` at random places, and the same bars ``disparity`` pixels further.

    Places are continuous and wrap around. All bars of a datum are shifted the same way. The label ``y`` says which: 0
    to the left, 1 to the right. No pixel depends on it, only which pixels of the two images go together; so no linear
    function of x tells it. Simpler than the stereograms of Hinton & Ghahramani 1997, and after their example.

    Raises:
        ZooError: fewer than 4 pixels or no bar.
    """
    if width < 4 or bars < 1:
        raise ZooError(f"shifted-bars has a width of 4 or more and bars from 1, got width={width}, bars={bars}")
    n, generator = sum(_SIZES), torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=generator)
    left = width * torch.rand(n, bars, generator=generator)
    height = 0.5 + torch.rand(n, bars, generator=generator)
    right = left + disparity * (2 * y[:, None] - 1)
    x = torch.stack([_image(places, height, width) for places in (left, right)], 1)
    x = x + NOISE * torch.randn(x.shape, generator=generator)
    sizes = "{} train, {} validation, {} test".format(*_SIZES)
    story = (
        f"{bars} bars seen by two eyes, {disparity:g} of {width} pixels apart, noise {NOISE}, drawn with seed {seed}"
    )
    train, validation, test = x.split(_SIZES)
    data = Dataset("shifted-bars", Event((2, width), "real"), train, validation, test, f"{story}: {sizes}.")
    return with_labels(data, y.split(_SIZES), labels, unlabelled, seed)


def _image(places: Tensor, height: Tensor, width: int) -> Tensor:
    """Bars at ``places`` of a circle of pixels, both of shape ``(n, bars)``: shape ``(n, width)``."""
    distance = (torch.arange(width) - places[..., None] + width / 2) % width - width / 2
    return (height[..., None] * torch.exp(-0.5 * (distance / BLUR) ** 2)).sum(1)
