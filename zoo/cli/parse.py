"""From the words of a command to values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cli.options import RunOptions
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.data import Dataset
    from zoo.event import Event
    from zoo.experiments.suite import Suite
    from zoo.runs.config import RunConfig
    from zoo.runs.run import Run
    from zoo.training.callbacks import Callback


def names_of(names: Sequence[str], with_: list[Path] | None) -> list[str]:
    """Names of families; a Python file stands for the families it holds, as in ``my.py`` or ``my.py+iaf``."""
    from zoo.pairs.plugins import load_families

    load_families(with_ or [])
    found: list[str] = []
    for name in names:
        file, suffix, rest = re.split(r"(\.py(?=$|[+:]))", name, maxsplit=1) if ".py" in name else (name, "", "")
        found += [family + rest for family in load_families([Path(file + suffix)])] if suffix else [name]
    return found


def stored_run(name: str, with_: list[Path] | None) -> Run | None:
    """The run of a folder, of a file in it, or of a published model; ``None`` for the name of a family.

    Raises:
        RunError: there is no such run, or several.
    """
    from zoo.pairs.plugins import load_families
    from zoo.runs.lookup import find_run, is_place
    from zoo.runs.published import published_run

    load_families(with_ or [])
    run = published_run(name)
    if run is None and not is_place(name):
        return None
    run = run or find_run(name)
    load_families([Path(file) for file in run.config.files])
    return run


def named_run(name: str, options: RunOptions) -> Run | None:
    """`stored_run`, which no option may contradict.

    Raises:
        ZooError: options that decide which run it is.
    """
    run = stored_run(name, options.with_)
    if run and (decided := options.decisive()):
        raise ZooError(
            f"{run.folder} has its own settings; leave out {', '.join(decided)}, or name the family, "
            f"{run.config.name}, for another run"
        )
    return run


def suite_of(names: Sequence[str], with_: list[Path] | None, data: str | None, title: str | None) -> Suite:
    """The suite named, or one of the families named; with ``title`` for its name instead of its own, or ``own``.

    Raises:
        ZooError: an unknown name, or a title that is the name of another suite.
    """
    from zoo.experiments.suite import load_suite, own_suite, suite_names
    from zoo.pairs.build import find

    if len(names) == 1 and (names[0] in suite_names() or names[0].endswith(".toml")):
        suite = load_suite(names[0])
        return suite if title is None else suite.renamed(title)
    for name in names:
        if not name.endswith(".toml") and (run := stored_run(name, with_)):
            raise ZooError(
                f"a comparison trains and measures its own runs: name the family of {name}, {run.config.name}, and "
                f"its data by --data {run.config.data.name}"
            )
    families = names_of(names, with_)
    try:
        for name in families:
            find(name)
    except ZooError as error:
        if len(names) == 1:
            raise ZooError(f"{error}; suites: {', '.join(suite_names())}") from None
        raise
    return own_suite(title or "own", families, data or "digits")


@dataclass(frozen=True)
class Prepared:
    """A run with all that training it takes."""

    run: Run
    config: RunConfig
    dataset: Dataset

    @classmethod
    def of(cls, name: str, options: RunOptions, example: bool = False) -> Prepared:
        """The run in the folder ``name``, of the family of that name, or of the only family in a Python file.

        With ``example``, a published model comes with its example data in place of its data set.
        """
        from zoo.runs.config import configure
        from zoo.runs.lookup import dataset_of
        from zoo.runs.published import example_of
        from zoo.runs.run import Run

        if run := named_run(name, options):
            data = example_of(run) if example else None
            return cls(run, run.config, data or dataset_of(run, options.data_dir))
        names = names_of([name], options.with_)
        if len(names) != 1:
            raise ZooError(
                f"{name} holds {len(names)} families ({', '.join(names)}); name one and give the file by --with"
            )
        spec, dataset = options.spec(options.named(options.data)).resolved(options.data_dir)
        config = configure(
            names[0],
            spec,
            dataset,
            seed=options.seed,
            hyper=options.hyper,
            recipe=options.recipe,
            unchecked=options.unchecked,
        )
        return cls(Run.of(config, options.runs), config, dataset)

    def train(self, device: str, quiet: bool, *callbacks: Callback) -> None:
        """Train the run if it is not finished, with its progress on a terminal."""
        from zoo.experiments.calibrate import calibrate
        from zoo.experiments.display import Watcher
        from zoo.runs.laws import UNCHECKED

        watcher = Watcher(self.config.recipe.steps, quiet)
        if not self.run.done:
            calibrate([self.config], watcher.console)
        self.run.train(self.config, self.dataset, device, [watcher, *callbacks])
        if self.config.unchecked and not quiet:
            watcher.console.print(UNCHECKED)


def split_of(text: str | None) -> tuple[float, float, float] | None:
    """Three shares separated by commas."""
    if text is None:
        return None
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        raise ZooError(f"a split is three shares such as 0.8,0.1,0.1; got {text!r}") from None
    return train, validation, test


def with_settings(data: str, settings: Mapping[str, str]) -> str:
    """The name of data with more settings behind its colon; empty ones are left out.

    Raises:
        ZooError: one is there already.

    Example:
        >>> with_settings("sensors.csv:missing=drop", {"columns": "age+income", "quantise": ""})
        'sensors.csv:missing=drop,columns=age+income'
    """
    from zoo.data.files import path_and_settings

    for name, value in settings.items():
        if value and name in path_and_settings(data)[1]:
            raise ZooError(f"{name} of {data} is given twice; leave out --{name}")
    added = ",".join(f"{name}={value}" for name, value in settings.items() if value)
    if not added:
        return data
    return f"{data}{',' if path_and_settings(data)[1] else ':'}{added}"


def roles_of(texts: Sequence[str]) -> dict[str, str]:
    """Roles of fields, each written ``name=role``.

    Raises:
        ZooError: one is not written so.
    """
    for text in texts:
        if not re.fullmatch(r"[^=]+=[^=]+", text):
            raise ZooError(f"a field is written NAME=ROLE, such as y=label, c=given or w=observed; got {text!r}")
    roles = [text.split("=") for text in texts]
    for name in (name for name, role in roles if dict(roles)[name] != role):
        raise ZooError(f"the role of {name} is given twice, as {' and '.join(r for n, r in roles if n == name)}")
    return dict(roles)


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
    """The event written as SHAPE:SUPPORT, if any."""
    from zoo.event import Event

    return Event.parse(text) if text else None
