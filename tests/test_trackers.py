"""TensorBoard, MLflow and Weights & Biases record what a run's history holds."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import ZooError
from zoo.runs.config import DataSpec, RunConfig, configure
from zoo.runs.run import Run
from zoo.runs.trackers import LOGS, MODULES, PROJECT, Tracker
from zoo.training.callbacks import StopTraining

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Numbers = Mapping[str, list[tuple[int, float]]]
BLOCK = 32768
NAMES = ("train", "validation", "discrepancy", "lr")


def of_tensorboard(run: Run) -> Numbers:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in NAMES}


def of_mlflow(run: Run) -> Numbers:
    client = pytest.importorskip("mlflow").MlflowClient()
    [found] = client.search_runs([client.get_experiment_by_name(PROJECT).experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["family"] == "ppca"
    assert found.data.params["train.steps"] == "40"
    return {
        name: [(each.step, each.value) for each in client.get_metric_history(found.info.run_id, name)] for name in NAMES
    }


def of_wandb(run: Run) -> Numbers:
    from wandb.proto import wandb_internal_pb2

    rows: list[dict[str, float]] = []
    for path in sorted(run.folder.glob("wandb/offline-run-*/*.wandb")):
        for data in records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                row = {(each.key or each.nested_key[0]): each.value_json for each in record.history.item}
                rows.append({name: float(row[name]) for name in ("_step", *NAMES)})
    return {name: [(int(row["_step"]), row[name]) for row in rows] for name in NAMES}


def records(data: bytes) -> Iterator[bytes]:
    """The records of a log of LevelDB after a header of 7 bytes, as Weights & Biases writes one offline."""
    place, parts = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:  # the rest of a block that is too short for a header
            place += BLOCK - place % BLOCK
        size, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole record, or its last part
            yield parts
            parts = b""


READERS: Mapping[str, Callable[[Run], Numbers]] = {
    "tensorboard": of_tensorboard,
    "mlflow": of_mlflow,
    "wandb": of_wandb,
}


@pytest.fixture
def config() -> RunConfig:
    spec = DataSpec(name="moons")
    return configure("ppca", spec, spec.load(), recipe={"steps": 40, "checkpoints": 4})


@pytest.fixture(autouse=True)
def here_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackers write below the test's folder and reach for no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def close(found: Numbers, run: Run) -> bool:
    """Whether a tracker has the history of a run; TensorBoard keeps single precision."""
    wanted = {name: [(int(row["step"]), row[name]) for row in run.history] for name in NAMES}
    return all(
        dict(found[name]).keys() == dict(wanted[name]).keys()
        and all(value == pytest.approx(dict(wanted[name])[step], rel=1e-6) for step, value in found[name])
        for name in NAMES
    )


@pytest.mark.parametrize("name", MODULES)
def test_a_tracker_has_the_history_of_a_run_also_of_one_that_is_resumed(
    name: str, config: RunConfig, tmp_path: Path
) -> None:
    pytest.importorskip(name, reason=f"it is not installed: pip install 'pyro-zoo[{name}]'")

    class Interrupt:
        def on_progress(self, progress: Any) -> None:
            pass

        def on_checkpoint(self, progress: Any) -> None:
            if progress.step == 20:
                raise StopTraining

    run, data = Run.of(config, tmp_path / "runs"), config.data.load()
    with pytest.raises(StopTraining):
        run.train(config, data, "cpu", [Tracker(name, run, config), Interrupt()])
    if name == "wandb":
        import wandb

        wandb.teardown()  # as the end of the interrupted process
    run.train(config, data, "cpu", [Tracker(name, run, config)])
    assert len(run.history) == 4
    assert close(READERS[name](run), run)
    run.train(config, data, "cpu", [Tracker(name, run, config)])
    assert close(READERS[name](run), run), "a finished run leaves no second record"


@pytest.mark.parametrize("name", MODULES)
def test_a_missing_extra_is_named(
    name: str, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULES[name], None)
    with pytest.raises(ZooError, match=rf"pip install 'pyro-zoo\[{name}\]'"):
        Tracker(name, Run.of(config, tmp_path), config)


def test_an_unknown_tracker_is_refused(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="one of tensorboard, mlflow, wandb; got 'aim'"):
        Tracker("aim", Run.of(config, tmp_path), config)


def test_a_tracker_that_fails_does_not_fail_the_run(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise ConnectionError("no server")

    monkeypatch.setitem(MODULES, "mlflow", "json")
    monkeypatch.setitem(LOGS, "mlflow", refuse)
    run = Run.of(config, tmp_path / "runs")
    with pytest.warns(UserWarning, match="mlflow no longer follows this run: no server"):
        run.train(config, config.data.load(), "cpu", [Tracker("mlflow", run, config)])
    assert run.status["status"] == "finished"
