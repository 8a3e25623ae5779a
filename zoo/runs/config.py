"""Everything that decides the outcome of a run, resolved."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from zoo.data import Dataset, load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import ParsedName, fitting_event, read_name
from zoo.pairs.registry import families, guides, priors
from zoo.scores import label
from zoo.training.recipe import Recipe

SEEDS = 2**32
"""Seeds are below this: numpy takes no greater ones."""


class DataSpec(BaseModel):
    """Which data, and how a person's own file is split; ``event`` overrides what the file tells."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "digits"
    seed: int = 0
    split: tuple[float, float, float] | None = None
    event: str | None = None

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The data set (see `zoo.data.load_data` for the errors)."""
        event = Event.parse(self.event) if self.event else None
        return load_data(self.name, data_dir=data_dir, seed=self.seed, split=self.split, event=event)


class RunConfig(BaseModel):
    """Everything that decides what a run comes to, resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    guide: str = ""
    data: DataSpec
    fingerprint: str
    """Of the data themselves: a changed file is another run."""
    event: str
    seed: int
    hyper: dict[str, Any] = {}
    recipe: Recipe
    files: dict[str, str] = {}
    """Files from outside that the family and its guide come from: path and digest of the content."""

    @property
    def name(self) -> str:
        """What it is called: `zoo.scores.label`."""
        return label(self.family, self.guide)

    @property
    def digest(self) -> str:
        """Eight letters that change when any setting does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]


def configure(
    name: str,
    data: DataSpec,
    dataset: Dataset,
    *,
    seed: int = 0,
    hyper: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
) -> RunConfig:
    """Resolve the settings of a run: the family's own recipe, with ``recipe`` over it.

    Raises:
        ZooError: unknown names or settings, a seed out of range, or data that the family does not take.
    """
    if not 0 <= seed < SEEDS:
        raise ZooError(f"a seed is a whole number from 0 to {SEEDS - 1}, got {seed}")
    called = read_name(name)
    event = fitting_event(called.family, dataset.event)
    dataset.reshaped(event)
    return RunConfig(
        family=called.variant,
        guide=called.guide,
        data=data,
        fingerprint=dataset.fingerprint,
        event=str(event),
        seed=seed,
        hyper=hyper or {},
        recipe=Recipe.read(called.family.recipe).updated(recipe or {}),
        files=_outside_files(called),
    )


def _outside_files(called: ParsedName) -> dict[str, str]:
    paths = {families.file(called.family.name), guides.file(called.guide), priors.file(called.prior)} - {None}
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(filter(None, paths))}
