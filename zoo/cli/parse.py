"""From what was written on the command line to the values it stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.data import Dataset
    from zoo.event import Event
    from zoo.experiments.suite import Suite
    from zoo.runs.config import DataSpec, RunConfig
    from zoo.runs.run import Run


def names_of(names: Sequence[str], with_: list[Path] | None) -> list[str]:
    """Names of families; a Python file stands for the families it holds."""
    from zoo.pairs.plugins import load_families

    load_families(with_ or [])
    found: list[str] = []
    for name in names:
        found += load_families([Path(name)]) if name.endswith(".py") else [name]
    return found


def files_of(names: Sequence[str], with_: list[Path] | None) -> list[Path]:
    return [*(with_ or []), *(Path(name) for name in names if name.endswith(".py"))]


def suite_of(names: Sequence[str], with_: list[Path] | None, data: str | None, own: str) -> Suite:
    from zoo.experiments.suite import load_suite, own_suite, suite_names

    if len(names) == 1 and (names[0] in suite_names() or names[0].endswith(".toml")):
        return load_suite(names[0])
    from zoo.pairs.build import find

    families = names_of(names, with_)
    try:
        for name in families:
            find(name)
    except ZooError as error:
        if len(names) == 1:
            raise ZooError(f"{error}; suites: {', '.join(suite_names())}") from None
        raise
    return own_suite(own, families, data or "digits")


def run_of(
    name: str,
    with_: list[Path] | None,
    spec: DataSpec,
    dataset: Dataset,
    seed: int,
    sets: list[str] | None,
    settings: list[str] | None,
    precision: str | None,
    runs: Path,
) -> tuple[Run, RunConfig]:
    from zoo.runs.config import configure
    from zoo.runs.run import Run

    found = names_of([name], with_)
    if len(found) != 1:
        raise ZooError(f"{name} holds {len(found)} families ({', '.join(found)}); name one and give the file by --with")
    config = configure(
        found[0],
        spec,
        dataset,
        seed=seed,
        hyper=settings_of(sets),
        recipe=recipe_of(settings, precision),
    )
    return Run.of(config, runs), config


def recipe_of(settings: list[str] | None, precision: str | None) -> dict[str, Any]:
    return settings_of(settings) | ({"precision": precision} if precision else {})


def settings_of(texts: list[str] | None) -> dict[str, Any]:
    from zoo.pairs.build import parse_settings

    return parse_settings(texts or [])


def spec_of(data: str, split: str | None, seed: int, event: str | None) -> DataSpec:
    from zoo.runs.config import DataSpec

    return DataSpec(name=data, seed=seed, split=_split(split), event=event)


def _split(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        raise ZooError(f"a split is three shares such as 0.8,0.1,0.1; got {text!r}") from None
    return train, validation, test


UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def bytes_of(text: str) -> int:
    """512MiB, 2GiB, 1.5 GB or a number of bytes.

    Raises:
        ZooError: it is none of these, or less than a byte.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([A-Za-z]*)", text.strip())
    size = int(float(found[1]) * UNITS.get(found[2].upper(), 0)) if found else 0
    if size < 1:
        raise ZooError(f"memory is a number of bytes, or one with a unit such as 512MiB, 2GiB or 1GB; got {text!r}")
    return size


def event_of(text: str | None) -> Event | None:
    from zoo.event import Event

    return Event.parse(text) if text else None
