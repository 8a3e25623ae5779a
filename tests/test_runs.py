from __future__ import annotations

import itertools
import json
import math
import os
import signal
from pathlib import Path
from threading import Event, Thread
from time import sleep

import filelock
import pytest
import torch

import zoo.runs.writer
from zoo.errors import RunError, ZooError
from zoo.experiments.processes import Job, run_jobs
from zoo.files import read_tensors, write_tensors
from zoo.runs.config import DataSpec, RunConfig, configure
from zoo.runs.run import FOREVER, Run, find_runs
from zoo.runs.writer import RunWriter

RECIPE = {"steps": 40, "batch": 50, "checkpoints": 4}


def config(seed: int = 0, **changes: object) -> RunConfig:
    data = DataSpec(name="digits-binary")
    settings = {"recipe": RECIPE, "hyper": {"latent": 2, "hidden": 16, "guide.hidden": 16}} | changes
    return configure("vae", data, data.load(), seed=seed, **settings)  # type: ignore[arg-type]  # kwargs of one dict


def trained(runs: Path) -> Run:
    made = config()
    run = Run.of(made, runs)
    run.train(made, made.data.load(), "cpu")
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A copy of the finished run, to damage."""
    folder = tmp_path / "digits-binary" / "vae+normal" / finished.folder.name
    folder.mkdir(parents=True)
    for path in finished.folder.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return Run(folder)


@pytest.mark.thorough
def test_a_finished_run_holds_settings_provenance_weights_and_history(finished: Run) -> None:
    names = {path.name for path in finished.folder.glob("[!.]*")}
    assert names == {"config.json", "weights.safetensors", "history.csv", "status.json", "laws.json"}
    written = json.loads((finished.folder / "config.json").read_text())
    assert {"python", "torch", "pyro-ppl", "commit", "device", "processor"} <= written["provenance"].keys()
    assert written["config"]["recipe"]["steps"] == 40
    assert finished.status["status"] == "finished"
    assert [row["step"] for row in finished.history] == [10, 20, 30, 40]
    assert finished.pair().label == "vae+normal"


def test_a_finished_run_is_not_run_again(run: Run) -> None:
    before = (run.folder / "weights.safetensors").stat().st_mtime_ns
    run.train(run.config, run.config.data.load(), "cpu")
    assert (run.folder / "weights.safetensors").stat().st_mtime_ns == before


def test_two_processes_do_not_train_one_run(tmp_path: Path) -> None:
    made = config()
    run = Run.of(made, tmp_path)
    run.folder.mkdir(parents=True)
    with filelock.FileLock(run.folder / ".lock"):
        with pytest.raises(RunError, match="another process is training"):
            run.train(made, made.data.load(), "cpu", patience=0.01)
        run.fail("it was not this process that failed")
    assert run.status == {"status": "new"}


@pytest.mark.thorough
def test_a_comparison_waits_for_a_run_that_another_process_trains(tmp_path: Path) -> None:
    made = config()
    run = Run.of(made, tmp_path)
    run.folder.mkdir(parents=True)
    held = Event()

    def hold() -> None:
        with filelock.FileLock(run.folder / ".lock"):
            held.set()
            sleep(0.3)

    other = Thread(target=hold)
    other.start()
    held.wait()
    run.train(made, made.data.load(), "cpu", patience=FOREVER)
    other.join()
    assert run.done


def test_changed_settings_are_another_folder() -> None:
    folders = {
        Run.of(each, Path("runs")).folder
        for each in (config(), config(seed=1), config(recipe=RECIPE | {"lr": 0.1}), config(hyper={"latent": 3}))
    }
    assert len(folders) == 4


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("weights.safetensors", lambda b: b[:-5]),
        ("weights.safetensors", lambda b: b[:-5] + bytes([b[-5] ^ 1]) + b[-4:]),
        ("config.json", lambda b: b[:-20]),
        ("config.json", lambda b: b.replace(b'"seed": 0', b'"seed": 1')),
        ("status.json", lambda b: b[:-20]),
        ("status.json", lambda b: b"[]"),
    ],
)
def test_a_torn_or_tampered_file_is_noticed_and_named(run: Run, name: str, harm: object) -> None:
    made = run.config
    path = run.folder / name
    path.write_bytes(harm(path.read_bytes()))  # type: ignore[operator]  # a lambda
    with pytest.raises(RunError, match=name):
        run.train(made, made.data.load(), "cpu")


def test_runs_are_found_by_name(finished: Run) -> None:
    runs = finished.folder.parents[2]
    assert find_runs(runs, "vae+normal") == [finished]
    assert find_runs(runs, "gan") == []
    with pytest.raises(ZooError, match="name of its family"):
        find_runs(runs, "../x")


def train(runs: Path, lifetime: int) -> None:
    """Train a run in a process that is killed during its ``lifetime``-th write; 0 for none."""
    writes, replace = itertools.count(1), os.replace

    def deadly(*paths: str) -> None:
        if next(writes) == lifetime:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)

    os.replace = deadly  # type: ignore[assignment]  # in this process only
    zoo.runs.writer.RESUME_SECONDS = 0.0
    torch.set_num_threads(1)
    made = config(recipe=RECIPE | {"steps": 200, "checkpoints": 20, "average": 0.9})
    Run.of(made, runs).train(made, made.data.load(), "cpu")


@pytest.mark.thorough
def test_killed_at_any_write_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def run_in_process(runs: Path, lifetime: int) -> dict[str, str]:
        return run_jobs([Job("run", train, (runs, lifetime))], 1, lambda running: None)

    assert run_in_process(tmp_path / "whole", 0) == {}
    for lifetime in (1, 2, 3, 4, 9, 24):
        assert "SIGKILL" in run_in_process(tmp_path / "killed", lifetime)["run"]
    [whole], [killed] = find_runs(tmp_path / "whole"), find_runs(tmp_path / "killed")
    assert 0 < read_tensors(killed.folder / "resume.safetensors")[1]["step"] < 200
    assert run_in_process(tmp_path / "killed", 0) == {}
    one, other = (read_tensors(each.folder / "weights.safetensors")[0] for each in (whole, killed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole.history == killed.history


def test_a_resume_file_without_later_fields_is_read(tmp_path: Path) -> None:
    made = config()
    note = {"step": 7, "status": "running", "best_score": "inf", "history": [], "digest": made.digest}
    write_tensors(tmp_path / "resume.safetensors", {"weights/x": torch.ones(2)}, note)
    progress = RunWriter(tmp_path, made).resume()
    assert progress
    assert (progress.step, progress.best_score, progress.products) == (7, math.inf, "")


def test_a_run_that_diverges_before_its_first_checkpoint_has_a_history(tmp_path: Path) -> None:
    made = config(recipe={"steps": 40, "checkpoints": 1, "lr": 1e30})
    run = Run.of(made, tmp_path)
    run.train(made, made.data.load(), "cpu")
    assert run.status["status"] == "diverged"
    assert [row["step"] for row in run.history] == [run.status["step"]]


@pytest.mark.parametrize("name", ["history.csv", "weights.safetensors"])
def test_a_missing_file_is_named(run: Run, name: str) -> None:
    (run.folder / name).unlink()
    with pytest.raises(RunError, match=rf"{name} is (gone|not there)"):
        _ = run.history, run.pair()


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "step,train,validation,discrepancy,lr\n1,x,1,1,1\n"])
def test_a_changed_history_is_named(run: Run, content: str) -> None:
    (run.folder / "history.csv").write_text(content)
    with pytest.raises(RunError, match=r"history\.csv is gone or was changed"):
        _ = run.history


def test_a_seed_is_one_that_numpy_takes() -> None:
    for seed in (-1, 2**32):
        with pytest.raises(ZooError, match="a seed is"):
            config(seed)


@pytest.mark.thorough
def test_the_order_of_settings_makes_no_other_run(finished: Run, tmp_path: Path) -> None:
    """New runs have them by name; a run that was written in another order is found, resumed and loaded as it is."""
    runs, settings = finished.folder.parents[2], {"guide.hidden": 16, "hidden": 16, "latent": 2}
    assert Run.of(config(hyper=settings), runs) == finished
    assert config(hyper={**settings, "latent": 3}).digest != finished.config.digest
    backwards = dict(sorted(settings.items(), reverse=True))
    earlier = config().model_copy(update={"hyper": backwards})
    written = Run.of(earlier, tmp_path)
    assert earlier.digest != config().digest
    written.train(earlier, earlier.data.load(), "cpu")
    same = Run.of(config(), tmp_path)
    assert same == written
    before = (same.folder / "config.json").read_bytes()
    same.train(config(), earlier.data.load(), "cpu")
    assert (same.folder / "config.json").read_bytes() == before
    assert same.pair().label == "vae+normal"
