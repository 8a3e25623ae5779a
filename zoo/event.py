"""What one datum is: one array of one support, or a record of named fields."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from zoo.errors import ZooError

if TYPE_CHECKING:
    from torch import Tensor

Support = Literal["binary", "levels", "real", "record", "sequence"]
Role = Literal["observed", "given", "label"]
FORM = (
    "SHAPE:SUPPORT, such as 64:binary, 8x8:17 or 2:real, or NAME=SHAPE:SUPPORT@ROLE,..., such as x=8x8:17,y=:10@label; "
    "a sequence of up to 20 steps is x=20x3:binary~n,n=:21@given"
)
"""How an event is written."""


@dataclass(frozen=True, init=False)
class Field:
    """A named part of a datum.

    Args:
        name: the programs' argument; letters, digits and underscores.
        shape: ``(8, 8)``, ``64`` for ``(64,)``, or ``()`` for a single number.
        support: as of an `Event`.
        role: ``"observed"``: scored, and never missing; ``"given"``: what the others depend on, never scored;
            ``"label"``: scored where it is known, and missing in some data.
        length: of a sequence, the name of the field that says how many of its first steps a datum has. Steps are along
            the first size of its shape; those beyond are padding, which is zero and never scored.

    Raises:
        ZooError: a wrong name, shape, support or role, or a sequence without steps.

    Example:
        >>> print(Field("x", (8, 8), 17), Field("y", (), 10, "label"), Field("x", (20, 3), "binary", length="n"))
        x=8x8:17 y=:10@label x=20x3:binary~n
    """

    name: str
    shape: tuple[int, ...]
    levels: int | None
    role: Role
    length: str

    def __init__(
        self,
        name: str,
        shape: int | tuple[int, ...] | list[int],
        support: str | int,
        role: str = "observed",
        length: str = "",
    ) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            raise ZooError(f"a field's name has letters, digits and underscores, as an argument has; got {name!r}")
        if role not in get_args(Role):
            raise ZooError(f"the role of field {name!r} is {', '.join(get_args(Role))}; got {role!r}")
        for attribute, value in (("name", name), ("shape", _sizes(shape)), ("levels", _levels(support))):
            object.__setattr__(self, attribute, value)
        if length and (not self.shape or role == "label"):
            raise ZooError(f"a sequence is observed or given and has a shape whose first size is its steps: {name!r}")
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "length", length)

    @property
    def support(self) -> Support:
        """``"binary"``, ``"levels"`` or ``"real"``."""
        return _support(self.levels)

    @property
    def size(self) -> int:
        """Number of its dimensions."""
        return math.prod(self.shape)

    @property
    def event(self) -> Event:
        """The event of this field alone; that of a single number has shape ``(1,)``."""
        return Event(self.shape or 1, self.levels or "real")

    def __str__(self) -> str:
        length, role = f"~{self.length}" * bool(self.length), f"@{self.role}" * (self.role != "observed")
        return f"{self.name}={_text(self.shape, self.levels)}{length}{role}"


@dataclass(frozen=True, init=False, repr=False)
class Event:
    """The type of one datum: its shape, and the support of its entries; or a `record` of fields.

    Batches are float tensors of shape ``(n, *shape)``, whatever the support. A record is packed: its fields are
    flattened, one after the other, into one vector, and a label that is missing is NaN (see `pack`).

    Args:
        shape: ``(8, 8)``, or ``64`` for ``(64,)``.
        support: ``"binary"`` for {0, 1}, an integer ``K`` for the levels {0, ..., K-1}, or ``"real"``.

    Raises:
        ZooError: an empty or non-positive shape, or an unknown support.

    Example:
        >>> event = Event((8, 8), 17)
        >>> event.shape, event.size, event.levels, event.support
        ((8, 8), 64, 17, 'levels')
        >>> print(event, Event(64, "binary"), Event.parse("2:real"))
        8x8:17 64:binary 2:real
        >>> labelled = Event.parse("x=8x8:17,y=:10@label")
        >>> labelled.shape, labelled.support, labelled.fields[1].role
        ((65,), 'record', 'label')
    """

    shape: tuple[int, ...]
    fields: tuple[Field, ...]
    """The fields of a record; empty for a datum that is one array."""
    _levels: int | None

    def __init__(self, shape: int | tuple[int, ...] | list[int], support: str | int) -> None:
        if not (sizes := _sizes(shape)):
            raise ZooError(f"an event's shape needs positive sizes, got {shape!r}; write e.g. (8, 8) or 64")
        self._set(sizes, (), _levels(support))

    def _set(self, shape: tuple[int, ...], fields: tuple[Field, ...], levels: int | None) -> None:
        for attribute, value in (("shape", shape), ("fields", fields), ("_levels", levels)):
            object.__setattr__(self, attribute, value)

    @classmethod
    def record(cls, *fields: Field) -> Event:
        """A datum of several fields, packed in this order.

        Args:
            fields: of different names; one or more is observed, and one at most is a label.

        Raises:
            ZooError: fields of one name, none that is observed, several labels, or a sequence whose length is no field
                that is given, with the levels from none to all of its steps.

        Example:
            >>> print(Event.record(Field("x", 4, "real"), Field("c", (), 3, "given")))
            x=4:real,c=:3@given
        """
        names = [field.name for field in fields]
        if len(set(names)) < len(names):
            raise ZooError(f"the fields of a record have different names, got {', '.join(names)}")
        roles = [field.role for field in fields]
        if "observed" not in roles:
            raise ZooError(f"a record needs a field that is observed, got {', '.join(map(str, fields)) or 'no field'}")
        if roles.count("label") > 1:
            raise ZooError(
                f"a record has one label at most, got {', '.join(map(str, fields))}; make one field of them, which is "
                "known or missing as a whole"
            )
        for each in fields:
            if each.length and Field(each.length, (), each.shape[0] + 1, "given") not in fields:
                raise ZooError(
                    f"the length of {each} is 0 to {each.shape[0]} steps and known before it: add the field "
                    f"{each.length}=:{each.shape[0] + 1}@given; got {', '.join(map(str, fields))}"
                )
        event = cls.__new__(cls)
        event._set((sum(field.size for field in fields),), fields, None)
        return event

    @classmethod
    def parse(cls, text: str) -> Event:
        """The event written as ``text``, such as ``"64:binary"``, ``"8x8:17"`` or ``"x=8x8:17,y=:10@label"``.

        A field is written ``NAME=SHAPE:SUPPORT``, and ``@ROLE`` behind it unless it is observed; a single number has
        no shape.

        Raises:
            ZooError: text of another form.
        """
        if "=" in text:
            return cls.record(*map(_parsed_field, text.split(",")))
        match = re.fullmatch(r"(\d+(?:x\d+)*):(\w+)", text.strip())
        if not match:
            raise ZooError(f"an event is written {FORM}; got {text!r}")
        return cls(tuple(int(size) for size in match[1].split("x")), match[2])

    @property
    def levels(self) -> int | None:
        """Number of levels of discrete data, ``None`` for real data.

        Raises:
            ZooError: it is a record, whose fields have supports of their own.
        """
        if self.fields:
            raise ZooError(f"{self} is a record: each field has its own support, and this needs data of one field")
        return self._levels

    @property
    def support(self) -> Support:
        """``"binary"``, ``"levels"``, ``"real"``, ``"record"``, or ``"sequence"`` for a record with one."""
        if any(field.length for field in self.fields):
            return "sequence"
        return "record" if self.fields else _support(self._levels)

    @property
    def size(self) -> int:
        """Number of dimensions of one datum."""
        return math.prod(self.shape)

    @property
    def parts(self) -> tuple[Field, ...]:
        """The fields of a record; of a datum that is one array, that array as the field ``x``."""
        return self.fields or (Field("x", self.shape, self._levels or "real"),)

    @property
    def main(self) -> Field:
        """The first observed field: the programs' ``x``."""
        return next(field for field in self.parts if field.role == "observed")

    @property
    def array(self) -> Event:
        """The event of the main field alone, which guides from the shelf, pictures and distances of samples are of."""
        return self.main.event if self.fields else self

    @property
    def label(self) -> Field | None:
        """The field that may be missing, if there is one."""
        return next((field for field in self.fields if field.role == "label"), None)

    def with_roles(self, roles: Mapping[str, str]) -> Event:
        """The same fields, those of ``roles`` in another role.

        Raises:
            ZooError: a name that no field has, an unknown role, or roles that make no record.

        Example:
            >>> print(Event.parse("x=4:real,y=:3@label").with_roles({"y": "given"}))
            x=4:real,y=:3@given
        """
        known = [field.name for field in self.fields]
        for name in roles:
            if name not in known:
                raise ZooError(
                    f"there is no field {name!r} in {self}: its fields are {', '.join(known) or 'not named'}"
                )
        parts = [(each, roles.get(each.name, each.role)) for each in self.fields]
        return Event.record(
            *(Field(each.name, each.shape, each.levels or "real", role, each.length) for each, role in parts)
        )

    def zeros(self, n: int) -> Tensor:
        """A batch of ``n`` data that are zero, of torch's default type: shape ``(n, *shape)``.

        Sequences have all their steps.
        """
        import torch

        full = {field.length: float(field.shape[0]) for field in self.fields if field.length}
        blank = {each.name: torch.full((n, *each.shape), full.get(each.name, 0.0)) for each in self.parts}
        return self.pack(blank).to(torch.get_default_dtype())

    def padding(self, batch: Tensor) -> Tensor | None:
        """Which entries of a batch are no data, as they lie beyond the length of a sequence.

        Returns:
            Shape of ``batch``, bool; ``None`` for an event without sequences.

        Example:
            >>> event = Event.parse("x=3:real~n,n=:4@given")
            >>> event.padding(event.pack({"x": [[0.5, 1.5, 0.0]], "n": [2]}))
            tensor([[False, False,  True, False]])
        """
        import torch

        if not any(field.length for field in self.fields):
            return None
        values, found = self.unpack(batch), []
        for field in self.fields:
            value, lengths = values[field.name], values.get(field.length)
            if value is None:
                continue
            beyond = torch.zeros_like(value, dtype=torch.bool)
            if lengths is not None:
                steps = torch.arange(field.shape[0], device=batch.device)
                outside = (steps >= lengths[:, None]).reshape(len(batch), -1, *(1 for _ in field.shape[1:]))
                beyond = outside.expand_as(value)
            found.append(beyond.reshape(len(batch), -1))
        return torch.cat(found, 1)

    def without_padding(self, batch: Tensor) -> Tensor:
        """The batch with zeros where an entry is padding."""
        padding = self.padding(batch)
        return batch if padding is None else batch.masked_fill(padding, 0.0)

    def steps(self, batch: Tensor) -> Tensor | None:
        """The number of steps of each datum: shape ``(n,)``; ``None`` if no observed field is a sequence."""
        length = next((field.length for field in self.fields if field.length and field.role == "observed"), "")
        return self.unpack(batch)[length] if length else None

    def pack(self, values: Mapping[str, Any]) -> Tensor:
        """One batch from arrays by field.

        Args:
            values: name -> array of shape ``(n, *field.shape)``; a label that is left out or ``None`` is missing.

        Returns:
            Shape ``(n, *shape)``, float32; NaN where the label is missing, and zero beyond the length of a sequence.

        Raises:
            ZooError: a field is missing or unknown, or has another shape.

        Example:
            >>> event = Event.parse("x=2:real,y=:3@label")
            >>> event.pack({"x": [[0.5, 1.5], [2.5, 3.5]], "y": [2, float("nan")]})
            tensor([[0.5000, 1.5000, 2.0000],
                    [2.5000, 3.5000,    nan]])
        """
        import torch

        arrays = {name: torch.as_tensor(value).float() for name, value in values.items() if value is not None}
        if self.label and self.label.name not in arrays and self.main.name in arrays:
            main = arrays[self.main.name]
            arrays[self.label.name] = main.new_full((len(main), *self.label.shape), torch.nan)
        n = len(arrays.get(self.main.name, ()))
        names = [field.name for field in self.parts]
        if set(arrays) != set(names):
            raise ZooError(f"{self} has the fields {', '.join(names)}; got {', '.join(arrays) or 'none'}")
        for field in self.parts:
            if arrays[field.name].shape != (n, *field.shape):
                shape = tuple(arrays[field.name].shape)
                raise ZooError(f"field {field.name!r} should have shape {(n, *field.shape)}, got {shape}")
        packed = torch.cat([arrays[name].reshape(n, -1) for name in names], 1)
        return self.without_padding(packed.reshape(n, *self.shape))

    def unpack(self, batch: Tensor) -> dict[str, Tensor | None]:
        """The fields of a batch, each a view of shape ``(n, *field.shape)``.

        A batch without the label's columns (see `drop_label`) gives ``None`` for the label.

        Raises:
            ZooError: a batch of another shape.

        Example:
            >>> import torch
            >>> event = Event.parse("x=2:real,y=:3@label")
            >>> {name: tuple(part.shape) for name, part in event.unpack(torch.zeros(5, 3)).items()}
            {'x': (5, 2), 'y': (5,)}
        """
        if not self.fields:
            return {"x": batch}
        label, width = self.label, batch.shape[1] if batch.dim() == 2 else -1
        missing = label is not None and width == self.size - label.size
        if width != self.size and not missing:
            raise ZooError(f"a batch of {self} has shape (n, {self.size}), got {tuple(batch.shape)}")
        held = [field for field in self.fields if not (missing and field is label)]
        columns = batch.split([field.size for field in held], 1)
        found = {field.name: part.reshape(-1, *field.shape) for field, part in zip(held, columns, strict=True)}
        return {field.name: found.get(field.name) for field in self.fields}

    def main_of(self, batch: Tensor) -> Tensor:
        """The main field of a batch as data of `array`: shape ``(n, *array.shape)``."""
        part = self.unpack(batch)[self.main.name]
        assert part is not None  # it is no label
        return part.reshape(-1, *self.array.shape)

    def missing(self, batch: Tensor) -> Tensor:
        """Which data of a packed batch have no label: shape ``(n,)``, bool."""
        held = self.unpack(batch)[self.label.name] if self.label else batch.new_zeros(len(batch))
        if held is None:
            return batch.new_ones(len(batch)).bool()
        return held.reshape(len(batch), -1).isnan().any(1)

    @property
    def unlabelled(self) -> Event:
        """The event of data without the label: a record of the other fields."""
        return Event.record(*(field for field in self.fields if field.role != "label")) if self.label else self

    def drop_label(self, batch: Tensor) -> Tensor:
        """A batch of data without a label, less its columns: shape ``(n, size - label.size)``, of `unlabelled`."""
        import torch

        if self.label is None or batch.shape[1] == self.size - self.label.size:
            return batch
        ends = [0, *itertools.accumulate(field.size for field in self.fields)]
        first = ends[self.fields.index(self.label)]
        return torch.cat([batch[:, :first], batch[:, first + self.label.size :]], 1)

    def __str__(self) -> str:
        return ",".join(map(str, self.fields)) if self.fields else _text(self.shape, self._levels)

    def __repr__(self) -> str:
        return f"Event.parse({str(self)!r})"


def _parsed_field(text: str) -> Field:
    match = re.fullmatch(r"(\w+)=(\d+(?:x\d+)*)?:(\w+)(?:~(\w+))?(?:@(\w+))?", text.strip())
    if not match:
        raise ZooError(f"an event is written {FORM}; got the field {text!r}")
    name, shape, support, length, role = match.groups()
    sizes = tuple(int(size) for size in (shape or "").split("x") if size)
    return Field(name, sizes, support, role or "observed", length or "")


def _sizes(shape: int | tuple[int, ...] | list[int]) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else tuple(int(size) for size in shape)
    if min(sizes, default=1) < 1:
        raise ZooError(f"an event's shape needs positive sizes, got {shape!r}; write e.g. (8, 8) or 64")
    return sizes


def _text(shape: tuple[int, ...], levels: int | None) -> str:
    return f"{'x'.join(map(str, shape))}:{levels if _support(levels) == 'levels' else _support(levels)}"


def _support(levels: int | None) -> Support:
    if levels is None:
        return "real"
    return "binary" if levels == 2 else "levels"


def _levels(support: str | int) -> int | None:
    if support == "real":
        return None
    if support == "binary":
        return 2
    if str(support).isdigit() and int(support) >= 2:
        return int(support)
    raise ZooError(f"a support is 'binary', 'real' or a number of levels K >= 2, got {support!r}")


def image_size(event: Event, family: str, otherwise: str) -> tuple[int, int]:
    """Height and width of an image of one channel.

    Args:
        event: its shape should be ``(height, width)`` or ``(1, height, width)``.
        family: who needs the image, for the message.
        otherwise: what to do with another event, for the message.

    Raises:
        ZooError: an event of another shape.
    """
    if len(event.shape) == 2 or (len(event.shape) == 3 and event.shape[0] == 1):
        return event.shape[-2], event.shape[-1]
    raise ZooError(f"{family} needs an image of shape (height, width) or (1, height, width), got {event}; {otherwise}")


EXAMPLES = {
    "levels": Event((8, 8), 17),
    "binary": Event((8, 8), "binary"),
    "real": Event(2, "real"),
    "record": Event.parse("x=8x8:17,y=:10@label"),
    "sequence": Event.parse("x=5x6:binary~n,n=:6@given"),
}
"""A small event of each support, used to describe and check families."""
