"""The ground laws of a run's pair: checked once for a text of the programs, and noted in the run's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from torch import Tensor

from zoo.contract.check import ground_laws
from zoo.files import read_json, write_json
from zoo.pairs.pair import Pair
from zoo.pairs.registry import SHELVES

FILE = "laws.json"
UNCHECKED = "unchecked: the laws without which a number is wrong were skipped (--unchecked)"
"""The remark on every score of a run that is not checked."""


def require_laws(pair: Callable[[], Pair], x: Tensor, folder: Path | None) -> None:
    """Refuse a pair that breaks a ground law; that of a run on disk is checked once for a text of the programs.

    Args:
        pair: returns the trained pair.
        x: some data of its event, shape ``(n, *event.shape)``.
        folder: of its run, if it is on disk.

    Raises:
        ContractError: see `zoo.contract.check.ground_laws`.
    """
    if folder and laws_noted(folder):
        return
    ground_laws(pair(), x)
    if folder:
        note_laws(folder)


def laws_noted(folder: Path) -> bool:
    """Whether it is noted that the laws hold of a run, for this text of the programs."""
    path = folder / FILE
    return path.exists() and read_json(path).get("text") == _text()


def note_laws(folder: Path) -> None:
    """Note that the ground laws hold of a run."""
    write_json(folder / FILE, {"text": _text()})


@cache
def _text() -> str:
    """A digest of the sources of the zoo; a run's settings have that of files outside it."""
    packages = (find_spec(name) for name in ("zoo", *SHELVES))
    folders = chain.from_iterable(each.submodule_search_locations or () for each in packages if each)
    files = sorted({file for folder in folders for file in Path(folder).rglob("*.py")})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
