"""Jobs run by every executor to the same result, also when they are killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.errors import ZooError
from zoo.experiments.executors.executor import KINDS, Executor, executor_of, read_options
from zoo.experiments.executors.submitit import cancel_queued
from zoo.experiments.processes import GPUS, Job, run_jobs
from zoo.files import read_json, read_tensors
from zoo.runs.config import DataSpec, RunConfig, configure
from zoo.runs.evaluation import Settings
from zoo.runs.run import Run
from zoo.runs.stored_scores import evaluate_run

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of subprocesses that submitit and Ray leave to the system
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def quiet(running: Sequence[str]) -> None:
    pass


def write(path: Path, text: str = "done") -> None:
    path.write_text(text)


def explain() -> None:
    raise ZooError("expected this, got that")


def stumble() -> None:
    raise ValueError("of its own")


def name_gpu(path: Path) -> None:
    path.write_text(os.environ[GPUS])
    time.sleep(0.3)


def name_node(path: Path) -> None:
    import ray

    path.write_text(ray.get_runtime_context().get_node_id())
    time.sleep(0.5)


def settings(seed: int = 0) -> RunConfig:
    spec = DataSpec(name="moons")
    recipe = {"steps": 300, "checkpoints": 30, "average": 0.9, "batch": 20}
    return configure("ppca", spec, spec.load(), recipe=recipe, seed=seed)


def die_once(runs: Path, by: int, seed: int = 0) -> None:
    """Train and score a run in a process that gets the signal ``by`` at its fifth checkpoint, the first time."""

    class Deadly:
        checkpoints = 0

        def on_progress(self, progress: Any) -> None:
            pass

        def on_checkpoint(self, progress: Any) -> None:
            self.checkpoints += 1
            if by and self.checkpoints == 5 and not (runs / "killed").exists():
                (runs / "killed").write_text(str(progress.step))
                os.kill(os.getpid(), by)

    torch.set_num_threads(1)
    config = settings(seed)
    data = config.data.load()
    run = Run.of(config, runs)
    run.train(config, data, "cpu", [Deadly()])
    evaluate_run(run, data, "likelihood", Settings())


def result(runs: Path, seed: int = 0) -> tuple[dict[str, torch.Tensor], list[dict[str, float]], list[dict[str, Any]]]:
    run = Run.of(settings(seed), runs)
    scores = read_json(run.folder / "scores" / "likelihood.json")["scores"]
    return read_tensors(run.folder / "weights.safetensors")[0], run.history, scores


def same(one: Path, other: Path, seed: int = 0) -> bool:
    """Whether two runs have the same bits, history and scores."""
    (weights, *rest), (others, *again) = result(one, seed), result(other, seed)
    return (
        weights.keys() == others.keys()
        and all(torch.equal(weights[key], others[key]) for key in weights)
        and rest == again
    )


def ends_with_the_same_bits(executor: Executor, folder: Path, by: int) -> None:
    """A run that is killed once and a whole one, both by the same executor."""
    for name, number in (("whole", 0), ("killed", by)):
        (folder / name).mkdir()
        assert executor.run([Job(name, die_once, (folder / name, number))], quiet) == {}
    assert 0 < int((folder / "killed" / "killed").read_text()) < 300
    assert same(folder / "whole", folder / "killed")


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that others start find this module, too."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def debug(tmp_path: Path) -> Executor:
    return executor_of("submitit", {"cluster": "debug"}, workers=2, device="cpu", folder=tmp_path / "jobs")


@pytest.fixture
def submitit(tmp_path: Path, importable: None) -> Executor:
    return executor_of("submitit", {"cluster": "local"}, workers=2, device="cpu", folder=tmp_path / "jobs")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes with one processor each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'pyro-zoo[ray]'")
    from ray.cluster_utils import Cluster

    place = str(Path(__file__).parent)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = place  # of the workers, which find this module
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture
def ray(cluster: Any, tmp_path: Path) -> Executor:
    options = {"address": cluster.address}
    return executor_of("ray", options, workers=0, device="cpu", folder=tmp_path / "jobs")


def fails_alone(executor: Executor, folder: Path) -> None:
    """A job's failure is its own, with its reason."""
    jobs = [
        Job("one", write, (folder / "one",)),
        Job("explain", explain, ()),
        Job("stumble", stumble, ()),
        Job("two", write, (folder / "two",)),
    ]
    assert executor.run(jobs, quiet) == {"explain": "expected this, got that", "stumble": "ValueError: of its own"}
    assert (folder / "one").read_text() == (folder / "two").read_text() == "done"
    assert executor.run([], quiet) == {}


@pytest.mark.thorough
def test_a_failure_is_that_jobs_own(debug: Executor, tmp_path: Path) -> None:
    fails_alone(debug, tmp_path)


@pytest.mark.process
def test_submitit_fails_a_job_alone(submitit: Executor, tmp_path: Path) -> None:
    fails_alone(submitit, tmp_path)


@pytest.mark.process
@pytest.mark.parametrize("by", [signal.SIGUSR2, signal.SIGKILL])
def test_a_preempted_or_killed_job_of_submitit_resumes_to_the_same_bits(
    submitit: Executor, tmp_path: Path, by: int
) -> None:
    ends_with_the_same_bits(submitit, tmp_path, by)


@pytest.mark.process
def test_ray_fails_a_job_alone_and_resumes_a_killed_one(ray: Executor, tmp_path: Path) -> None:
    fails_alone(ray, tmp_path)
    ends_with_the_same_bits(ray, tmp_path, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["submitit", "ray"])
def test_forty_jobs_of_which_half_are_killed_end_as_plain_runs(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    executor, folders = request.getfixturevalue(name), [tmp_path / f"seed{seed}" for seed in range(40)]
    jobs = []
    for seed, folder in enumerate(folders):
        folder.mkdir()
        jobs.append(Job(folder.name, die_once, (folder, signal.SIGKILL if seed % 2 else 0, seed)))
    assert executor.run(jobs, quiet) == {}
    assert [(folder / "killed").exists() for folder in folders] == [False, True] * 20
    for seed, folder in enumerate(folders):
        die_once(tmp_path / "plain", 0, seed)
        assert same(folder, tmp_path / "plain", seed)


@pytest.mark.process
def test_ray_uses_both_nodes_and_one_for_what_is_timed(ray: Executor, tmp_path: Path) -> None:
    jobs = [Job(str(n), name_node, (tmp_path / str(n),)) for n in range(4)]
    assert ray.run(jobs, quiet) == {}
    assert len({(tmp_path / str(n)).read_text() for n in range(4)}) == 2


@pytest.mark.process
def test_what_is_timed_runs_in_turn_on_one_node(submitit: Executor, ray: Executor, tmp_path: Path) -> None:
    for executor in (submitit, ray):
        places = [tmp_path / f"{n}-{type(executor).__name__}" for n in range(3)]
        jobs = [Job(place.name, write_span, (place,)) for place in places]
        assert executor.run(jobs, quiet, alone=True) == {}
        spans = sorted(json.loads(place.read_text()) for place in places)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


def write_span(path: Path) -> None:
    began = time.time()
    time.sleep(0.1)
    path.write_text(json.dumps([began, time.time()]))


@pytest.mark.process
def test_each_worker_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    jobs = [Job(str(n), name_gpu, (tmp_path / str(n),)) for n in range(4)]
    assert run_jobs(jobs, 2, quiet, gpus=("3", "5")) == {}
    assert sorted((tmp_path / str(n)).read_text() for n in range(4)) == ["3", "3", "5", "5"]


def test_options_are_keys_with_values_or_a_file_of_them(tmp_path: Path) -> None:
    path = tmp_path / "gpu.toml"
    path.write_text('slurm_partition = "gpu"\nslurm_setup = ["module load python"]\n')
    found = read_options(["timeout_min=240", str(path)])
    assert found == {"timeout_min": 240, "slurm_partition": "gpu", "slurm_setup": ["module load python"]}
    for texts, said in (
        (["mem_gb"], "key=value, or a TOML file"),
        (["mem_gb=1", "mem_gb=2"], "mem_gb of the executor is given twice"),
        ([str(tmp_path / "none.toml")], "cannot be read"),
    ):
        with pytest.raises(ZooError, match=said):
            read_options(texts)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("slurm", {}, "an executor is one of local, submitit, ray; got 'slurm'"),
        ("local", {"mem_gb": 2}, "takes no options, got mem_gb"),
        ("submitit", {"cluster": "debug", "memory": 2}, "submitit does not take these options.*memory"),
        ("submitit", {"cluster": "debug", "slurm_partitions": "gpu"}, "Unknown argument 'partitions'"),
        ("submitit", {"cluster": "grid"}, "grid"),
        ("submitit", {"cluster": "debug", "timeout_min": "soon"}, "timeout_min"),
    ],
)
def test_a_wrong_executor_or_option_is_a_sentence(
    name: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ZooError, match=said):
        executor_of(name, options, workers=1, device="cpu", folder=tmp_path)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "local"])
def test_a_missing_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ZooError, match=rf"needs the extra: pip install 'pyro-zoo\[{name}\]'"):
        executor_of(name, {}, workers=1, device="cpu", folder=tmp_path)


def test_only_jobs_of_slurm_without_a_result_are_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the files that submitit leaves: an array of two with one result, a job that has ended, and a local one."""
    for name in ("7_submission.sh", "7_0_submitted.pkl", "7_1_submitted.pkl", "7_0_0_result.pkl"):
        (tmp_path / name).touch()
    for name in ("8_submission.sh", "8_submitted.pkl", "8_0_result.pkl", "9_submitted.pkl"):
        (tmp_path / name).touch()
    tool = tmp_path / "scancel"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert cancel_queued(tmp_path) == 1
    assert (tmp_path / "called").read_text() == "7\n"
