"""Data are known by their fingerprint, wherever their file lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from zoo.errors import RunError, ZooError
from zoo.runs.config import DataSpec, RunConfig, configure
from zoo.runs.lookup import data_of, dataset_of
from zoo.runs.run import Run


def made(folder: Path, seed: int = 0) -> str:
    folder.mkdir()
    np.save(folder / "x.npy", np.random.default_rng(seed).normal(size=(60, 2)))
    return str(folder / "x.npy")


def config(name: str) -> RunConfig:
    spec = DataSpec(name=name)
    return configure("ppca", spec, spec.load(), recipe={"steps": 4, "checkpoints": 1})


def test_a_file_under_another_path_is_the_same_run(tmp_path: Path) -> None:
    first = config(made(tmp_path / "one"))
    run = Run.of(first, tmp_path / "runs")
    run.train(first, data_of(first), "cpu")
    shutil.move(tmp_path / "one", tmp_path / "two")
    second = config(str(tmp_path / "two" / "x.npy"))
    assert second.digest != first.digest
    assert second.identity == first.identity
    again = Run.of(second, tmp_path / "runs")
    assert again == run
    before = (run.folder / "weights.safetensors").read_bytes()
    again.train(second, data_of(second), "cpu")
    assert (run.folder / "weights.safetensors").read_bytes() == before

    with pytest.raises(ZooError, match=r"name the folder that holds x\.npy by --data-dir"):
        dataset_of(run)
    assert dataset_of(run, tmp_path / "two").fingerprint == first.fingerprint


def test_other_data_under_the_same_name_are_another_run_and_refused(tmp_path: Path) -> None:
    first = config(made(tmp_path / "one"))
    other = config(made(tmp_path / "other", seed=1))
    assert other.identity != first.identity
    (tmp_path / "one" / "x.npy").unlink()
    with pytest.raises(RunError, match=rf"has changed since.*expected {first.fingerprint}"):
        data_of(first, tmp_path / "other")


def test_a_run_that_was_killed_before_it_wrote_its_settings_begins_again(tmp_path: Path) -> None:
    settings = config(made(tmp_path / "one"))
    run = Run.of(settings, tmp_path / "runs")
    run.fail("its process was killed by SIGKILL")
    run.train(settings, data_of(settings), "cpu")
    assert run.status["status"] == "finished"
