from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from zoo.data import Dataset
from zoo.devices import pick_device
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import Pair, Player
from zoo.pairs.registry import families
from zoo.pairs.traces import log_prob
from zoo.training.callbacks import Progress
from zoo.training.loop import fit
from zoo.training.recipe import Recipe
from zoo.training.validation import (
    CHECKPOINT_SHARE,
    DISCREPANCY_SAMPLES,
    DRAWS_SHARE,
    FEWEST_SAMPLES,
    FEWEST_SCORED,
    GRADIENT_PASSES,
    SMALL,
    checkpoint_data,
    checkpoint_samples,
)


class Coins(nn.Module):
    """Independent coins, by maximum likelihood: the optimum is known."""

    def __init__(self, explode_at: int = -1, value: float = math.nan) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(2, 2))
        self.calls, self.explode_at, self.value = 0, explode_at, value

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(logits=self.logits.expand(len(x), 2, 2)).to_event(2), obs=x)

    def players(self) -> list[Player]:
        return [Player("ml", [self.logits], self.loss)]

    def loss(self, x: Tensor) -> Tensor:
        self.calls += self.training  # the ground laws call it in evaluation mode
        value = -dist.Bernoulli(logits=self.logits).to_event(2).log_prob(x).mean()
        return value * self.value if self.calls == self.explode_at else value


class Latent(nn.Module):
    """A tiny VAE with dropout and a buffer that training moves."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 4))
        self.decoder = nn.Linear(2, 4)

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z).reshape(x.shape)).to_event(2), obs=x)

    def guide(self, x: Tensor) -> Any:
        loc, scale = self.encoder(x.flatten(1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def pair(maker: Any, event: Event) -> Pair:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = maker()
    return Pair(event, made.model, getattr(made, "guide", lambda x: None), extras=made)


class Tape:
    """Keeps a copy of the progress at the last checkpoint of a running run, as a run's folder does."""

    last: Progress | None = None

    def on_progress(self, progress: Progress) -> None: ...

    def on_checkpoint(self, progress: Progress) -> None:
        if progress.status == "running":
            self.last = deepcopy(progress)


@dataclass(frozen=True, eq=False)
class Deadly(Dataset):
    """Data that interrupt the run at a batch."""

    lifetime: Iterator[int] = field(default_factory=itertools.count)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if next(self.lifetime, None) is None:
            raise KeyboardInterrupt
        return super().batch(indices, generator)


@pytest.mark.thorough
def test_an_empty_guide_means_maximum_likelihood(coins: Dataset) -> None:
    made = Coins()
    bare = Pair(coins.event, made.model)  # without its players it is trained by the ELBO
    everywhere = Dataset("coins", coins.event, coins.train, coins.train, coins.test, "")
    fit(bare, everywhere, {"steps": 400, "batch": 40, "lr": 0.1, "schedule": "cosine"})
    share = coins.train.mean(0)
    assert torch.allclose(made.logits.sigmoid(), share, atol=1e-3)
    entropy = dist.Bernoulli(probs=share).entropy().sum()
    assert -log_prob(bare, coins.train).mean().item() == pytest.approx(entropy.item(), abs=1e-4)


RECIPE = {"steps": 60, "batch": 16, "lr": 0.02, "schedule": "onecycle", "average": 0.9, "kl_warmup": 20, "clip": 1.0}
RECIPE |= {"optimiser": "adamw", "checkpoints": 6}


@pytest.mark.thorough
@pytest.mark.parametrize("engine", ["eager", "traced"])
def test_killed_at_random_steps_it_resumes_to_the_same_bits(coins: Dataset, engine: str) -> None:
    recipe = RECIPE | {"engine": engine}
    whole, again, tape = pair(Latent, coins.event), pair(Latent, coins.event), Tape()
    end = fit(whole, coins, recipe, seed=3)
    for lifetime in np.random.default_rng(0).integers(2, 40, size=5):
        deadly = Deadly(**vars(coins), lifetime=iter(range(lifetime)))
        with suppress(KeyboardInterrupt):
            fit(pair(Latent, coins.event), deadly, recipe, seed=3, start=deepcopy(tape.last), callbacks=[tape])
    assert tape.last
    torch.manual_seed(999)
    resumed = fit(again, coins, recipe, seed=3, start=tape.last)
    assert resumed.history == end.history
    assert all(torch.equal(again.state()[name], tensor) for name, tensor in whole.state().items())


@pytest.mark.thorough
def test_another_seed_is_another_run(coins: Dataset) -> None:
    one, other = pair(Latent, coins.event), pair(Latent, coins.event)
    for each, seed in ((one, 0), (other, 1)):
        fit(each, coins, RECIPE | {"steps": 10}, seed=seed)
    assert not torch.equal(one.state()["Latent.decoder.weight"], other.state()["Latent.decoder.weight"])


@pytest.mark.parametrize(("value", "word"), [(math.nan, "became nan"), (math.inf, "became inf"), (1e9, "exploded")])
def test_divergence_is_a_result_with_its_step(coins: Dataset, value: float, word: str) -> None:
    end = fit(pair(lambda: Coins(33, value), coins.event), coins, {"steps": 80, "checkpoints": 4})
    assert end.status == "diverged"
    assert end.step == 33
    assert word in end.reason
    assert "step 33" in end.reason
    assert end.history[-1]["step"] == 33
    assert math.isnan(end.history[-1]["validation"])


def test_early_stopping_keeps_the_best_weights(coins: Dataset) -> None:
    worse = Dataset("coins", coins.event, coins.train, 1 - coins.train, coins.test, "validation contradicts training")
    made = pair(Coins, coins.event)
    end = fit(made, worse, {"steps": 400, "lr": 0.05, "checkpoints": 40, "patience": 3})
    assert end.status == "finished"
    assert "stopped early" in end.reason
    assert end.step < 400
    assert end.best_score == pytest.approx(min(row["validation"] for row in end.history))
    assert -log_prob(made, worse.validation).mean().item() == pytest.approx(end.best_score, abs=1e-5)


def test_checkpoints_score_a_fixed_part_and_the_best_weights_all(coins: Dataset) -> None:
    many = replace(coins, validation=coins.train.repeat(30, 1, 1))
    made, recipe = pair(Coins, coins.event), {"steps": 40, "batch": 8, "lr": 0.05, "checkpoints": 4}
    end = fit(made, many, recipe)
    part, _ = checkpoint_data(many.validation, Recipe(**recipe), estimates=1)
    assert len(part) == FEWEST_SCORED < len(many.validation)
    assert end.drawn == FEWEST_SAMPLES
    said = f"checkpoints scored {len(part):,} of {len(many.validation):,} validation data and drew {end.drawn} samples"
    assert end.scored == said
    assert -log_prob(made, many.validation).mean().item() == pytest.approx(end.best_score, abs=1e-5)
    (best,) = (row["validation"] for row in end.history if row["step"] == end.best_step)
    assert -log_prob(made, part).mean().item() == pytest.approx(best, abs=1e-5)
    assert best != end.best_score


@given(
    n=st.integers(1, 20_000), steps=st.integers(1, 10_000), batch=st.integers(1, 500), estimates=st.sampled_from([1, 4])
)
def test_scores_of_checkpoints_take_a_small_share_of_training(n: int, steps: int, batch: int, estimates: int) -> None:
    recipe = Recipe(steps=steps, batch=batch)
    part, each = checkpoint_data(torch.arange(n), recipe, estimates)
    assert len(part.unique()) == len(part) >= (n if n <= SMALL else FEWEST_SCORED)
    assert each == estimates or (each == 1 and n > SMALL)
    passes = GRADIENT_PASSES * (steps // recipe.checkpoints or 1) * batch
    assert n <= SMALL or len(part) * each <= max(CHECKPOINT_SHARE * passes, FEWEST_SCORED)
    drawn = checkpoint_samples(torch.arange(n), recipe)
    assert drawn <= DISCREPANCY_SAMPLES
    assert drawn == DISCREPANCY_SAMPLES if n <= SMALL else drawn <= max(DRAWS_SHARE * passes, FEWEST_SAMPLES)


@pytest.mark.thorough
def test_a_family_is_trained_by_its_recipe_and_says_so(coins: Dataset) -> None:
    """As `zoo train` does it; a pair of no family has the common defaults."""
    made = {name: build("vae", coins.event, {"hidden": 4, "latent": 1}) for name in ("some", "all")}
    own = Recipe.read(families["vae"].recipe).updated({"steps": 6, "engine": "eager"})
    assert own != Recipe(steps=6)
    said = [fit(made["some"], coins, {"steps": 6, "engine": "eager"}).recipe, fit(made["all"], coins, own).recipe]
    assert said == ["the recipe of vae+normal, with steps=6, engine=eager", "the recipe that was given"]
    assert all(torch.equal(value, made["all"].state()[name]) for name, value in made["some"].state().items())
    assert fit(pair(Coins, coins.event), coins, {"steps": 1}).recipe == "the common defaults, with steps=1"


def test_dynamic_binarisation_initialises_from_draws(coins: Dataset) -> None:
    grey = replace(coins, train=torch.full((2000, 2, 2), 0.7), binarise=True)
    counted = build("independent", coins.event)
    fit(counted, grey)
    share = log_prob(counted, torch.ones(1, 2, 2)).exp() ** 0.25
    assert float(share) == pytest.approx(0.7, abs=0.03)


def test_averaged_weights_are_what_is_scored(coins: Dataset) -> None:
    made, tape = pair(Coins, coins.event), Tape()
    end = fit(made, coins, {"steps": 30, "lr": 0.1, "average": 0.99, "checkpoints": 1}, callbacks=[tape])
    assert -log_prob(made, coins.validation).mean().item() == pytest.approx(end.best_score, abs=1e-5)
    assert tape.last
    assert not torch.equal(tape.last.tensors["weights/Coins.logits"], made.state()["Coins.logits"])


def test_an_unknown_device_is_one_sentence() -> None:
    with pytest.raises(ZooError, match="not available here; use auto, cpu"):
        pick_device("cuda:99")
    assert pick_device("cpu").type == "cpu"
