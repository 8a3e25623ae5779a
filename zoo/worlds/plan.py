"""The settings of an experiment in a world."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from zoo.errors import ZooError


class FamilySpec(BaseModel):
    """A family by name, with its settings behind a colon, and training settings that differ from its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    recipe: dict[str, Any] = {}


class Search(BaseModel):
    """Settings of CMA-ES; each solution's fitness is the mean of so many rollouts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    population: PositiveInt
    rollouts: PositiveInt
    generations: PositiveInt
    sigma: float


class WorldPlan(BaseModel):
    """Everything that the numbers of an experiment depend on (see ``take_cover.toml``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    seed: int
    episodes: PositiveInt
    frames: PositiveInt
    draws: PositiveInt
    window: PositiveInt
    temperatures: tuple[float, ...]
    periods: tuple[PositiveInt, ...]
    choosing: PositiveInt
    reported: PositiveInt
    vision: FamilySpec
    memory: FamilySpec
    controller: Search

    @classmethod
    def read(cls, text: str, quick: bool = False, seed: int = 0) -> WorldPlan:
        """A plan in TOML; with ``quick`` its table of that name replaces what it names.

        Raises:
            ZooError: a wrong or missing setting.
        """
        whole = tomllib.loads(text)
        fewer = whole.pop("quick", {})
        try:
            return cls(**{**whole, **(fewer if quick else {}), "seed": seed})
        except ValidationError as error:
            first = error.errors()[0]
            raise ZooError(f"plan of a world, {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def take_cover(quick: bool = False, seed: int = 0) -> WorldPlan:
    """The plan for DoomTakeCover."""
    return WorldPlan.read(files("zoo.worlds").joinpath("take_cover.toml").read_text(), quick, seed)
