"""Named data sets, and the value `Dataset`."""

import math
from dataclasses import replace
from subprocess import run
from sys import executable

import numpy as np
import pytest
import torch
from splits import everything

from zoo.data import Dataset, load_data
from zoo.data.toys import RADII, RING_NOISE, rings_log_density
from zoo.errors import ZooError
from zoo.event import Event


def sizes(data: Dataset) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


# ---------------------------------------------------------------------------------------------- the zoo's own data


@pytest.mark.parametrize("name", ["digits", "digits-binary", "moons", "rings"])
def test_named_data_are_finite_and_the_same_each_time(name: str) -> None:
    data = load_data(name)
    assert everything(data).isfinite().all()
    assert load_data(name).fingerprint == data.fingerprint


def test_digits_are_split_in_file_order() -> None:
    from sklearn.datasets import load_digits

    data = load_data()
    assert data.event == Event((8, 8), 17)
    assert sizes(data) == (1000, 350, 447)
    assert np.array_equal(everything(data).numpy(), load_digits().images)
    assert torch.equal(load_data("digits-binary").test, (data.test >= 8).float())


@pytest.mark.parametrize("name", ["moons", "rings"])
def test_toys_depend_on_the_seed(name: str) -> None:
    assert sizes(load_data(name)) == (20_000, 2000, 2000)
    assert load_data(name, seed=1).fingerprint != load_data(name, seed=0).fingerprint
    assert "seed 1" in load_data(name, seed=1).source


def test_moons_lie_near_their_half_circles() -> None:
    x, y = everything(load_data("moons")).unbind(-1)
    distance = torch.minimum((torch.hypot(x, y) - 1).abs(), (torch.hypot(x - 1, y - 0.5) - 1).abs())
    assert distance.mean() < 0.1
    assert y.min() < -0.3 < 0.8 < y.max()


def test_density_of_the_rings_integrates_to_one() -> None:
    step = 0.02
    axis = torch.arange(-4, 4, step, dtype=torch.float64) + step / 2
    grid = torch.cartesian_prod(axis, axis)
    assert rings_log_density(grid).exp().sum() * step**2 == pytest.approx(1, abs=1e-4)
    assert rings_log_density(torch.zeros(1, 2)).isfinite().all()


def test_density_of_the_rings_matches_their_samples() -> None:
    """The mean log-density of samples is minus the entropy, which ring, radius and angle have in closed form."""
    x = everything(load_data("rings"))
    entropy = 0.5 * math.log(2 * math.pi * math.e * RING_NOISE**2) + math.log(len(RADII) * 2 * math.pi)
    entropy += sum(math.log(radius) - RING_NOISE**2 / (2 * radius**2) for radius in RADII) / len(RADII)
    score = -rings_log_density(x)
    assert score.mean() == pytest.approx(entropy, abs=4 * float(score.std()) / math.sqrt(len(x)))
    share = ((x.norm(dim=-1) - 2).abs() < RING_NOISE).float().mean()
    assert share == pytest.approx(math.erf(1 / math.sqrt(2)) / 3, abs=0.03)


# ---------------------------------------------------------------------------------------------- the value itself


def test_reshaped_changes_the_shape_only() -> None:
    data = load_data("digits", event=Event(64, 17))
    assert data.test.shape == (447, 64)
    assert torch.equal(data.test[5], load_data("digits").test[5].flatten())
    assert data.fingerprint != load_data("digits").fingerprint


@pytest.mark.parametrize("event", [Event(63, 17), Event((8, 8), 16), Event(64, "binary"), Event(64, "real")])
def test_reshaped_refuses_another_size_or_support(event: Event) -> None:
    with pytest.raises(ZooError, match="only the shape may differ"):
        load_data("digits", event=event)


def test_fingerprint_tells_data_apart() -> None:
    data = load_data("moons")
    nudged = data.test + torch.eye(len(data.test), 2)
    swapped = replace(data, train=data.validation, validation=data.train)
    others = [replace(data, test=nudged), swapped, data.reshaped(Event((2, 1), "real"))]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert replace(data, name="other").fingerprint == data.fingerprint


def test_dynamic_batches_are_drawn_again() -> None:
    train = torch.tensor([[0.0, 1.0, 0.5]]).expand(4000, 3).contiguous()
    data = Dataset("toy", Event(3, "binary"), train, train[:1].round(), train[:1].round(), "", binarise=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 0, 1)]
    first, again, other = (data.batch(torch.arange(4000), generator) for generator in generators)
    assert torch.equal(again, first)
    assert not torch.equal(other, first)
    assert first.unique().tolist() == [0, 1]
    assert first.mean(0) == pytest.approx(torch.tensor([0, 1, 0.5]), abs=0.05)


@pytest.mark.thorough
def test_importing_the_package_is_light() -> None:
    heavy = "sklearn", "pooch", "pandas", "PIL"
    code = f"import sys, zoo.data; print({set(heavy)} & set(sys.modules))"
    assert run([executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("event", "value", "words"),
    [
        ("3:5", 5.0, r"train should have levels 0 to 4 of x=3:5, got values from 0 to 5"),
        ("3:5", 0.5, r"from 0 to 0.5, not all of them whole"),
        ("3:binary", 2.0, "levels 0 to 1"),
        ("3:real", math.inf, "not finite"),
    ],
)
def test_a_data_set_has_values_of_its_event(event: str, value: float, words: str) -> None:
    rows = torch.zeros(2000, 3)
    rows[1999, 2] = value
    with pytest.raises(ZooError, match=words):
        Dataset("odd", Event.parse(event), rows, rows[:5], rows[:5], "Made up.")


def test_intensities_that_are_drawn_lie_between_0_and_1() -> None:
    rows = torch.zeros(5, 3)
    with pytest.raises(ZooError, match=r"validation should have levels 0 to 1"):
        Dataset("odd", Event(3, "binary"), rows + 0.5, rows + 0.5, rows, "Made up.", binarise=True)
    with pytest.raises(ZooError, match=r"intensities in \[0, 1\], got 1.5 to 1.5"):
        Dataset("odd", Event(3, "binary"), rows + 1.5, rows, rows, "Made up.", binarise=True)
