"""Evaluations of the first seed alone, and what a run has stored without being asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from zoo import Settings, ZooError, load_data
from zoo.experiments import compare as module
from zoo.experiments.display import Display
from zoo.experiments.plan import Options, plan
from zoo.experiments.processes import Job
from zoo.experiments.suite import Suite
from zoo.runs.run import Run
from zoo.runs.stored_scores import evaluate_run


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """Compares one family, two seeds, within this process: the rows that have a value."""

    def here(jobs: Sequence[Job], *_: Any) -> dict[str, str]:
        for job in jobs:
            job.call(*job.args)
        return {}

    monkeypatch.setattr(module, "executor_of", lambda *_, **__: SimpleNamespace(run=here))
    monkeypatch.setattr(module, "calibrate", lambda *_: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    suite = Suite(name="own", families=["uniform"], seeds=[3, 4], evaluations=["likelihood"], once={"novelty": 20})

    def rows() -> list[dict[str, Any]]:
        study = module.compare(suite, Options(runs=tmp_path, device="cpu"), Display(True))
        return [row for row in study.scores if row["status"] == "ok"]

    return rows


def sizes(rows: Sequence[dict[str, Any]]) -> dict[int, int]:
    """Seed -> scores behind its AUROC."""
    return {row["seed"]: row["n"] for row in rows if row["metric"] == "auroc_log_p_shuffled"}


@pytest.mark.thorough
def test_once_is_of_the_first_seed_and_what_is_stored_is_shown(
    compare: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    rows = compare()
    assert sizes(rows) == {3: 40}
    assert {row["seed"] for row in rows if row["metric"] == "nats"} == {3, 4}
    for seed in (3, 4):
        [folder] = tmp_path.glob(f"digits/uniform/seed{seed}-*")
        evaluate_run(Run(folder), load_data("digits"), "novelty", Settings())
    assert sizes(compare()) == {3: 2 * 447, 4: 2 * 447}, "as by zoo evaluate, and not measured again on fewer data"


def test_what_cannot_be_asked_once_is_refused() -> None:
    with pytest.raises(ValueError, match="likelihood is asked of every seed and"):
        Suite(name="own", families=["uniform"], once={"likelihood": 5})
    with pytest.raises(ZooError, match="stability is measured over all seeds"):
        plan(Suite(name="own", families=["uniform"], evaluations=[], once={"stability": 5}), Options())
