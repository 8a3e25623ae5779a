"""Published images in IDX files, as MNIST has them: found on disk or fetched once, and verified either way."""

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
from zoo.errors import ZooError
from zoo.event import Event

_ERRORS = (OSError, EOFError, zlib.error)
SYSTEM = "/usr/share/datasets"
"""Where Debian's packages of data sets, such as ``dataset-fashion-mnist``, put their files."""


@dataclass(frozen=True)
class IdxFile:
    """One published file: its name without ``.gz`` and the SHA-256 of its content and of its published packing."""

    name: str
    content: str
    packed: str


@dataclass(frozen=True)
class Published:
    """A data set of images with labels: files of train and of test data.

    Args:
        name: of the data set, and of its folder in the cache.
        title: how it is cited.
        folders: of a data folder, where its files may be.
        mirror: the address of its packed files, less their names.
        images, labels: ``train`` and ``test``.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    mirror: str
    images: Mapping[str, IdxFile]
    labels: Mapping[str, IdxFile]

    def load(self, data_dir: Path | None) -> Dataset:
        """The images with 256 levels: 5/6 of the training file train, its rest validation, the test file test.

        The files, gzipped or not, are looked for in the ``folders`` of ``data_dir``, ``$ZOO_DATA``, `SYSTEM` and the
        cache, in this order. A published file of another data set, which may have the same name, is passed over. If
        they are in none of them, they are fetched from the ``mirror`` into the cache.

        Raises:
            ZooError: no files and no network, or a file that is not the published one.
        """
        images, test = (torch.from_numpy(self._read(self.images[each], data_dir, 3)).float() for each in self.images)
        held_out = len(images) // 6
        train, validation = images.split([len(images) - held_out, held_out])
        source = (
            f"{self.title}: the training file's first {len(train)} images train, its last {len(validation)} "
            f"validation, the test file's {len(test)} test."
        )
        return Dataset(self.name, Event(tuple(images.shape[1:]), 256), train, validation, test, source)

    def load_labels(self, data: Dataset, data_dir: Path | None) -> tuple[Tensor, Tensor, Tensor]:
        """The class of each image of the three splits of ``data``."""
        train, test = (torch.from_numpy(self._read(self.labels[each], data_dir, 1)) for each in self.labels)
        first, second = train.split([len(data.train), len(data.validation)])
        return first, second, test

    def _read(self, file: IdxFile, data_dir: Path | None, axes: int) -> NDArray[np.uint8]:
        for path in self._candidates(file, data_dir):
            content = _unpacked(path)
            digest = hashlib.sha256(content).hexdigest()
            if digest == file.content:
                return parse_idx(content, str(path), axes)
            if digest not in KNOWN:
                raise ZooError(
                    f"{path} is damaged or not the published file of {self.name}: the SHA-256 of its unpacked content "
                    f"is {digest}, expected {file.content}; remove it to fetch it again"
                )
        path = self._fetch(file)
        return parse_idx(_unpacked(path), str(path), axes)

    def _candidates(self, file: IdxFile, data_dir: Path | None) -> Iterator[Path]:
        import pooch

        if data_dir is not None and not data_dir.is_dir():
            raise ZooError(f"the data folder {data_dir} does not exist; name one that does, or leave it out")
        for root in (data_dir, os.environ.get("ZOO_DATA"), SYSTEM, pooch.os_cache("zoo")):
            for folder in self.folders if root else ():
                for name in (file.name, f"{file.name}.gz"):
                    path = Path(root or "") / folder / name
                    if path.is_file():
                        yield path

    def _fetch(self, file: IdxFile) -> Path:
        import pooch

        url, folder = f"{self.mirror}{file.name}.gz", Path(pooch.os_cache("zoo")) / self.name
        try:
            return Path(pooch.retrieve(url, known_hash=file.packed, fname=f"{file.name}.gz", path=folder))
        except (OSError, ValueError) as error:
            wanted = self.labels if file in self.labels.values() else self.images
            files = " and ".join(f"{each.name}.gz" for each in wanted.values())
            raise ZooError(
                f"{self.title} is not on disk and cannot be fetched ({type(error).__name__} at {url}): connect to the "
                f"network and try again, or put {files} into the folder {self.name} of a folder and name that by "
                "--data-dir or $ZOO_DATA"
            ) from error


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except _ERRORS as error:
        raise ZooError(f"cannot read {path}: {error}; remove it to fetch it again") from error


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


def _files(kind: str, *digests: str) -> Mapping[str, IdxFile]:
    """The train and the test file of ``images-idx3`` or ``labels-idx1``, each of a digest of content and packing."""
    train, test = (f"{word}-{kind}-ubyte" for word in ("train", "t10k"))
    return {"train": IdxFile(train, *digests[:2]), "test": IdxFile(test, *digests[2:])}


MNIST = Published(
    name="mnist",
    title="MNIST (LeCun et al. 1998)",
    folders=("", "mnist"),
    mirror="https://ossci-datasets.s3.amazonaws.com/mnist/",
    images=_files(
        "images-idx3",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    labels=_files(
        "labels-idx1",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)
FASHION = Published(
    name="fashion",
    title="Fashion-MNIST (Xiao et al. 2017)",
    folders=("fashion", "fashion-mnist", "FashionMNIST/raw", ""),
    mirror="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    images=_files(
        "images-idx3",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    labels=_files(
        "labels-idx1",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)
KNOWN = frozenset(
    file.content for source in (MNIST, FASHION) for kind in (source.images, source.labels) for file in kind.values()
)
"""Digests of the contents of all published files."""
