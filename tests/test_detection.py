"""Areas under curves and false alarms against closed forms, a bootstrap and counting."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo import ZooError
from zoo.metrics.detection import auroc, false_alarms


def phi(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def normals(n: int, shift: float = 0.0, seed: int = 0) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0, -1.0])
def test_two_normals(shift: float) -> None:
    """A = Phi(d / sqrt 2); the false alarms at 95 % are 1 - Phi(d - 1.645)."""
    known, novel = normals(4000), normals(3000, shift, seed=1)
    found = auroc(known, novel)
    assert abs(found.value - phi(shift / math.sqrt(2))) < 4 * found.stderr
    alarms = false_alarms(known, novel)
    assert abs(alarms.value - (1 - phi(shift - 1.6449))) < 4 * alarms.stderr
    assert found.n == alarms.n == 7000


@pytest.mark.thorough
def test_standard_errors_are_those_of_repetitions() -> None:
    draws = [(normals(120, seed=2 * k), normals(80, 1.0, seed=2 * k + 1)) for k in range(300)]
    for measure in (auroc, false_alarms):
        found = [measure(*draw) for draw in draws]
        spread = float(torch.tensor([each.value for each in found]).std())
        mean = sum(each.stderr for each in found) / len(found)
        assert mean == pytest.approx(spread, rel=0.15), measure.__name__


@pytest.mark.thorough
def test_standard_errors_of_pairs_are_those_of_repetitions() -> None:
    """Novel scores made of the known ones vary with them, so the errors are smaller than those of other data."""

    def pairs(seed: int) -> tuple[Tensor, Tensor]:
        known = normals(150, seed=2 * seed)
        return known, 0.9 * known + 0.6 * normals(150, seed=2 * seed + 1) + 0.8

    for measure in (auroc, false_alarms):
        found = [measure(*pairs(k), paired=True) for k in range(300)]
        spread = float(torch.tensor([each.value for each in found]).std())
        mean = sum(each.stderr for each in found) / len(found)
        assert mean == pytest.approx(spread, rel=0.15), measure.__name__
        assert mean < 0.9 * measure(*pairs(0)).stderr


def test_pairs_of_unequal_numbers_are_refused() -> None:
    with pytest.raises(ZooError, match="got 3 and 4"):
        auroc(torch.zeros(3), torch.zeros(4), paired=True)


def test_delong_agrees_with_the_bootstrap() -> None:
    known, novel, generator = normals(300), normals(200, 0.7, seed=1), torch.Generator().manual_seed(0)

    def resampled(scores: Tensor) -> Tensor:
        return scores[torch.randint(len(scores), (len(scores),), generator=generator)]

    values = torch.tensor([auroc(resampled(known), resampled(novel)).value for _ in range(1000)])
    assert auroc(known, novel).stderr == pytest.approx(float(values.std()), rel=0.1)


def test_against_counting_with_ties_and_infinities() -> None:
    generator = torch.Generator().manual_seed(0)
    known, novel = torch.randint(6, (40,), generator=generator), torch.randint(8, (30,), generator=generator)
    known, novel = known.double(), torch.where(novel == 7, torch.inf, novel.double())
    pairs = (novel[:, None] > known).double() + 0.5 * (novel[:, None] == known)
    assert auroc(known, novel).value == pytest.approx(float(pairs.mean()))
    threshold = novel.sort().values[1]  # 29 of 30 are at least that: 96.7 %; without it 28 were: 93.3 %
    assert false_alarms(known, novel).value == float((known >= threshold).double().mean())


def test_swapping_the_kinds_reverses_the_area_and_scales_do_not_matter() -> None:
    known, novel = normals(50), normals(60, 1.0, seed=1)
    there, back = auroc(known, novel), auroc(novel, known)
    assert there.value == pytest.approx(1 - back.value)
    assert there.stderr == pytest.approx(back.stderr)
    assert auroc(known.exp(), novel.exp()) == there


def test_apart_and_equal() -> None:
    apart = auroc(torch.zeros(5), torch.ones(5))
    assert (apart.value, apart.stderr) == (1, 0)
    assert false_alarms(torch.zeros(5), torch.ones(5)).value == 0
    assert auroc(torch.ones(5), torch.ones(5)).value == 0.5
    assert false_alarms(torch.ones(5), torch.ones(5)).value == 1


@pytest.mark.parametrize("scores", [torch.tensor([0.0, torch.nan, 1.0]), torch.zeros(1)])
def test_scores_that_cannot_be_compared_are_refused(scores: Tensor) -> None:
    for measure in (auroc, false_alarms):
        with pytest.raises(ZooError, match=r"novel data"):
            measure(torch.zeros(3), scores)
