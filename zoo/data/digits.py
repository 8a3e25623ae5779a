"""Scikit-learn's handwritten digits: 1797 images of 8x8 pixels, 17 levels (0 to 16)."""

from __future__ import annotations

import torch

from zoo.data.dataset import Dataset
from zoo.event import Event
from zoo.pairs.registry import dataset

THRESHOLD = 8
"""The least level that is 1 in ``digits-binary``: half of the greatest one."""

_SPLIT = (1000, 350, 447)
_SOURCE = "scikit-learn's load_digits in file order: first 1000 train, next 350 validation, last 447 test"


@dataset("digits", about="scikit-learn's handwritten digits, 8x8, 17 levels")
def digits() -> Dataset:
    """The digits with their 17 levels, split as the tutorial literature does."""
    from sklearn.datasets import load_digits

    train, validation, test = torch.from_numpy(load_digits().images).float().split(_SPLIT)
    return Dataset("digits", Event((8, 8), 17), train, validation, test, f"{_SOURCE}.")


@dataset("digits-binary", about="the digits in black and white by a threshold")
def digits_binary() -> Dataset:
    """The digits in black and white: 1 where the level is at least `THRESHOLD`."""
    return digits().map(
        lambda split: (split >= THRESHOLD).float(),
        name="digits-binary",
        event=Event((8, 8), "binary"),
        source=f"{_SOURCE}; a pixel is 1 where its level is at least {THRESHOLD} of 16.",
    )
