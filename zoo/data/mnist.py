"""MNIST from its IDX files, found on disk or fetched once, and verified either way."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.labels import with_labels
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.registry import dataset

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
BINARISATION_SEED = 0
_READ_ERRORS = (OSError, EOFError, zlib.error)


@dataclass(frozen=True)
class IdxFile:
    """One published file: its name without ``.gz`` and the SHA-256 of its content and of its published packing."""

    name: str
    content: str
    packed: str


OFFICIAL: Mapping[str, IdxFile] = {
    "train": IdxFile(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "test": IdxFile(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
}
LABELS: Mapping[str, IdxFile] = {
    "train": IdxFile(
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "test": IdxFile(
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}


@dataset("mnist", about="handwritten digits, 28x28, 256 levels; labels=500 adds the digit")
def mnist(
    data_dir: Path | None = None,
    files: Mapping[str, IdxFile] = OFFICIAL,
    mirror: str = MIRROR,
    seed: int = 0,
    *,
    labels: int | str = 0,
    unlabelled: bool = True,
) -> Dataset:
    """MNIST's images with 256 levels: 5/6 of the training file train, its rest validation, the test file test.

    With ``labels`` (a number, or ``all``) a datum has the field ``y`` too, the digit (see `zoo.data.labels`).

    The files (gzipped or not, in the folder or in its subfolder ``mnist``) are looked for in ``data_dir``, then in
    ``$ZOO_DATA``, then in the cache. If they are in none of them, they are fetched from ``mirror`` into the cache.

    Raises:
        ZooError: no files and no network, or a file that is not the published one.
    """
    images, test = (
        torch.from_numpy(read_idx(_find(file, data_dir, mirror), file.content)).float()
        for file in (files["train"], files["test"])
    )
    held_out = len(images) // 6
    train, validation = images.split([len(images) - held_out, held_out])
    source = (
        f"MNIST (LeCun et al. 1998): the training file's first {len(train)} images train, its last {len(validation)} "
        f"validation, the test file's {len(test)} test"
    )
    data = Dataset("mnist", Event(tuple(images.shape[1:]), 256), train, validation, test, f"{source}.")
    return with_labels(data, _digits(data, data_dir, mirror), labels, unlabelled, seed) if labels else data


def _digits(data: Dataset, data_dir: Path | None, mirror: str = MIRROR) -> tuple[Tensor, Tensor, Tensor]:
    """The digit that each image of the three splits shows."""
    files = LABELS.values()
    train, test = (torch.from_numpy(read_idx(_find(each, data_dir, mirror), each.content, axes=1)) for each in files)
    first, second = train.split([len(data.train), len(data.validation)])
    return first, second, test


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
    data = binarised(mnist(data_dir), dynamic=False)
    return with_labels(data, _digits(data, data_dir), labels, unlabelled, seed) if labels else data


@dataset("mnist-dynamic", about="MNIST in black and white, drawn again in each batch")
def mnist_dynamic(data_dir: Path | None) -> Dataset:
    """`binarised` MNIST whose train split is drawn again in each batch."""
    return binarised(mnist(data_dir), dynamic=True)


def read_idx(path: Path, checksum: str, axes: int = 3) -> NDArray[np.uint8]:
    """The bytes of an IDX file, packed or not: images of shape ``(n, height, width)``, or labels with ``axes=1``.

    Raises:
        ZooError: an unreadable file, or one whose unpacked content does not have the SHA-256 ``checksum``.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except _READ_ERRORS as error:
        raise ZooError(f"cannot read {path}: {error}; delete it to fetch it again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != checksum:
        raise ZooError(
            f"{path} is damaged or not the published file: the SHA-256 of its unpacked content is {found}, expected "
            f"{checksum}; delete it to fetch it again"
        )
    return parse_idx(content, str(path), axes)


def parse_idx(content: bytes, name: str = "IDX data", axes: int = 3) -> NDArray[np.uint8]:
    """Unsigned bytes with ``axes`` dimensions: a magic number, that many big-endian sizes, then the data.

    Raises:
        ZooError: another magic number, or a length that does not match the sizes.
    """
    start = 4 * (1 + axes)
    if len(content) < start:
        raise ZooError(f"{name} has {len(content)} bytes, fewer than the {start} of an IDX header of {axes} sizes")
    magic, *sizes = struct.unpack(f">{1 + axes}I", content[:start])
    if magic != 0x800 + axes:
        raise ZooError(
            f"{name} has the magic number {magic:#010x}; IDX data with {axes} sizes have {0x800 + axes:#010x}"
        )
    if len(content) - start != math.prod(sizes):
        raise ZooError(f"{name} announces {'x'.join(map(str, sizes))} bytes but holds {len(content) - start}")
    # A copy, because torch wants writable memory.
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes).copy()


def _find(file: IdxFile, data_dir: Path | None, mirror: str) -> Path:
    for folder in _folders(data_dir):
        for path in (folder / file.name, folder / f"{file.name}.gz"):
            if path.is_file():
                return path
    return _fetch(file, mirror)


def _folders(data_dir: Path | None) -> Iterator[Path]:
    import pooch

    if data_dir is not None and not data_dir.is_dir():
        raise ZooError(f"the data folder {data_dir} does not exist; name one that does, or leave it out")
    for root in (data_dir, os.environ.get("ZOO_DATA"), pooch.os_cache("zoo")):
        if root:
            yield from (Path(root), Path(root) / "mnist")


def _fetch(file: IdxFile, mirror: str) -> Path:
    import pooch

    wanted = LABELS if file in LABELS.values() else OFFICIAL
    url, folder = f"{mirror}{file.name}.gz", Path(pooch.os_cache("zoo")) / "mnist"
    try:
        return Path(pooch.retrieve(url, known_hash=file.packed, fname=f"{file.name}.gz", path=folder))
    except (OSError, ValueError) as error:
        raise ZooError(
            f"MNIST is not on disk and cannot be fetched ({type(error).__name__} at {url}): connect to the network and "
            f"try again, or put {' and '.join(each.name + '.gz' for each in wanted.values())} into a folder and name "
            "it by --data-dir or $ZOO_DATA"
        ) from error
