"""Omniglot: handwritten characters of fifty alphabets, from its images or from the array that the literature uses."""

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

SIDE = 28
BINARISATION_SEED = 0
ARRAY = "chardata.mat"
VALIDATION = 1345
"""The last train data of the array validate, as in the VampPrior's code."""
LAST_DRAWERS = ("_19", "_20")
"""Of the twenty people who drew each character, those whose drawings validate, by the end of the files' names."""


@dataset("omniglot", about="handwritten characters of 50 alphabets, 28x28, black and white, drawn again in each batch")
def omniglot(data_dir: Path | None) -> Dataset:
    """Omniglot's characters as 28x28 intensities, from which each batch of the train split is drawn.

    Validation and test are drawn once with `BINARISATION_SEED`. The folder ``omniglot`` of ``data_dir``, ``$ZOO_DATA``
    or the cache has one of these:

    - ``chardata.mat`` (Burda et al. 2015), with the literature's split: its last 1,345 of 24,345 train data validate,
      8,070 test. Which data validate differs between papers.
    - ``images_background`` and ``images_evaluation``, each with a folder for each alphabet and in it one for each
      character, of 105x105 pixels: ink is averaged over the areas of 28x28 pixels. The first folder trains, less the
      drawings of the last two of twenty people, which validate; the second tests. This split is not that of the array,
      so scores are not those of the literature.

    Raises:
        ZooError: neither, or files of another kind.

    Reference:
        Lake et al. 2015, Science 350; the array: Burda et al. 2015, arXiv:1509.00519.
    """
    address = (
        "images_background.zip and images_evaluation.zip of https://github.com/brendenlake/omniglot, or put there "
        "chardata.mat of https://github.com/yburda/iwae/tree/master/datasets/OMNIGLOT,"
    )
    title, names = "Omniglot (Lake et al. 2015)", ("omniglot", "OMNIGLOT", "")
    try:
        folder = find_folder(data_dir, names, ARRAY, title, address)
    except ZooError:
        folder = find_folder(data_dir, names, "images_background", title, address)
        train, validation, test, story = _of_images(folder)
    else:
        train, validation, test, story = _of_array(folder / ARRAY)
    generator = torch.Generator().manual_seed(BINARISATION_SEED)
    source = (
        f"{title}, {story}: {len(train)} train, {len(validation)} validation, {len(test)} test; a pixel is 1 with the "
        f"probability of its ink: validation and test drawn with seed {BINARISATION_SEED}, train again in each batch."
    )
    validation, test = (torch.bernoulli(part, generator=generator) for part in (validation, test))
    return Dataset("omniglot", Event((SIDE, SIDE), "binary"), train, validation, test, source, binarise=True)


def _of_array(path: Path) -> tuple[Tensor, Tensor, Tensor, str]:
    """The intensities of ``chardata.mat``, whose images are columns of pixels from the top down, column by column."""
    from scipy.io import loadmat

    try:
        found = loadmat(path)
        parts = [np.asarray(found[name], np.float32) for name in ("data", "testdata")]
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise ZooError(f"cannot read {path} as Omniglot's array: {error!r}; fetch it again") from error
    for part in parts:
        if part.ndim != 2 or len(part) != SIDE * SIDE or not (part.min() >= 0 and part.max() <= 1):
            raise ZooError(f"{path} should hold {SIDE * SIDE} intensities in [0, 1] a column, got {part.shape}")
    images, test = (torch.from_numpy(part.T.reshape(-1, SIDE, SIDE).transpose(0, 2, 1).copy()) for part in parts)
    held_out = min(VALIDATION, len(images) // 2)
    train, validation = images.split([len(images) - held_out, held_out])
    return train, validation, test, f"{ARRAY} of Burda et al. 2015, its last {held_out} train data validation"


def _of_images(folder: Path) -> tuple[Tensor, Tensor, Tensor, str]:
    background, test = (
        sorted((folder / name).glob("*/*/*.png")) for name in ("images_background", "images_evaluation")
    )
    validation = [path for path in background if path.stem.endswith(LAST_DRAWERS)]
    train = [path for path in background if not path.stem.endswith(LAST_DRAWERS)]
    if not (train and validation and test):
        raise ZooError(
            f"{folder} should have images_background and images_evaluation with ALPHABET/CHARACTER/NUMBER_PERSON.png, "
            f"people 01 to 20; found {len(train)} to train, {len(validation)} to validate, {len(test)} to test"
        )
    story = "its images averaged over areas, background but for the last two people train, evaluation test"
    return _inks(train), _inks(validation), _inks(test), story


def _inks(paths: list[Path]) -> Tensor:
    """The share of ink in each of 28x28 areas, ``(n, 28, 28)``, of images that are black on white."""
    from PIL import Image

    found = np.empty((len(paths), SIDE, SIDE), np.float32)
    for place, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        except (OSError, ValueError) as error:
            raise ZooError(f"cannot read {path} as an image: {error}") from error
        found[place] = 1 - np.asarray(grey, np.float32) / 255
    return torch.from_numpy(found)
