"""What a file holds, before it is a data set: arrays by field, and what the kind of file says about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import ZooError

Array = NDArray[Any]
Floats = NDArray[np.floating]
Names = Mapping[str, Sequence[str]]
"""Field, or column of a table -> the names of its levels, from level 0 on."""

SPLITS = ("train", "validation", "test")
FEW_WORDS = 20
"""So many different words are a category, whatever the number of data."""


@dataclass(frozen=True)
class Contents:
    """Arrays of a file by field, each with one datum a row; data of one array are the field ``""``.

    Args:
        path: the file or folder.
        arrays: field -> numbers, or words, which name levels. An empty word is missing, or padding of a sequence.
        columns: of a table, the names of the columns that make up its only array with two axes.
        levels: field -> number of levels, where the kind of file says it.
        names: field or column -> names of its levels, where they have names.
        roles: field -> its role, where that is not ``observed``.
        lengths: field of sequences -> the field of their lengths.
        sizes: numbers of train, validation and test data, in this order, where the file says which are which; where it
            has no validation data, these are taken from the train data.
        times: of a table whose data are split by time, a number for each datum that grows with it.
        groups: the recording or text, counted from 0 on, that each datum is a part of; its parts stay in order.
        note: what was changed or left out, in a few words.
        rate: samples of sound in a second, where levels are those of mu-law; 0 for other data.
    """

    path: Path
    arrays: Mapping[str, Array]
    columns: Sequence[str] = ()
    levels: Mapping[str, int] = field(default_factory=dict)
    names: Names = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    lengths: Mapping[str, str] = field(default_factory=dict)
    sizes: tuple[int, int, int] | None = None
    times: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    note: str = ""
    rate: int = 0

    def of_rows(self, rows: NDArray[np.bool_], note: str) -> Contents:
        """These rows only, and why."""
        sizes = None
        if self.sizes is not None:
            train, validation, test = (int(part.sum()) for part in np.split(rows, np.cumsum(self.sizes)[:2]))
            sizes = train, validation, test
        return replace(
            self,
            arrays={name: array[rows] for name, array in self.arrays.items()},
            sizes=sizes,
            times=None if self.times is None else self.times[rows],
            groups=None if self.groups is None else np.unique(self.groups[rows], return_inverse=True)[1],
            note="; ".join(filter(None, (self.note, note))),
        )

    def refuse(self, name: str, wrong: NDArray[np.bool_], expected: str) -> None:
        """Raise a `ZooError` that gives the position of the first wrong entry in the file's terms, if there is one."""
        places = np.argwhere(wrong)
        if not len(places):
            return
        index = tuple(map(int, places[0]))
        got = f"{self.arrays[name][index]:g} at {self._place(name, index)}"
        raise ZooError(f"{self.path}: expected {expected}, got {got}; drop or repair such data")

    def _place(self, name: str, index: tuple[int, ...]) -> str:
        if self.columns:
            column = name if len(index) == 1 else self.columns[index[1]]
            return f"data row {index[0] + 1}, column {column!r}"
        row, split = index[0], ""
        for word, size in zip(SPLITS, self.sizes or (), strict=False):
            if row < size:
                split = word
                break
            row -= size
        whose = " ".join(f"of {each!r}" for each in (name, split) if each)
        return f"index {(row, *index[1:])} {whose}".rstrip()


def coded(contents: Contents, known: Names) -> Contents:
    """The contents with levels for words: the place of each among the sorted words, or among those ``known``.

    Raises:
        ZooError: a word that is not among those known, or almost as many words as data.
    """
    arrays, names = dict(contents.arrays), dict(contents.names)
    levels = dict(contents.levels)
    for name, array in contents.arrays.items():
        if array.dtype.kind != "U":
            continue
        by_column = array.ndim == 2 and len(contents.columns) > 0
        parts = dict(zip(contents.columns, array.T, strict=True)) if by_column else {name or "x": array}
        found = {part: _vocabulary(contents.path, part, words, known.get(part)) for part, words in parts.items()}
        codes = [_codes(words, found[part], name in contents.lengths) for part, words in parts.items()]
        arrays[name] = np.stack(codes, 1) if by_column else codes[0]
        levels.setdefault(name, max(2, *map(len, found.values())))
        names |= found
    return replace(contents, arrays=arrays, names=names, levels=levels)


def _vocabulary(path: Path, part: str, words: Array, known: Sequence[str] | None) -> tuple[str, ...]:
    """The words that are levels, in the levels' order."""
    found = [str(word) for word in np.unique(words) if word]
    if known is None and words.ndim == 1 and len(found) > max(FEW_WORDS, len(words) // 2):
        raise ZooError(
            f"{path}: {part!r} has {len(found)} different words in {len(words)} data, too many for a category; leave "
            "it out, or write numbers"
        )
    if strange := [word for word in found if known is not None and word not in known]:
        raise ZooError(f"{path}: {part!r} has {strange[0]!r}, which is none of those known: {shortened(known or ())}")
    return tuple(known or found)


def _codes(words: Array, vocabulary: Sequence[str], padded: bool) -> Array:
    level = {word: float(number) for number, word in enumerate(vocabulary)} | {"": 0.0 if padded else math.nan}
    found, places = np.unique(words, return_inverse=True)
    return np.array([level[str(word)] for word in found])[places.reshape(words.shape)]


def shortened(words: Sequence[str], most: int = 10) -> str:
    """The first words of many, for a sentence."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
