"""A calibration is measured once for a machine, stored, and only then used."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

import zoo
from zoo import engine
from zoo.engine import machine
from zoo.engine.aot import has_compiler
from zoo.engine.cost import Calibration
from zoo.engine.machine import calibration, load_calibration

FAST = Calibration("made up", torch.__version__, 1, "onednn", 1e-9, 0.0, 1e-3, 2e-3, 1e-9, 1e-6, 1e-3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ZOO_CALIBRATION", raising=False)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    return tmp_path / "zoo"


def test_it_is_measured_once_for_each_number_of_threads(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def measure() -> Calibration:
        threads.append(torch.get_num_threads())
        return replace(FAST, threads=torch.get_num_threads())

    monkeypatch.setattr(machine, "measure", measure)
    before = torch.get_num_threads()
    assert load_calibration() is None
    found = [calibration(each) for each in (1, 1, 2)]
    assert threads == [1, 2]
    assert found == [load_calibration(each) for each in (1, 1, 2)]
    assert torch.get_num_threads() == before
    assert len(list(cache.iterdir())) == 2


def test_a_torn_file_is_no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CALIBRATION", str(tmp_path / "calibration.json"))
    for text in ("{", "[]", '{"unknown": 1}'):
        (tmp_path / "calibration.json").write_text(text)
        assert load_calibration() is None


def test_off_loads_and_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CALIBRATION", "off")
    monkeypatch.delattr(machine, "measure")
    assert calibration() is None


def test_it_decides_mode_and_products_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = zoo.build("vae", zoo.Event(4, "binary")).train(True)
    x, before = torch.zeros(8, 4), {name: tensor.clone() for name, tensor in pair.state().items()}
    choices = []
    for known in (None, replace(FAST, compiling=1e9), FAST):
        if known:
            monkeypatch.setenv("ZOO_CALIBRATION", str(tmp_path / "calibration.json"))
            (tmp_path / "calibration.json").write_text(json.dumps(asdict(known)))
        random = torch.get_rng_state()
        mode = engine.choose_engine(pair, x, 1000)
        assert torch.equal(torch.get_rng_state(), random)
        choices.append((mode, engine.compile(pair, mode="traced").products))
    assert choices == [("eager", "torch"), ("traced", "onednn"), ("compiled", "onednn")]
    assert engine.choose_engine(pair, x, 10) == "eager"
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair.state().items())
    assert engine.compile(pair, mode="traced", products="torch").products == "torch", "a resumed run keeps its own"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, when its compiler is imported
def test_a_measured_calibration_is_complete() -> None:
    made = machine.measure()
    assert made.products in ("torch", "onednn")
    assert (made.product > 0) == (made.products == "onednn")
    assert made.recording > 0
    assert made.compiling > 0
    assert made.number >= 0
    assert made.handlers > 0


@pytest.mark.slow
def test_a_measured_calibration_charges_for_recording_and_credits_compiling() -> None:
    found = calibration(1)
    assert found is not None
    assert found == load_calibration(1)
    assert min(found.recording, found.compiled, found.number) > 0
    assert 0 < found.compiling < float("inf") or not has_compiler()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["vae", "ssvae"])
def test_auto_takes_one_plain_step_and_then_what_it_decided(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CALIBRATION", str(tmp_path / "calibration.json"))
    (tmp_path / "calibration.json").write_text(json.dumps(asdict(replace(FAST, compiling=1e9, products="torch"))))
    event = zoo.Event.parse("x=4:binary,y=:3@label" if name == "ssvae" else "4:binary")
    pair = zoo.build(name, event).train(True)
    x, found, reasons = event.zeros(8), [], []
    for step in (engine.compile(pair, mode="auto", steps=1000), engine.compile(pair, mode="traced")):
        torch.manual_seed(0)
        found.append([step(x).item() for _ in range(3)])
        reasons.append(step.reason)
        assert step.mode == "traced"
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert reasons[0] == reasons[1]
    assert engine.compile(pair, mode="auto", steps=10).mode == "eager"
