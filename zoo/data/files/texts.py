"""Text: a ``.txt`` file by lines, or in windows of characters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.data.files.contents import Contents
from zoo.errors import ZooError

LONGEST = 1024
"""Longer lines are refused, as all data have as many entries as the longest line."""


def read_text(path: Path, *, window: int = 0, cut: int = 0) -> Contents:
    """The characters of a text, whose levels are their places among all that occur, sorted.

    A datum is a line, without its end: a sequence ``x`` and its length ``n``, which is given; or one array, where all
    lines are equally long. Empty lines are left out. Or a datum is a window: windows follow one another without a gap
    or an overlap, line ends are characters, and what is left at the end of the text is left out. They stay in their
    order, so that train, validation and test are different parts of the text.

    Args:
        path: a ``.txt`` file in UTF-8.
        window: characters in a window; by default a datum is a line.
        cut: characters of a line that are kept; by default all, and a line of more than 1024 is refused.
    """
    for name, value in (("window", window), ("cut", cut)):
        if not isinstance(value, int) or value < 0:
            raise ZooError(f"{path}: {name} is a number of characters, got {value!r}")
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ZooError(f"cannot read {path}: {error}") from error
    except UnicodeDecodeError as error:
        raise ZooError(
            f"cannot read {path} as UTF-8 text ({error.reason} at byte {error.start}); convert it"
        ) from error
    if "\0" in text:
        raise ZooError(f"{path} has a character of code 0 and is no text; write arrays as .npy")
    if window and cut:
        raise ZooError(f"{path}: lines are cut, and windows are not; give window= or cut=")
    return _windows(path, text, window) if window else _lines(path, text, cut)


def _windows(path: Path, text: str, window: int) -> Contents:
    count, rest = divmod(len(text), window)
    if not count:
        raise ZooError(f"{path} has {len(text)} characters, and no window of {window}; choose a shorter one")
    characters = np.array(list(text[: count * window])).reshape(count, window)
    note = f"windows of {window} characters; {rest} at the end left out"
    return Contents(path, {"": characters}, groups=np.zeros(count, np.int64), note=note)


def _lines(path: Path, text: str, cut: int) -> Contents:
    lines = text.removesuffix("\n").split("\n")
    kept = [line[: cut or None] for line in lines if line]
    if not kept:
        raise ZooError(f"{path} has no line with a character")
    lengths = np.array([len(line) for line in kept])
    longest = int(lengths.max())
    if longest > LONGEST and not cut:
        number = next(place for place, line in enumerate(lines, 1) if len(line) > LONGEST)
        raise ZooError(
            f"{path}: line {number} has {len(lines[number - 1])} characters, more than {LONGEST}; cut lines by "
            f"{path}:cut={LONGEST}, or read windows by {path}:window=256"
        )
    note = f"{len(lines) - len(kept)} empty lines left out"
    if cut:
        note += f", {sum(len(line) > cut for line in lines)} lines cut to {cut} characters"
    characters = np.array([list(line.ljust(longest, "\0")) for line in kept])  # numpy drops the padding's code 0
    if lengths.min() == longest:
        return Contents(path, {"": characters}, note=note)
    return Contents(
        path,
        {"x": characters, "n": lengths},
        levels={"n": longest + 1},
        roles={"n": "given"},
        lengths={"x": "n"},
        note=note,
    )
