"""The ground laws of a run's pair: checked once for a text of the programs, and noted in the run's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.contract.check import ground_laws
from zoo.files import read_json, write_json
from zoo.pairs.registry import SHELVES
from zoo.scores import Score

if TYPE_CHECKING:
    from zoo.runs.run import Run

FILE = "laws.json"
UNCHECKED = "unchecked: the laws without which a number is wrong were skipped (--unchecked)"
"""The remark on every score of such a run."""


def require_laws(run: Run, x: Tensor) -> None:
    """Refuse a run whose pair breaks a ground law, unless its settings say that it is unchecked.

    Args:
        run: finished; one that diverged is left alone, as it has no numbers.
        x: some data of its event, shape ``(n, *event.shape)``.

    Raises:
        ContractError: see `zoo.contract.check.ground_laws`.
    """
    if run.config.unchecked or run.status["status"] != "finished":
        return
    if not laws_noted(run):
        ground_laws(run.pair(), x)
        note_laws(run)


def laws_noted(run: Run) -> bool:
    """Whether the laws need no check: they hold of this text of the programs, or the run is unchecked."""
    path = run.folder / FILE
    return run.config.unchecked or (path.exists() and read_json(path).get("text") == _text())


def note_laws(run: Run) -> None:
    """Note that the ground laws hold of a run."""
    write_json(run.folder / FILE, {"text": _text()})


def remarked(scores: Sequence[Score], unchecked: bool) -> list[Score]:
    """The scores, each with the remark `UNCHECKED` if it belongs to an unchecked run."""
    if not unchecked:
        return list(scores)
    return [replace(score, reason="; ".join(filter(None, (UNCHECKED, score.reason)))) for score in scores]


@cache
def _text() -> str:
    """A digest of the sources of the zoo; a run's settings have that of files outside it."""
    packages = (find_spec(name) for name in ("zoo", *SHELVES))
    folders = chain.from_iterable(each.submodule_search_locations or () for each in packages if each)
    files = sorted({file for folder in folders for file in Path(folder).rglob("*.py")})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
