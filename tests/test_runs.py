from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import filelock
import pytest
import torch

from zoo.errors import RunError, ZooError
from zoo.files import read_tensors
from zoo.runs.config import DataSpec, RunConfig, configure
from zoo.runs.run import Run, find_runs

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
    """A copy of the finished run, to do harm to."""
    folder = tmp_path / "digits-binary" / "vae+normal" / finished.folder.name
    folder.mkdir(parents=True)
    for path in finished.folder.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return Run(folder)


def test_a_finished_run_tells_all(finished: Run) -> None:
    names = {path.name for path in finished.folder.glob("[!.]*")}
    assert names == {"config.json", "weights.safetensors", "history.csv", "status.json"}
    told = json.loads((finished.folder / "config.json").read_text())
    assert {"python", "torch", "pyro-ppl", "commit", "device", "processor"} <= told["provenance"].keys()
    assert told["config"]["recipe"]["steps"] == 40
    assert finished.status["status"] == "finished"
    assert [row["step"] for row in finished.history] == [10, 20, 30, 40]
    assert finished.pair().label == "vae+normal"


def test_a_finished_run_is_not_run_again(run: Run) -> None:
    before = (run.folder / "weights.safetensors").stat().st_mtime_ns
    run.train(run.config, run.config.data.load(), "cpu")
    assert (run.folder / "weights.safetensors").stat().st_mtime_ns == before


def test_two_processes_do_not_train_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.runs.run.LOCK_SECONDS", 0.01)
    made = config()
    run = Run.of(made, tmp_path)
    run.folder.mkdir(parents=True)
    with filelock.FileLock(run.folder / ".lock"), pytest.raises(RunError, match="another process is training"):
        run.train(made, made.data.load(), "cpu")


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


def test_missing_weights_are_named(run: Run) -> None:
    (run.folder / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"weights\.safetensors is not there"):
        run.pair()


def test_runs_are_found_by_name(finished: Run) -> None:
    runs = finished.folder.parents[2]
    assert find_runs(runs, "vae+normal") == [finished]
    assert find_runs(runs, "gan") == []
    with pytest.raises(ZooError, match="name of its family"):
        find_runs(runs, "../x")


KILLED = textwrap.dedent(
    """
    import os, signal, sys, torch
    from pathlib import Path
    import zoo.runs.run
    from zoo.runs.config import DataSpec, configure
    from zoo.runs.run import Run

    zoo.runs.writer.RESUME_SECONDS = 0.0
    torch.set_num_threads(1)
    replace, left = os.replace, int(sys.argv[2])

    def deadly(*paths):  # dies while a file is being written, when its time has come
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)

    os.replace = deadly
    data = DataSpec(name="digits-binary")
    made = configure("vae", data, data.load(), hyper={"latent": 2, "hidden": 16, "guide.hidden": 16},
                     recipe={"steps": 200, "batch": 50, "checkpoints": 20, "average": 0.9})
    Run.of(made, Path(sys.argv[1])).train(made, data.load(), "cpu")
    """
)


def test_killed_at_any_moment_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", KILLED]
    subprocess.run([*command, str(tmp_path / "whole"), "0"], check=True, timeout=120)
    for writes in (1, 9, 24):
        ended = subprocess.run([*command, str(tmp_path / "killed"), str(writes)], check=False, timeout=120)
        assert ended.returncode == -signal.SIGKILL
    steps = [read_tensors(run.folder / "resume.safetensors")[1]["step"] for run in find_runs(tmp_path / "killed")]
    assert 0 < steps[0] < 200
    subprocess.run([*command, str(tmp_path / "killed"), "0"], check=True, timeout=120)
    [whole], [killed] = find_runs(tmp_path / "whole"), find_runs(tmp_path / "killed")
    one, other = (read_tensors(each.folder / "weights.safetensors")[0] for each in (whole, killed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole.history == killed.history


def test_a_run_that_diverges_before_its_first_checkpoint_has_a_history(tmp_path: Path) -> None:
    made = config(recipe={"steps": 40, "checkpoints": 1, "lr": 1e30})
    run = Run.of(made, tmp_path)
    run.train(made, made.data.load(), "cpu")
    assert run.status["status"] == "diverged"
    assert [row["step"] for row in run.history] == [run.status["step"]]


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "step,train,validation,discrepancy,lr\n1,x,1,1,1\n"])
def test_a_damaged_history_is_named(run: Run, content: str) -> None:
    (run.folder / "history.csv").write_text(content)
    with pytest.raises(RunError, match=r"history\.csv is gone or was changed"):
        _ = run.history


def test_a_seed_is_one_that_numpy_takes() -> None:
    for seed in (-1, 2**32):
        with pytest.raises(ZooError, match="a seed is"):
            config(seed)
