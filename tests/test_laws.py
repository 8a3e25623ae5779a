"""The laws, swept over every registered family, and over every guide on one of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from draws import data, every
from members import combinations, default, family_of, members, small, turns
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.contract.check import check
from zoo.data import Dataset
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import HasInitialise, Pair
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.seeding import seeded
from zoo.training.loop import fit
from zoo.training.recipe import Recipe

EVENTS = {"binary": Event((4, 4), "binary"), "levels": Event((4, 4), 5), "real": Event((4, 4), "real")}
TINY = {"binary": Event((2, 2), "binary"), "levels": Event((2, 2), 3)}
MEMBERS = members()
CAN = {member: capabilities(build(member[0], EVENTS[member[1]], small(member[0]))) for member in MEMBERS}
DISCRETE = [m for m, can in CAN.items() if can.discrete and can.likelihood in ("exact", "bound")]
OTHERS = [pytest.param(*each, marks=pytest.mark.slow) for each in combinations() if each not in MEMBERS]
WITH_BOTH = [member for member, can in CAN.items() if can.analytic and can.latents]
"""An analytic log-probability, and latents that bound it."""


WITH_ELBO = [
    name
    for (name, support), can in CAN.items()
    if support == "binary" and can.likelihood == "bound" and set(can.latents) > set(can.dequantising)
]
"""Latents that carry information, on binary data."""


def each_weight(pair: Pair, x: Tensor, particles: int) -> Tensor:
    """Log importance weights, shape ``(particles, n)``."""
    with seeded(1), pair.evaluating():
        return log_weights(pair, x.repeat_interleave(particles, 0)).reshape(len(x), particles).T


ELSEWHERE = {*turns(MEMBERS, family_of), *combinations()}
"""Where a second device is tried: every family on one of its supports, by turns, and every guide."""


@pytest.mark.parametrize(("name", "support"), [*MEMBERS, *OTHERS])
def test_the_contract_holds(name: str, support: str) -> None:
    """Of each family at its default size on one support; small elsewhere."""
    hyper = small(name) if "+" in name or support != "levels" else default(name)
    elsewhere = (name, support) in ELSEWHERE
    findings = check(name, EVENTS[support], hyper, device="auto" if elsewhere else "cpu")
    assert [finding for finding in findings if finding.ok is False] == []
    pair = build(name, EVENTS[support], hyper)
    undecided = {
        "gradients reach every parameter": not pair.parameters(),
        "the guide's sites are the model's latents": capabilities(pair).likelihood == "none",
        "it runs on another device": not elsewhere,
    }
    assert {finding.law for finding in findings if finding.ok is None} == {
        law for law, is_so in undecided.items() if is_so
    }


@pytest.mark.parametrize(("name", "support"), DISCRETE)
def test_the_probabilities_of_all_data_sum_to_one(name: str, support: str) -> None:
    """Exactly; of a lower bound, which may have mass where no datum is, to no more."""
    event = TINY[support]
    pair = build(name, event, small(name), seed=3)
    x = every(event).float()
    if capabilities(pair).likelihood == "exact":
        with pair.evaluating():
            assert float(log_prob(pair, x).double().exp().sum()) == pytest.approx(1, abs=1e-5)
        return
    totals = each_weight(pair, x, 300).double().exp().sum(1)  # each of them is unbiased
    error = float(totals.std() / math.sqrt(len(totals)))
    assert 0.01 < float(totals.mean()) < 1 + 5 * error + 1e-4


@pytest.mark.parametrize(("name", "support"), WITH_BOTH)
def test_the_bound_is_below_the_exact_value(name: str, support: str) -> None:
    event = EVENTS[support]
    pair = build(name, event, seed=3)
    x = data(event, 20).float()
    with pair.evaluating():
        exact = log_prob(pair, x)
    weights = each_weight(pair, x, 2000)
    error = weights.std(0) / math.sqrt(len(weights))
    assert (weights.mean(0) <= exact + 5 * error + 1e-4).all()
    tightened = weights.logsumexp(0) - math.log(len(weights))
    assert (tightened >= weights.mean(0)).all()


@pytest.mark.parametrize(("name", "support"), [*MEMBERS, *OTHERS])
def test_it_can_be_built_for_an_oblong_shape(name: str, support: str) -> None:
    pair = build(name, Event((3, 5), EVENTS[support].levels or "real"), small(name))
    with seeded(0):
        assert sample(pair, 4).shape == (4, 3, 5)


@pytest.mark.thorough
@pytest.mark.parametrize("name", WITH_ELBO)
def test_training_improves_the_elbo(name: str, coins: Dataset) -> None:
    def score(steps: int) -> float:
        pair = build(name, coins.event, small(name), seed=1)
        fit(pair, coins, Recipe(steps=steps, batch=40, lr=1e-2, checkpoints=1), seed=1, device="cpu")
        return float(each_weight(pair, coins.train, 50).mean())

    assert score(100) > score(1) + 0.1


def test_the_sweeps_are_not_empty() -> None:
    assert {"binary", "levels", "real"} == {support for _, support in MEMBERS}
    assert any("+" in name for name, _ in MEMBERS)
    assert WITH_BOTH
    assert WITH_ELBO


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made inside."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.size = max([self.size, *(leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor))])
        return made


@pytest.mark.parametrize("name", [name for name, support in MEMBERS if support == "levels" and "+" not in name])
def test_initialisation_takes_memory_in_proportion_to_the_data(name: str) -> None:
    """Not to the data times their levels, which for images is more than a machine has."""
    event = Event((4, 4), 256)
    pair, x = build(name, event, small(name)), torch.randint(256, (3000, 4, 4)).float()
    if isinstance(pair.extras, HasInitialise):
        with torch.no_grad(), Largest() as largest:
            pair.extras.initialise(x)
        assert largest.size <= 2 * x.numel()
