"""Laws of the guides' shelf, swept over the registry."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from torch import Tensor

from zoo.event import Event
from zoo.guides.planar import Planar
from zoo.pair import Pair
from zoo.registry import guides, load_shelves
from zoo.seeding import seeded
from zoo.traces import log_weights

load_shelves()
EVENT = Event((2, 3), 5)
LATENTS: dict[str, tuple[int, ...]] = {"z1": (3,), "z2": (2, 2), "z3": (1,), "z4": ()}
SIZES = [3, 4, 1, 1]


@pytest.fixture(params=[entry.name for entry in guides if entry.space == "real"])
def name(request: pytest.FixtureRequest) -> str:
    """Each guide of the shelf."""
    return str(request.param)


def make(name: str, latents: dict[str, tuple[int, ...]] = LATENTS, event: Event = EVENT) -> Any:
    """A guide with weights large enough to bend its distribution, in evaluation mode."""
    with seeded(1), torch.no_grad():
        made = guides[name].make(event, latents).eval()
        for parameter in made.parameters():
            parameter.mul_(1.5)
    return made


def draw(guide: Any, x: Tensor, seed: int = 0) -> dict[str, Any]:
    """The guide's latent sites, by name."""
    with seeded(seed):
        trace = poutine.trace(guide).get_trace(x)
    return {name: site for name, site in trace.nodes.items() if name in LATENTS}


def data(n: int) -> Tensor:
    with seeded(2):
        return torch.randint(0, 5, (n, *EVENT.shape)).float()


def density(site: Any) -> Tensor:
    value: Tensor = site["fn"].log_prob(site["value"])
    return value


def test_densities_have_the_shape_of_the_batch(name: str) -> None:
    guide = make(name)
    for n in (4, 2):  # a second, smaller batch: nothing of the first may be left
        for latent, site in draw(guide, data(n)).items():
            assert site["value"].shape == (n, *LATENTS[latent])
            assert density(site).shape == (n,)
            assert site["fn"].has_rsample


def test_density_is_the_change_of_variables_of_its_noise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    guide, x = make(name).double(), data(1).double()

    def push(noise: Tensor) -> list[Any]:
        parts = iter(noise.split(SIZES))
        place = "torch.distributions.normal._standard_normal"
        monkeypatch.setattr(place, lambda shape, dtype, device: next(parts).reshape(shape))
        return list(draw(guide, x).values())

    def flat(noise: Tensor) -> Tensor:
        return torch.cat([site["value"].detach().reshape(-1) for site in push(noise)])

    with seeded(0):
        noise = torch.randn(sum(SIZES)).double()
    h = 1e-5
    steps = h * torch.eye(len(noise)).double()
    jacobian = torch.stack([(flat(noise + step) - flat(noise - step)) / (2 * h) for step in steps], 1)
    expected = dist.Normal(0.0, 1.0).log_prob(noise).sum() - jacobian.slogdet().logabsdet
    assert sum(density(site).item() for site in push(noise)) == pytest.approx(expected.item(), abs=1e-6)


def test_any_value_can_be_evaluated_not_only_the_last_draw(name: str) -> None:
    guide, x = make(name, {"z1": (3,)}).double(), data(6).double()
    site, other = (draw(guide, x, seed)["z1"] for seed in (0, 1))
    again = other["fn"].log_prob(site["value"].detach().clone())
    assert torch.allclose(again, density(site), rtol=0, atol=1e-6)


def test_gradients_of_the_draws_and_of_the_density_reach_every_parameter(name: str) -> None:
    guide = make(name)
    sites = draw(guide, data(8)).values()
    torch.stack([(site["value"] ** 2).sum() + density(site).sum() for site in sites]).sum().backward()
    idle = [key for key, parameter in guide.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert idle == []


def test_draws_alone_have_gradients(name: str) -> None:
    guide = make(name)
    torch.cat([site["value"].reshape(-1) for site in draw(guide, data(8)).values()]).square().sum().backward()
    for key, parameter in guide.named_parameters():
        grad = parameter.grad
        assert grad is not None
        assert grad.all() if key.endswith("bias") else grad.any(), (
            key
        )  # a bias has an entry for each unit: none is idle


def test_later_latents_depend_on_earlier_ones(name: str) -> None:
    guide, x = make(name, {"z1": (3,), "z2": (2, 2)}), data(4)
    moved = poutine.condition(guide, {"z1": draw(guide, x)["z1"]["value"] + 1})
    assert not torch.equal(draw(guide, x)["z2"]["value"], draw(moved, x)["z2"]["value"])


def test_data_do_not_mix_and_seeds_decide(name: str) -> None:
    guide, x = make(name), data(5)
    one, same, other = draw(guide, x), draw(guide, x), draw(guide, x.flip(0))
    assert all(torch.equal(one[key]["value"], same[key]["value"]) for key in LATENTS)
    elsewhere = 4 - x
    elsewhere[2] = x[2]
    changed = draw(guide, elsewhere)
    assert torch.allclose(one["z1"]["value"][2], changed["z1"]["value"][2])
    assert not torch.allclose(one["z1"]["value"][0], other["z1"]["value"][0])


def test_guides_run_on_another_device(name: str) -> None:
    guide = make(name).to("meta")
    with pyro.validation_enabled(False):  # validation looks at values, and there are none
        sites = draw(guide, data(3).to("meta"))
    for latent, site in sites.items():
        assert density(site).shape == (3,)
        assert site["value"].device.type == "meta", latent


def test_importance_weights_are_unbiased_and_the_bound_holds(name: str) -> None:
    """On a linear-Gaussian model, whose evidence is known: E[w] = p(x) and E[log w] <= log p(x)."""
    event = Event(3, "real")
    W = torch.tensor([[1.0, 0.5], [-0.3, 0.8], [0.2, -0.6]])

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z1", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ W.T, 1.5).to_event(1), obs=x)

    pair = Pair(event, model, guides[name].make(event, {"z1": (2,)}).eval())
    x = torch.tensor([[0.3, -0.2, 0.5]])
    exact = dist.MultivariateNormal(torch.zeros(3), W @ W.T + 1.5**2 * torch.eye(3)).log_prob(x[0])
    with seeded(0), torch.no_grad():
        log_w = log_weights(pair, x.expand(20_000, 3)) - exact
    assert log_w.mean() <= 4 * log_w.std() / math.sqrt(len(log_w))
    w = log_w.exp()
    assert abs(w.mean() - 1) < 5 * w.std() / math.sqrt(len(w))
    assert w.std() / math.sqrt(len(w)) < 0.1  # or the law above says nothing


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(0.01, 30))
def test_planar_steps_invert_whatever_the_network_says(seed: int, scale_u: float, scale_w: float) -> None:
    with seeded(seed):
        u, w = torch.randn(4, 3).double() * scale_u, torch.randn(4, 3).double() * scale_w
        b, x = torch.randn(4, 1).double(), torch.randn(4, 3).double()
    step = Planar(u, w, b)
    assert ((w * step.v).sum(-1) > -1 - 1e-9 * scale_u * scale_w).all()
    y = step(x)
    assert step.log_abs_det_jacobian(x, y).isfinite().all()
    assert torch.allclose(Planar(u, w, b)(Planar(u, w, b).inv(y)), y, atol=1e-6)


def test_a_planar_step_without_u_is_the_identity() -> None:
    x = torch.randn(4, 3)
    assert torch.allclose(Planar(torch.zeros(4, 3), torch.randn(4, 3), torch.zeros(4, 1))(x), x, atol=1e-5)
