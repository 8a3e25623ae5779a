"""Digits turned by several angles: records of the image ``x``, the digit ``y`` and the domain ``d``, the angle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.digits import digits
from zoo.data.mnist import mnist
from zoo.errors import ZooError
from zoo.event import Event, Field
from zoo.pairs.registry import dataset

ANGLES = (0, 15, 30, 45, 60, 75)
"""Of the domains, in degrees, counterclockwise."""


@dataset("rotated", about="MNIST at six angles, one left out for the test: leave=75,images=1000,new=True")
def rotated(
    data_dir: Path | None = None, seed: int = 0, *, leave: int = 75, images: int = 1000, new: bool = False
) -> Dataset:
    """MNIST's digits at the `ANGLES`; see `turned`. Validation images are drawn from MNIST's validation split.

    Raises:
        ZooError: see `turned`, and `zoo.data.mnist.mnist`.
    """
    return turned(mnist(data_dir, labels="all"), "rotated", leave, images, new, seed)


@dataset("rotated-digits", about="scikit-learn's 8x8 digits at six angles, one left out for the test: leave=75")
def rotated_digits(seed: int = 0, *, leave: int = 75, images: int = 300, new: bool = False) -> Dataset:
    """Scikit-learn's digits at the `ANGLES`; see `turned`.

    Raises:
        ZooError: see `turned`.
    """
    return turned(digits(labels="all"), "rotated-digits", leave, images, new, seed)


def turned(data: Dataset, name: str, leave: int, images: int, new: bool, seed: int) -> Dataset:
    """Train on the same images at every angle but one, test at that one.

    ``images`` images are drawn from the train split with ``seed``, and a third as many from the validation split. Each
    is in the train (validation) data once for each of the five angles that remain. The test data are the same train
    images at the angle that is left out or, with ``new``, the test split at it.

    The levels of ``d`` are the angles that remain, in ascending order, and as the last one the unknown domain, which
    the test data have and no other datum. A likelihood of the test data is therefore given an unknown domain.

    Args:
        data: a record of an image ``x`` with levels and of its class ``y``.
        name: of the result.
        leave: the angle that is left out.
        images: how many train images.
        new: whether the test data show other digits than the train data.
        seed: draws the images.

    Raises:
        ZooError: an angle that is not of `ANGLES`, or another number of images than from 3 to those that there are.
    """
    if leave not in ANGLES:
        raise ZooError(f"leave is one of the angles {', '.join(map(str, ANGLES))} of {name}, got {leave!r}")
    validated = images // 3
    if not (3 <= images <= len(data.train) and validated <= len(data.validation)):
        most = min(len(data.train), 3 * len(data.validation) + 2)
        raise ZooError(f"images is from 3 to {most} of {name}, got {images!r}")
    generator = torch.Generator().manual_seed(seed)
    train = data.train[torch.randperm(len(data.train), generator=generator)[:images]]
    validation = data.validation[torch.randperm(len(data.validation), generator=generator)[:validated]]
    kept = [angle for angle in ANGLES if angle != leave]
    x, y = data.event.main, data.event.label
    assert y is not None  # both data sets are made with labels
    event = Event.record(x, y, Field("d", (), len(ANGLES), "given"))

    def at(split: Tensor, angle: int, level: int) -> Tensor:
        values = data.event.unpack(split)
        assert values["x"] is not None  # an observed field
        turned = rotate(values["x"], angle, x.levels or 0)
        return event.pack({"x": turned, "y": values["y"], "d": torch.full((len(split),), float(level))})

    return Dataset(
        name=name,
        event=event,
        train=torch.cat([at(train, angle, level) for level, angle in enumerate(kept)]),
        validation=torch.cat([at(validation, angle, level) for level, angle in enumerate(kept)]),
        test=at(data.test if new else train, leave, len(kept)),
        source=f"{data.source.removesuffix('.')}; {images} train and {validated} validation images, drawn with seed "
        f"{seed}, each at {', '.join(map(str, kept))} degrees, test {'split' if new else 'the same train images'} at "
        f"{leave} degrees, whose domain d is unknown (level {len(kept)}); turned by bilinear interpolation with zeros "
        "beyond the border, and rounded to levels.",
        names={"d": (*(f"{angle} degrees" for angle in kept), "unknown")},
    )


def rotate(images: Tensor, angle: int, levels: int) -> Tensor:
    """Images ``(n, h, w)`` turned counterclockwise about their centre, in degrees.

    A pixel is interpolated bilinearly from four, with zeros beyond the border, and rounded to the nearest level.

    Example:
        >>> rotate(torch.tensor([[[3.0, 0.0], [0.0, 0.0]]]), 90, 4)
        tensor([[[0., 0.],
                 [3., 0.]]])
    """
    if angle == 0:
        return images
    from scipy import ndimage

    found = ndimage.rotate(images.double().numpy(), angle, axes=(2, 1), reshape=False, order=1, prefilter=False)
    return torch.from_numpy(np.rint(found).clip(0, levels - 1)).float()
