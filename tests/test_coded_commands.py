"""Records through zoo compress and zoo decompress."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from command import zoo
from torch import Tensor

from zoo import Dataset, Event, Pair, TrainedModel, standardised

PROGRAM = """
import pyro, pyro.distributions as dist, torch, zoo
event = zoo.Event.parse("x=2x2:5,y=:3@label,c=:4@given")
def model(x, y=None, c=None):
    w = pyro.param("w", 0.1 * torch.ones(3, 4, 5))
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Categorical(logits=x.new_zeros(3)), obs=y).long()
        logits = w[y, c.long()][:, None, None].expand(-1, 2, 2, -1)
        pyro.sample("x", dist.Categorical(logits=logits).to_event(2), obs=x)
def guide(x, y=None, c=None):
    if y is None:
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=x.new_zeros(3)))
"""


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray[Any, Any]]:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("mine.py").write_text(PROGRAM)
    y = rng.integers(3, size=90).astype(np.float64)
    y[::4] = np.nan
    x = np.asfortranarray(rng.integers(5, size=(90, 2, 2)).astype(">f8"))
    x[x == 0] *= rng.choice([-1, 1], size=(x == 0).sum())
    arrays = {"x": x, "y": y, "c": rng.integers(4, size=90).astype(np.uint8)}
    np.savez("data.npz", **arrays)
    return arrays


@pytest.mark.thorough
def test_a_record_comes_back_byte_for_byte(record: dict[str, np.ndarray[Any, Any]]) -> None:
    words = ("compress", "mine.py", "data.npz", "-o", "out.zoo", "--data", "data.npz", "--field", "y=label")
    zoo(*words, "--field", "c=given", "--train", "steps=3", "--quiet")
    np.savez("context.npz", c=record["c"], more=np.zeros(3))
    for context in ("context.npz", "data.npz"):
        zoo("decompress", "out.zoo", "-o", "back.npz", "--given", context, "--quiet")
        assert Path("back.npz").read_bytes() == Path("data.npz").read_bytes()
    assert Path("out.zoo").stat().st_size < 700
    np.savez("context.npz", c=record["c"][::-1])
    assert "c are not those" in zoo("decompress", "out.zoo", "-o", "x.npz", "--given", "context.npz", code=1).stderr
    for given, message in (((), "with c by --given FILE.npz"), (("--given", "nothing.npz"), "with c by --given")):
        np.savez("nothing.npz", d=np.zeros(3))
        assert message in zoo("decompress", "out.zoo", "-o", "x.npz", *given, code=2).stderr
    assert "a .npz file" in zoo("decompress", "out.zoo", "-o", "x.npy", code=2).stderr
    assert not Path("x.npz").exists()


@pytest.mark.thorough
def test_the_documented_commands_run(record: dict[str, np.ndarray[Any, Any]]) -> None:
    Path("mine.py").rename("my.py")
    section = (Path(__file__).parent.parent / "docs" / "compression.md").read_text().split("\n## ")[1]
    compress, decompress = re.findall(r"^\$ zoo (.*?) *#", section, re.MULTILINE)
    zoo(*shlex.split(f"{compress} --train steps=3"))
    zoo(*shlex.split(decompress))
    assert Path("back.npz").read_bytes() == Path("data.npz").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": np.zeros(90)}, "more would be lost"),
        ({"y": None, "x": np.zeros((90, 3))}, "field 'x' should have shape (n, 2, 2), got (90, 3)"),
        ({"c": None}, "has the fields x, y, c; got x, y"),
        ({"x": np.full((90, 2, 2), 5)}, "field 'x' of data to code should be whole numbers from 0 to 4"),
        ({"x": np.zeros((90, 2, 2), np.longdouble)}, "field 'x' has the type"),
        ({"y": np.array(1.0)}, "a single number without axes"),
        ({"y": np.frombuffer(np.uint64([0x7FF8000000000001] * 90).tobytes())}, "NaNs"),
    ],
)
def test_a_wrong_record_is_one_sentence(
    record: dict[str, np.ndarray[Any, Any]], change: dict[str, Any], message: str
) -> None:
    words = ("--data", "data.npz", "--field", "y=label", "--field", "c=given", "--train", "steps=3", "--quiet")
    np.savez("wrong.npz", **{name: value for name, value in (record | change).items() if value is not None})
    said = zoo("compress", "mine.py", "wrong.npz", "-o", "out.zoo", *words, code=2).stderr
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.thorough
def test_labels_that_are_left_out_stay_out(record: dict[str, np.ndarray[Any, Any]]) -> None:
    np.savez("few.npz", x=record["x"], c=record["c"])
    words = ("--data", "data.npz", "--field", "y=label", "--field", "c=given", "--train", "steps=3", "--quiet")
    zoo("compress", "mine.py", "few.npz", "-o", "out.zoo", *words)
    zoo("decompress", "out.zoo", "-o", "back.npz", "--given", "few.npz", "--quiet")
    assert Path("back.npz").read_bytes() == Path("few.npz").read_bytes()


def test_given_fields_are_coded_in_the_units_that_the_pair_was_trained_in() -> None:
    """A file of data that depend on a standardised field takes their surprise, and comes back."""
    event = Event.parse("x=8:binary,c=1:real@given")

    def model(x: Tensor, c: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(logits=(4 * c).expand(-1, 8)).to_event(1), obs=x)

    torch.manual_seed(0)
    z = torch.randn(400, 1)
    own = {"x": torch.bernoulli((4 * z).expand(-1, 8).sigmoid()).numpy(), "c": (1000 + 50 * z.numpy()).astype(float)}
    packed = event.pack({name: torch.from_numpy(value).float() for name, value in own.items()})
    data = standardised(Dataset("made", event, packed[:300], packed[300:350], packed[350:], "Drawn."))
    pair = Pair(event, model)
    pair.in_own_units = False
    used = TrainedModel(pair, data)
    file = used.compress(own)
    bits = -float(used.log_prob(own).value.sum()) / np.log(2)
    assert 8 * len(file) < 1.02 * bits + 3000  # a header of fields
    assert bits < 0.5 * own["x"].size
    back = used.decompress(file, given={"c": own["c"]})
    assert back["x"].tobytes() == own["x"].tobytes()
