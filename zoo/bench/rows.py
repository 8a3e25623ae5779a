"""The rows of the benchmark, read from ``rows.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from zoo.errors import ZooError


class Row(BaseModel):
    """One piece of work; either the VAE ``by_hand`` (its hidden units and latents) or a ``family`` of the zoo.

    ``work`` is to ``train`` (a step), to ``sample`` entry by entry, to give the
    ``density`` of a batch or ``draw`` one from a flow, or the ``memory`` that training takes at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str = ""
    batch: int
    event: str
    work: Literal["train", "sample", "density", "draw", "memory"] = "train"
    by_hand: dict[str, int] = {}
    family: str = ""
    hyper: dict[str, Any] = {}


def rows(only: Sequence[str] = (), quick: bool = False) -> list[Row]:
    """The rows named (all, if none is), or the first alone if ``quick``.

    Raises:
        ZooError: an unknown name.
    """
    known = {
        row.name: row
        for row in map(Row.model_validate, tomllib.loads(files("zoo.bench").joinpath("rows.toml").read_text())["rows"])
    }
    for name in only:
        if name not in known:
            raise ZooError(f"there is no benchmark row {name!r}; there are: {', '.join(known)}")
    found = [known[name] for name in only] or list(known.values())
    return found[:1] if quick else found
