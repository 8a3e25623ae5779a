"""A suite: families x data sets x seeds, with budgets and evaluations, read from TOML."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from zoo.errors import ZooError
from zoo.event import Support
from zoo.pairs.declarations import Declaration, Family, Registry
from zoo.pairs.registry import GROUPS, families, guides, priors

ANY = "*"
"""In a selector, every guide or every prior that fits what the selector says otherwise."""


class Selector(BaseModel):
    """Families chosen by what they declare: ``{ group = "flow" }``, ``{ family = "vae", prior = "*", latent = 2 }``.

    With ``guide`` or ``prior``, a name or ``"*"``, only families that take one from the shelf are chosen. ``without``
    lists names that are left out. Further keys are hyper-parameters of ``family``.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, bool | int | float | str]

    group: str | None = None
    family: str | None = None
    support: Support | None = None
    guide: str | None = None
    prior: str | None = None
    without: list[str] = []

    @model_validator(mode="after")
    def _chooses_by_something_known(self) -> Selector:
        keys = ", ".join(type(self).model_fields)
        if self.model_extra and self.family is None:
            raise ValueError(f"a selector has the keys {keys}, and with family also its hyper-parameters")
        if self.group not in (None, *GROUPS):
            raise ValueError(f"group is one of {', '.join(GROUPS)}")
        if self.group is self.family is self.support is None:
            raise ValueError(f"a selector needs a group, a family or a support; its keys are {keys}")
        return self

    def names(self) -> list[str]:
        """The names chosen, in the order of the registries.

        Raises:
            ZooError: an unknown name or key, or none chosen.
        """
        names = [
            name
            for entry in ([families[self.family]] if self.family else families)
            if self.group in (None, entry.group) and self.support in (None, *entry.supports)
            and (entry.guide or not self.guide) and (entry.prior or not self.prior)
            for name in self._variants(entry)
        ]  # fmt: skip
        chosen = [name for name in names if name not in self.without]
        said = self.model_dump(exclude_defaults=True)
        if not chosen:
            raise ZooError(f"the selector {said} chooses no family; see zoo list")
        if unknown := set(self.without) - set(names):
            raise ZooError(f"the selector {said} does not choose {', '.join(unknown)}, only {', '.join(names)}")
        return chosen

    def _variants(self, entry: Family) -> Iterator[str]:
        hyper = self.model_extra or {}
        takes = list(inspect.signature(entry.make).parameters)[2 if entry.prior else 1 :]
        for key in hyper:
            if key not in takes and not key.startswith(("guide.", "prior.")):
                known = ", ".join([*type(self).model_fields, *takes])
                raise ZooError(f"a selector of {entry.name!r} has no key {key!r}; it has: {known}")
        for guide in _entries(guides, self.guide):
            for prior in _entries(priors, self.prior):
                if not guide or _fit(entry, guide, prior):
                    named = {"prior": prior} if prior not in ("", entry.prior) else {}
                    settings = ",".join(f"{key}={value}" for key, value in (named | hyper).items())
                    yield entry.name + (guide and f"+{guide}") + (settings and f":{settings}")


def _entries(registry: Registry[Any], name: str | None) -> list[str]:
    return [entry.name for entry in registry] if name == ANY else [registry[name].name] if name else [""]


def _fit(entry: Family, guide: str, prior: str) -> bool:
    """Whether the guide's latents lie where the prior's do; of a prior that is not named, one that fits is found."""
    if entry.prior and not prior:
        return True
    return guides[guide].space == (priors[prior] if prior else guides[entry.guide or guide]).space


class Quick(BaseModel):
    """What ``--quick`` changes: fewer seeds, ``share`` of each recipe's steps, fewer particles, smaller ``data``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: list[int] = [0]
    share: float = Field(default=0.1, gt=0, le=1)
    particles: int = Field(default=64, ge=1)
    once: dict[str, PositiveInt] = {}
    data: list[str] = []
    """Instead of the suite's, if any."""


class Suite(BaseModel):
    """What is compared. ``recipes`` overrides training settings by family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^\w[\w.+-]*$")
    """Also the name of the report's folder."""
    about: str = ""
    families: list[str | Selector] = []
    also: list[Suite] = []
    """Other suites (in TOML, names of the zoo's own) whose runs are included, with this suite's seeds and
    evaluations."""
    data: list[str] = Field(default=["digits"], min_length=1)
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    evaluations: list[str] = ["likelihood", "stability", "sampling"]
    once: dict[str, PositiveInt] = {}
    """Evaluation -> the most test data and samples that it takes (`zoo.runs.evaluation.Settings.samples`): asked of the
    first seed alone, as it is costly. Where a run has stored it for as many data as the others take, that is shown."""
    particles: int = Field(default=512, ge=1)
    against: list[str] = []
    """Data sets that the evaluation of novelty takes besides its shifts."""
    background: float = Field(default=0.0, ge=0, lt=1)
    """Mutation rate of the background models of that evaluation; 0 for none."""
    hyper: dict[str, dict[str, Any]] = {}
    recipes: dict[str, dict[str, Any]] = {}
    quick: Quick = Quick()
    share: float = 1.0

    @model_validator(mode="after")
    def _holds_something(self) -> Suite:
        if not self.families and not self.also:
            raise ValueError("a suite names families, or other suites in `also`")
        if twice := set(self.once) & set(self.evaluations):
            raise ValueError(
                f"{', '.join(sorted(twice))} is asked of every seed and, in `once`, of the first; leave one out"
            )
        return self

    def names(self) -> list[str]:
        """Names of its own families, selectors resolved; what they may choose has to be registered before.

        Raises:
            ZooError: a selector with an unknown name or key, or one that chooses nothing.
        """
        names = ([each] if isinstance(each, str) else each.names() for each in self.families)
        return list(dict.fromkeys(chain.from_iterable(names)))

    def changed(self, **changes: Any) -> Suite:
        """This suite and those in `also`, with other entries."""
        return self.model_copy(update=changes | {"also": [suite.changed(**changes) for suite in self.also]})

    def renamed(self, name: str) -> Suite:
        """This suite under another name, and so with a report of its own.

        Raises:
            ZooError: a name that cannot be a folder's, or is that of another suite.
        """
        return _checked(self.model_dump() | {"name": _own(name)}, self.name)

    def quickened(self) -> Suite:
        """The short version of this suite, whose numbers are not to be quoted."""
        return self.changed(**self.quick.model_dump(exclude={"data"}))._of_quick_data()

    def _of_quick_data(self) -> Suite:
        also = [suite._of_quick_data() for suite in self.also]
        return self.model_copy(update={"data": self.quick.data or self.data, "also": also})


def suite_names() -> list[str]:
    """The suites that come with the zoo."""
    paths = files("zoo.experiments.suites").iterdir()
    return sorted(path.name.removesuffix(".toml") for path in paths if path.name.endswith(".toml"))


def load_suite(name: str) -> Suite:
    """A suite of the zoo by name, or the user's own TOML file.

    Raises:
        ZooError: an unknown name, unreadable TOML, or a wrong entry (named).
    """
    path = Path(name)
    if path.suffix != ".toml":
        return _of_zoo(name)
    try:
        return _parse(path.stem, path.read_text(), name)
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"suite {path} cannot be read: {error}") from error


def _of_zoo(name: str) -> Suite:
    known: Registry[Declaration] = Registry("suite", "suites")
    for each in suite_names():
        known.add(Declaration(each, Suite))
    return _parse(name, files("zoo.experiments.suites").joinpath(f"{known[name].name}.toml").read_text(), name)


def own_suite(name: str, families: Sequence[str], data: str) -> Suite:
    """A suite of the families named on the command line.

    Raises:
        ZooError: a name that cannot be a folder's, or is that of a suite.
    """
    about = f"{', '.join(families)} on {data}."
    return _checked({"name": _own(name), "about": about, "families": list(families), "data": [data]}, "of families")


def _own(name: str) -> str:
    if name in suite_names():
        raise ZooError(f"{name} is the name of a suite, whose report would be overwritten; choose another --name")
    return name


def _parse(name: str, text: str, where: str) -> Suite:
    try:
        entries = {"name": name} | tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ZooError(f"suite {where} is not TOML: {error}") from error
    also = entries.get("also", [])
    if isinstance(also, list):
        entries["also"] = [_of_zoo(str(each)) for each in also]
    suite = _checked(entries, where)
    return suite.changed(seeds=suite.seeds)


def _checked(entries: dict[str, Any], where: str) -> Suite:
    try:
        return Suite(**entries)
    except ValidationError as error:
        last = error.errors()[-1]  # of an entry of `families`, the first says only that it is no text
        place = ".".join(map(str, last["loc"]))
        raise ZooError(f"suite {where}: {place}: {last['msg']}, got {last['input']!r}") from error
