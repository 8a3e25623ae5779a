"""CIFAR-10 from its binary batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.dataset import Dataset
from zoo.data.folders import find_folder
from zoo.data.labels import with_labels
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.registry import dataset

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
"""Bytes of an image in a batch: its class, then the red, green and blue pixels row by row."""
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDERS = ("cifar10", "cifar-10-batches-bin", "")
TRAIN, TEST = tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"


@dataset("cifar10", about="CIFAR-10: photographs, 3x32x32, 256 levels; labels=500 adds the class")
def cifar10(data_dir: Path | None, seed: int = 0, *, labels: int | str = 0, unlabelled: bool = True) -> Dataset:
    """CIFAR-10 with 256 levels: nine tenths of the training batches train, their last tenth validates.

    With ``labels`` (a number, or ``all``) a datum has the field ``y`` too (see `zoo.data.labels`).

    Its binary batches, ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, are looked for in the
    folders ``cifar10`` and ``cifar-10-batches-bin`` of ``data_dir``, then in that folder itself; then of ``$ZOO_DATA``;
    then of the cache. Nothing is fetched.

    Raises:
        ZooError: no files, or one that is no such batch.

    Reference:
        Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    address = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    folder = find_folder(data_dir, FOLDERS, TRAIN[0], "CIFAR-10 (Krizhevsky 2009)", address)
    records = [
        torch.from_numpy(part)
        for part in (np.concatenate([_batch(folder / name) for name in TRAIN]), _batch(folder / TEST))
    ]
    images, test = (part[:, 1:].float().reshape(-1, *SHAPE) for part in records)
    held_out = len(images) // 10
    train, validation = images.split([len(images) - held_out, held_out])
    source = (
        f"CIFAR-10 (Krizhevsky 2009): the training batches' first {len(train)} images train, their last "
        f"{len(validation)} validation, the test batch's {len(test)} test."
    )
    data = Dataset("cifar10", Event(SHAPE, 256), train, validation, test, source)
    if not labels:
        return data
    y = (*records[0][:, 0].split([len(train), len(validation)]), records[1][:, 0])
    return replace(with_labels(data, y, labels, unlabelled, seed), names={"y": CLASSES})


def _batch(path: Path) -> NDArray[np.uint8]:
    """The records of a batch, shape ``(n, RECORD)``."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ZooError(f"cannot read {path}: {error}; CIFAR-10 has {', '.join(TRAIN)} and {TEST}") from error
    if not len(content) or len(content) % RECORD:
        raise ZooError(
            f"{path} has {len(content)} bytes, and a batch of CIFAR-10 has {RECORD} an image; fetch it again"
        )
    records = content.reshape(-1, RECORD)
    if records[:, 0].max() >= len(CLASSES):
        raise ZooError(f"{path} has an image of class {records[:, 0].max()}, and CIFAR-10 has 0 to 9; fetch it again")
    return records
