"""The settings of a run, resolved: everything that its result depends on."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, field_validator, model_serializer

from zoo.data import Dataset, load_data
from zoo.data.units import Units
from zoo.engine.cost import FEWEST_STEPS
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import fitting_event, read_name
from zoo.pairs.registry import families, guides, priors
from zoo.scores import label
from zoo.seeding import require_seed
from zoo.training.recipe import Recipe


class DataSpec(BaseModel):
    """Which data, how a person's own file is split, and what overrides its event and the roles of its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "digits"
    seed: int = 0
    split: tuple[float, float, float] | None = None
    event: str | None = None
    roles: dict[str, str] = {}

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Roles only where there are any: digests of runs without them stay as they are."""
        values: dict[str, Any] = dump(self)
        return values if self.roles else {name: value for name, value in values.items() if name != "roles"}

    @field_validator("name")
    @classmethod
    def _one_name_for_a_folder(cls, name: str) -> str:
        """A folder is the same data whether or not a slash ends its name."""
        return name.replace("/:", ":").rstrip("/") or name

    def resolved(self, data_dir: Path | None = None) -> tuple[DataSpec, Dataset]:
        """The data set, and this description of it without an event that the data have by themselves."""
        dataset, plain = self.load(data_dir), self.model_copy(update={"event": None})
        if self.event:
            with suppress(ZooError):
                if plain.load(data_dir).fingerprint == dataset.fingerprint:
                    return plain, dataset
        return self, dataset

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The data set (see `zoo.data.load_data` for the errors)."""
        event = Event.parse(self.event) if self.event else None
        return load_data(self.name, data_dir=data_dir, seed=self.seed, split=self.split, event=event, roles=self.roles)


class RunConfig(BaseModel):
    """Everything that the result of a run depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    guide: str = ""
    data: DataSpec
    fingerprint: str
    """Digest of the data themselves: a changed file is another run."""
    event: str
    seed: int
    hyper: dict[str, Any] = {}
    recipe: Recipe
    files: dict[str, str] = {}
    """Files outside the zoo that define the family, its guide and its prior: path and digest of the content."""
    unchecked: bool = False
    """The ground laws are skipped, so no number of the run can be relied on."""
    names: dict[str, tuple[str, ...]] = {}
    """Field, or column of a table -> the names of its levels, where they have names: other data are read by these."""
    columns: tuple[str, ...] = ()
    """Of a table, the column of each entry of a datum."""
    rate: int = 0
    """Of data that are sound, samples in a second."""
    units: dict[str, Any] | None = None
    """Of real entries that were standardised (`zoo.data.units.Units.to_json`); the data's own if ``None``."""

    @property
    def name(self) -> str:
        """See `zoo.scores.label`."""
        return label(self.family, self.guide)

    @property
    def data_units(self) -> Units | None:
        """The units of the data, where the pair is given others."""
        return Units.from_json(self.units) if self.units else None

    @property
    def in_own_units(self) -> bool:
        """Whether the pair is given real data in their own units: its programs are written for them."""
        return self.units is None or read_name(self.name).family.event is not None

    @property
    def uses_calibration(self) -> bool:
        """Whether the engine of the run depends on the calibration of the machine (`zoo.engine.calibration`)."""
        return self.recipe.engine != "eager" and self.recipe.steps >= FEWEST_STEPS

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change when any setting does."""
        later = {"unchecked": self.unchecked, "names": self.names, "units": self.units}  # that earlier runs do not have
        absent: dict[str, Any] = {name: True for name, value in later.items() if not value}
        absent |= {"columns": True, "rate": True}  # which the fingerprint stands for
        plain = {"objective": self.recipe.objective == "elbo", "free_bits": not self.recipe.free_bits}
        absent["recipe"] = {name for name, is_so in plain.items() if is_so}
        return hashlib.sha256(self.model_dump_json(exclude=absent).encode()).hexdigest()[:8]

    @property
    def in_order(self) -> RunConfig:
        """The same settings, those of the family and the roles of fields by name: earlier runs have them as given."""
        data = self.data.model_copy(update={"roles": dict(sorted(self.data.roles.items()))})
        return self.model_copy(update={"hyper": dict(sorted(self.hyper.items())), "data": data})

    @property
    def identity(self) -> str:
        """Eight hexadecimal digits of `in_order` but for the folder of the data: their fingerprint says which."""
        here = self.data.model_copy(update={"name": Path(self.data.name).name})
        return self.model_copy(update={"data": here}).in_order.digest


def configure(
    name: str,
    data: DataSpec,
    dataset: Dataset,
    *,
    seed: int = 0,
    hyper: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    unchecked: bool = False,
) -> RunConfig:
    """Resolve the settings of a run: the family's own recipe, overridden by ``recipe``.

    With ``unchecked`` the ground laws are not checked (see `zoo.contract.check.ground_laws`).

    Raises:
        ZooError: unknown names or settings, a seed out of range, or data that the family does not take.
    """
    require_seed(seed)
    parsed = read_name(name)
    event = fitting_event(parsed.family, dataset.event)
    dataset.reshaped(event)
    dataset = dataset if parsed.family.event is None else dataset.in_own_units()
    files = {families.file(parsed.family.name), guides.file(parsed.guide), priors.file(parsed.prior)}
    config = RunConfig(
        family=parsed.variant,
        guide=parsed.guide,
        data=data,
        fingerprint=dataset.fingerprint,
        event=str(event),
        seed=seed,
        hyper=hyper or {},
        recipe=Recipe.read(parsed.family.recipe).updated(recipe or {}),
        unchecked=unchecked,
        names={name: tuple(words) for name, words in dataset.names.items()},
        columns=tuple(dataset.columns),
        rate=dataset.rate,
        units=dataset.units.to_json() if dataset.units else None,
        files={str(file): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in sorted(filter(None, files))},
    )
    return config.in_order
