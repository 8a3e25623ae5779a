"""Training and commands refuse what breaks a ground law, or say that nothing was checked."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from linear import LateLeak, Linear, normal, pair_of, reals
from torch import Tensor, nn
from typer.testing import CliRunner

from zoo.cli import app
from zoo.data import Dataset
from zoo.errors import ContractError
from zoo.event import Event
from zoo.runs import laws as stored_laws
from zoo.training.loop import fit


class Subsampled(Linear):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", 1000, subsample=x):
            z = pyro.sample("z", normal(self.net.bias))
            pyro.sample("x", self.likelihood(z, x), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", 1000, subsample=x):
            pyro.sample("z", self.posterior(x))


def test_the_size_of_the_data_plate_does_not_scale_the_loss() -> None:
    x = reals(40)
    plane = Dataset("plane", Event(2, "real"), x, x, x, "made up")
    pair = pair_of(Subsampled)
    nn.init.zeros_(pair.modules["Subsampled"].net.bias)  # type: ignore[union-attr,arg-type] # of a known module
    end = fit(pair, plane, {"steps": 1, "batch": 40, "lr": 1e-9, "checkpoints": 1}, device="cpu")
    expected = -float(normal(torch.zeros(2), math.sqrt(2)).log_prob(x).mean())
    assert end.history[-1]["train"] == pytest.approx(expected, abs=1e-4)


def test_training_refuses_what_breaks_a_law_unless_it_is_unchecked() -> None:
    x = reals(40)
    plane = Dataset("plane", Event(2, "real"), x, x, x, "made up")
    with pytest.raises(ContractError, match="the prior of 'z' depends on x"):
        fit(pair_of(LateLeak), plane, {"steps": 1}, device="cpu")
    end = fit(pair_of(LateLeak), plane, {"steps": 1, "batch": 40}, device="cpu", unchecked=True)
    assert end.status == "finished"


LEAK = """
import pyro, pyro.distributions as dist, torch
from zoo import Event
event = Event(64, "binary")
def model(x):
    bias = pyro.param("bias", torch.zeros(64))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(logits=bias + 4 * (x - 0.5)).to_event(1), obs=x)
"""


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.thorough
def test_commands_refuse_or_say_that_nothing_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("leak.py").write_text(LEAK)
    of = ("leak.py", "--data", "digits-binary", "--train", "steps=2", "--device", "cpu")
    for command in (("train",), ("evaluate", "-e", "likelihood")):
        said = run(*command, *of, code=2)
        assert "the distribution of 'x' depends on x" in said
        assert "leak.py:8 `pyro.sample(" in said
    assert "unchecked" in run("train", *of, "--unchecked")
    lines = run("evaluate", *of, "--unchecked", "-e", "likelihood").splitlines()
    assert all("unchecked" in line for line in lines if line.startswith("likelihood"))


@pytest.mark.process
def test_a_comparison_has_a_failed_row_with_the_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("leak.py").write_text(LEAK)
    bits = np.random.default_rng(0).integers(0, 2, (3, 40, 64)).astype("float32")
    np.savez("bits.npz", train=bits[0], validation=bits[1], test=bits[2])
    of = ("leak.py", "--data", "bits.npz", "--event", "64:binary", "--seed", 0, "--particles", 24)
    of += ("--train", "steps=2", "--device", "cpu", "--workers", 1)
    run("compare", "uniform", *of, code=1)
    report = Path("reports/own/report.md").read_text()
    assert "the model reads x by obs=x only" in report
    assert "| uniform | " in report
    run("compare", *of, "--unchecked", "--name", "unchecked")
    for file in ("report.md", "index.html"):
        assert "were skipped (--unchecked)" in (Path("reports/unchecked") / file).read_text()


@pytest.mark.thorough
def test_a_finished_run_is_checked_once_for_a_text_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(stored_laws, "ground_laws", lambda pair, x: calls.append(pair.label))
    of = ("uniform", "--data", "digits-binary", "--device", "cpu")
    run("train", *of)
    run("train", *of)
    assert calls == []  # training has checked it
    monkeypatch.setattr(stored_laws, "_text", lambda: "another text")
    run("train", *of)
    run("train", *of)
    assert calls == ["uniform"]
