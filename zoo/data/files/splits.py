"""Which data of a file train, validate and test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.files.contents import SPLITS, Contents
from zoo.errors import ZooError

DEFAULT_SPLIT = (0.8, 0.1, 0.1)
HELD_OUT = 0.1
"""The share of train data that validate, where a file has train and test data only."""


def divided(
    contents: Contents, n: int, shares: tuple[float, float, float] | None, seed: int
) -> tuple[dict[str, NDArray[np.int64]], str]:
    """The places of the ``n`` data by split, and how they were found."""
    if contents.sizes is not None:
        if shares is not None:
            own = ", ".join(word for word, size in zip(SPLITS, contents.sizes, strict=True) if size)
            raise ZooError(f"{contents.path} holds its own {own}; leave the split out")
        places, story = np.arange(n), "split as in the file"
        train, validation, test = contents.sizes
        if not validation:
            if train < 2:
                raise ZooError(f"{contents.path} has {train} train datum, of which none can validate; bring more data")
            validation = max(1, round(HELD_OUT * train))
            train -= validation
            places[: train + validation] = np.random.default_rng(seed).permutation(train + validation)
            story += f", {HELD_OUT:.0%} of train drawn with seed {seed} for validation"
        sizes = train, validation, test
    elif contents.times is not None:
        places, sizes = np.argsort(contents.times, kind="stable"), parts_of(contents.path, n, shares or DEFAULT_SPLIT)
        story = f"in the order of time, split {slashed(shares or DEFAULT_SPLIT)}"
    else:
        shares, groups = shares or DEFAULT_SPLIT, np.arange(n) if contents.groups is None else contents.groups
        order = np.random.default_rng(seed).permutation(groups.max() + 1)
        places = np.argsort(order.argsort()[groups], kind="stable")
        parts = ", the parts of each in order," if len(order) < n else ""
        shuffled = f"shuffled with seed {seed}{parts} and" if len(order) > 1 else "in order,"
        sizes, story = parts_of(contents.path, n, shares), f"{shuffled} split {slashed(shares)}"
    return dict(zip(SPLITS, np.split(places, [sizes[0], sizes[0] + sizes[1]]), strict=True)), story


def parts_of(path: Path, n: int, shares: tuple[float, float, float]) -> tuple[int, int, int]:
    """How many of ``n`` data train, validate and test."""
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ZooError(f"a split is three positive shares that sum to 1, such as 0.8, 0.1, 0.1; got {slashed(shares)}")
    validation, test = round(shares[1] * n), round(shares[2] * n)
    sizes = (n - validation - test, validation, test)
    if min(sizes) < 1:
        raise ZooError(
            f"{path}: {n} data split by {slashed(shares)} leave {slashed(sizes)} for {slashed(SPLITS)}; each needs "
            "at least one: bring more data or choose another split"
        )
    return sizes


def slashed(values: Sequence[object]) -> str:
    """Values in a sentence."""
    return "/".join(map(str, values))
