"""Laws of guides, swept over the registry, and of the steps that some are made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zoo.event import Event
from zoo.guides.mixture import NormalMixture
from zoo.guides.planar import Planar
from zoo.guides.radial import Radial
from zoo.guides.sylvester import Sylvester, orthonormal, reflected, reversal, steered, straight
from zoo.pairs.pair import Pair
from zoo.pairs.registry import guides, load_shelves
from zoo.pairs.traces import log_weights
from zoo.seeding import seeded

load_shelves()
EVENT = Event((2, 3), 5)
LATENTS: dict[str, tuple[int, ...]] = {"z1": (3,), "z2": (2, 2), "z3": (1,), "z4": ()}
SIZES = [3, 4, 1, 1]


NAMES = [entry.name for entry in guides if entry.space == "real"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each registered guide."""
    return str(request.param)


def make(name: str, latents: dict[str, tuple[int, ...]] = LATENTS, event: Event = EVENT) -> Any:
    """A guide in evaluation mode, with weights larger than at initialisation."""
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


def test_densities_have_the_shape_of_the_batch_on_any_device(name: str) -> None:
    guide = make(name)
    for n, device in ((4, "cpu"), (2, "cpu"), (3, "meta")):  # a smaller batch must not see the one before
        with pyro.validation_enabled(device == "cpu"):  # validation needs values, which meta tensors do not have
            sites = draw(guide.to(device), data(n).to(device))
        for latent, site in sites.items():
            assert site["value"].shape == (n, *LATENTS[latent])
            assert (density(site).shape, site["value"].device.type) == ((n,), device)
            assert site["fn"].has_rsample


class Noise(TorchFunctionMode):
    """Replaces the standard normals that distributions draw by ``numbers``, one after the other."""

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.numbers, self.used = numbers, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.Tensor.normal_:
            return func(*args, **(kwargs or {}))
        start, self.used = self.used, self.used + args[0].numel()
        return self.numbers[start : self.used].reshape(args[0].shape)


def is_pushed(name: str) -> bool:
    """Whether a draw is a function of as many standard normals as it has dimensions, and of nothing else."""
    guide, x, noise = make(name), data(1), Noise(torch.linspace(-2, 2, 100))
    with noise:
        first = draw(guide, x, seed=0)
    with Noise(noise.numbers):
        second = draw(guide, x, seed=1)
    return noise.used == sum(SIZES) and all(torch.equal(first[key]["value"], second[key]["value"]) for key in LATENTS)


PUSHED = [name for name in NAMES if is_pushed(name)]


@pytest.mark.parametrize("name", PUSHED)
def test_density_is_the_change_of_variables_of_its_noise(name: str) -> None:
    guide, x = make(name).double(), data(1).double()

    def push(noise: Tensor) -> list[Any]:
        with Noise(noise):
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


def vector(name: str, size: int) -> Any:
    """The distribution of one latent of ``size`` numbers for one datum, in double precision: batch shape ``(1,)``."""
    with torch.no_grad():
        return draw(make(name, {"z1": (size,)}).double(), data(1).double())["z1"]["fn"]


def test_densities_integrate_to_one_and_are_those_of_draws(name: str) -> None:
    fn = vector(name, 2)
    line, step = torch.linspace(-8, 8, 226, dtype=torch.float64), 16 / 225
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        mass = fn.log_prob(grid[:, None])[:, 0].exp() * step**2
    assert mass.sum().item() == pytest.approx(1, abs=1e-3)
    with seeded(3), torch.no_grad():
        drawn = fn.sample((20_000,))[:, 0]
    for moment in (torch.ones(2), torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0])):
        of_grid, of_draws = ((torch.tanh(z) ** moment).prod(-1) for z in (grid, drawn))
        error = of_draws.std() / math.sqrt(len(drawn))
        assert abs(of_draws.mean() - (mass * of_grid).sum()) < 5 * error


def steps_of(name: str, size: int) -> list[Any]:
    """The transforms that make a draw of normal noise."""
    return list(getattr(vector(name, size), "transforms", []))


STEPPED = [name for name in PUSHED if steps_of(name, 3)]


def test_the_sweeps_are_not_empty() -> None:
    assert len(PUSHED) > len(NAMES) / 2
    assert STEPPED


@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize(("spread", "tolerance"), [(1.0, 1e-8), (10.0, 1e-6)])
def test_steps_invert_any_value(name: str, size: int, spread: float, tolerance: float) -> None:
    with seeded(4), torch.no_grad():
        z = spread * torch.randn(200, 1, size).double()
        for step in reversed(steps_of(name, size)):
            assert torch.allclose(step(step.inv(z).clone()), z, rtol=0, atol=tolerance)
            assert torch.allclose(step.inv(step(z).clone()), z, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", STEPPED)
def test_determinants_are_those_of_the_jacobian(name: str) -> None:
    with seeded(5):
        z = 2 * torch.randn(20, 1, 3).double()
    for step in steps_of(name, 3):
        for each in z:
            jacobian = torch.autograd.functional.jacobian(step, each.clone()).reshape(1, 3, 3)
            found = step.log_abs_det_jacobian(each, step(each))
            assert torch.allclose(found, jacobian.slogdet().logabsdet, rtol=0, atol=1e-8)


def test_any_value_can_be_evaluated(name: str) -> None:
    guide, x = make(name, {"z1": (3,)}).double(), data(6).double()
    site, other = (draw(guide, x, seed)["z1"] for seed in (0, 1))
    again = other["fn"].log_prob(site["value"].detach().clone())
    assert torch.allclose(again, density(site), rtol=0, atol=1e-8)


def test_gradients_of_draws_alone_reach_every_parameter(name: str) -> None:
    guide = make(name)
    drawn = draw(guide, data(1000))  # enough to reach every bin of a spline
    torch.cat([site["value"].reshape(-1) for site in drawn.values()]).square().sum().backward()
    for key, parameter in guide.named_parameters():
        grad = parameter.grad
        assert grad.all() if key.endswith("bias") else grad.any(), key  # a bias: no unit is idle


def test_latents_depend_on_those_after_them_in_the_model(name: str) -> None:
    """A hierarchy is inferred from the bottom up."""
    guide, x = make(name, {"z1": (3,), "z2": (2, 2)}), data(4)
    moved = poutine.condition(guide, {"z2": draw(guide, x)["z2"]["value"] + 1})
    assert not torch.equal(draw(guide, x)["z1"]["value"], draw(moved, x)["z1"]["value"])


def test_data_do_not_mix_and_seeds_fix_the_draws(name: str) -> None:
    guide, x = make(name), data(5)
    one, same, other = draw(guide, x), draw(guide, x), draw(guide, x.flip(0))
    assert all(torch.equal(one[key]["value"], same[key]["value"]) for key in LATENTS)
    elsewhere = 4 - x
    elsewhere[2] = x[2]
    changed = draw(guide, elsewhere)
    assert torch.allclose(one["z1"]["value"][2], changed["z1"]["value"][2])
    assert not torch.allclose(one["z1"]["value"][0], other["z1"]["value"][0])


LOADING = torch.tensor([[1.0, 0.7, 0.2], [0.4, 0.9, -0.5], [0.2, 0.3, 0.7]])
NOISE = 0.6
FITTING = 700
GAUSSIAN_X = torch.tensor([0.3, -0.2, 0.5])


def gaussian(name: str, size: int, noise: float, **hyper: Any) -> Pair:
    """x = W z + noise e with standard normal z in ``size`` dimensions; its evidence and posterior are known."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z1", dist.Normal(x.new_zeros(size), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ LOADING[:, :size].T.to(x), noise).to_event(1), obs=x)

    event = Event(3, "real")
    with seeded(1):
        return Pair(event, model, guides[name].make(event, {"z1": (size,)}, **hyper)).train(False)


def exact(x: Tensor, size: int, noise: float) -> Tensor:
    """log p(x)."""
    W = LOADING[:, :size].to(x)
    return dist.MultivariateNormal(torch.zeros_like(x), W @ W.T + noise**2 * torch.eye(3).to(x)).log_prob(x)


def log_excess(pair: Pair, particles: int, size: int, noise: float, x: Tensor = GAUSSIAN_X) -> Tensor:
    """log w - log p(x) of each particle."""
    with torch.no_grad():
        return log_weights(pair, x.expand(particles, 3)) - exact(x, size, noise)


def test_importance_weights_are_unbiased_and_the_bound_holds(name: str) -> None:
    """On a linear-Gaussian model, whose evidence is known: E[w] = p(x) and E[log w] <= log p(x)."""
    with seeded(0):
        log_w = log_excess(gaussian(name, 2, 1.5), 20_000, 2, 1.5)
    assert log_w.mean() <= 4 * log_w.std() / math.sqrt(len(log_w))
    w = log_w.exp()
    assert abs(w.mean() - 1) < 5 * w.std() / math.sqrt(len(w))
    assert w.std() / math.sqrt(len(w)) < 0.1  # else the law above is vacuous


def test_bounds_rise_with_the_particles(name: str) -> None:
    """Each K has draws of its own; on the same draws Jensen's inequality would hold exactly."""
    pair = gaussian(name, 2, 0.8)
    with seeded(6):
        bounds = [log_excess(pair, 400 * K, 2, 0.8).reshape(400, K).logsumexp(1) - math.log(K) for K in (1, 3, 10)]
    errors = [bound.std() / math.sqrt(len(bound)) for bound in bounds]
    for (lower, higher), error in zip(itertools.pairwise(bounds), errors, strict=False):
        assert higher.mean() >= lower.mean() - 4 * error
    assert bounds[-1].mean() > bounds[0].mean() + 4 * errors[0]
    assert bounds[-1].mean() <= 4 * errors[-1]


def fitted_divergence(name: str, **hyper: Any) -> float:
    """KL(q || p(z | x)) of the guide after training on the one datum, in nats."""
    pair = gaussian(name, 3, NOISE, hidden=8, dropout=0.0, **hyper)
    for module in pair.modules.values():
        module.double()
    x = GAUSSIAN_X.double()
    optimiser = torch.optim.Adam(pair.parameters(), betas=(0.9, 0.99))
    with seeded(7), pyro.validation_enabled(False):
        for step in range(FITTING):
            optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / FITTING) ** 2
            optimiser.zero_grad()
            (-log_weights(pair, x.expand(32, 3)).mean()).backward()  # type: ignore[no-untyped-call] # torch
            optimiser.step()
        return -float(log_excess(pair, 20_000, 3, NOISE, x).mean())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("fullrank", {}),
        pytest.param("lowrank", {"rank": 2}, marks=pytest.mark.slow),
        pytest.param("householder", {"steps": 2}, marks=pytest.mark.slow),
    ],
)
def test_guides_with_a_full_covariance_fit_a_gaussian_posterior(name: str, hyper: dict[str, Any]) -> None:
    assert abs(fitted_divergence(name, **hyper)) < 1e-3


@pytest.mark.thorough
def test_the_mean_field_gap_is_the_known_one() -> None:
    """The best diagonal normal has the diagonal of the precision P: KL = (sum_i log P_ii - log det P) / 2."""
    precision = torch.eye(3) + LOADING.T @ LOADING / NOISE**2
    gap = float(precision.diagonal().log().sum() - precision.logdet()) / 2
    assert gap > 0.2
    assert fitted_divergence("normal") == pytest.approx(gap, abs=0.02)


def planar(scale: float) -> Planar:
    step = Planar(*(scale * torch.randn(4, k).double() for k in (3, 3, 1)))
    assert ((step.w * step.v).sum(-1) > -1 - 1e-9 * scale**2).all(), "w·v > -1 is the condition"
    return step


def radial(scale: float) -> Radial:
    step = Radial(*(scale * torch.randn(4, k).double() for k in (3, 1, 1)))
    assert (step.m > 0).all(), "a + b > 0 is the condition"
    return step


def sylvester(turn: Any, columns: int, raw: int, scale: float) -> Sylvester:
    numbers = [scale * torch.randn(4, k).double() for k in (columns**2, columns, columns)]
    step = steered(turn, 3, torch.randn(4, raw).double(), *numbers)
    assert torch.allclose(step.Q.mT @ step.Q, torch.eye(columns).double(), atol=1e-12)
    assert not step.R.tril(-1).any()
    assert not step.S.tril(-1).any()
    assert (step.product > -1).all(), "1 + R_ii S_ii > 0 is the condition"
    return step


TURNS = {orthonormal: (2, 6), reflected: (3, 9), straight: (3, 0), reversal: (3, 0)}
"""Turn -> columns and numbers of its Q."""


@pytest.mark.parametrize("make", [planar, radial, *(partial(sylvester, turn, *sizes) for turn, sizes in TURNS.items())])
@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.01, 30), st.floats(0.1, 30))
def test_steps_invert_for_any_network_output(
    make: Callable[[float], Any], seed: int, scale: float, reach: float
) -> None:
    with seeded(seed):
        step = make(scale)
        x = reach * torch.randn(4, 3).double()
    y = step(x)
    assert step.log_abs_det_jacobian(x, y).isfinite().all()
    assert torch.allclose(step(step.inv(y.clone()).clone()), y, rtol=1e-8, atol=1e-8 * max(1.0, scale**2))


def test_steps_that_add_nothing_are_the_identity_and_radial_ones_fix_their_centre() -> None:
    x, c, a, zero = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 1), torch.zeros(3, 3)
    sylvester = Sylvester(torch.eye(3), zero, torch.ones(3, 3).triu(), torch.ones(3))
    for step in (Planar(torch.zeros(4, 3), x, a), Radial(c, a, a), sylvester):
        assert torch.allclose(step(x), x, atol=1e-5)
    assert torch.allclose(Radial(c, a, a + 1)(c), c)


def mixed() -> tuple[Tensor, Tensor, Tensor]:
    """Parameters of a mixture of three components in two dimensions, far from a product of one-dimensional ones."""
    logits = torch.tensor([0.3, -0.2, 0.5]).double()
    loc = torch.tensor([[-1.5, -1.0], [1.2, 1.4], [0.2, -0.5]]).double()
    scale = torch.tensor([[0.4, 0.7], [0.8, 0.5], [0.6, 1.1]]).double()
    return tuple(each[None].requires_grad_() for each in (logits, loc, scale))  # type: ignore[return-value] # three


def test_mixture_draws_move_with_their_quantiles() -> None:
    """dz of `rsample` against the root of F(z_i | z_<i) = u after a small change of the parameters."""
    numbers = mixed()
    with seeded(9):
        direction = [torch.randn_like(each) for each in numbers]
        z = NormalMixture(*numbers).rsample()[0]
    slope = [
        torch.cat([(grad * d).flatten() for grad, d in zip(grads, direction, strict=True)]).sum()
        for grads in (torch.autograd.grad(each, numbers, retain_graph=True) for each in z)
    ]

    def moved(h: float) -> Tensor:
        changed = [each.detach() + h * d for each, d in zip(numbers, direction, strict=True)]
        return quantiles(levels(z.detach()[None], *numbers), *changed)[0]

    assert torch.allclose(torch.stack(slope), (moved(1e-5) - moved(-1e-5)) / 2e-5, rtol=0, atol=1e-6)


def levels(z: Tensor, logits: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """F(z_1) and F(z_2 | z_1), shape ``(n, 2)``."""
    each = dist.Normal(loc, scale)
    below, weights = each.cdf(z[:, None]), [logits, logits + each.log_prob(z[:, None])[..., 0]]
    return torch.stack([(w.softmax(-1) * below[..., i]).sum(-1) for i, w in enumerate(weights)], -1).detach()


def quantiles(u: Tensor, logits: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """The z whose levels are ``u``, by bisection, one dimension after the other."""
    z = torch.zeros_like(u)
    for i in range(2):
        low, high = torch.full_like(u[:, i], -20), torch.full_like(u[:, i], 20)
        for _ in range(80):
            z[:, i] = (low + high) / 2
            above = levels(z, logits, loc, scale)[:, i] > u[:, i]
            low, high = torch.where(above, low, z[:, i]), torch.where(above, z[:, i], high)
    return z
