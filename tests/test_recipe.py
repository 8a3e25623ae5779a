from __future__ import annotations

import pytest

from zoo.errors import ZooError
from zoo.training.recipe import Recipe


def test_a_wrong_setting_is_named_with_the_known_ones() -> None:
    with pytest.raises(ZooError, match=r"'stepz'.*settings: steps, batch"):
        Recipe.read({"stepz": 3})
    with pytest.raises(ZooError, match=r"'lr'.*greater than 0, got -1"):
        Recipe.read({"lr": -1})


@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
def test_schedules_start_peak_and_end_as_declared(schedule: str) -> None:
    recipe = Recipe(steps=100, lr=0.5, schedule=schedule)
    rates = [recipe.lr_at(step) for step in range(100)]
    assert max(rates) == pytest.approx(0.5)
    assert all(rate > 0 for rate in rates)
    if schedule != "constant":
        assert rates[-1] < 0.01
    if schedule == "onecycle":
        assert rates[0] == pytest.approx(0.02)


def test_checkpoints_are_as_many_as_set_and_one_at_the_end() -> None:
    recipe = Recipe(steps=103, checkpoints=10)
    moments = [done for done in range(1, 104) if recipe.measured(done)]
    assert moments == [*range(10, 101, 10), 103]


def test_kl_weight_grows_to_one() -> None:
    recipe = Recipe(steps=10, kl_warmup=4)
    assert [recipe.kl_weight(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert Recipe().kl_weight(0) == 1.0
