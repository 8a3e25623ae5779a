"""The entropy coder as a stack of bits: what is pushed last is popped first.

Symbols are coded by asymmetric numeral systems (Duda et al. 2015, PCS), in the implementation of ``constriction``.
"""

from __future__ import annotations

import hashlib

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import RunError, ZooError

Words = NDArray[np.uint32]
SMALLEST = 2.0**-24
"""The probability that every symbol of a table has at least: one unit of the coder's fixed point."""
HIDDEN = 2
"""Words at the top that are the coder's own state; all below them are plain memory."""
SPARE = 1024
"""Seed words laid under the stack at a time; those never touched are cut off in the end."""
_TABLES = constriction.stream.model.Categorical(perfect=False)


class Stack:
    """Bits from the bottom to the top, with symbols pushed onto them and popped from them.

    Popping is sampling: bits that are there by chance come out as draws of the table. For the first pops there are none
    yet; a ``seeded`` stack lays pseudo-random seed bits under itself, always the same ones. `words` gives back only
    those that were needed, and `is_seed` knows them again. They are part of the code and are counted.

    Args:
        words: what `words` of another stack gave; an empty stack without them.
        seeded: for encoding that pops: it never runs out. Any other gives first levels without end once it is empty.

    Raises:
        RunError: words that no stack gives.
    """

    def __init__(self, words: Words | None = None, *, seeded: bool = False) -> None:
        try:
            self._coder = constriction.stream.stack.AnsCoder(np.zeros(0, np.uint32) if words is None else words)
        except ValueError as error:
            raise RunError(f"these are no coded bits: {error}") from error
        self._seeded, self._laid, self._untouched = seeded, 0, 0
        if seeded:
            self._lay()  # now, because a state that is not full yet would notice what is laid under it

    @property
    def bits(self) -> int:
        """How many bits are on the stack beyond all seed bits laid under it; below zero where more were popped."""
        return int(self._coder.num_valid_bits()) - 32 * self._laid

    @property
    def needed(self) -> int:
        """How many of the seed bits laid so far were touched."""
        return 32 * (self._laid - self._untouched)

    def push(self, symbols: Tensor, tables: Tensor) -> None:
        """Push ``symbols``, shape ``(m,)``, each under its row of ``tables`` (see `checked`), the last one first."""
        rows, levels = checked(tables), tables.shape[1]
        if not len(rows):
            return
        chosen = symbols.detach().cpu()
        if bool((chosen != chosen.round()).any()) or int(chosen.min()) < 0 or int(chosen.max()) >= levels:
            raise ZooError(f"a symbol is a whole number from 0 to {levels - 1}; the data hold something else")
        self._coder.encode_reverse(np.ascontiguousarray(chosen.numpy(), np.int32), _TABLES, rows)

    def pop(self, tables: Tensor) -> Tensor:
        """Pop a symbol for each row of ``tables`` (see `checked`): shape ``(m,)``, float64."""
        rows = checked(tables)
        if not len(rows):
            return torch.zeros(0, dtype=torch.float64)
        while self._seeded and self._coder.num_words() < len(rows) + HIDDEN:  # a symbol takes less than a word
            self._lay()
        symbols = self._coder.decode(_TABLES, rows)
        self._untouched = min(self._untouched, max(int(self._coder.num_words()) - HIDDEN, 0))
        return torch.from_numpy(symbols).double()

    def words(self) -> Words:
        """What is on the stack, bottom first, without the seed words that were never touched."""
        words: Words = self._coder.get_compressed()[self._untouched :]
        return words

    def is_seed(self) -> bool:
        """Whether nothing is left but seed bits: what encoding began with."""
        words = self.words()
        return bool(np.array_equal(words, seed_words(len(words))))

    def _lay(self) -> None:
        """Lay more seed words under everything; nothing above them notices."""
        words = self._coder.get_compressed()
        below = seed_words(self._laid + SPARE)[:SPARE]
        self._coder = constriction.stream.stack.AnsCoder(np.concatenate([below, words]))
        self._laid, self._untouched = self._laid + SPARE, self._untouched + SPARE


def seed_words(count: int) -> Words:
    """The ``count`` seed words as they lie, bottom first: fewer of them are the top of more."""
    stream = hashlib.shake_256(b"zoo seed bits").digest(4 * count)
    return np.frombuffer(stream, "<u4").astype(np.uint32)[::-1].copy()


def checked(tables: Tensor) -> NDArray[np.float64]:
    """Tables as the coder needs them: C-contiguous float64 rows that sum to one, no symbol below `SMALLEST`.

    ``tables`` is of shape ``(m, levels)``: a row of masses, not necessarily normalised, for each symbol.

    Raises:
        ZooError: masses that are negative, not finite or all zero; fewer than two levels.
    """
    rows = tables.detach().cpu().double()
    if rows.dim() != 2 or rows.shape[1] < 2 or rows.shape[1] * SMALLEST > 0.5:
        raise ZooError(f"a table has rows of 2 to {int(0.5 / SMALLEST)} levels, got shape {tuple(rows.shape)}")
    total = rows.sum(1, keepdim=True)
    if not bool((rows >= 0).all()) or not bool(((total > 0) & total.isfinite()).all()):
        raise ZooError("a table of probabilities holds a negative number, a NaN, or a row that sums to nothing")
    return np.ascontiguousarray((rows / total).clamp(min=SMALLEST).numpy())
