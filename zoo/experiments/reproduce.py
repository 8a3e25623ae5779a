"""Published numbers, tried: each row's runs are planned and run as a suite's, and its scores kept as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from zoo.errors import RunError, ZooError
from zoo.experiments.claims import ClaimRow
from zoo.experiments.compare import compare
from zoo.experiments.display import Display
from zoo.experiments.plan import Options, plan
from zoo.files import read_json, write_json
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import load_shelves
from zoo.report.reproduction import Attempt, Obtained, OneRun
from zoo.runs.config import DataSpec

RECORDS = "records"
"""The folder of the records in that of the page."""


def reproduce(name: str, row: ClaimRow, options: Options, display: Display) -> Obtained:
    """Train and measure whatever of a row is not on disk yet.

    Returns:
        Its scores; without any, a reason: the data are not here, or the runs failed.
    """
    load_shelves()
    load_families(options.files)
    blank = Obtained(
        row=name,
        digest=row.digest,
        command=options.command,
        status="not run",
        config=row.config,
        particles=row.particles,
    )
    suite = row.suite(name)
    try:
        DataSpec(name=row.data).resolved(options.data_dir)
    except ZooError as error:
        return blank.model_copy(update={"reason": f"its data are not here: {row.needs or error}"})
    try:
        study = compare(suite, options, display)
        runs = _runs(row, options, name)
    except ZooError as error:
        return blank.model_copy(update={"status": "failed", "reason": str(error)})
    scores = [score for score in study.scores if score["evaluation"] == row.evaluation]
    facts = {key: value for key, value in study.provenance.items() if key not in ("command", "about", "datasets")}
    found = {"status": "ok", "scores": scores, "runs": runs, "provenance": facts}
    return blank.model_copy(update=found | {"data": next(iter(study.provenance["datasets"].values()))})


def _runs(row: ClaimRow, options: Options, name: str) -> list[OneRun]:
    found = []
    for entry in plan(row.suite(name), options):
        if entry.planned is None:
            continue
        run, recipe = entry.planned.run, entry.planned.config.recipe
        status = run.status
        steps, speed = int(status.get("step", 0)), float(status.get("speed") or 0.0)
        found.append(
            OneRun(
                seed=entry.seed,
                folder=str(run.folder.relative_to(options.runs)),
                steps=steps,
                batch=min(recipe.batch, len(entry.dataset.train)),
                hours=round(steps / speed / 3600, 4) if speed else 0.0,
                reason=status.get("reason", ""),
            )
        )
    return found


def record_path(folder: Path, name: str) -> Path:
    """Where a row's record is, below the folder of the page."""
    return folder / RECORDS / f"{name}.json"


def write_record(folder: Path, obtained: Obtained) -> Path:
    """Keep a row's scores; a number is never replaced by the remark that its data are not here."""
    path = record_path(folder, obtained.row)
    if obtained.status == "not run" and path.exists() and read_record(path).status == "ok":
        return path
    write_json(path, obtained.model_dump(mode="json"))
    return path


def read_record(path: Path) -> Obtained:
    """A record.

    Raises:
        ZooError: it was changed by hand, is torn, or is no record.
    """
    try:
        return Obtained(**read_json(path))
    except (RunError, ValidationError, TypeError) as error:
        reason = str(error).partition("; delete")[0].partition("\n")[0]
        raise ZooError(f"{reason}: make {path} again by zoo reproduce {path.stem}, or delete it") from error


def attempts(rows: Mapping[str, ClaimRow], folder: Path) -> list[Attempt]:
    """Every row with its record; one of other settings is none.

    Raises:
        ZooError: a record is damaged.
    """
    found = []
    for name, row in rows.items():
        path = record_path(folder, name)
        obtained, reason = None, f"no record; make it by zoo reproduce {name}"
        if path.exists():
            obtained, reason = read_record(path), ""
        if obtained and obtained.digest != row.digest:
            obtained, reason = None, f"its settings were changed after its record; make it by zoo reproduce {name}"
        found.append(Attempt(name, row, obtained, reason))
    return found


def missing(attempt: Attempt) -> bool:
    """Whether a row has still to be run: it has no number."""
    return attempt.obtained is None or attempt.obtained.status != "ok"
