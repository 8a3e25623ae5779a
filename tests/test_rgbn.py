"""The rectified Gaussian belief net, and the stereograms it was made for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pyro import poutine
from scipy.stats import norm

from zoo.data import load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities
from zoo.seeding import seeded


def test_units_below_zero_have_no_effect() -> None:
    """What y1 sees of y2, and x of y1, is the same wherever they are negative, and linear where positive."""
    pair: Any = build("rgbn", Event(5, "real"), {"top": 2, "bottom": 3})

    def means(y2: list[float], y1: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
        values = {"y2": torch.tensor([y2]), "y1": torch.tensor([y1])}
        nodes = poutine.trace(poutine.condition(pair.extras.model, data=values)).get_trace(torch.zeros(1, 5)).nodes
        return nodes["y1"]["fn"].mean, nodes["x"]["fn"].mean

    bottom, x = means([-1.0, -2.0], [-1.0, -3.0, -0.5])
    again, same = means([-5.0, -0.1], [-2.0, -1.0, -9.0])
    assert torch.equal(bottom, again)
    assert torch.equal(x, same)
    one, two = means([1.0, -1.0], [1.0, -1.0, -1.0]), means([2.0, -3.0], [2.0, -2.0, -2.0])
    assert torch.allclose(two[0] - bottom, 2 * (one[0] - bottom), atol=1e-6)
    assert torch.allclose(two[1] - x, 2 * (one[1] - x), atol=1e-6)
    assert not torch.allclose(one[1], x)


def test_the_bias_sets_the_share_of_active_units() -> None:
    """Where no unit of y2 has an effect, y1 ~ N(bias, 1)."""
    pair: Any = build("rgbn", Event(4, "real"), {"top": 3, "bottom": 50, "bias": -1.0})
    with seeded(0), torch.no_grad():
        pair.extras.between.weight.zero_()
        y1 = poutine.trace(pair.model).get_trace(torch.zeros(400, 4)).nodes["y1"]["value"]
    assert float((y1 > 0).float().mean()) == pytest.approx(norm.sf(1.0), abs=0.01)


def test_a_net_whose_units_have_no_weights_is_normal() -> None:
    """With W1 = 0 the marginal of x is N(b0, s^2)."""
    event = Event(3, "real")
    pair: Any = build("rgbn", event, {"top": 2, "bottom": 2})
    with torch.no_grad():
        pair.extras.mean.weight.zero_()
        pair.extras.mean.bias.copy_(torch.tensor([0.0, 5.0, -5.0]))
        pair.extras.log_s.copy_(torch.tensor([0.0, 1.0, -1.0]))
    with seeded(0):
        x = sample(pair, 4000)
    assert torch.allclose(x.mean(0), torch.tensor([0.0, 5.0, -5.0]), atol=0.15)
    assert torch.allclose(x.std(0), torch.tensor([0.0, 1.0, -1.0]).exp(), rtol=0.05)


def test_it_takes_every_guide_of_real_numbers_and_no_other() -> None:
    can = capabilities(build("rgbn+iaf", Event(4, "binary"), {"top": 2, "bottom": 3}))
    assert (list(can.latents), can.likelihood) == (["y1", "y2"], "bound")
    with pytest.raises(ZooError, match="'vmf' lies in the space 'sphere', the latents of 'rgbn' in 'real'"):
        build("rgbn+vmf", Event(4, "binary"))


def test_the_second_eye_sees_the_same_bars_shifted_by_the_label() -> None:
    data = load_data("shifted-bars:labels=all,width=8,disparity=1")
    x, y = data.test[:, :-1].reshape(-1, 2, 8), data.test[:, -1]
    for label, shift in ((0.0, -1), (1.0, 1)):
        left, right = x[y == label].unbind(1)
        # what is left are two independent noises
        assert float((right - left.roll(shift, 1)).std()) == pytest.approx(0.1 * 2**0.5, rel=0.02)
        assert float((right - left).std()) > 0.4
    plain = load_data("shifted-bars:width=8,disparity=1")
    assert torch.equal(plain.test, x)
    assert 0.45 < float(y.mean()) < 0.55
