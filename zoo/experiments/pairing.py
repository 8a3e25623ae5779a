"""Paired differences of nats between the families of a comparison, from the nats of each datum that runs have kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.experiments.plan import Entry
from zoo.metrics.paired import difference
from zoo.report.study import BOUNDS, PAIRED
from zoo.runs.evaluation import Settings
from zoo.runs.nats import DatumNats, kept_nats
from zoo.runs.run import Run
from zoo.runs.stored_scores import read_scores
from zoo.scores import Score

EVALUATION, METRIC = "likelihood", "nats"


@dataclass(frozen=True)
class _Scored:
    """A family whose test data have nats: those of each seed and datum, or the reason why they cannot be paired."""

    family: str
    guide: str
    mean: float
    kinds: frozenset[str]
    seeds: int
    of: str
    values: Tensor | None
    reason: str = ""


def paired_rows(entries: Sequence[Entry], settings: Settings) -> Iterator[dict[str, Any]]:
    """A row with the columns `zoo.report.study.PAIRED` for each two families on a data set, the worse one first."""
    seeds: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        seeds.setdefault((entry.dataset.name, entry.label), []).append(entry)
    for dataset in dict.fromkeys(name for name, _ in seeds):
        found = [_scored(each, settings) for (name, _), each in seeds.items() if name == dataset]
        for one, other in combinations([each for each in found if each], 2):
            better, worse = sorted((one, other), key=lambda each: each.mean)
            yield _row(dataset, worse, better)


def _scored(seeds: Sequence[Entry], settings: Settings) -> _Scored | None:
    """One family over its seeds that have a score; ``None`` if none has."""
    scored = [(entry.run, entry, score) for entry in seeds if entry.run and (score := _score(entry.run, settings))]
    if not scored:
        return None
    kept: list[DatumNats] = []
    reason = ""
    for run, entry, score in scored:
        try:
            kept.append(kept_nats(run, entry.dataset, settings, score))
        except ZooError as error:
            reason = reason or f"{entry.label}, seed {entry.seed}: {error}"
    mean = math.fsum(score.value or 0.0 for *_, score in scored) / len(scored)
    kinds = frozenset(str(score.kind) for *_, score in scored)
    if len({each.of for each in kept}) > 1:
        reason = f"{seeds[0].label}: the values of its seeds are of different things"
    values = None if reason else torch.stack([each.values for each in kept])
    of = kept[0].of if kept else ""
    return _Scored(seeds[0].family, seeds[0].guide, mean, kinds, len(scored), of, values, reason)


def _score(run: Run, settings: Settings) -> Score | None:
    found = (score for score in read_scores(run, EVALUATION, settings) or [] if score.metric == METRIC)
    return next((score for score in found if score.status == "ok" and score.value is not None), None)


def _kind(worse: frozenset[str], better: frozenset[str]) -> str:
    """What the difference is of: of an estimate, the true one lies on either side."""
    if "estimate" in worse | better:
        return "estimate"
    return BOUNDS[worse != {"exact"}, better != {"exact"}]


def _row(dataset: str, worse: _Scored, better: _Scored) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(PAIRED) | {
        "dataset": dataset,
        "family": worse.family,
        "guide": worse.guide,
        "than_family": better.family,
        "than_guide": better.guide,
        "kind": _kind(worse.kinds, better.kinds),
        "seeds": worse.seeds,
        "than_seeds": better.seeds,
        "reason": worse.reason or better.reason,
    }
    if worse.values is None or better.values is None:
        return row
    if worse.of != better.of:
        return row | {"reason": f"likelihoods of {worse.of} and of {better.of} cannot be compared"}
    found = difference(worse.values, better.values)
    return row | {
        "difference": found.mean,
        "stderr_data": found.stderr_data,
        "stderr_seeds": found.stderr_seeds,
        "low": found.low,
        "high": found.high,
        "n": found.n,
    }
