"""Data that are text: sequences of levels that are words, and how they are written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.event import Event

END = ""
"""The word of level 0 in text: it ends a sentence and fills the rest."""
UNKNOWN = "<unk>"
"""The word that stands for all rare ones, if a vocabulary has it."""


def words_of(event: Event, names: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """The words of the levels of text, from level 0 on; empty if data of that event and names are no text.

    Text has a flat event of levels, all of which have names, and level 0 has none: it is the end.

    Example:
        >>> words_of(Event(3, 3), {"x": ["", "yes", "no"]}), words_of(Event(3, 3), {})
        (['', 'yes', 'no'], ())
    """
    if event.fields or len(event.shape) > 1:
        return ()
    words = names.get("x", ())
    return words if len(words) == event.levels and words[0] == END else ()


def sentences(x: Any, words: Sequence[str]) -> list[str]:
    """Levels ``(n, entries)``, as a tensor or nested lists, as sentences: words with spaces between them, without ends.

    Example:
        >>> sentences([[1.0, 2.0, 0.0]], ["", "yes", "no"])
        ['yes no']
    """
    return [" ".join(filter(None, (words[level] for level in row))) for row in np.asarray(x, dtype=int)]
