"""BSDS300: patches of natural photographs, as real data of 63 dimensions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.folders import find_folder
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.registry import dataset

SIDE = 8
VALIDATION_IMAGES = 0.1
"""The share of the train images, the last by name, whose patches validate."""


@dataset("bsds300", about="8x8 patches of natural photographs less their mean: 63 real numbers")
def bsds300(
    data_dir: Path | None, seed: int = 0, *, train: int = 1_000_000, validation: int = 50_000, test: int = 250_000
) -> Dataset:
    """Grey patches of 8x8 pixels with uniform noise, divided by 256, less their mean and without the last pixel.

        y = (x + u) / 256, u ~ U[0, 1)^64;     y - mean(y), the first 63 entries

    The last entry follows from the others. Nats are densities of these 63 numbers, as in the literature. What differs
    from it: patches, of random places with ``seed``, are not the published ones, which were drawn once; the patches of
    validation are of other photographs than those that train, the last tenth by name; grey is Pillow's luma of the
    JPEGs.

    The photographs are looked for in ``images/train`` and ``images/test`` of the folders ``bsds300`` and ``BSDS300`` of
    ``data_dir``, ``$ZOO_DATA`` or the cache.

    Args:
        data_dir: the user's data folder.
        seed: of places and noise.
        train, validation, test: numbers of patches; by default the literature's.

    Raises:
        ZooError: no photographs, or numbers that are not positive.

    Reference:
        Martin et al. 2001; the patches: Zoran & Weiss 2011; the protocol: Uria et al. 2013, arXiv:1306.0186, and
        Papamakarios et al. 2017, arXiv:1705.07057, appendix D.
    """
    if min(train, validation, test) < 1:
        raise ZooError(f"bsds300 takes one patch or more of each split, got {train}, {validation} and {test}")
    address = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/BSDS300-images.tgz"
    title = "BSDS300 (Martin et al. 2001)"
    folder = find_folder(data_dir, ("bsds300", "BSDS300"), "images/train", title, address)
    images = {word: sorted((folder / "images" / word).glob("*.jpg")) for word in ("train", "test")}
    if len(images["train"]) < 2 or not images["test"]:
        found = f"{len(images['train'])} and {len(images['test'])}"
        raise ZooError(f"{folder}/images should have .jpg in train, two or more, and in test; found {found}")
    held_out = max(1, round(VALIDATION_IMAGES * len(images["train"])))
    generator = np.random.default_rng(seed)
    parts = (images["train"][:-held_out], train), (images["train"][-held_out:], validation), (images["test"], test)
    splits = [_patches(paths, count, generator) for paths, count in parts]
    source = (
        f"{title}: {train} patches of 8x8 of {len(parts[0][0])} photographs train, {validation} of {held_out} others "
        f"validation, {test} of the {len(images['test'])} test photographs test; drawn with seed {seed}."
    )
    return Dataset("bsds300", Event(SIDE * SIDE - 1, "real"), splits[0], splits[1], splits[2], source)


def _patches(paths: list[Path], count: int, generator: np.random.Generator) -> Tensor:
    """``count`` patches of random photographs at random places, ``(count, 63)``, in random order."""
    from PIL import Image

    found = np.empty((count, SIDE * SIDE - 1), np.float32)
    chosen = generator.integers(len(paths), size=count)
    for place, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("L"))
        except (OSError, ValueError) as error:
            raise ZooError(f"cannot read {path} as an image: {error}") from error
        rows = (chosen == place).nonzero()[0]
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (SIDE, SIDE))
        i, j = (generator.integers(n, size=len(rows)) for n in windows.shape[:2])
        patches = windows[i, j].reshape(len(rows), -1)
        numbers = (patches + generator.random(patches.shape)) / 256
        found[rows] = (numbers - numbers.mean(1, keepdims=True))[:, :-1]
    return torch.from_numpy(found)
