"""Tables of integers under normal distributions rounded to the integers: what quantised numbers are packed by."""

from __future__ import annotations

import struct

import numpy as np
from constriction import stream
from numpy.typing import NDArray

from zoo.codec.rates import Floats
from zoo.errors import ZooError

Symbols = NDArray[np.int32]
MOST = 2**15 - 1
"""The largest absolute value of a symbol; what lies farther out is put there."""
NARROWEST = 2.0**-5
"""The smallest standard deviation of a column, in symbols: all its mass is on zero."""
HEAD = struct.Struct("<H")


def rounded(values: Floats) -> Symbols:
    """The nearest symbols."""
    return np.clip(np.rint(values), -MOST, MOST).astype(np.int32)


def pack(symbols: Symbols, deviations: Floats) -> bytes:
    """The symbols ``(n, d)``, column j under N(0, deviations[j]²): two bytes for the largest, then a coder's words."""
    reach = max(1, int(np.abs(symbols).max(initial=0)))
    coder = stream.stack.AnsCoder()
    coder.encode_reverse(
        symbols.ravel(), stream.model.QuantizedGaussian(-reach, reach), *_parameters(len(symbols), deviations)
    )
    return HEAD.pack(reach) + coder.get_compressed().astype("<u4").tobytes()


def unpack(code: bytes, n: int, deviations: Floats) -> Symbols:
    """What `pack` packed, ``(n, len(deviations))``.

    Raises:
        ZooError: bytes that `pack` did not write for these deviations.
    """
    words = code[HEAD.size :]
    if len(code) < HEAD.size or len(words) % 4:
        raise ZooError(f"a code of quantised numbers is 2 bytes and words of 4, got {len(code)} bytes")
    reach = HEAD.unpack_from(code)[0]
    if not 1 <= reach <= MOST:
        raise ZooError(f"the largest symbol is from 1 to {MOST}, got {reach}")
    coder = stream.stack.AnsCoder(np.frombuffer(words, "<u4").astype(np.uint32))
    symbols = coder.decode(stream.model.QuantizedGaussian(-reach, reach), *_parameters(n, deviations))
    if not coder.is_empty():
        raise ZooError(f"the code does not end where its {symbols.size} symbols do: it was cut or changed")
    return symbols.reshape(n, len(deviations))


def _parameters(n: int, deviations: Floats) -> tuple[Floats, Floats]:
    tiled = np.tile(np.maximum(deviations, NARROWEST), n)
    return np.zeros_like(tiled), tiled
