"""Sequences: fields with a length, padded in batches, whose padding is never scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from zoo import engine
from zoo.contract.check import check_pair, ground_laws
from zoo.data import Dataset
from zoo.errors import ContractError, ZooError
from zoo.event import Event
from zoo.metrics.bounds import bounds, log_probs
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.seeding import seeded

BITS = Event.parse("x=4x3:binary~n,n=:5@given")
WALK = Event.parse("x=4:real~n,n=:5@given")


class Chain(nn.Module):
    """z_t ~ N(A z_{t-1}, I) and bits of each step given z_t; the guide reads x from its end."""

    def __init__(self) -> None:
        super().__init__()
        self.transition, self.emission = nn.Linear(2, 2), nn.Linear(2, 3)
        self.rnn, self.out = nn.GRU(3, 5, batch_first=True), nn.Linear(7, 4)

    def steps(self, x: Tensor, n: Tensor) -> Iterator[tuple[int, Any]]:
        for t in pyro.markov(range(x.shape[1])):
            yield t, poutine.mask(mask=t < n)

    def model(self, x: Tensor, n: Tensor) -> None:
        z = x.new_zeros(len(x), 2)
        with pyro.plate("data", len(x)):
            for t, mask in self.steps(x, n):
                with mask:
                    z = pyro.sample(f"z_{t}", dist.Normal(self.transition(z), 1.0).to_event(1))
                    pyro.sample(f"x_{t}", dist.Bernoulli(logits=self.emission(z)).to_event(1), obs=x[:, t])

    def guide(self, x: Tensor, n: Tensor) -> None:
        future, z = self.rnn(x.flip(1))[0].flip(1), x.new_zeros(len(x), 2)
        with pyro.plate("data", len(x)):
            for t, mask in self.steps(x, n):
                mean, log_scale = self.out(torch.cat([future[:, t], z], -1)).chunk(2, -1)
                with mask:
                    z = pyro.sample(f"z_{t}", dist.Normal(mean, log_scale.exp()).to_event(1))


class Early(Chain):
    """Ends at the longest sequence of the batch."""

    def steps(self, x: Tensor, n: Tensor) -> Iterator[tuple[int, Any]]:
        for t in pyro.markov(range(int(n.max()))):
            yield t, poutine.mask(mask=t < n)


class Hidden(nn.Module):
    """A hidden Markov model whose states are summed."""

    def __init__(self) -> None:
        super().__init__()
        self.moves, self.bits = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(3, 3))

    def model(self, x: Tensor, n: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k: Any = 0
            for t in pyro.markov(range(x.shape[1])):
                with poutine.mask(mask=t < n):
                    k = pyro.sample(f"k_{t}", dist.Categorical(logits=self.moves[k]), infer={"enumerate": "parallel"})
                    pyro.sample(f"x_{t}", dist.Bernoulli(logits=self.bits[k]).to_event(1), obs=x[:, t])

    def guide(self, x: Tensor, n: Tensor) -> None:
        pass


class Walk(nn.Module):
    """z_t ~ N(z_{t-1}, 1), x_t ~ N(z_t, s^2), with the observed site as one masked vector."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale, self.out = nn.Parameter(torch.zeros(())), nn.Linear(4, 8)
        nn.init.zeros_(self.out.weight)  # the guide starts as the prior
        nn.init.zeros_(self.out.bias)

    def model(self, x: Tensor, n: Tensor) -> None:
        shown = torch.arange(4, device=x.device) < n[:, None]
        with pyro.plate("data", len(x)):
            steps = pyro.sample("steps", dist.Normal(x.new_zeros(4), 1.0).mask(shown).to_event(1))
            pyro.sample("x", dist.Normal(steps.cumsum(-1), self.log_scale.exp()).mask(shown).to_event(1), obs=x)

    def guide(self, x: Tensor, n: Tensor) -> None:
        shown, (mean, raw) = torch.arange(4, device=x.device) < n[:, None], self.out(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("steps", dist.Normal(mean, raw.exp()).mask(shown).to_event(1))


class MaskedBits(Chain):
    """The bits are masked one by one, below the event."""

    def model(self, x: Tensor, n: Tensor) -> None:
        z = x.new_zeros(len(x), 2)
        with pyro.plate("data", len(x)):
            for t in range(x.shape[1]):
                shown = (t < n)[:, None]
                z = pyro.sample(f"z_{t}", dist.Normal(self.transition(z), 1.0).mask(shown).to_event(1))
                bits = dist.Bernoulli(logits=self.emission(z)).mask(shown).to_event(1)
                pyro.sample(f"x_{t}", bits, obs=x[:, t])


def made(kind: Callable[[], Any], event: Event = BITS, seed: int = 0) -> Pair:
    with seeded(seed):
        programs = kind()
        return Pair(event, programs.model, programs.guide)


def some(n: int = 12, event: Event = BITS) -> Tensor:
    with seeded(1):
        x = torch.randn(n, 4) if event is WALK else torch.randint(2, (n, 4, 3))
        return event.pack({"x": x, "n": torch.arange(n) % 4 + 1})


def lengths(x: Tensor) -> list[int]:
    return [int(n) for n in x[:, -1]]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "event"), [(Chain, BITS), (MaskedBits, BITS), (Early, BITS), (Hidden, BITS), (Walk, WALK)]
)
def test_sequences_pass_every_law(kind: Callable[[], Any], event: Event) -> None:
    broken = [each for each in check_pair(lambda seed: made(kind, event, seed), event) if each.ok is False]
    assert broken == []


def test_the_states_of_a_masked_chain_are_summed_as_by_the_forward_algorithm() -> None:
    pair, x = made(Hidden), some()
    assert capabilities(pair).likelihood == "exact"
    state = {name: value.double().numpy() for name, value in pair.state().items()}
    moves, bits = (next(value for name, value in state.items() if name.endswith(end)) for end in ("moves", "bits"))
    moves, bits = np.exp(moves) / np.exp(moves).sum(1, keepdims=True), 1 / (1 + np.exp(-bits))
    expected = []
    for datum, n in zip(x[:, :12].reshape(-1, 4, 3).numpy(), lengths(x), strict=True):
        alpha = np.eye(3)[0]
        for step in datum[:n]:
            alpha = (alpha @ moves) * np.prod(bits**step * (1 - bits) ** (1 - step), axis=1)
        expected.append(math.log(alpha.sum()))
    assert log_probs(pair, x).tolist() == pytest.approx(expected, abs=1e-4)


def test_the_bound_of_a_masked_chain_tends_to_the_evidence_of_its_steps() -> None:
    pair, x = made(Walk, WALK), some(8, WALK)
    covariance = np.minimum.outer(np.arange(1, 5), np.arange(1, 5)) + np.eye(4)
    expected = [
        multivariate_normal.logpdf(datum[:n], np.zeros(n), covariance[:n, :n])
        for datum, n in zip(x[:, :4].numpy(), lengths(x), strict=True)
    ]
    assert bounds(pair, x, particles=20_000).importance.tolist() == pytest.approx(expected, abs=0.1)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [Chain, MaskedBits, Early, Hidden])
def test_what_lies_beyond_the_length_changes_no_score(kind: Callable[[], Any]) -> None:
    """Each sequence is scored as by a program of its length."""
    pair, x = made(kind), some()
    for n in range(1, 5):
        short = Event.parse(f"x={n}x3:binary~n,n=:{n + 1}@given")
        own = made(kind, short)
        own.load(pair.state())
        rows = x[x[:, -1] == n]
        values = BITS.unpack(rows)
        cut = short.pack({"x": values["x"][:, :n], "n": values["n"]})  # type: ignore[index] # no label
        for each, batch in ((pair, rows), (own, cut)):
            assert each.event.steps(batch).tolist() == [n] * len(rows)  # type: ignore[union-attr] # sequences
        ours, theirs = (bounds(each, batch, 4000) for each, batch in ((pair, rows), (own, cut)))
        assert ours.importance == pytest.approx(theirs.importance, abs=0.1)


@pytest.mark.parametrize("mode", ["traced", "compiled"])
def test_a_program_that_ends_early_is_never_frozen_at_one_length(mode: Any) -> None:
    """Its number of steps is read from the batch, so it cannot be recorded for another one."""
    pair, short, long = made(Early), some(4)[:1].expand(4, -1), some(4)[3:].expand(4, -1)
    step = engine.compile(pair, mode=mode)
    plain = engine.compile(pair, mode="eager")
    for x in (short.clone(), long.clone(), short.clone()):
        with seeded(3):
            ours = float(step(x))
        with seeded(3):
            assert ours == pytest.approx(float(plain(x)), rel=1e-5)


class Scored(Chain):
    def steps(self, x: Tensor, n: Tensor) -> Iterator[tuple[int, Any]]:
        for t in range(x.shape[1]):
            yield t, poutine.mask(mask=t <= n)


class Short(Chain):
    def steps(self, x: Tensor, n: Tensor) -> Iterator[tuple[int, Any]]:
        for t in range(x.shape[1]):
            yield t, poutine.mask(mask=t + 1 < n)


class Unmasked(Chain):
    def steps(self, x: Tensor, n: Tensor) -> Iterator[tuple[int, Any]]:
        for t in range(x.shape[1]):
            yield t, poutine.mask(mask=True)


class StopsShort(Chain):
    def steps(self, x: Tensor, n: Tensor) -> Iterator[tuple[int, Any]]:
        for t in range(int(n.float().mean())):
            yield t, poutine.mask(mask=t < n)


class OneSided(Chain):
    """The guide's latents are not masked where the model's are."""

    def guide(self, x: Tensor, n: Tensor) -> None:
        super().guide(x, torch.full_like(n, x.shape[1]))


class Peeks(Chain):
    """Bits of a step depend on the next latent, which is masked at the last step."""

    def model(self, x: Tensor, n: Tensor) -> None:
        z, states = x.new_zeros(len(x), 2), []
        with pyro.plate("data", len(x)):
            for t, mask in self.steps(x, n):
                with mask:
                    z = pyro.sample(f"z_{t}", dist.Normal(self.transition(z), 1.0).to_event(1))
                    states.append(z)
            for t, mask in self.steps(x, n):
                bits = dist.Bernoulli(logits=self.emission(states[min(t + 1, 3)])).to_event(1)
                with mask:
                    pyro.sample(f"x_{t}", bits, obs=x[:, t])


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Scored, "is scored where it is padding"),
        (Short, "masked, or left out, at steps before the length"),
        (Unmasked, "is scored where it is padding"),
        (StopsShort, "masked, or left out, at steps before the length"),
        (OneSided, "in one program and not in the other"),
        (Peeks, "other sites depend on what is hidden"),
    ],
)
def test_a_wrong_mask_is_refused(kind: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ContractError, match=f"every entry is scored': .*{sentence}"):
        ground_laws(made(kind), BITS.zeros(9))


def test_samples_have_the_lengths_that_they_are_given() -> None:
    n = torch.tensor([1.0, 4.0, 2.0])
    drawn = sample(made(Chain), 3, given={"n": n})
    assert torch.equal(drawn[:, -1], n)
    assert not drawn[BITS.padding(drawn)].any()
    assert torch.equal(BITS.padding(drawn)[0, :12].reshape(4, 3).any(1), torch.tensor([False, True, True, True]))  # type: ignore[index]


def test_scores_are_per_datum_and_per_step() -> None:
    pair, x = made(Hidden), some(50)
    data = Dataset("bits", BITS, x, x, x, "Random bits.")
    run = TrainedRun(pair, data, 0, [], "finished")
    found = {score.metric: score for score in evaluate("likelihood", [run], Settings())}
    nats, steps = -log_probs(pair, x), x[:, -1].double()
    assert found["nats_per_step"].value == pytest.approx(float(nats.sum() / steps.sum()), rel=1e-6)
    assert found["bits_per_dim"].value == pytest.approx(float(nats.sum() / (3 * steps.sum()) / math.log(2)), rel=1e-6)
    with seeded(0):
        rows = torch.randint(50, (4000, 50))
    ratios = nats[rows].sum(1) / steps[rows].sum(1)
    assert found["nats_per_step"].stderr == pytest.approx(float(ratios.std()), rel=0.1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x=4x3:binary~n", "add the field n=:5@given"),
        ("x=4x3:binary~n,n=:4@given", "add the field n=:5@given"),
        ("x=4x3:binary~n,n=:5", "add the field n=:5@given"),
        ("x=:2~n,n=:5@given", "whose first size is its steps"),
    ],
)
def test_a_sequence_needs_its_length(text: str, sentence: str) -> None:
    with pytest.raises(ZooError, match=sentence):
        Event.parse(text)


def test_events_of_sequences_are_read_as_they_are_written() -> None:
    for text in ("x=4x3:binary~n,n=:5@given", "x=4:real~n,c=4x2:real~n@given,n=:5@given"):
        assert str(Event.parse(text)) == text


def test_data_beyond_the_length_are_zero() -> None:
    assert BITS.pack({"x": torch.ones(1, 4, 3), "n": [2]}).tolist() == [[1.0] * 6 + [0.0] * 6 + [2.0]]
    wrong = torch.ones(1, 13)
    with pytest.raises(ZooError, match="should be zero beyond the lengths"):
        Dataset("ones", BITS, wrong, wrong, wrong, "Ones.")
