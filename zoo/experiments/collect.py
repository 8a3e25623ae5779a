"""The study of a suite: what its runs have stored, as the rows and pictures that a report is drawn from.

A run's failure is a row with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data import Dataset
from zoo.data.words import words_of
from zoo.devices import device_name, pick_device
from zoo.errors import RunError, ZooError
from zoo.experiments.neighbours import held_out, neighbours
from zoo.experiments.pairing import paired_rows
from zoo.experiments.plan import Entry, Options
from zoo.experiments.processes import cores
from zoo.experiments.suite import Suite
from zoo.experiments.work import asked, draw
from zoo.files import read_json
from zoo.metrics.plane import DENSITY, POINTS, POSTERIOR, PRIOR, SIDE, frame, grid
from zoo.pairs.build import find
from zoo.pairs.registry import datasets, evaluations
from zoo.provenance import provenance
from zoo.report.study import TRUTH, Study
from zoo.report.verdicts import columns
from zoo.runs.evaluation import Settings
from zoo.runs.laws import UNCHECKED
from zoo.runs.stored_scores import (
    decision,
    evaluate_seeds,
    read_kept,
    read_scores,
    reconstructions,
    sample_count,
    samples,
    views,
)
from zoo.scores import Score

Rows = Iterator[dict[str, Any]]
MANY = 100


def study_of(entries: Sequence[Entry], suite: Suite, settings: Settings, options: Options) -> Study:
    """The study of what the runs of a suite have stored; samples and views that are missing are drawn."""
    entries = [_checked(entry, suite, settings) for entry in entries]
    return Study(
        suite=suite.name,
        quick=options.quick,
        provenance=_provenance(suite, options, entries, settings),
        scores=list(_scores(suite, entries, settings)),
        curves=[row for entry in entries for row in _curves(entry)],
        pictures=_pictures(suite, entries, settings),
        paired=list(paired_rows(entries, settings)),
        uses=_uses(suite, entries, settings),
    )


def _checked(entry: Entry, suite: Suite, settings: Settings) -> Entry:
    """The entry, failed if a file of its run is damaged."""
    if entry.run is None:
        return entry
    try:
        entry.run.pair()
        for name in asked(suite, entry.seed, settings):
            read_scores(entry.run, name, settings)
        read_kept(entry.run, suite.evaluations, settings)
        if entry.run.history:
            draw(entry.run, entry.dataset, suite)
    except ZooError as error:
        return replace(entry, reason=str(error))
    return entry


def _scores(suite: Suite, entries: Sequence[Entry], settings: Settings) -> Rows:
    """Of what the suite asks; and, for the optional columns, of what a run has stored without."""
    optional = dict.fromkeys(column.evaluation for column in columns(optional=True) if column.evaluation in evaluations)
    for _, group in groupby(entries, key=lambda entry: (entry.dataset.name, entry.label)):
        seeds = list(group)
        for name in dict.fromkeys([*suite.evaluations, *suite.once, *optional]):
            if evaluations[name].over == "seeds":
                if name in suite.evaluations:
                    yield from _rows(suite, seeds[0], name, "all", _of_seeds(seeds, name, settings))
                continue
            for entry in seeds:
                own = asked(suite, entry.seed, settings).get(name)
                yield from _rows(suite, entry, name, entry.seed, _of_run(entry, name, settings, own))


def _rows(suite: Suite, entry: Entry, evaluation: str, seed: int | str, scores: Sequence[Score]) -> Rows:
    where: dict[str, Any] = {"suite": suite.name, "family": entry.family, "guide": entry.guide, "group": _group(entry)}
    where |= {"dataset": entry.dataset.name, "seed": seed, "evaluation": evaluation}
    return (score.row(**where) for score in scores)


def _of_run(entry: Entry, name: str, settings: Settings, own: Settings | None) -> list[Score]:
    """What is stored for ``settings``, else for its ``own`` that were asked for; without them there may be nothing."""
    if entry.run is None:
        return [_missing(entry, name)] if own else []
    found = read_scores(entry.run, name, settings) or (own and read_scores(entry.run, name, own))
    return found or ([_missing(entry, name)] if own else [])


def _of_seeds(seeds: Sequence[Entry], name: str, settings: Settings) -> list[Score]:
    runs = [entry.run for entry in seeds if entry.run]
    if not runs:
        return [_missing(seeds[0], name)]
    absent = [(entry.seed, _missing(entry, name)) for entry in seeds if not entry.run]
    missing = [replace(score, reason=f"seed {seed}: {score.reason}") for seed, score in absent]
    return [*evaluate_seeds(runs, seeds[0].dataset, name, settings), *missing]


def _missing(entry: Entry, name: str) -> Score:
    if entry.waiting or not entry.planned:
        return Score.skipped(name, entry.waiting or entry.reason)
    return Score.failed(name, entry.reason or "its process ended before it was measured")


def _group(entry: Entry) -> str:
    """The declared group, else the one that the traces show."""
    declared = find(entry.family)[0].group
    return entry.run.pair().group if entry.run and not declared else declared


def _curves(entry: Entry) -> Rows:
    """The history of a run that took steps; an implicit model's validation score is its discrepancy, shown once."""
    if entry.run is None or not any(row["step"] for row in entry.run.history):
        return
    metrics = ("train", "discrepancy") if _group(entry) == "implicit" else ("train", "validation", "discrepancy")
    for row in entry.run.history:
        for metric in metrics:
            yield {
                "family": entry.family,
                "guide": entry.guide,
                "dataset": entry.dataset.name,
                "seed": entry.seed,
                "step": int(row["step"]),
                "metric": metric,
                "value": row[metric],
            }


def _pictures(suite: Suite, entries: Sequence[Entry], settings: Settings) -> dict[str, dict[str, Any]]:
    """By data set: real data and, from each family's first seed that finished, its samples, lossy codes and views."""
    found: dict[str, dict[str, Any]] = {}
    of_test: dict[str, Tensor] = {}
    for entry in entries:
        data, run = entry.dataset, entry.run
        shown = found.setdefault(data.name, _real(data))
        if run is None or entry.label in shown["samples"] or run.status["status"] != "finished":
            continue
        drawn = samples(run, data)
        shown["samples"][entry.label] = _nested(data, drawn)
        if data.fingerprint not in of_test:
            of_test[data.fingerprint] = held_out(data, settings.samples)
        if near := neighbours(data, drawn, of_test[data.fingerprint]):
            in_the_plane = data.event.shape == (2,) and data.event.levels is None
            shown["neighbours"][entry.label] = {"nearest": [] if in_the_plane else _nested(data, near[0])} | near[1]
        if "lossy" in suite.evaluations and (coded := reconstructions(run, data)):
            shown["coded"][entry.label] = {width: _nested(data, batch) for width, batch in coded.items()}
        seen = {name: _rounded(value) for name, value in views(run, data).items()}
        if DENSITY in seen:
            shown["densities"][entry.label] = seen[DENSITY]
        if POSTERIOR in seen:
            shown["latents"][entry.label] = {name: seen[name] for name in (POSTERIOR, PRIOR)}
    return found


def _uses(suite: Suite, entries: Sequence[Entry], settings: Settings) -> dict[str, dict[str, dict[str, Any]]]:
    """By data set and family what its evaluations have kept for figures, and what it says of points with a label.

    Curves are means over the seeds that finished; all else is of the first of them.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (name, family), group in groupby(entries, key=lambda entry: (entry.dataset.name, entry.label)):
        finished = [(e.run, e) for e in group if e.run and e.run.status["status"] == "finished"]
        kept = [read_kept(run, suite.evaluations, settings) for run, _ in finished]
        parts = {part: _over_seeds([each[part] for each in kept if part in each]) for each in kept[:1] for part in each}
        if finished and (seen := decision(finished[0][0], finished[0][1].dataset)):
            parts["decision"] = {key: _numbers(value) for key, value in seen.items()}
        if parts:
            found.setdefault(name, {})[family] = parts
    return found


def _over_seeds(kept: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """One part of what each seed keeps: curves as means over the seeds that have them, else that of the first."""
    curves = {key: [each[key] for each in kept if key in each] for key in kept[0] if key.startswith("curve")}
    return {key: _numbers(torch.stack(curves[key]).mean(0) if key in curves else kept[0][key]) for key in kept[0]} | {
        "seeds": len(kept)
    }


def _numbers(values: Tensor) -> Any:
    """As nested lists; of many numbers to four digits, as figures show no more."""
    return np.round(values.double().numpy(), 4 if values.numel() > MANY else 12).tolist()


def _real(data: Dataset) -> dict[str, Any]:
    """The real data, with the true density where it is known."""
    densities = {}
    source = datasets.get(data.name) if data.registered else None
    if source and source.log_density and data.event.shape == (2,):
        around = grid(frame(data.restore(data.test[:POINTS]).cpu().numpy()))
        densities[TRUTH] = _rounded(source.log_density(around).reshape(SIDE, SIDE))
    real = _nested(data, data.test[: sample_count(data.event)])
    shown: dict[str, Any] = {"event": str(data.event.array), "real": real, "samples": {}, "coded": {}}
    if words := words_of(data.event, data.names):
        shown["words"] = list(words)
    shown |= {"rate": data.rate} if data.rate else {}
    return shown | {"densities": densities, "latents": {}, "neighbours": {}}


def _rounded(values: Tensor) -> list[Any]:
    """To a hundredth: a picture shows no more."""
    return [[round(value, 2) for value in row] for row in values.double().tolist()]


def _nested(data: Dataset, batch: Tensor) -> list[Any]:
    """The main field of a batch as a pair is given it, in the data's own units."""
    return data.event.main_of(data.restore(batch.reshape(-1, *data.event.shape))).tolist()


def _provenance(suite: Suite, options: Options, entries: Sequence[Entry], settings: Settings) -> dict[str, Any]:
    once = {"first seed only, with data": suite.once} if suite.once else {}
    local = options.executor == "local"
    remote = {} if local else {"executor": {"name": options.executor} | options.executor_options}
    return {
        **provenance(_device(options.device)),
        "threads": options.threads,
        "workers": options.workers or (cores() if local else "as many as there is room for"),
        **remote,
        **_elsewhere(entries),
        "command": options.command,
        "about": suite.about,
        "settings": {"particles": settings.particles, "seeds": suite.seeds, "share of steps": suite.share} | once,
        "ground laws": UNCHECKED if options.unchecked else "checked",
        "datasets": {entry.dataset.name: entry.dataset.description for entry in entries},
    }


def _device(name: str) -> torch.device:
    """The device of the jobs or, where this machine does not have it, that of this process."""
    try:
        return pick_device(name)
    except ZooError:
        return pick_device("cpu")


def _elsewhere(entries: Sequence[Entry]) -> dict[str, str]:
    """The processors that runs were trained on, and on which time was measured, where they are not those of here."""
    trained, timed = set[str](), set[str]()
    for run in (entry.run for entry in entries if entry.run):
        with suppress(RunError, KeyError):
            trained.add(read_json(run.folder / "config.json")["provenance"]["processor"])
        for name in (each.name for each in evaluations if each.alone):
            with suppress(RunError, KeyError):
                timed.add(read_json(run.folder / "scores" / f"{name}.json")["processor"])
    here = {device_name(_device("auto"))}
    named = {"trained on": trained - here, "times measured on": timed - here}
    return {word: ", ".join(sorted(found)) for word, found in named.items() if found}
