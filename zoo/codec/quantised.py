"""Real numbers rounded on a grid and packed: each column's symbols under a normal distribution rounded to integers.

Also the numbers that describe the grid, a byte each.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from constriction import stream
from numpy.typing import NDArray

from zoo.codec.rates import Floats
from zoo.errors import ZooError

Symbols = NDArray[np.int32]
MAX_SYMBOL = 2**15 - 1
"""The largest absolute value of a symbol; larger ones are clipped."""
MIN_DEVIATION = 2.0**-5
"""The smallest standard deviation of a column, in symbols: all its mass is on zero."""
REACH = struct.Struct("<H")
"""The head of packed symbols: the largest absolute value among them."""


@dataclass(frozen=True)
class QuantisedNormal:
    """d normal variables, each rounded with its own step, ``(d,)`` each: value = mean + step * symbol."""

    mean: Floats
    deviation: Floats
    step: Floats

    def pack(self, values: Floats) -> bytes:
        """Values ``(n, d)``, rounded to the nearest symbols, as bytes."""
        return pack_symbols(rounded((values - self.mean) / self.step), self.deviation / self.step)

    def unpack(self, packed: bytes, n: int) -> Floats:
        """What `pack` made of n rows, within half a step: shape ``(n, d)``.

        Raises:
            ZooError: `pack` did not make these bytes with these numbers.
        """
        return self.mean + self.step * unpack_symbols(packed, n, self.deviation / self.step)


def rounded(values: Floats) -> Symbols:
    """The nearest symbols."""
    return np.clip(np.rint(values), -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)


def pack_symbols(symbols: Symbols, deviations: Floats) -> bytes:
    """Symbols ``(n, d)``, column j under N(0, deviations[j]²): the head, then the entropy coder's words."""
    reach = max(1, int(np.abs(symbols).max(initial=0)))
    coder = stream.stack.AnsCoder()
    coder.encode_reverse(symbols.ravel(), *_model(reach, len(symbols), deviations))
    return REACH.pack(reach) + coder.get_compressed().astype("<u4").tobytes()


def unpack_symbols(packed: bytes, n: int, deviations: Floats) -> Symbols:
    """What `pack_symbols` packed: shape ``(n, len(deviations))``.

    Raises:
        ZooError: `pack_symbols` did not make these bytes with these deviations.
    """
    words = packed[REACH.size :]
    if len(packed) < REACH.size or len(words) % 4:
        raise ZooError(f"packed symbols are 2 bytes and words of 4, got {len(packed)} bytes: they were cut")
    reach = REACH.unpack_from(packed)[0]
    if not 1 <= reach <= MAX_SYMBOL:
        raise ZooError(f"the largest packed symbol is from 1 to {MAX_SYMBOL}, got {reach}: the bytes were changed")
    coder = stream.stack.AnsCoder(np.frombuffer(words, "<u4").astype(np.uint32))
    symbols = coder.decode(*_model(reach, n, deviations))
    if not coder.is_empty():
        raise ZooError(f"bits are left after {symbols.size} packed symbols: the bytes were cut or changed")
    return symbols.reshape(n, len(deviations))


def _model(reach: int, n: int, deviations: Floats) -> tuple[stream.model.QuantizedGaussian, Floats, Floats]:
    tiled = np.tile(np.maximum(deviations, MIN_DEVIATION), n)
    return stream.model.QuantizedGaussian(-reach, reach), np.zeros_like(tiled), tiled


def to_bytes(values: Floats) -> NDArray[np.uint8]:
    """Positive numbers from 2^-16 to 2^15 as a byte each, within 4.5 %."""
    return np.clip(128 + np.rint(8 * np.log2(np.maximum(values, 2.0**-16))), 0, 255).astype(np.uint8)


def from_bytes(coarse: NDArray[np.uint8]) -> Floats:
    """The numbers that `to_bytes` gave, rounded."""
    return np.exp2((coarse.astype(float) - 128) / 8)
