"""A member of an ensemble is its lone run: same noise, same steps, same scores, to float tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from zoo.building import build
from zoo.data import Dataset
from zoo.ensemble import Together, fit_together
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pair import Pair
from zoo.progress import Progress
from zoo.training import fit

SEEDS = (0, 1, 5)
RECIPE = {"steps": 12, "batch": 16, "lr": 0.02, "schedule": "onecycle", "checkpoints": 3, "engine": "traced"}


class Latent(nn.Module):
    """A tiny VAE with dropout, and with buffers that training moves.

    No bias before the normalisation: its gradient would be rounding, which Adam makes steps of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 4)
        )
        self.decoder = nn.Linear(2, 4)

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z).reshape(x.shape)).to_event(2), obs=x)

    def guide(self, x: Tensor) -> Any:
        loc, scale = self.encoder(x.flatten(1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


class Switch(Latent):
    """Its latent is discrete: what is drawn depends on values."""

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(x.new_full((2,), 0.5)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z).reshape(x.shape)).to_event(2), obs=x)

    def guide(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.encoder(x.flatten(1))[:, :2]).to_event(1))


class Constant(Latent):
    """It holds a random number that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = float(torch.rand(()))

    def guide(self, x: Tensor) -> Any:
        super().guide(x + self.shift)


def own(maker: Callable[[], Any], seed: int) -> Pair:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = maker()
    return Pair(Event((2, 2), "binary"), made.model, made.guide)


def agree(lone: Sequence[tuple[Pair, Progress]], pairs: Sequence[Pair], together: Together) -> None:
    for (pair, end), member, found in zip(lone, pairs, together.members, strict=True):
        assert (found.step, found.status, found.best_step, found.reason) == (
            end.step,
            end.status,
            end.best_step,
            end.reason,
        )
        assert found.best_score == pytest.approx(end.best_score, rel=1e-4)
        assert [row["step"] for row in found.history] == [row["step"] for row in end.history]
        for row, expected in zip(found.history, end.history, strict=True):
            assert row["train"] == pytest.approx(expected["train"], rel=1e-4, nan_ok=True)
            assert row["validation"] == pytest.approx(expected["validation"], rel=1e-4, nan_ok=True)
        state = pair.state()
        for name, tensor in member.state().items():
            torch.testing.assert_close(tensor, state[name], rtol=1e-3, atol=1e-4, equal_nan=True, msg=name)
        assert set(found.tensors) == set(end.tensors)


def compared(make: Callable[[int], Pair], data: Dataset, recipe: dict[str, Any]) -> Together:
    """Train lone runs and an ensemble of the same seeds, and compare them."""
    lone = [(pair, fit(pair, data, recipe, seed=seed)) for seed in SEEDS for pair in [make(seed)]]
    pairs = [make(seed) for seed in SEEDS]
    together = fit_together(pairs, data, recipe, seeds=SEEDS)
    agree(lone, pairs, together)
    scores = [end.best_score for end in together.members if math.isfinite(end.best_score)]
    assert len(set(scores)) == len(scores)  # each has its own initialisation, order and noise
    return together


@pytest.fixture
def levels() -> Dataset:
    x = torch.randint(5, (80, 2, 3), generator=torch.Generator().manual_seed(0)).float()
    return Dataset("levels", Event((2, 3), 5), x[:40], x[40:60], x[60:], "made up")


@pytest.mark.parametrize(
    ("name", "hyper", "recipe"),
    [
        ("ppca", {"latent": 2}, {"average": 0.9}),
        ("vae", {"latent": 2, "hidden": 8, "guide.hidden": 8}, {"optimiser": "adamw", "kl_warmup": 9}),
        ("realnvp", {"layers": 2, "hidden": 8}, {"clip": 0.5, "average": 0.9}),
    ],
)
def test_members_are_their_lone_runs(name: str, hyper: dict[str, Any], recipe: dict[str, Any], levels: Dataset) -> None:
    assert compared(lambda seed: build(name, levels.event, hyper, seed), levels, RECIPE | recipe).reason == ""


@pytest.mark.slow
def test_a_compiled_ensemble_is_its_compiled_lone_runs(levels: Dataset) -> None:
    assert (
        compared(
            lambda seed: build("ppca", levels.event, {"latent": 2}, seed), levels, RECIPE | {"engine": "compiled"}
        ).reason
        == ""
    )


def test_buffers_move_and_data_are_drawn_as_in_lone_runs(coins: Dataset) -> None:
    """Batch normalisation moves buffers; dynamic binarisation draws from the stream of the step."""
    grey = replace(coins, train=0.2 + 0.6 * coins.train, binarise=True)
    assert compared(lambda seed: own(Latent, seed), grey, RECIPE).reason == ""


def test_a_member_that_ends_leaves_the_others_to_go_on(coins: Dataset) -> None:
    """Early stopping and divergence are each member's own."""

    def make(seed: int) -> Pair:
        pair = own(Latent, seed)
        if seed == 1:
            with torch.no_grad():
                pair.modules["Latent"].decoder.weight.fill_(math.inf)
        return pair

    worse = replace(coins, validation=1 - coins.validation)
    together = compared(make, worse, RECIPE | {"steps": 60, "lr": 0.1, "checkpoints": 20, "patience": 3})
    assert together.reason == ""
    first, diverged, last = together.members
    assert diverged.status == "diverged"
    assert {first.status, last.status} == {"finished"}
    assert diverged.step < min(first.step, last.step) < 60


def test_members_may_stand_at_different_steps(coins: Dataset) -> None:
    class Tape:
        def __init__(self) -> None:
            self.kept: list[Progress] = []

        def watch(self, progress: Progress) -> None: ...

        def keep(self, progress: Progress) -> None:
            tensors = {name: tensor.clone() for name, tensor in progress.tensors.items()}
            self.kept.append(replace(progress, tensors=tensors, history=list(progress.history)))

    tapes = [Tape() for _ in SEEDS]
    whole = [own(Latent, seed) for seed in SEEDS]
    ends = fit_together(whole, coins, RECIPE, seeds=SEEDS, keepers=[[tape] for tape in tapes]).members
    starts = [tapes[0].kept[0], tapes[1].kept[1], None]
    again = [own(Latent, seed) for seed in SEEDS]
    together = fit_together(again, coins, RECIPE, seeds=SEEDS, starts=starts)
    agree(list(zip(whole, ends, strict=True)), again, together)
    assert [tape.kept[-1].status for tape in tapes] == ["finished"] * 3


@pytest.mark.parametrize(("maker", "words"), [(Switch, "depends on values"), (Constant, "its graph differs")])
def test_what_makes_no_common_graph_is_trained_alone_and_says_why(maker: Any, words: str, coins: Dataset) -> None:
    assert words in compared(lambda seed: own(maker, seed), coins, RECIPE).reason


def test_pairs_are_their_own_again(coins: Dataset) -> None:
    pairs = [own(Latent, seed) for seed in SEEDS]
    fit_together(pairs, coins, RECIPE | {"steps": 2}, seeds=SEEDS)
    storages = [{tensor.untyped_storage().data_ptr() for tensor in pair.state().values()} for pair in pairs]
    assert not set.intersection(*storages)


def test_shared_weights_stay_shared(coins: Dataset) -> None:
    class Tied(Latent):
        def __init__(self) -> None:
            super().__init__()
            self.again = self.decoder

    assert compared(lambda seed: own(Tied, seed), coins, RECIPE).reason == ""


def test_one_member_or_an_objective_of_its_own_is_trained_as_ever(levels: Dataset) -> None:
    lone, single = (build("ppca", levels.event, {"latent": 2}, 0) for _ in range(2))
    end = fit(lone, levels, RECIPE)
    assert fit_together([single], levels, RECIPE, seeds=[0]).members[0].best_score == end.best_score
    gans = [build("gan", levels.event, {}, seed) for seed in (0, 1)]
    together = fit_together(gans, levels, RECIPE | {"steps": 2}, seeds=(0, 1))
    assert "objective of its own" in together.reason
    assert [end.status for end in together.members] == ["finished"] * 2
    with pytest.raises(ZooError, match="a seed for each"):
        fit_together(gans, levels, seeds=[0])
