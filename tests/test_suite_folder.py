"""A suite's folder: two submitters, locked runs, a cancellation, a report of what is there."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import filelock
import pytest
import torch
from command import zoo

from zoo.errors import RunError
from zoo.experiments import compare as module
from zoo.experiments.compare import compare, gather
from zoo.experiments.display import Display
from zoo.experiments.executors.executor import Watch
from zoo.experiments.folder import cancel, cancelled, read_plan
from zoo.experiments.plan import Options, plan
from zoo.experiments.processes import Job, run_jobs
from zoo.experiments.status import states
from zoo.experiments.suite import Suite
from zoo.experiments.work import settings_of, work
from zoo.report.study import Study
from zoo.runs.run import Run

SUITE = Suite(
    name="own", families=["ppca"], data=["moons"], seeds=[0, 1], evaluations=["likelihood", "sampling"], particles=8
)


class Here:
    """An executor that runs jobs in this process."""

    def run(self, jobs: Sequence[Job], watch: Watch, alone: bool = False) -> dict[str, str]:
        for job in jobs:
            watch([job.name])
            job.call(*job.args)
        watch([])
        return {}


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(module, "executor_of", lambda *_, **__: Here())
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    recipe = {"steps": 20, "checkpoints": 2}
    return Options(runs=tmp_path / "runs", device="cpu", recipe=recipe, folder=tmp_path / "reports" / "own")


@pytest.fixture
def runs(options: Options) -> list[Run]:
    return [entry.run for entry in plan(SUITE, options) if entry.run]


def folder_of(options: Options) -> Path:
    assert options.folder
    return options.folder


def words(options: Options) -> list[tuple[str, str]]:
    return [(state.word, state.detail) for state in states(folder_of(options)).values()]


def numbers(study: Study) -> list[tuple[int, str, float]]:
    return [(row["seed"], row["metric"], row["value"]) for row in study.scores if row["evaluation"] == "likelihood"]


@pytest.mark.thorough
def test_states_follow_the_files(options: Options, runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    module.write_plan(folder_of(options), SUITE, options, plan(SUITE, options))
    assert words(options) == [("waiting", "not started")] * 2
    runs[0].folder.mkdir(parents=True)
    with filelock.FileLock(runs[0].folder / ".lock"):
        assert words(options)[0] == ("running", "starts")
    runs[1].fail("no memory")
    assert words(options)[1] == ("failed", "no memory")
    settings = settings_of(SUITE, options)
    for entry in plan(SUITE, options):
        work(entry.planned, SUITE, False, settings, options)  # type: ignore[arg-type] # it is planned
    assert words(options) == [("waiting", "trained, not measured")] * 2, "time is measured after the others"
    compare(SUITE, options, Display(True))
    assert words(options) == [("finished", "")] * 2


@pytest.mark.thorough
def test_a_locked_run_is_waited_for(options: Options, runs: list[Run]) -> None:
    runs[0].folder.mkdir(parents=True)
    lock = filelock.FileLock(runs[0].folder / ".lock", thread_local=False)
    lock.acquire()
    timer = threading.Timer(1.0, lock.release)
    timer.start()
    study = compare(SUITE, options, Display(True))
    timer.join()
    assert {row["seed"] for row in study.scores if row["metric"] == "nats" and row["status"] == "ok"} == {0, 1}
    assert [row for row in study.scores if row["status"] == "failed"] == []


@pytest.mark.thorough
def test_a_report_is_written_of_what_is_there(options: Options, runs: list[Run]) -> None:
    whole = compare(SUITE, options, Display(True))
    assert numbers(gather(folder_of(options))) == numbers(whole)
    for path in runs[1].folder.iterdir():
        path.unlink() if path.is_file() else [each.unlink() for each in path.iterdir()]
    with filelock.FileLock(runs[1].folder / ".lock"):
        part = gather(folder_of(options))
    assert numbers(part)[:1] == numbers(whole)[:1]
    missing = {(row["evaluation"], row["status"], row["reason"]) for row in part.scores if row["seed"] == 1}
    assert missing == {(name, "skipped", "running: starts") for name in SUITE.evaluations}


@pytest.mark.thorough
def test_a_cancelled_suite_stops_and_goes_on_when_it_is_run_again(options: Options, runs: list[Run]) -> None:
    folder = folder_of(options)
    entries = plan(SUITE, options)
    module.write_plan(folder, SUITE, options, entries)
    cancel(folder)
    work(entries[0].planned, SUITE, False, settings_of(SUITE, options), options)  # type: ignore[arg-type]
    assert not runs[0].done, "a job that begins after the cancellation ends at its first step"

    class Cancels(Here):
        def run(self, jobs: Sequence[Job], watch: Watch, alone: bool = False) -> dict[str, str]:
            cancel(folder)
            return super().run(jobs, watch, alone)

    module.executor_of = lambda *_, **__: Cancels()  # type: ignore[assignment] # put back by the fixture
    with pytest.raises(RunError, match="own was cancelled by zoo cancel; the same command goes on"):
        compare(SUITE, options, Display(True))
    assert cancelled(folder)
    module.executor_of = lambda *_, **__: Here()  # type: ignore[assignment]
    compare(SUITE, options, Display(True))
    assert not cancelled(folder)
    assert words(options) == [("finished", "")] * 2


@pytest.mark.thorough
def test_the_commands_know_a_suite_by_name_and_by_folder(options: Options, tmp_path: Path) -> None:
    compare(SUITE, options, Display(True))
    folder = folder_of(options)
    said = zoo("status", "own", "--reports", folder.parent).stdout
    assert "2 runs: 2 finished, 0 running, 0 waiting, 0 failed" in said
    assert json.loads(zoo("status", folder, "--json").stdout)["ppca on moons, seed 0"]["state"] == "finished"
    assert zoo("gather", folder).stdout.strip() == str(folder / "index.html")
    assert "own is cancelled" in zoo("cancel", folder).stdout
    assert cancelled(folder)
    assert "is no suite's folder" in zoo("status", tmp_path, code=1).stderr
    assert read_plan(folder).suite == SUITE


def compare_alone(runs: Path, report: Path, out: Path) -> None:
    """One of two submitters."""
    torch.set_num_threads(1)
    recipe = {"steps": 200, "checkpoints": 10}
    options = Options(runs=runs, device="cpu", workers=1, recipe=recipe, folder=report)
    module.executor_of = lambda *_, **__: Here()  # type: ignore[assignment] # in this process only
    suite = SUITE.changed(evaluations=["likelihood"], seeds=[0, 1, 2, 3])
    out.write_text(json.dumps(numbers(compare(suite, options, Display(True)))))


@pytest.mark.process
def test_two_submitters_on_one_folder_end_with_the_scores_of_one(tmp_path: Path) -> None:
    names = ("one", "two")
    places = [(tmp_path / "runs", tmp_path / "report", tmp_path / name) for name in names]
    assert run_jobs([Job(place[2].name, compare_alone, place) for place in places], 2, lambda running: None) == {}
    assert run_jobs([Job("plain", compare_alone, (tmp_path / "p", tmp_path / "r", tmp_path / "plain"))], 1, print) == {}
    found = [json.loads((tmp_path / name).read_text()) for name in (*names, "plain")]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) >= 4
