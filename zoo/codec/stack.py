"""The entropy coder as a stack of bits: what is pushed last is popped first.

Symbols are coded by asymmetric numeral systems (Duda et al. 2015, PCS), as implemented by ``constriction``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.errors import RunError, ZooError

Words = NDArray[np.uint32]
MIN_PROBABILITY = 2.0**-24
"""Of every symbol in a table: one unit of the coder's fixed-point numbers."""
STATE_WORDS = 2
"""Words at the top that are the coder's state; the words below are plain memory."""
SEED_WORDS = 1024
"""Seed words put under the stack at a time; `Stack.words` drops those never read."""
_TABLES = constriction.stream.model.Categorical(perfect=False)


class Stack:
    """A stack of bits, onto which symbols are pushed and from which they are popped.

    Popping random bits is sampling from the table. A ``seeded`` stack has pseudo-random seed bits below its first
    symbol, always the same ones. `words` contains only those that were read, and `is_seed` recognises them. They are
    part of the code and are counted.

    Args:
        words: what `words` of another stack gave; ``None`` for an empty stack.
        seeded: for an encoder that pops: the stack never runs out. Any other gives the first level when it is empty.

    Raises:
        RunError: no stack gives these words.
    """

    def __init__(self, words: Words | None = None, *, seeded: bool = False) -> None:
        try:
            self._coder = constriction.stream.stack.AnsCoder(np.zeros(0, np.uint32) if words is None else words)
        except ValueError as error:
            raise RunError(f"these words are no coded bits ({error}): the file was cut or changed") from error
        self._seeded, self._added, self._unread, self._untouched = seeded, 0, 0, 0
        self._rows: Tensor | None = None
        if seeded:
            self._add_seed()  # now, because words put under a state that is not yet full would change it

    @property
    def bits(self) -> int:
        """How many bits the stack has grown by: the seed bits not counted, negative if more were popped than pushed."""
        return int(self._coder.num_valid_bits()) - 32 * self._added

    @property
    def needed(self) -> int:
        """How many seed bits were read so far."""
        return 32 * (self._added - self._unread)

    def push(self, symbols: Tensor, tables: Tensor) -> None:
        """Push ``symbols``, shape ``(m,)``, each under its row of ``tables`` (see `normalised`), the last one first."""
        kept = self._kept(len(tables))
        rows = normalised(tables[kept])
        self._push(symbols[kept], 0, rows.shape[1] - 1, _TABLES, rows)

    def push_normal(self, symbols: Tensor, mean: Tensor, deviation: Tensor, half: int) -> None:
        """Push whole numbers from ``-half`` to ``half``, shape ``(m,)``, each under its normal distribution, rounded.

        Args:
            symbols: shape ``(m,)``; the two outermost stand for all numbers beyond them.
            mean: of each, shape ``(m,)``.
            deviation: of each, shape ``(m,)``.
            half: the largest symbol.
        """
        kept = self._kept(len(mean))
        self._push(symbols[kept], -half, half, *rounded_normal(mean[kept], deviation[kept], half))

    def pop(self, tables: Tensor) -> Tensor:
        """Pop a symbol for each row of ``tables`` (see `normalised`): shape ``(m,)``, float64."""
        kept, popped = self._kept(len(tables)), torch.zeros(len(tables), dtype=torch.float64)
        popped[kept] = self._pop(_TABLES, normalised(tables[kept]))
        return popped

    def pop_normal(self, mean: Tensor, deviation: Tensor, half: int) -> Tensor:
        """Pop what `push_normal` pushed: shape ``(m,)``, float64."""
        kept, popped = self._kept(len(mean)), torch.zeros(len(mean), dtype=torch.float64)
        popped[kept] = self._pop(*rounded_normal(mean[kept], deviation[kept], half))
        return popped

    @contextmanager
    def only(self, rows: Tensor) -> Iterator[None]:
        """Inside, only some rows of every table are coded; the others take no bits, and 0 is popped for them.

        Args:
            rows: which ones, shape ``(m,)``, bool. A table may have ``k m`` rows, of which each ``k`` go together.
        """
        before, self._rows = self._rows, rows
        if before is not None:
            longer = max(len(before), len(rows))
            self._rows = _spread(before, longer) & _spread(rows, longer)
        try:
            yield
        finally:
            self._rows = before

    def words(self) -> Words:
        """What is on the stack, bottom first, without the seed words that were neither read nor pushed upon."""
        words: Words = self._coder.get_compressed()[min(self._unread, self._untouched) :]
        return words

    def is_seed(self) -> bool:
        """Whether only seed bits are left: the stack that encoding started with."""
        words = self.words()
        return bool(np.array_equal(words, seed_words(len(words))))

    def _push(self, symbols: Tensor, least: int, most: int, model: Any, *numbers: NDArray[np.float64]) -> None:
        """Push symbols from ``least`` to ``most``, each under the coder's model with its own ``numbers``."""
        if not len(numbers[0]):
            return
        chosen = symbols.detach().cpu()
        if bool((chosen != chosen.round()).any()) or int(chosen.min()) < least or int(chosen.max()) > most:
            raise ZooError(f"a symbol is a whole number from {least} to {most}; the data contain something else")
        self._untouched = min(self._untouched, max(int(self._coder.num_words()) - STATE_WORDS, 0))
        self._coder.encode_reverse(np.ascontiguousarray(chosen.numpy(), np.int32), model, *numbers)

    def _pop(self, model: Any, *numbers: NDArray[np.float64]) -> Tensor:
        """Pop a symbol for each row of ``numbers``."""
        m = len(numbers[0])
        if not m:
            return torch.zeros(0, dtype=torch.float64)
        while self._seeded and self._coder.num_words() < m + STATE_WORDS:  # a symbol takes less than a word
            self._add_seed()
        symbols = self._coder.decode(model, *numbers)
        self._unread = min(self._unread, max(int(self._coder.num_words()) - STATE_WORDS, 0))
        return torch.from_numpy(symbols).double()

    def _kept(self, m: int) -> Tensor | slice:
        """Which of ``m`` rows are coded."""
        return slice(None) if self._rows is None else _spread(self._rows, m)

    def _add_seed(self) -> None:
        """Put more seed words at the bottom; the symbols above stay."""
        words = self._coder.get_compressed()
        below = seed_words(self._added + SEED_WORDS)[:SEED_WORDS]
        self._coder = constriction.stream.stack.AnsCoder(np.concatenate([below, words]))
        self._added, self._unread = self._added + SEED_WORDS, self._unread + SEED_WORDS
        self._untouched += SEED_WORDS


def seed_words(count: int) -> Words:
    """The first ``count`` seed words, bottom first: fewer of them are the top of more."""
    stream = hashlib.shake_256(b"zoo seed bits").digest(4 * count)
    return np.frombuffer(stream, "<u4").astype(np.uint32)[::-1].copy()


def normalised(tables: Tensor) -> NDArray[np.float64]:
    """Tables as the coder needs them: C-contiguous float64 rows that sum to one, no symbol below `MIN_PROBABILITY`.

    ``tables`` are masses, shape ``(m, levels)``: a row for each symbol.

    Raises:
        ZooError: masses are negative, not finite or all zero, or there are fewer than two levels.
    """
    rows = tables.detach().cpu().double()
    if rows.dim() != 2 or rows.shape[1] < 2 or rows.shape[1] * MIN_PROBABILITY > 0.5:
        raise ZooError(f"a table has rows of 2 to {int(0.5 / MIN_PROBABILITY)} levels, got shape {tuple(rows.shape)}")
    total = rows.sum(1, keepdim=True)
    if not bool((rows >= 0).all()) or not bool(((total > 0) & total.isfinite()).all()):
        raise ZooError("a table of probabilities contains a negative number, a NaN, or a row that sums to zero")
    return np.ascontiguousarray((rows / total).clamp(min=MIN_PROBABILITY).numpy())


def rounded_normal(mean: Tensor, deviation: Tensor, half: int) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
    """The coder's model of whole numbers from ``-half`` to ``half``, none below `MIN_PROBABILITY`, and its arrays.

    Raises:
        ZooError: a mean is not finite, a deviation not positive and finite, or there are too many symbols.
    """
    if not 0 < (2 * half + 1) * MIN_PROBABILITY <= 0.5:
        raise ZooError(f"a rounded normal number has up to {int(0.5 / MIN_PROBABILITY)} symbols, got {2 * half + 1}")
    if not bool((mean.isfinite() & deviation.isfinite() & (deviation > 0)).all()):
        raise ZooError("a normal distribution has a mean that is not finite, or a deviation that is not positive")
    numbers = (np.ascontiguousarray(each.detach().cpu().double().numpy()) for each in (mean, deviation))
    return constriction.stream.model.QuantizedGaussian(-half, half), *numbers


def _spread(rows: Tensor, m: int) -> Tensor:
    """Each of ``rows`` for as many of ``m``, in the same order."""
    if not len(rows) or m % len(rows):
        raise ZooError(f"a mask of {len(rows)} entries does not fit a table of {m} rows: mask each entry of the site")
    return rows.repeat_interleave(m // len(rows))
