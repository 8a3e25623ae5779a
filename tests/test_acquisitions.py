"""Ways to choose the data to label next, where the right choice is known."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo import Event, Query, ZooError
from zoo.evaluations.acquisitions.vaal import VAAL
from zoo.experiments.active import Way

PLANE = Event(2, "real")


def query(pool: Tensor, x: Tensor, count: int, probabilities: Tensor | None = None, seed: int = 0) -> Query:
    """A query whose classifier has the data as features, and the given probabilities."""
    classifier: Any = SimpleNamespace(event=PLANE, embed=lambda x: x, log_probs=lambda x: probabilities.log())
    y = torch.zeros(len(x), dtype=torch.long)
    return Query(pool, x, y, classifier, count, torch.Generator().manual_seed(seed))


def normal(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


PROBABILITIES = torch.tensor([[0.9, 0.06, 0.04], [0.5, 0.49, 0.01], [0.4, 0.3, 0.3], [0.7, 0.2, 0.1]])


def test_entropy_asks_where_it_is_highest() -> None:
    nats = [-sum(p * math.log(p) for p in row) for row in PROBABILITIES.tolist()]
    order = sorted(range(4), key=lambda place: -nats[place])
    assert Way.of("entropy").choose(query(normal(4), normal(1), 3, PROBABILITIES)).tolist() == order[:3] == [2, 3, 1]


def test_margin_asks_where_two_classes_are_closest() -> None:
    assert Way.of("margin").choose(query(normal(4), normal(1), 3, PROBABILITIES)).tolist() == [1, 2, 3]


def test_entropy_of_a_certain_class_is_zero() -> None:
    certain = torch.tensor([[1.0, 1e-30, 1e-30], [0.4, 0.3, 0.3]])
    assert Way.of("entropy").choose(query(normal(2), normal(1), 2, certain)).tolist() == [1, 0]


def test_random_draws_each_datum_as_often_as_another() -> None:
    """Mean and standard deviation of 2000 binomial counts, p = 3/10."""
    counts = torch.zeros(10)
    for seed in range(2000):
        counts[Way.of("random").choose(query(normal(10), normal(1), 3, seed=seed))] += 1
    assert (counts - 600).abs().max() < 5 * math.sqrt(2000 * 0.3 * 0.7)


def test_k_centre_is_the_greedy_choice_of_brute_force() -> None:
    pool, x = normal(12), normal(3, seed=1)
    chosen: list[int] = []
    for _ in range(5):
        centres = [*x, *pool[chosen]]
        nearest = [min(math.dist(datum, centre) for centre in centres) for datum in pool]
        chosen.append(nearest.index(max(nearest)))
    assert Way.of("k-centre").choose(query(pool, x, 5)).tolist() == chosen


def test_k_centre_covers_within_twice_the_best_radius() -> None:
    pool, x = normal(10), normal(1, seed=1)

    def radius(places: Any) -> float:
        return float(torch.cdist(pool, torch.cat([x, pool[torch.as_tensor(places)]])).amin(1).max())

    best = min(radius(places) for places in itertools.combinations(range(10), 3))
    assert best <= radius(Way.of("k-centre").choose(query(pool, x, 3))) <= 2 * best


def test_k_centre_never_asks_twice_for_data_that_coincide() -> None:
    assert sorted(Way.of("k-centre").choose(query(torch.zeros(4, 2), torch.zeros(1, 2), 4)).tolist()) == [0, 1, 2, 3]


@pytest.mark.thorough
@pytest.mark.parametrize("density", ["ppca", "vae"])
def test_low_p_asks_for_outliers_first(density: str) -> None:
    pool = normal(200)
    pool[[3, 50, 120]] = torch.tensor([[9.0, -9.0], [-9.0, -9.0], [9.0, 9.0]])
    chosen = Way.of(f"low-p:density={density},steps=60").choose(query(pool, normal(20, seed=1), 3))
    assert sorted(chosen.tolist()) == [3, 50, 120]


def test_low_p_refuses_a_family_without_a_likelihood() -> None:
    with pytest.raises(ZooError, match="low-p needs a family with a likelihood, and gan has none; take ppca or vae"):
        Way.of("low-p:density=gan").choose(query(normal(20), normal(5), 3))


@pytest.mark.thorough
def test_vaal_asks_where_there_are_no_labels() -> None:
    """Labelled data are on the left; the pool has as many there, and as many on the right."""
    left, right = torch.tensor([-3.0, 0.0]), torch.tensor([3.0, 0.0])
    pool = torch.cat([normal(50) + left, normal(50, seed=1) + right])
    chosen = Way.of("vaal:latent=2,hidden=16,steps=300,weight=0.1").choose(query(pool, normal(50, seed=2) + left, 20))
    assert (chosen >= 50).all()


def test_vaals_players_share_no_parameter_and_own_all() -> None:
    net = VAAL(PLANE, 2, 8, 1.0)
    vae, discriminator = ({id(each) for each in player.parameters} for player in net.players())
    assert not vae & discriminator
    assert vae | discriminator == {id(each) for each in net.parameters()}


def test_vaals_losses_of_a_discriminator_that_cannot_tell() -> None:
    """D = 0: log 2 for either player; the rest of the VAE's loss does not depend on the labels."""
    net = VAAL(PLANE, 2, 8, 1.0)
    torch.nn.init.zeros_(net.discriminator.out.weight)
    torch.nn.init.zeros_(net.discriminator.out.bias)
    batch = net.record.pack({"x": normal(6), "labelled": torch.tensor([1.0, 0, 1, 0, 1, 0])})
    assert net.discriminator_loss(batch).item() == pytest.approx(math.log(2))
    losses = []
    for weight in (0.0, 1.0):
        net.weight = weight
        torch.manual_seed(0)
        losses.append(net.vae_loss(batch).item())
    assert losses[1] - losses[0] == pytest.approx(math.log(2), abs=1e-5)


def test_scores_that_are_not_finite_are_refused() -> None:
    asked = query(normal(4), normal(1), 2)
    with pytest.raises(ZooError, match=r"got scores of shape \(4,\), 1 of them not finite"):
        asked.lowest(torch.tensor([0.0, 1.0, torch.nan, 2.0]))
    with pytest.raises(ZooError, match=r"each of the 4 data of the pool, got scores of shape \(3,\)$"):
        asked.lowest(torch.zeros(3))
