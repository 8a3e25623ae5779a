"""Rows of published tables, read from TOML: what is claimed, and the runs that try to reproduce it."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, PositiveInt, ValidationError, field_validator

from zoo.errors import ZooError
from zoo.experiments.suite import Suite
from zoo.files import digest_of
from zoo.report.reproduction import Claim

ROWS = "claims.toml"
"""The file of the zoo's rows, next to this module."""


class ClaimRow(Claim):
    """A claim, and the runs that try it.

    Args:
        model: a family, with its guide and prior: ``vae+vmf:prior=sphere``.
        seeds: one run for each.
        evaluation: that gives the metric.
        particles: of its bound.
        hyper: settings of the family.
        recipe: settings of training that differ from the family's.
    """

    model: str = Field(min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    evaluation: str = "likelihood"
    particles: PositiveInt = 500
    hyper: dict[str, Any] = Field(default_factory=dict)
    recipe: dict[str, Any] = Field(default_factory=dict)

    @field_validator("seeds")
    @classmethod
    def _once_each(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed is named once")
        return seeds

    @property
    def digest(self) -> str:
        """Changes when anything does that decides the row's numbers; its words do not count."""
        names = ("model", "data", "seeds", "evaluation", "particles", "hyper", "recipe")
        return digest_of({name: getattr(self, name) for name in names})[:12]

    @property
    def config(self) -> str:
        """Family, data and settings as options of ``zoo train``."""
        parts = [self.model, f"--data {self.data}"]
        parts += [f"--set {name}={value}" for name, value in self.hyper.items()]
        return " ".join([*parts, *(f"--train {name}={value}" for name, value in self.recipe.items())])

    def suite(self, name: str) -> Suite:
        """The runs as a suite, so that they are planned, run and resumed as any."""
        return Suite(
            name=name,
            families=[self.model],
            data=[self.data],
            seeds=self.seeds,
            evaluations=[self.evaluation],
            particles=self.particles,
            hyper={self.model: self.hyper},
            recipes={self.model: self.recipe},
        )


class _Claims(BaseModel):
    rows: dict[str, ClaimRow]


def load_claims(path: Path | None = None) -> dict[str, ClaimRow]:
    """The rows of a TOML, a table for each by name; those of the zoo without one.

    Raises:
        ZooError: it cannot be read, is not TOML, or has a wrong entry, with what was expected.
    """
    try:
        text = path.read_text() if path else files("zoo.experiments").joinpath(ROWS).read_text()
        entries = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"rows {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ZooError(f"rows {path or ROWS} are not TOML: {error}") from error
    where = f"rows {path or ROWS}"
    if not entries or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ZooError(f"{where}: each row is a table, such as [vae-static], got {', '.join(entries) or 'nothing'}")
    try:
        return _Claims(rows=entries).rows
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))
        known = ", ".join(ClaimRow.model_fields)
        known = f"; a row has {known}" if first["type"] == "extra_forbidden" else ""
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise ZooError(f"{where}: {place}: {first['msg']}{got}{known}") from error


def chosen(rows: dict[str, ClaimRow], names: list[str]) -> dict[str, ClaimRow]:
    """The rows of these names, in this order; all without names.

    Raises:
        ZooError: an unknown name.
    """
    if unknown := [name for name in names if name not in rows]:
        raise ZooError(f"there is no row {unknown[0]!r}; the rows are {', '.join(rows)}")
    return {name: rows[name] for name in names} if names else rows
