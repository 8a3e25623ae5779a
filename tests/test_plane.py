"""Views of a pair in the plane."""

from __future__ import annotations

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from torch import Tensor

from zoo.data import load_data
from zoo.event import Event
from zoo.metrics.plane import SIDE, frame, grid, views
from zoo.pairs.build import build
from zoo.pairs.pair import Pair

SHIFT = torch.tensor([1.0, -3.0])


def model(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(SHIFT, 0.01).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), torch.ones(5)).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x[:, :2], 0.01).to_event(1))


def test_a_grid_reads_from_the_top_left() -> None:
    points = grid((0.0, 1.0, 10.0, 12.0))
    assert points.shape == (SIDE * SIDE, 2)
    assert points[0].tolist() == pytest.approx([0.5 / SIDE, 12 - 1 / SIDE])
    assert points[1, 0] > points[0, 0]
    assert points[-1].tolist() == pytest.approx([1 - 0.5 / SIDE, 10 + 1 / SIDE])


def test_a_frame_holds_its_points_and_a_margin() -> None:
    assert frame(np.array([[0.0, 1.0], [10.0, 1.0]])) == pytest.approx((-2.0, 12.0, 0.0, 2.0))


def test_a_density_integrates_to_the_mass_in_the_frame() -> None:
    data = load_data("moons")
    pair = build("independent", data.event)
    pair.extras.initialise(data.train)
    seen = views(pair, data.test)
    assert set(seen) == {"log_density"}
    left, right, bottom, top = frame(data.test[:500].numpy())
    cell = (right - left) * (top - bottom) / SIDE**2
    held = ((data.train > torch.tensor([left, bottom])) & (data.train < torch.tensor([right, top]))).all(1)
    assert float(seen["log_density"].double().exp().sum() * cell) == pytest.approx(
        float(held.double().mean()), abs=0.02
    )


def test_plane_latents_are_draws_of_guide_and_prior() -> None:
    x = 5 * torch.randn(600, 5)
    seen = views(Pair(Event(5, "real"), model, guide), x)
    assert set(seen) == {"posterior", "prior"}
    assert (seen["posterior"] - x[:500, :2]).abs().max() < 0.1
    assert (seen["prior"] - SHIFT).abs().max() < 0.1


@pytest.mark.parametrize("name", ["independent", "vae:latent=16", "gan"])
@pytest.mark.parametrize("event", ["8x8:17", "2:4"])
def test_other_pairs_have_no_views(name: str, event: str) -> None:
    """Nor have points of a finite number of levels a density."""
    pair = build(name, Event.parse(event))
    assert views(pair, torch.zeros(8, *pair.event.shape)) == {}
