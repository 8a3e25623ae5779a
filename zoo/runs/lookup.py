"""Which run is meant by a folder, a file in it, or a family's name; and the data that it was trained on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from zoo.data import Dataset
from zoo.data.files import path_and_settings
from zoo.errors import RunError, ZooError
from zoo.files import read_json
from zoo.pairs.build import read_name
from zoo.pairs.registry import datasets, load_shelves
from zoo.runs.config import RunConfig
from zoo.runs.published import published_run
from zoo.runs.run import Run, find_runs
from zoo.scores import label

MOST_NAMED = 5
"""Runs that a message names."""


def is_place(text: str) -> bool:
    """Whether ``text`` is a path below the runs rather than the name of a family or a Python file."""
    path = Path(text).expanduser()
    if re.search(r"\.py($|[+:])", text):
        return False
    return "/" in text.partition(":")[0] or (path / "config.json").is_file() or path.name == "config.json"


def find_run(text: str | Path, runs: Path = Path("runs")) -> Run:
    """The run of a folder, of a file in it, or the only run of a family's name.

    Args:
        text: a run's folder, a file in it, a folder above one run (``runs/digits/vae``), or a name such as ``vae+iaf``;
            or the name or place of a published model (see `zoo.runs.published.published_run`).
        runs: where a name is looked up.

    Raises:
        ZooError: an unknown name.
        RunError: no run, or several.
    """
    path = Path(text).expanduser()
    if published := published_run(str(text)):
        return published
    if path.is_file() and (path.parent / "config.json").is_file():
        path = path.parent
    if (path / "config.json").is_file():
        return Run(path.resolve() if path.name == "" else path)
    if path.is_dir():
        found = [Run(each.parent) for each in sorted(path.rglob("config.json"))]
    elif is_place(str(text)):
        found = find_runs(path.parent.parent, _full_name(path.name), path.parent.name)
    else:
        found = find_runs(runs, _full_name(str(text)))
    if len(found) > 1:
        folders = ", ".join(str(run.folder) for run in found[:MOST_NAMED])
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise RunError(f"{str(text)!r} may be one of {len(found)} runs; name one folder: {folders}{more}")
    if not found:
        place = "" if is_place(str(text)) else f" in {runs}"
        raise RunError(f"there is no run {str(text)!r}{place}; train one by zoo train, or see zoo runs")
    return found[0]


def dataset_of(run: Run, data_dir: Path | None = None) -> Dataset:
    """The data set that a run was trained on, in the units that it was given.

    Raises:
        ZooError: it cannot be loaded.
        RunError: it is no longer the same.
    """
    return data_of(run.config, data_dir)


def data_of(config: RunConfig, data_dir: Path | None = None) -> Dataset:
    """The data that a run's settings are for, in the units that the run is given.

    They lie at the path in the settings or, if nothing is there, under that name in ``data_dir``. On every machine they
    are the data of the same fingerprint, or refused.

    Raises:
        ZooError: they cannot be loaded.
        RunError: they are other data.
    """
    load_shelves()
    spec, path = config.data, path_and_settings(config.data.name)[0]
    moved = spec.name.partition(":")[0] not in datasets and not path.exists()
    if moved and data_dir:
        spec = spec.model_copy(update={"name": str(data_dir / Path(spec.name).name)})
    try:
        data = spec.load(data_dir)
    except ZooError as error:
        hint = f"; or name the folder that holds {path.name} by --data-dir" if moved else ""
        raise ZooError(f"{error}{hint}") from error
    data = data.in_own_units() if config.in_own_units else data
    if data.dequantised and config.units is None:
        raise RunError(
            f"{config.name} was trained on values of a grid without noise, so what it gives is no density of them "
            f"({data.units and data.units.remark}); train another run of {config.name}"
        )
    if data.fingerprint != config.fingerprint:
        raise RunError(
            f"{spec.name} has changed since {config.name} was trained on it (fingerprint {data.fingerprint}, expected "
            f"{config.fingerprint}); restore it, or train another run"
        )
    return data


def described(run: Run) -> dict[str, Any]:
    """A run as a row: its folder, data, family, seed, status, steps, and its stored nats with their kind.

    A run whose files are damaged is a row that says so.
    """
    row: dict[str, Any] = dict.fromkeys(("data", "family", "seed", "status", "step", "steps", "nats", "stderr", "kind"))
    row |= {"folder": str(run.folder), "reason": ""}
    try:
        config, status = run.config, run.status
        row |= {"data": config.data.name, "family": config.name, "seed": config.seed, "steps": config.recipe.steps}
        row |= {"status": status["status"], "step": status.get("step"), "reason": status.get("reason", "")}
        for path in sorted((run.folder / "scores").glob("*.json")):
            content = read_json(path)
            if content["settings"]["run"] != config.digest:
                continue
            for score in content["scores"]:
                if score["metric"] == "nats":
                    row |= {"nats": score["value"], "stderr": score["stderr"], "kind": score["kind"]}
    except (RunError, KeyError, TypeError) as error:
        row |= {"status": "damaged", "reason": str(error)}
    return row


def _full_name(name: str) -> str:
    """The name with the guide that it leaves out, as folders have it."""
    parsed = read_name(name)
    return label(parsed.variant, parsed.guide)
