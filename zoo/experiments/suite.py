"""A suite: families x data sets x seeds, with budgets and evaluations, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zoo.errors import ZooError
from zoo.pairs.registry import Registry


class Quick(BaseModel):
    """What ``--quick`` changes: fewer seeds, ``share`` of each recipe's steps, fewer particles."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: list[int] = [0]
    share: float = Field(default=0.1, gt=0, le=1)
    particles: int = Field(default=64, ge=1)


class Suite(BaseModel):
    """What is compared. ``recipes`` overrides training settings by family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^\w[\w.+-]*$")
    """Also of the report's folder."""
    about: str = ""
    families: list[str] = []
    also: list[Suite] = []
    """Suites of the zoo, in TOML by name, whose runs are this one's too; seeds and evaluations are this one's."""
    data: list[str] = Field(default=["digits"], min_length=1)
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    evaluations: list[str] = ["likelihood", "stability", "sampling"]
    particles: int = Field(default=512, ge=1)
    hyper: dict[str, dict[str, Any]] = {}
    recipes: dict[str, dict[str, Any]] = {}
    quick: Quick = Quick()
    share: float = 1.0

    @model_validator(mode="after")
    def _holds_something(self) -> Suite:
        if not self.families and not self.also:
            raise ValueError("a suite names families, or other suites in `also`")
        return self

    def changed(self, **changes: Any) -> Suite:
        """This suite, and those that it has also, with other entries."""
        return self.model_copy(update=changes | {"also": [suite.changed(**changes) for suite in self.also]})

    def quickened(self) -> Suite:
        """The short version of this suite, whose numbers are not to be quoted."""
        quick = self.quick
        return self.changed(seeds=quick.seeds, particles=quick.particles, share=quick.share)


def suite_names() -> list[str]:
    """The suites that come with the zoo."""
    paths = files("zoo.experiments.suites").iterdir()
    return sorted(path.name.removesuffix(".toml") for path in paths if path.name.endswith(".toml"))


def load_suite(name: str) -> Suite:
    """A suite of the zoo by name, or a person's own TOML file.

    Raises:
        ZooError: an unknown name, unreadable TOML, or a wrong entry (named).
    """
    path = Path(name)
    if path.suffix == ".toml":
        return _parse(path.stem, _text(path), str(path))
    return _of_zoo(name)


def _of_zoo(name: str) -> Suite:
    known: Registry[_Named] = Registry("suite", "suites")
    for each in suite_names():
        known.add(_Named(name=each))
    return _parse(name, files("zoo.experiments.suites").joinpath(f"{known[name].name}.toml").read_text(), name)


def own_suite(name: str, families: Sequence[str], data: str) -> Suite:
    """A suite made of families named on the command line.

    Raises:
        ZooError: a name that could not be a folder's.
    """
    told = {"name": name, "about": f"{', '.join(families)} on {data}.", "families": list(families), "data": [data]}
    return _checked(told, "of families")


class _Named(BaseModel):
    name: str


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"suite {path} cannot be read: {error}") from error


def _parse(name: str, text: str, where: str) -> Suite:
    try:
        told = {"name": name} | tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ZooError(f"suite {where} is not TOML: {error}") from error
    also = told.get("also", [])
    if isinstance(also, list):
        told["also"] = [_of_zoo(str(each)) for each in also]
    suite = _checked(told, where)
    return suite.changed(seeds=suite.seeds)


def _checked(told: dict[str, Any], where: str) -> Suite:
    try:
        return Suite(**told)
    except ValidationError as error:
        first = error.errors()[0]
        raise ZooError(
            f"suite {where}: {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
        ) from error
