"""Arrays as people have them and the float32 values of fields: from one to the other and back to the same bytes."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from zoo.errors import ZooError
from zoo.event import Field as EventField

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
TYPES = r"^(\|[biu]1|[<>][iu][248]|[<>]f[248])$"
"""Of numbers, as numpy writes them: a byte order, a kind and a number of bytes."""


class ArrayForm(BaseModel):
    """Type, shape and order of an array of n data that holds the values of a field."""

    model_config = STRICT

    dtype: str = Field(default="<f4", pattern=TYPES)
    shape: list[int] | None = Field(default=None, max_length=8)
    """Of a datum, if it is not the field's."""
    order: Literal["C", "F"] = "C"
    """Of the entries in memory, in numpy's words."""

    @classmethod
    def of(cls, name: str, array: NDArray[Any], field: EventField) -> ArrayForm:
        """The form of an array.

        Raises:
            ZooError: it does not have n data of the field's shape, flat or not, or numbers of another type.
        """
        sizes = ", ".join(map(str, field.shape))
        if not array.ndim or not len(array):
            what = "a single number without axes" if not array.ndim else f"an empty array of shape {array.shape}"
            raise ZooError(f"{name} should be an array of shape (n{f', {sizes}' if sizes else ','}), got {what}")
        if not re.match(TYPES, array.dtype.str):
            raise ZooError(
                f"{name} has the type {array.dtype}; only plain numbers are coded: booleans, integers of up to 64 bits "
                "and floats of 16, 32 or 64 bits; convert it by array.astype"
            )
        if array.shape[1:] not in (field.shape, (field.size,)):
            raise ZooError(f"{name} should have shape (n{f', {sizes}' if sizes else ','}), got {array.shape}")
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        shape = None if array.shape[1:] == field.shape else list(array.shape[1:])
        return cls(dtype=array.dtype.str, shape=shape, order="F" if fortran else "C")

    def values(self, array: NDArray[Any], field: EventField) -> NDArray[np.float32]:
        """The values in an array of this form, shape ``(n, *field.shape)``; those that are no levels may be rounded."""
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array).astype(np.float32).reshape(-1, *field.shape)

    def array(self, values: NDArray[np.float32], field: EventField) -> NDArray[Any]:
        """The array of this form that holds values of shape ``(n, *field.shape)``."""
        shape = field.shape if self.shape is None else self.shape
        return values.reshape(len(values), *shape).astype(self.dtype, order=self.order)


def same_bytes(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two arrays have the same type, shape and bits: a minus zero is no zero."""
    return (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes())
