"""No wrong program comes out with a number: honest pairs, and over a hundred that differ from them in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mutations import MUTATIONS, Mutation
from pyro_examples import PARTICLES, TRAINING, options_of, zoo
from strangers import PROGRAMS, Outcome, come_out
from torch import Tensor

from zoo.metrics.bounds import bounds
from zoo.pairs.sampling import sample
from zoo.seeding import seeded

HONEST = sorted(path.stem for path in (PROGRAMS / "honest").glob("*.py"))
PARTS = (PROGRAMS / "wrong_parts.txt").read_text()
SAMPLES = 4000
ERRORS = 3.0
"""Standard errors by which a bound may exceed the truth. Means of samples, which have many entries, may differ by 5."""


def write(pair: str, folder: Path, name: str, mutation: Mutation | None = None) -> Path:
    text = (PROGRAMS / "honest" / f"{pair}.py").read_text()
    if mutation:
        assert text.count(mutation.old) == 1, f"{mutation.old!r} should stand once in {pair}.py"
        text = text.replace(mutation.old, mutation.new) + PARTS
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def check_number(outcome: Outcome, sees: Callable[[Tensor], Tensor] = lambda x: x) -> None:
    """The number and the samples are those of the program: see ``evidence`` and ``mean`` in its file."""
    assert outcome.pair is not None
    assert outcome.x is not None
    pair, x, program = outcome.pair, outcome.x, outcome.namespace()
    with pair.scope(), torch.no_grad():
        truth, mean = -program["evidence"](sees(x)).double(), program["mean"]()
    if outcome.kind == "exact":
        assert outcome.nats == pytest.approx(float(truth.mean()), abs=1e-3)
    else:
        assert outcome.kind == "lower bound"
        excess = bounds(pair, x, PARTICLES).importance + truth
        assert float(excess.mean()) < ERRORS * float(excess.std()) / len(x) ** 0.5 + 1e-4
        assert outcome.nats == pytest.approx(float((truth - excess).mean()), abs=1e-3)
    with seeded(0):
        drawn = sees(sample(pair, SAMPLES)).double()
    assert ((drawn.mean(0) - mean).abs() < 5 * drawn.std(0) / SAMPLES**0.5 + 1e-4).all()


@pytest.mark.parametrize("pair", HONEST)
def test_an_honest_pair_comes_out_with_the_right_number(pair: str, tmp_path: Path) -> None:
    outcome = come_out(write(pair, tmp_path, f"honest_{pair}"), tmp_path, positive=pair == "flow")
    assert outcome.refusal == ""
    check_number(outcome)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_a_wrong_pair_is_refused_or_its_number_is_right(mutation: Mutation, tmp_path: Path) -> None:
    path = write(mutation.pair, tmp_path, "mutated", mutation)
    outcome = come_out(path, tmp_path, positive=mutation.pair == "flow")
    if outcome.refusal:  # in one sentence: see strangers.refusal
        return
    assert mutation.sees, "it came out with a number"
    check_number(outcome, mutation.sees)


@pytest.mark.process
def test_compare_gives_a_wrong_pair_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [scaled] = [each for each in MUTATIONS if str(each) == "factor: obs scaled"]
    right, wrong = write("factor", tmp_path, "right"), write("factor", tmp_path, "wrong", scaled)
    options = options_of(right, tmp_path)
    file = options[options.index("--data") + 1]
    settings = [word for setting in TRAINING for word in ("--train", setting)]
    words = ["compare", right, wrong, "--data", file, "--seed", 0, "--particles", PARTICLES, "--quiet", *settings]
    result = zoo(*words, "--event", "3:real", "--device", "cpu", "--workers", 1)
    assert result.exit_code == 1
    rows = json.loads((tmp_path / "reports" / "own" / "scores.json").read_text())["scores"]
    values = {name: {row["status"] for row in rows if row["family"] == name} for name in ("right", "wrong")}
    assert "ok" in values["right"]
    assert values["wrong"] == {"failed"}
