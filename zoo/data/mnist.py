"""MNIST in grey or black and white, and Fashion-MNIST, from their published files (see `zoo.data.idx`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.idx import FASHION, MNIST, Published
from zoo.data.labels import with_labels
from zoo.event import Event
from zoo.pairs.registry import dataset

BINARISATION_SEED = 0
GARMENTS = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
"""What the labels of Fashion-MNIST mean, from 0 on."""


@dataset("mnist", about="handwritten digits, 28x28, 256 levels; labels=500 adds the digit")
def mnist(
    data_dir: Path | None = None,
    source: Published = MNIST,
    seed: int = 0,
    *,
    labels: int | str = 0,
    unlabelled: bool = True,
) -> Dataset:
    """MNIST's images with 256 levels: 5/6 of the training file train, its rest validation, the test file test.

    With ``labels`` (a number, or ``all``) a datum has the field ``y`` too, the digit (see `zoo.data.labels`).

    The files (gzipped or not, in the folder or in its subfolder ``mnist``) are looked for in ``data_dir``, then in
    ``$ZOO_DATA``, ``/usr/share/datasets`` and the cache. If they are in none of them, they are fetched into the cache.

    Raises:
        ZooError: no files and no network, or a file that is not the published one.
    """
    data = source.load(data_dir)
    return with_labels(data, source.load_labels(data, data_dir), labels, unlabelled, seed) if labels else data


@dataset("fashion", about="Fashion-MNIST: garments, 28x28, 256 levels; labels=500 adds the kind of garment")
def fashion(
    data_dir: Path | None = None,
    source: Published = FASHION,
    seed: int = 0,
    *,
    labels: int | str = 0,
    unlabelled: bool = True,
) -> Dataset:
    """Fashion-MNIST's images with 256 levels, split as MNIST: 50,000 train, 10,000 validation, 10,000 test.

    With ``labels`` (a number, or ``all``) a datum has the field ``y`` too, the kind of garment: T-shirt/top, trouser,
    pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.

    Its files have the names of MNIST's. They are looked for in the subfolders ``fashion``, ``fashion-mnist`` and
    ``FashionMNIST/raw`` of ``data_dir``, then in that folder itself; then of ``$ZOO_DATA``; then of
    ``/usr/share/datasets``, where Debian's package ``dataset-fashion-mnist`` has them; then of the cache, where they
    are fetched to if they are in none of them.

    Raises:
        ZooError: no files and no network, or a file that is not the published one.

    Reference:
        Xiao et al. 2017, arXiv:1708.07747.
    """
    data = mnist(data_dir, source, seed, labels=labels, unlabelled=unlabelled)
    return replace(data, names={"y": GARMENTS}) if labels else data


def binarised(levels: Dataset, *, dynamic: bool) -> Dataset:
    """Black and white MNIST: a pixel is 1 with probability level/255 (Salakhutdinov & Murray 2008).

    With ``dynamic``, each batch of the train split is drawn again (Burda et al. 2015); otherwise the split is drawn
    once. Validation and test are drawn once with `BINARISATION_SEED`, and are the same in both.
    """
    generator = torch.Generator().manual_seed(BINARISATION_SEED)

    def draw(split: Tensor) -> Tensor:
        # Integer comparisons give the same result on every machine.
        return (torch.randint(255, split.shape, generator=generator, dtype=torch.uint8) < split).float()

    validation, test = draw(levels.validation), draw(levels.test)
    drawn = "validation and test are" if dynamic else "everything is"
    return Dataset(
        name=f"{levels.name}-{'dynamic' if dynamic else 'static'}",
        event=Event(levels.event.shape, "binary"),
        train=levels.train / 255 if dynamic else draw(levels.train),
        validation=validation,
        test=test,
        source=f"{levels.source.removesuffix('.')}; a pixel is 1 with probability level/255: {drawn} drawn once "
        f"with seed {BINARISATION_SEED}{', train again in each batch' if dynamic else ''}.",
        binarise=dynamic,
    )


@dataset("mnist-static", about="MNIST in black and white, drawn once; labels=500 adds the digit")
def mnist_static(data_dir: Path | None, seed: int = 0, *, labels: int | str = 0, unlabelled: bool = True) -> Dataset:
    """`binarised` MNIST whose train split is drawn once; ``labels`` as of `mnist`."""
    data = binarised(MNIST.load(data_dir), dynamic=False)
    return with_labels(data, MNIST.load_labels(data, data_dir), labels, unlabelled, seed) if labels else data


@dataset("mnist-dynamic", about="MNIST in black and white, drawn again in each batch")
def mnist_dynamic(data_dir: Path | None) -> Dataset:
    """`binarised` MNIST whose train split is drawn again in each batch."""
    return binarised(MNIST.load(data_dir), dynamic=True)
