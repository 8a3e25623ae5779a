"""Scikit-learn's handwritten digits: 1797 images of 8x8 pixels, 17 levels (0 to 16)."""

from __future__ import annotations

import torch

from zoo.data.dataset import Dataset
from zoo.data.labels import with_labels
from zoo.event import Event
from zoo.pairs.registry import dataset

THRESHOLD = 8
"""The least level that is 1 in ``digits-binary``: half of the greatest one."""

_SPLIT = (1000, 350, 447)
_SOURCE = "scikit-learn's load_digits in file order: first 1000 train, next 350 validation, last 447 test"


@dataset("digits", about="scikit-learn's handwritten digits, 8x8, 17 levels; labels=100 adds the digit")
def digits(seed: int = 0, *, labels: int | str = 0, unlabelled: bool = True) -> Dataset:
    """The digits with their 17 levels, split as the tutorial literature does.

    With ``labels`` (a number, or ``all``) a datum has the field ``y`` too, the digit (see `zoo.data.labels`).
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    train, validation, test = torch.from_numpy(loaded.images).float().split(_SPLIT)
    data = Dataset("digits", Event((8, 8), 17), train, validation, test, f"{_SOURCE}.")
    return with_labels(data, torch.from_numpy(loaded.target).split(_SPLIT), labels, unlabelled, seed)


@dataset("digits-binary", about="the digits in black and white by a threshold; labels=100 adds the digit")
def digits_binary(seed: int = 0, *, labels: int | str = 0, unlabelled: bool = True) -> Dataset:
    """The digits in black and white: 1 where the level is at least `THRESHOLD`; ``labels`` as of `digits`."""
    data = digits().map(
        lambda split: (split >= THRESHOLD).float(),
        name="digits-binary",
        event=Event((8, 8), "binary"),
        source=f"{_SOURCE}; a pixel is 1 where its level is at least {THRESHOLD} of 16.",
    )
    known = digits(labels="all")
    y = [split[:, -1] for split in (known.train, known.validation, known.test)]
    return with_labels(data, y, labels, unlabelled, seed)
