"""The deep Markov model, its Markov chain of normals, and the chorales."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from members import small
from torch import Tensor

from zoo.contract.check import check
from zoo.contract.values import random_data
from zoo.data.chorales import KEYS, LONGEST, of_rolls, roll_of, without_repeats
from zoo.distributions.markov import MarkovNormal
from zoo.errors import UnfitError
from zoo.event import Event
from zoo.metrics.bounds import bounds
from zoo.pairs.build import build
from zoo.pairs.registry import families
from zoo.pairs.sampling import sample
from zoo.seeding import seeded

EVENTS = ["x=5x6:binary~n,n=:6@given", "x=4x2x3:7~n,n=:5@given", "x=6:real~n,n=:7@given"]
START = torch.tensor([0.5, -1.0])


def rotated(z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """A mean that turns z by a quarter and adds the context, and a scale that grows with it."""
    return 0.8 * torch.stack([-z[..., 1], z[..., 0]], -1) + context, 0.5 + 0.1 * context.abs()


def chain(within: Tensor | None = None) -> tuple[MarkovNormal, Tensor]:
    with seeded(0):
        context = torch.randn(3, 4, 2)
    return MarkovNormal(START, rotated, context, within), context


def test_a_chain_has_the_log_probability_of_its_steps() -> None:
    within = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    fn, context = chain(within)
    z = torch.randn(3, 4, 2)
    expected = torch.zeros(3)
    for i in range(3):
        before = START
        for t in range(4):
            mean, scale = rotated(before, context[i, t]) if within[i, t] else (torch.zeros(2), torch.ones(2))
            expected[i] += torch.distributions.Normal(mean, scale).log_prob(z[i, t]).sum()
            before = z[i, t]
    torch.testing.assert_close(fn.log_prob(z), expected)


def test_a_linear_chain_is_one_joint_normal() -> None:
    fn = MarkovNormal(torch.zeros(1), lambda z, _: (z, torch.ones_like(z)), torch.zeros(1, 4, 0))
    covariance = torch.minimum(torch.arange(1.0, 5)[:, None], torch.arange(1.0, 5))
    z = torch.randn(6, 1, 4, 1)
    joint = torch.distributions.MultivariateNormal(torch.zeros(4), covariance)
    torch.testing.assert_close(fn.log_prob(z)[:, 0], joint.log_prob(z[:, 0, :, 0]), rtol=1e-4, atol=1e-4)
    with seeded(0):
        drawn = fn.sample(torch.Size([20_000]))[:, 0, :, 0]
    assert torch.allclose(drawn.T.cov(), covariance, atol=0.12)


def test_draws_of_a_chain_have_the_gradient_of_their_parameters() -> None:
    gain = torch.tensor(0.7, requires_grad=True)
    fn = MarkovNormal(START, lambda z, _: (gain * z, torch.zeros_like(z) + 1e-9), torch.zeros(1, 3, 0))
    fn.rsample().sum().backward()
    assert gain.grad == pytest.approx(float(START.sum() * (1 + 2 * 0.7 + 3 * 0.7**2)), rel=1e-4)


def test_a_chain_expands_to_a_plate() -> None:
    fn, _ = chain()
    wide = fn.expand((5, 3))
    z = wide.sample()
    assert z.shape == (5, 3, 4, 2)
    torch.testing.assert_close(wide.log_prob(z)[2], fn.log_prob(z[2]))


@pytest.mark.thorough
@pytest.mark.parametrize("text", EVENTS)
def test_the_contract_holds_for_families_of_sequences(text: str) -> None:
    event = Event.parse(text)
    names = [family.name for family in families if "sequence" in family.supports and family.example is None]
    assert names == ["dmm"]
    for name in names:
        findings = check(name, event, small(name))
        assert [finding for finding in findings if not finding.ok] == []
        pair = build(name, event, small(name))
        n = random_data(event, 7)[:, -1]
        with seeded(0):
            drawn = sample(pair, 7, given={"n": n})
        assert torch.equal(drawn[:, -1], n)


@pytest.mark.parametrize("text", EVENTS)
def test_the_guide_reads_each_sequence_from_its_end(text: str) -> None:
    """The state at a step depends on that step and those after it, and on no padding."""
    event = Event.parse(text)
    dmm: Any = build("dmm", event, small("dmm")).extras
    x = random_data(event, 4)
    x[:, -1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    values = event.unpack(event.without_padding(x))
    full, n = values["x"], values["n"]
    assert full is not None
    assert n is not None
    whole = dmm.futures(full, n)
    for i in range(4):
        length = int(n[i])
        for t in range(length):
            part = full[i : i + 1, t:length]
            alone, _ = dmm.rnn(part.flip(1).reshape(1, length - t, -1))
            torch.testing.assert_close(whole[i, t], alone[0, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
def test_the_bound_of_a_sequence_does_not_depend_on_the_longest_that_it_may_be() -> None:
    short, long = (Event.parse(f"x={T}x3:binary~n,n=:{T + 1}@given") for T in (3, 6))
    pairs = [build("dmm", event, small("dmm")) for event in (short, long)]
    pairs[1].load(pairs[0].state())
    with seeded(0):
        x, n = torch.randint(2, (4, 3, 3)).float(), torch.tensor([1, 2, 3, 3])
    padded = torch.cat([x, torch.zeros(4, 3, 3)], 1)
    found = [
        bounds(pair, event.pack({"x": data, "n": n}), 10_000).importance
        for pair, event, data in zip(pairs, (short, long), (x, padded), strict=True)
    ]
    assert found[0] == pytest.approx(found[1], abs=0.1)


@pytest.mark.parametrize("text", ["x=5x6:binary", "x=5x6:binary,n=:6@given", "x=5:2~n,y=5:2~n,n=:6@given"])
def test_other_data_are_refused(text: str) -> None:
    with pytest.raises(UnfitError, match="sequence"):
        build("dmm", Event.parse(text))


def note(start: float, length: float, *keys: int) -> SimpleNamespace:
    return SimpleNamespace(offset=start, quarterLength=length, pitches=[SimpleNamespace(midi=key) for key in keys])


def test_a_score_becomes_the_keys_that_sound_at_each_beat() -> None:
    notes = [note(0, 1, 60), note(0.5, 1, 62), note(2, 1.5, 21, 108), note(1 / 3, 0.5, 70), note(2, 1, 20)]
    score = SimpleNamespace(highestTime=3.5, flatten=lambda: SimpleNamespace(notes=notes))
    roll = roll_of(score)
    assert roll.shape == (4, KEYS)
    assert [(beat, key + 21) for beat, key in roll.nonzero().tolist()] == [
        (0, 60), (1, 62), (2, 21), (2, 108), (3, 21), (3, 108),
    ]  # fmt: skip


def rolls(count: int) -> list[Tensor]:
    with seeded(0):
        return [(torch.rand(10 + i, KEYS) < 0.05).to(torch.uint8) for i in range(count)]


def test_the_splits_of_chorales_are_those_of_their_rolls() -> None:
    data = of_rolls(rolls(20), "nowhere")
    assert str(data.event) == f"x={LONGEST}x88:binary~n,n=:{LONGEST + 1}@given"
    assert [len(split) for split in (data.train, data.validation, data.test)] == [12, 4, 4]
    everything = torch.cat([data.train, data.validation, data.test])
    assert (steps := data.event.steps(everything)) is not None
    assert sorted(steps.tolist()) == list(range(10, 30))
    assert everything[:, :-1].sum() == sum(int(roll.sum()) for roll in rolls(20))


def test_a_chorale_in_another_key_is_the_same_chorale() -> None:
    first, second = rolls(2)
    first[:, -3:] = 0
    second[:, -3:] = 0
    assert len(without_repeats([first, second, first.roll(3, 1), second.roll(1, 1)])) == 2


def test_without_the_package_the_chorales_say_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from zoo.data import load_data
    from zoo.errors import ZooError

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("zoo.data.chorales.version", missing)
    with pytest.raises(ZooError, match="pip install music21"):
        load_data("chorales")
