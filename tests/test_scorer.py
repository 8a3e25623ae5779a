"""Scores are the same numbers, however many batches there are and whatever runs them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import zoo
from zoo.engine.cost import Calibration
from zoo.engine.scorer import FEWEST_BATCHES, compile_scores
from zoo.pairs.pair import Pair

TRACING = Calibration("made up", torch.__version__, 1, "onednn", 1e-9, 0.0, 1e-3, 0.0, 0.0, 1e-9, 1e9)


def calibrate(path: Path, known: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(json.dumps(asdict(known)))
    monkeypatch.setenv("ZOO_CALIBRATION", str(path))


def score(calls: list[int], pair: Pair, x: Tensor) -> Tensor:
    calls.append(len(x))
    return zoo.log_weights(pair, x)


@pytest.mark.parametrize(
    ("batches", "known", "runs"),
    [
        (FEWEST_BATCHES, TRACING, 1 + 2 + 1),  # the first, two recordings, the one of another shape
        (FEWEST_BATCHES, replace(TRACING, traced=-1.0), 4),
        (FEWEST_BATCHES - 1, TRACING, 4),
    ],
)
def test_scores_are_those_of_plain_calls(
    batches: int, known: Calibration, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate(tmp_path / "calibration.json", known, monkeypatch)
    pair = zoo.build("vae", zoo.Event(4, "binary"))
    parts = [torch.ones(6, 4), torch.zeros(6, 4), torch.ones(6, 4), torch.ones(2, 4)]
    found, calls = [], list[int]()
    with pair.evaluating():
        quick = compile_scores(pair, lambda pair, x: score(calls, pair, x), batches)
        for run in (quick, lambda x: zoo.log_weights(pair, x)):
            torch.manual_seed(0)
            found.append(torch.cat([run(part) for part in parts]))
    assert len(calls) == runs
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["ppca", "vae", "realnvp", "independent"])
def test_draws_of_many_batches_are_those_of_plain_calls(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate(tmp_path / "calibration.json", TRACING, monkeypatch)
    pair, x, found = zoo.build(name, zoo.Event(4, "real")), torch.zeros(6, 4), []
    quick = compile_scores(pair, lambda pair, x: zoo.sample(pair, len(x)), FEWEST_BATCHES)
    for draw in (quick, lambda x: zoo.sample(pair, len(x))):
        torch.manual_seed(0)
        found.append(torch.stack([draw(x) for _ in range(3)]))
    torch.testing.assert_close(*found)
