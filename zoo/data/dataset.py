"""The value that training and evaluation are given: three splits of one event."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.data.streamed import is_streamed
from zoo.data.units import Units
from zoo.errors import ZooError
from zoo.event import Event, Field
from zoo.pairs.records import counted

if TYPE_CHECKING:
    from zoo.pairs.pair import Pair

STANDARDISED = "real entries are standardised by the train data, and scores are in the data's own units"

CHUNK = 2**18
"""Entries that are compared at a time: more of them leave the cache."""
INITIAL_NUMBERS = 2**24
"""Entries of streamed data that parameters are set from before training."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits of float32 data, each of shape ``(n, *event.shape)``; records are packed (`zoo.event.Event.pack`).

    Args:
        name: as registered, or a file's name.
        event: the shape and support of one datum.
        train, validation, test: the splits; ``train`` may be `zoo.data.streamed.StreamedRows` in a tensor's place.
        source: where the data come from, how they are split and any threshold, in one sentence.
        binarise: ``train`` holds intensities in [0, 1] and every batch of it is a new Bernoulli draw. ``validation``
            and ``test`` are drawn once, before.
        registered: the data are those of the registered data set called ``name``, not of a file of that name.
        names: field, or column of a table -> the names of its levels, from level 0 on, where they have names.
        columns: of a table, the column of each entry of a datum.
        units: of real entries, where the splits hold these standardised; ``None`` for splits in the data's own units.
        own: the three splits in the data's own units, where they are not.
        rate: samples of sound in a second, where levels are those of `zoo.data.files.sounds.mulaw`; 0 for other data.

    Raises:
        ZooError: a split of another dtype or shape; a value that is missing though it is no label, or that is no level
            of its field.

    Example:
        >>> import zoo
        >>> train, validation, test = torch.zeros(6, 4).split(2)
        >>> data = zoo.Dataset("dark", zoo.Event(4, "binary"), train, validation, test, "All zeros.")
        >>> data.batch(torch.tensor([0, 0, 1])).shape
        torch.Size([3, 4])
    """

    name: str
    event: Event
    train: Tensor
    validation: Tensor
    test: Tensor
    source: str
    binarise: bool = False
    registered: bool = False
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Sequence[str] = ()
    units: Units | None = None
    own: tuple[Tensor, Tensor, Tensor] | None = None
    rate: int = 0

    def __post_init__(self) -> None:
        for word in ("train", "validation", "test"):
            split = getattr(self, word)
            if split.dtype != torch.float32 or split.shape[1:] != self.event.shape or not split.dim():
                sizes = ", ".join(map(str, self.event.shape))
                raise ZooError(
                    f"data set {self.name!r}: {word} should be float32 of shape (n, {sizes}), got {split.dtype} of "
                    f"shape {tuple(split.shape)}; convert or reshape it"
                )
            if is_streamed(split):  # bytes, which its reader checks
                continue
            for each in self.event.parts:
                self._check(word, each, split)
            if not torch.equal(self.event.without_padding(split).nan_to_num(), split.nan_to_num()):
                raise ZooError(
                    f"data set {self.name!r}: {word} should be zero beyond the lengths of its sequences, as event.pack "
                    "makes it"
                )
        if self.binarise and self.event.fields:
            raise ZooError(f"data set {self.name!r}: a record is not drawn again in each batch; binarise it once")

    def _check(self, word: str, field: Field, split: Tensor) -> None:
        """Refuse a field of a split that lacks values, or has some that are not of its support."""
        values = self.event.unpack(split)[field.name] if self.event.fields else split
        assert values is not None  # a split has all columns
        flat = values.reshape(len(split), -1)
        known = flat[~flat.isnan().all(1)] if field.role == "label" else flat
        if not known.numel():
            return
        low, high = (float(each) for each in known.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            hint = "a label is known or missing as a whole" if field.role == "label" else "only a label may be missing"
            raise ZooError(f"data set {self.name!r}: {word} has values of {field} that are not finite; {hint}")
        intensities = self.binarise and word == "train"
        if intensities and not 0 <= low <= high <= 1:
            raise ZooError(f"data set {self.name!r}: {word} should have intensities in [0, 1], got {low:g} to {high:g}")
        if not field.levels or intensities:
            return
        whole = all(torch.equal(part, part.round()) for part in known.flatten().split(CHUNK))
        if not (whole and 0 <= low <= high < field.levels):
            raise ZooError(
                f"data set {self.name!r}: {word} should have levels 0 to {field.levels - 1} of {field}, got values "
                f"from {low:g} to {high:g}{'' if whole else ', not all of them whole'}"
            )

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The train data at ``indices`` (on the data's device): shape ``(len(indices), *event.shape)``.

        Dynamic binarisation draws from ``generator``, or from torch's global stream of that device.
        """
        rows = self.train[indices]
        return torch.bernoulli(rows, generator=generator) if self.binarise else rows

    def initial(self) -> Tensor:
        """What parameters are set from before training: all train data, or a fixed random part of streamed ones.

        Shape ``(n, *event.shape)``; dynamic binarisation draws from torch's global stream.
        """
        n, most = len(self.train), max(1, INITIAL_NUMBERS // self.event.size)
        places = torch.arange(n, device=self.train.device)
        if is_streamed(self.train) and n > most:
            places = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:most]
        return self.batch(places)

    def given_to(self, pair: Pair) -> Dataset:
        """The same data as ``pair`` takes them: of its event, and in their own units if its programs are written so.

        Raises:
            ZooError: see `reshaped`.
        """
        return (self.in_own_units() if pair.in_own_units else self).reshaped(pair.event)

    def in_own_units(self) -> Dataset:
        """The same data, not standardised; those on grids have noise of the step in their own units too."""
        if self.own is None or self.units is None:
            return self
        train, validation, test = self.own
        if not self.dequantised:
            return replace(self, train=train, validation=validation, test=test, units=None, own=None)
        units = self.units.plain
        on_grid = (units.step > 0).reshape(self.event.shape)
        train, validation, test = (
            torch.where(on_grid.to(own.device), self.restore(given, on_grid=False).to(own), own)
            for given, own in zip((self.train, self.validation, self.test), self.own, strict=True)
        )
        return replace(self, train=train, validation=validation, test=test, units=units)

    @property
    def own_test(self) -> Tensor:
        """The test split in the data's own units, without noise on grids."""
        return self.test if self.own is None else self.own[2]

    @property
    def description(self) -> str:
        """`source`, and what became of real entries."""
        if self.units is None:
            return self.source
        notes = "; ".join(filter(None, (STANDARDISED, self.units.remark)))
        return f"{self.source.removesuffix('.')}; {notes}."

    @property
    def dequantised(self) -> bool:
        """Whether real entries lie on grids, so that a density of them gives a lower bound."""
        return self.units is not None and self.units.dequantised

    def restore(self, z: Tensor, on_grid: bool = True) -> Tensor:
        """Data as a pair is given them in their own units: shape ``(n, *event.shape)``, float64 if they differ.

        With ``on_grid=False`` those that lie on grids keep their noise.

        Example:
            >>> import zoo
            >>> moons = zoo.load_data("moons")
            >>> torch.equal(moons.restore(moons.test), moons.test)
            True
        """
        return z if self.units is None else self.event.without_padding(self.units.restore(z, on_grid))

    def standardise(self, x: Tensor) -> Tensor:
        """Data in their own units as a pair is given them, the inverse of `restore`: float32."""
        return x.float() if self.units is None else self.event.without_padding(self.units.standardise(x))

    def log_scale(self, pair: Pair, z: Tensor) -> Tensor:
        """The log-density of data as ``pair`` is given them, less that in the data's own units.

        Args:
            pair: of the same data; what it does not score is not counted.
            z: shape ``(n, *event.shape)``.

        Returns:
            In nats, shape ``(n,)``, float64, on the CPU; 0 for levels.
        """
        if self.units is None:
            return torch.zeros(len(z), dtype=torch.float64)
        return self.units.log_scales(z, counted(pair, z.cpu()))

    def to(self, device: str | torch.device) -> Dataset:
        """The same data on another device."""
        return self.map(lambda split: split.to(device))

    def reshaped(self, event: Event) -> Dataset:
        """The same data as ``event``, which may differ in shape only: 8x8 digits for a program that wants 64 numbers.

        The fields of a record may differ in shapes and roles: a label that is never missing may be given, or observed.
        A field may be declared a sequence; what lies beyond its length becomes zero.

        Raises:
            ZooError: another number of dimensions, another support, other fields, or a role that data do not fit.
        """
        if event.fields or self.event.fields:
            if not _same_but_for_shapes_and_roles(self.event, event):
                raise ZooError(
                    f"{self.name} holds {self.event}, which cannot be taken as {event}: fields may differ in shape and "
                    "role only, and sequences keep their steps; choose other data (zoo list shows which have labels, "
                    "such as digits:labels=100) or another event"
                )
            return self.map(event.without_padding, event=event)
        if event.size != self.event.size or event.levels != self.event.levels:
            raise ZooError(
                f"{self.name} holds {self.event} ({self.event.size} dimensions), which cannot be taken as {event} "
                f"({event.size} dimensions): only the shape may differ; choose other data or another event"
            )
        return self.map(lambda split: split.reshape(-1, *event.shape), event=event)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 over event, shapes and bytes of the three splits."""
        digest = hashlib.sha256(f"{self.event} binarise={self.binarise}".encode())
        for split in (self.train, self.validation, self.test):
            digest.update(str(tuple(split.shape)).encode())
            parts = split.parts() if is_streamed(split) else [split.cpu().contiguous().numpy().data]
            for part in parts:
                digest.update(part)
        if self.units is not None:
            digest.update(json.dumps(self.units.to_json()).encode())
        return digest.hexdigest()[:16]

    def map(self, change: Callable[[Tensor], Tensor], **fields: object) -> Dataset:
        """The same data set with each of its three splits changed, and the ``fields`` given."""
        splits = {"train": change(self.train), "validation": change(self.validation), "test": change(self.test)}
        own = self.own and tuple(map(change, self.own))
        return replace(self, **splits, own=own, **fields)  # type: ignore[arg-type] # fields are the dataclass's own


def _same_but_for_shapes_and_roles(ours: Event, theirs: Event) -> bool:
    """Whether records have the same fields but for shapes and roles; a field may become a sequence."""
    return [(each.name, each.size, each.levels) for each in ours.fields] == [
        (each.name, each.size, each.levels) for each in theirs.fields
    ] and all(
        not mine.length or (mine.length == other.length and mine.shape[0] == other.shape[0])
        for mine, other in zip(ours.fields, theirs.fields, strict=True)
    )
