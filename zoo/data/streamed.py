"""A train split that stays in its file: rows of bytes are read when a batch asks for them."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import ZooError

FROM = 2**28
"""Bytes of a ``.npy`` from which on its train split is streamed; as float32 it would be four times as many."""
PIECE = 2**24
"""Bytes that are read at a time where a whole file is read, as for its fingerprint."""


class StreamedRows:
    """Levels in a ``.npy`` file of bytes, as a split of a `zoo.data.Dataset`: float32 rows by their indices.

    It stands for a tensor of shape ``(n, *event.shape)`` where rows are taken. Whatever needs all of it at once is
    refused with a sentence. The file is mapped into memory, and pages that were read are given back, so that neither
    address space nor memory grows with what was read.

    Args:
        path: of the file.
        places: which of its rows, in this order, int64.
        shape: of a row; by default that of the file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "bytes.npy"
        >>> np.save(path, np.arange(12, dtype=np.uint8).reshape(6, 2))
        >>> rows = StreamedRows(path, np.array([5, 0]))
        >>> rows.shape, rows[torch.tensor([0, 1, 0])].tolist()
        (torch.Size([2, 2]), [[10.0, 11.0], [0.0, 1.0], [10.0, 11.0]])
    """

    dtype = torch.float32

    def __init__(
        self, path: Path, places: NDArray[np.int64], shape: tuple[int, ...] | None = None, device: Any = "cpu"
    ) -> None:
        self.path, self.places, self.device = path, places, torch.device(device)
        self.bytes: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        self.row = self.bytes.shape[1:] if shape is None else shape

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self.places), *self.row])

    def __len__(self) -> int:
        return len(self.places)

    def dim(self) -> int:
        """Axes, as of a tensor."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> Tensor:
        places = self.places[index.cpu().numpy() if isinstance(index, Tensor) else index]
        one = np.ndim(places) == 0
        found = torch.from_numpy(np.stack([self.bytes[place] for place in np.atleast_1d(places)] or [self.bytes[:0]]))
        self._give_back()
        rows = found.reshape(-1, *self.row).to(self.device).float()
        return rows[0] if one else rows

    def reshape(self, *shape: int) -> StreamedRows:
        """The same rows in another shape, ``(-1, *shape)``."""
        return StreamedRows(self.path, self.places, shape[1:], self.device)

    def to(self, device: Any) -> StreamedRows:
        """The same rows, which go to ``device`` when they are read."""
        return StreamedRows(self.path, self.places, self.row, device)

    def parts(self) -> Iterator[bytes]:
        """All bytes of the file in its order, and the places: what a fingerprint is of."""
        step = max(1, PIECE // max(1, int(np.prod(self.bytes.shape[1:]))))
        for first in range(0, len(self.bytes), step):
            yield np.ascontiguousarray(self.bytes[first : first + step]).tobytes()
            self._give_back()
        yield self.places.tobytes()

    def _give_back(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self.bytes._mmap.madvise(mmap.MADV_DONTNEED)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ZooError(
            f"the train data are streamed from {self.__dict__.get('path')}, and this takes all of them in memory at "
            f"once ({name!r} of the split): take it of a part, in a file of less than {FROM >> 20} MiB"
        )


def is_streamed(split: Any) -> TypeGuard[StreamedRows]:
    """Whether a split stays in its file."""
    return isinstance(split, StreamedRows)
