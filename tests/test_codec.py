"""Lossless coding: the handlers, and the round trip as a law over every family."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from members import family_of, in_turn, members, small
from torch import Tensor, nn
from typer.testing import CliRunner

from zoo import Event, Pair, ZooError, build, capabilities, fit, load_data
from zoo.cli import app
from zoo.codec import code, decode, encode
from zoo.codec.bottleneck import no_bottleneck
from zoo.codec.container import unpack
from zoo.codec.grids import Grid
from zoo.codec.handlers import Push
from zoo.codec.lossless import Plan, pop_batch, precisely, probe, push_batch, why_not
from zoo.codec.stack import Stack
from zoo.distributions import Levels
from zoo.metrics.bounds import log_probs, particle_weights
from zoo.pairs.registry import evaluations
from zoo.seeding import seeded

EVENTS = {"binary": Event((4, 4), "binary"), "levels": Event((4, 4), 5)}
MEMBERS = [
    (name, support)
    for name, support in members()
    if support in EVENTS and not why_not(build(name, EVENTS[support], small(name)))
]
DIGITS = load_data("digits")


class Ladder(nn.Module):
    """Two levels of real latents and a discrete one; the guide draws them in another order than the model."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 3)
        self.down = nn.Linear(3, 6)
        self.top = nn.Linear(2, 3)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            c = pyro.sample("c", dist.Bernoulli(x.new_tensor(0.3)))
            z1 = pyro.sample("z1", dist.Normal(self.top(z2), 0.5).to_event(1))
            logits = pyro.deterministic("logits", self.down(z1) + c.unsqueeze(-1), event_dim=1)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(self.up(x), 0.4).to_event(1))
            pyro.sample("z2", dist.Normal(z1[:, :2], 0.6).to_event(1))
            pyro.sample("c", dist.Bernoulli(torch.sigmoid(z1[:, 2])))


def ladder() -> Pair:
    with seeded(0):
        made = Ladder()
    return Pair(Event(6, "binary"), made.model, made.guide)


def bits(n: int) -> Tensor:
    return torch.randint(2, (n, 6), generator=torch.Generator().manual_seed(n)).float()


# ---------------------------------------------------------------- the handlers


@pytest.mark.parametrize("n", [1, 7])
def test_decoding_restores_the_stack_before_encoding(n: int) -> None:
    pair, x = ladder(), bits(n)
    with precisely(pair):
        stack = Stack(seeded=True)
        stack.push(torch.arange(9) % 3, torch.ones(9, 3))
        before = stack.words()
        push_batch(pair, stack, x, Grid(7))
        assert torch.equal(pop_batch(pair, stack, torch.zeros(n, 6), Grid(7)).float(), x)
    after = stack.words()
    assert len(before) <= len(after)
    assert np.array_equal(after[-len(before) :], before)


def test_bits_back_takes_the_negative_elbo() -> None:
    pair, x = ladder(), bits(2000)
    with precisely(pair):
        stack = Stack(seeded=True)
        push_batch(pair, stack, x, Grid(6))
        elbo = particle_weights(pair, x.double(), 50).mean(1)
    assert stack.bits == pytest.approx(-float(elbo.sum()) / math.log(2), rel=0.01)
    assert stack.needed > 0


def test_a_data_site_without_a_rule_is_named() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Multinomial(5, torch.ones(2)), obs=x)

    with pytest.raises(ZooError, match=r"site 'x', Multinomial.*@zoo.codec.codes\(Multinomial\)"):
        encode(Pair(Event(2, 6), model), torch.tensor([[5.0, 0.0], [2.0, 3.0]]))


def test_an_error_inside_leaves_the_stack_alone() -> None:
    def program() -> None:
        pyro.sample("c", dist.Bernoulli(torch.tensor(0.5)), obs=torch.tensor(1.0))
        raise ValueError("stop")

    stack = Stack()
    with pytest.raises(ValueError, match="stop"):
        Push(stack, None)(program)()
    assert stack.bits == 0


# ---------------------------------------------------------------- whole pairs


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "support"), in_turn(MEMBERS, family_of))
def test_every_family_gives_back_any_data(name: str, support: str) -> None:
    """Random shapes, single data and ragged batches, all-zero and extreme data; the pair stays as it was."""
    for seed, shape, n, batch in ((0, (4, 4), 11, 4), (1, (3, 5), 1, 512), (2, (2, 3), 5, 512)):
        event = Event(shape, EVENTS[support].levels or "real")
        pair, top = build(name, event, small(name), seed=seed), (event.levels or 2) - 1
        with seeded(seed):
            x = torch.randint(top + 1, (n, *shape)).float()
        x[0], x[-1] = 0, top if n > 1 else x[0]
        state = {key: value.clone() for key, value in pair.state().items()}
        back = decode(pair, encode(pair, x, batch=batch))
        assert torch.equal(back, x)
        assert back.dtype == torch.float32
        for key, value in pair.state().items():
            assert torch.equal(value, state[key])
            assert value.dtype == state[key].dtype


def test_the_members_are_those_that_claim_it() -> None:
    names = {name for name, _ in MEMBERS}
    assert {"independent", "pixelcnn", "ppca", "vae", "pixelvae", "idf", "hvae"} <= names
    assert names.isdisjoint({"gan", "realnvp"})
    assert {name.partition("+")[2] for name in names} >= {"planar", "iaf"}


@pytest.mark.parametrize(
    ("name", "event", "reason"),
    [
        ("gan", Event((4, 4), 5), "implicit"),
        ("vae", Event(3, "real"), "real data"),
        ("ppca", Event(3, "real"), "real"),
        ("realnvp", Event(6, 5), "dequantisation"),
        ("vae+vmf", Event(6, 5), "site 'z', VonMisesFisher"),
        ("vae:prior=lars", Event(6, 5), "site 'z', Resampled"),
    ],
)
def test_a_pair_without_a_lossless_code_says_why(name: str, event: Event, reason: str) -> None:
    pair = build(name, event)
    assert reason in why_not(pair)
    with pytest.raises(ZooError, match="no lossless code"):
        encode(pair, torch.zeros(2, *event.shape))


def test_a_guide_that_leaves_out_a_latent_is_refused() -> None:
    made = Ladder()

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z1", dist.Normal(made.up(x), 0.4).to_event(1))
            pyro.sample("c", dist.Bernoulli(0 * x[:, 0] + 0.5))

    with pytest.raises(ZooError, match="'z2' is in only one"):
        encode(Pair(Event(6, "binary"), made.model, guide), bits(3))


class Classes(nn.Module):
    """A categorical latent, used as an index, one of levels, used as a number, and a positive one."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(3, 6))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=x.new_zeros(3)))
            scale = pyro.sample("scale", dist.LogNormal(x.new_zeros(()), 0.3))
            level = pyro.sample("level", Levels(logits=x.new_zeros(2)))
            logits = self.logits[k] * scale.unsqueeze(-1) + level.unsqueeze(-1) @ self.logits[:1]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=x @ self.logits.T))
            pyro.sample("level", Levels(logits=x[:, :2]))
            pyro.sample("scale", dist.Gamma(x.mean(1) + 5, 5.0))


def test_latents_that_are_indices_or_positive_round_trip() -> None:
    with seeded(0):
        made, x = Classes(), bits(60)
    pair = Pair(Event(6, "binary"), made.model, made.guide)
    assert torch.equal(decode(pair, encode(pair, x)), x)
    assert "'k' is discrete" in no_bottleneck(pair)


def test_a_latent_that_is_positive_in_one_program_only_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Bernoulli(logits=z.unsqueeze(-1).expand(-1, 6)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.LogNormal(x.mean(1), 1.0))

    with pytest.raises(ZooError, match="they have no grid in common"):
        encode(Pair(Event(6, "binary"), model, guide), bits(3))


def test_data_of_another_event_are_refused() -> None:
    pair, nan = ladder(), torch.full((1, 6), math.nan)
    for x in (bits(2) + 1, bits(2) - 1, bits(2) + 0.5, nan, torch.zeros(2, 5), torch.zeros(0, 6)):
        with pytest.raises(ZooError, match="data to code should"):
            encode(pair, x)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "steps", "excess"),
    [
        ("vae", 60, 0.01),
        ("independent", 0, 0.001),
        pytest.param("pixelcnn", 20, 0.001, marks=pytest.mark.slow),
        pytest.param("vae+iaf", 150, 0.01, marks=pytest.mark.slow),
        pytest.param("vae+planar", 150, 0.01, marks=pytest.mark.slow),
    ],
)
def test_digits_take_the_bits_that_the_model_says(name: str, steps: int, excess: float) -> None:
    pair, x = build(name, DIGITS.event), DIGITS.train[:1000]
    with seeded(0):
        fit(pair, DIGITS, {"steps": steps, "checkpoints": 1, "lr": 2e-3}, device="cpu")
    payload = 32 * len(unpack(encode(pair, x))[1])
    with precisely(pair):
        exact = capabilities(pair).likelihood == "exact"
        nats = log_probs(pair, x.double()) if exact else particle_weights(pair, x.double(), 16).mean(1)
    assert payload == pytest.approx(-float(nats.sum()) / math.log(2), rel=excess)


def test_the_probe_changes_with_the_weights() -> None:
    pair = build("vae", DIGITS.event, {"hidden": 16, "guide.hidden": 16})
    with precisely(pair):
        plan = Plan(2, 2, 1.0, 5)
        first = probe(pair, plan)
        assert probe(pair, plan) == first
        with torch.no_grad():
            for parameter in pair.parameters():
                parameter *= 1.001
        assert probe(pair, plan) != first


# ---------------------------------------------------------------- docs/compression.md

DOCS = (Path(__file__).parent.parent / "docs" / "compression.md").read_text()


def test_the_documented_code_is_a_codec() -> None:
    pair = build("vae", Event((4, 4), 5), {"hidden": 8, "latent": 2, "guide.hidden": 8})
    with seeded(0):
        names: dict[str, Any] = {"pair": pair, "x": torch.randint(5, (9, 4, 4)).float()}
    for block in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL):
        exec(compile(block, "docs/compression.md", "exec"), names)
    assert names["back"].shape == (9, 4, 4)
    with precisely(pair):
        stack, again = Stack(seeded=True), Stack(seeded=True)
        names["push_batch"](pair, stack, names["x"].double(), Grid(4))
        push_batch(pair, again, names["x"], Grid(4))
        assert np.array_equal(stack.words(), again.words())
        blank = torch.zeros(9, 4, 4, dtype=torch.float64)
        assert torch.equal(names["pop_batch"](pair, stack, blank, Grid(4)).float(), names["x"])
        assert stack.is_seed()
    probs, value = torch.full((2,), 0.2).double(), torch.tensor([1.0, 0.0]).double()
    code(names["Coin"](probs)).push(stack, value)
    assert torch.equal(code(dist.Bernoulli(probs)).pop(stack), value)


@pytest.mark.thorough
def test_the_documented_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", DIGITS.test[:9].numpy())
    compress, decompress, evaluate = re.findall(r"^\$ zoo (.*?) *#", DOCS.split("\n## ")[0], re.MULTILINE)
    for line in (f"{compress} --train steps=5", decompress):
        assert CliRunner().invoke(app, shlex.split(line)).exit_code == 0
    assert Path("back.npy").read_bytes() == Path("images.npy").read_bytes()
    assert set(re.findall(r"-e (\w+)", evaluate)) <= {each.name for each in evaluations}
