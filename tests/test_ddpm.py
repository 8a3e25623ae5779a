"""Diffusion: its path is the normal distribution that it says, and its ELBO tends to the truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from linear import Linear, pair_of, reals
from members import small
from progressive import DRAWS, curve
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

import zoo
from zoo import log_weights
from zoo.codec import paths
from zoo.codec.container import decode, encode, unpack
from zoo.codec.grids import Grid, fit_grid
from zoo.codec.lossless import precisely, push_batch
from zoo.codec.paths import path_site
from zoo.codec.rules import code
from zoo.codec.rules.latents import NearNormal
from zoo.codec.stack import Stack
from zoo.contract.check import ground_laws
from zoo.contract.values import fits
from zoo.distributions.diffusion import DenoisingChain, NoisyPath
from zoo.errors import ContractError, ZooError
from zoo.metrics.bounds import bounds, elbo_draws, elbo_steps
from zoo.pairs.traces import elbo_terms
from zoo.report.figures.steps import steps
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.runs.steps import by_steps


@pytest.mark.thorough
def test_a_path_is_coded_point_by_point() -> None:
    """The first datum takes the seed bits of a point, and data about those of the ELBO."""
    event, steps, n = zoo.Event((2, 2), 5), 12, 20
    pair = zoo.build("ddpm", event, {"timesteps": steps, "width": 4, "blocks": 1}).train(False)
    assert path_site(pair) == "z"
    x = torch.randint(5, (n, 2, 2), generator=torch.Generator().manual_seed(0)).float()
    with precisely(pair):
        grid, stack = fit_grid(pair, x.double()), Stack(seeded=True)
        push_batch(pair, stack, x[:1].double(), grid)
        nats = -log_weights(pair, x.double().repeat(40, 1, 1)).mean()
    points = event.size * math.log2(1 / grid.width)  # bits of a point that lies anywhere from -1/2 to 1/2
    assert stack.needed < 6 * points < steps * points
    file = encode(pair, x)
    assert torch.equal(decode(pair, file), x)
    _, words = unpack(file)
    assert 32 * len(words) - 6 * points < 1.1 * n * float(nats) / math.log(2)


@pytest.mark.parametrize("beyond", [False, True])
def test_normal_numbers_near_their_means_are_coded_at_their_density(beyond: bool) -> None:
    torch.manual_seed(0)
    deviation = torch.tensor([0.01, 0.02]).double().repeat(250)
    fn, grid = Normal(torch.linspace(-30, 30, 500).double(), deviation), Grid(8)
    rule, stack = NearNormal(fn, grid, beyond=beyond), Stack()
    value = grid.centre(grid.index(fn.sample()))
    rule.push(stack, value)
    binned = fn.cdf(value + grid.width / 2) - fn.cdf(value - grid.width / 2)
    assert stack.bits == pytest.approx(-float(binned.log2().sum()), rel=0.01)
    assert torch.equal(rule.pop(stack), value)
    assert stack.bits == 0


def test_a_number_far_from_its_mean_has_a_code_where_it_is_pushed_first_and_is_never_popped_where_not() -> None:
    fn, grid = Normal(torch.tensor([0.3, -2.0, 5.0]).double(), 0.01), Grid(8)
    value, stack = grid.centre(grid.index(torch.tensor([7.0, -2.1, -4000.0]).double())), Stack()
    rule = NearNormal(fn, grid, beyond=True)
    rule.push(stack, value)
    assert torch.equal(rule.pop(stack), value)
    popped, seeds = NearNormal(fn, grid, beyond=False), Stack(seeded=True)
    numbers = [popped.pop(seeds) for _ in range(200)]
    assert max(float((each - fn.mean).abs().max()) for each in numbers) < 12 * 0.01
    for each in reversed(numbers):
        popped.push(seeds, each)
    assert seeds.is_seed()


@pytest.mark.parametrize("wrong", [(math.nan, 1.0), (0.0, 0.0), (0.0, math.inf)])
def test_numbers_that_are_no_normal_distribution_are_refused(wrong: tuple[float, float]) -> None:
    mean, deviation = torch.tensor(wrong).double()[:, None]
    with pytest.raises(ZooError, match="mean that is not finite, or a deviation that is not positive"):
        Stack().push_normal(torch.zeros(1), mean, deviation, 9)


@pytest.mark.parametrize("bins", [1.0, 4.0])
def test_rounding_points_costs_next_to_nothing(bins: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variance is taken from that of the noise: bins as wide as the noise cost no more than narrow ones."""
    monkeypatch.setattr(paths, "BINS_PER_DEVIATION", bins)
    event, n = zoo.Event((4, 4), 5), 300
    pair = zoo.build("ddpm", event, {"timesteps": 8, "width": 4, "blocks": 1, "variance": "matched"}).train(False)
    x = torch.randint(5, (n, 4, 4), generator=torch.Generator().manual_seed(0)).double()
    with precisely(pair):
        stack = Stack(seeded=True)
        push_batch(pair, stack, x, Grid(0))
    nats = -bounds(pair, x.float(), 64).elbo
    assert stack.bits * math.log(2) / n == pytest.approx(float(nats.mean()), rel=0.03)


def test_the_density_of_a_path_is_that_of_brownian_motion() -> None:
    v = torch.tensor([0.2, 1.0, 5.0])
    x = torch.tensor([[0.3], [-2.0]])
    path, scale = NoisyPath(x, v), (1 + v).rsqrt()
    covariance = torch.minimum(v[:, None], v) * scale[:, None] * scale
    z = path.sample()
    exact = MultivariateNormal(x * scale, covariance).log_prob(z[..., 0])
    assert torch.allclose(path.log_prob(z), exact, atol=1e-4)
    drawn = NoisyPath(x[:1].expand(20_000, 1), v).sample()[..., 0]
    assert torch.allclose(drawn.mean(0), x[0] * scale, atol=0.03)
    assert torch.allclose(drawn.T.cov(), covariance, atol=0.03)


def test_a_chain_of_the_moments_of_normal_data_is_their_path() -> None:
    """x ~ N(0, 1): z_t given z_(t+1) is normal, so that a matched variance leaves no gap in any number of steps."""
    v = torch.tensor([0.2, 1.0, 5.0], dtype=torch.float64)
    z = torch.randn(50, 3, 1, dtype=torch.float64)
    scale = (1 + v).rsqrt()
    covariance = (1 + torch.minimum(v[:, None], v)) * scale[:, None] * scale
    chain = DenoisingChain(lambda u, v: (u / (1 + v)[:, None], (v / (1 + v))[:, None].expand_as(u)), 50, 1, v)
    assert torch.allclose(chain.log_prob(z), MultivariateNormal(0 * v, covariance).log_prob(z[..., 0]))


@pytest.mark.thorough
def test_the_bound_of_the_best_denoiser_is_that_in_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """x ~ N(0, I) and x'(u, v) = u / (1 + v), with E |x - x'|^2 = D v / (1 + v); exact in the limit of many steps."""
    torch.manual_seed(0)
    x, wanted = torch.randn(400, 3), list[float]()
    truth = -0.5 * (x.square() + math.log(2 * math.pi)).sum(1).double()
    for timesteps in (20, 500):
        pair = zoo.build("ddpm", zoo.Event(3, "real"), {"timesteps": timesteps, "width": 4, "blocks": 1})
        monkeypatch.setattr(pair.extras, "denoise", lambda u, v: (u / (1 + v)[:, None], 0 * u))
        found, v = bounds(pair, x, 200), pair.extras.v.double()
        assert torch.allclose(found.elbo, torch.stack(list(found.terms.values())).sum(0), atol=1e-9)
        steps = ((1 / v[:-1] - 1 / v[1:]) * v[1:] / (1 + v[1:])).sum()
        wanted.append(1.5 * float(v[0].log() + steps - (v[-1] / (1 + v[-1])).log()))
        gap = truth - found.elbo
        assert abs(float(gap.mean()) - wanted[-1]) < 4 * float(gap.std()) / len(x) ** 0.5
    assert wanted[0] > 10 * wanted[1] > 0


@pytest.mark.parametrize("wrong", [lambda terms: terms["log p"] + 1.0, lambda terms: 0.5 * terms["log p"]])
def test_an_elbo_of_its_own_that_is_not_that_of_the_programs_is_refused(
    wrong: Callable[[dict[str, Tensor]], Tensor],
) -> None:
    class Own(Linear):
        def elbo_terms(self, x: Tensor) -> dict[str, Tensor]:
            return {"log p": zoo.log_weights(zoo.Pair(zoo.Event(2, "real"), self.model, self.guide), x)}

    class Wrong(Own):
        def elbo_terms(self, x: Tensor) -> dict[str, Tensor]:
            return {"log p": wrong(super().elbo_terms(x))}

    ground_laws(pair_of(Own()), reals())
    with pytest.raises(ContractError, match="elbo_terms agrees with the programs"):
        ground_laws(pair_of(Wrong()), reals())


def test_predictions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ZooError, match="predict=auto or noise"):
        zoo.build("ddpm", zoo.Event(2, "real"), {"predict": "levels"})
    with pytest.raises(ZooError, match="that predicts noise takes variance=fixed, got 'matched'"):
        zoo.build("ddpm", zoo.Event(2, "real"), {"variance": "matched"})


def test_the_laws_hold_of_a_matched_variance() -> None:
    event = zoo.Event((2, 2), 5)
    pair = zoo.build("ddpm", event, {"timesteps": 4, "width": 4, "blocks": 1, "variance": "matched"})
    ground_laws(pair, torch.randint(5, (64, 2, 2), generator=torch.Generator().manual_seed(0)).float())


def test_terms_by_step_are_those_in_closed_form_and_sum_to_the_total(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """x ~ N(0, I) as above: step t has D/2 (1 / v_(t-1) - 1 / v_t) v_t / (1 + v_t) nats."""
    torch.manual_seed(0)
    x = torch.randn(2000, 3)
    pair = zoo.build("ddpm", zoo.Event(3, "real"), {"timesteps": 6, "width": 4, "blocks": 1})
    monkeypatch.setattr(pair.extras, "denoise", lambda u, v: (u / (1 + v)[:, None], 0 * u))
    v, terms = pair.extras.v.double(), elbo_steps(pair, x, 4)
    exact = -1.5 * (1 / v[:-1] - 1 / v[1:]) * v[1:] / (1 + v[1:])
    assert torch.allclose(terms.mean(0), exact, rtol=0.05)
    diffusion = bounds(pair, x, 24).terms["diffusion"]
    error = (terms.sum(1) - diffusion).std() / len(x) ** 0.5
    assert abs(float((terms.sum(1) - diffusion).mean())) < 4 * float(error)
    data = zoo.Dataset("normal", pair.event, x[:50], x[:50], x[:50], "normal")
    found = by_steps(TrainedRun(pair, data, seed=0, history=[]), Settings(particles=12))
    assert set(found.others) == {"reconstruction", "prior"}
    drawn = steps(found.nats.mean(0).tolist(), {name: float(term.mean()) for name, term in found.others.items()})
    total = float((found.nats.sum(1) + sum(found.others.values())).mean())
    assert f"{total:.4g} nats: diffusion" in drawn


def test_a_path_is_coded_in_about_its_log_density() -> None:
    """Bins of width w: -log p(z) - log w nats each; what was popped by the guide is pushed back to the same bits."""
    torch.manual_seed(0)
    v, grid = torch.tensor([0.2, 1.0, 5.0], dtype=torch.float64), Grid(8)
    for fn in (
        NoisyPath(torch.randn(200, 2).double(), v),
        DenoisingChain(lambda u, noise: (u / (1 + noise)[:, None], 0 * u), 200, 2, v),
    ):
        stack, path = Stack(seeded=True), code(fn, grid)
        z = path.pop(stack)
        drawn, nats = -stack.bits * math.log(2), float(-fn.log_prob(z).sum() - z.numel() * math.log(grid.width))
        assert drawn == pytest.approx(nats, rel=0.01)
        path.push(stack, z)
        assert stack.is_seed()


def test_a_learned_schedule_rises_and_the_laws_hold_of_it() -> None:
    pair = zoo.build("ddpm", zoo.Event(2, "real"), {"timesteps": 5, "width": 8, "blocks": 1, "schedule": "learned"})
    with torch.no_grad():
        pair.extras.schedule.shares.copy_(3 * torch.randn(16, generator=torch.Generator().manual_seed(0)))
    v = pair.extras.noise(torch.zeros(()), 40)
    assert bool((v.diff() > 0).all())
    assert v[[0, -1]].log().tolist() == pytest.approx([-7.0, 5.0], abs=1e-4)
    x = torch.randn(64, 2)
    ground_laws(pair, x)
    sum(elbo_terms(pair, x).values()).mean().backward()
    assert all(float(each.grad.abs().sum()) > 0 for each in pair.extras.schedule.parameters())


@pytest.mark.parametrize("support", [256, "real"])
def test_images_of_three_channels_are_trained_scored_and_sampled(support: int | str) -> None:
    event = zoo.Event((3, 8, 8), support)
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x = (256 * x).floor() if support == 256 else x
    pair = zoo.build("ddpm", event, {"timesteps": 2, "width": 8, "blocks": 1})
    optimiser, before = torch.optim.Adam(pair.parameters(), 1e-2), bounds(pair, x, 8).elbo
    for _ in range(5):
        optimiser.zero_grad()
        (-sum(elbo_terms(pair, x).values()).mean()).backward()
        optimiser.step()
    assert float(bounds(pair, x, 8).elbo.mean()) > float(before.mean())
    assert fits(event, zoo.sample(pair, 2))
    assert fits(event, zoo.sample(pair, 2, sampler="dpm-solver", passes=2))


def test_a_code_that_stops_earlier_is_shorter_and_the_whole_is_the_elbo() -> None:
    event = zoo.Event((4, 4), 5)
    pair, x = zoo.build("ddpm", event, small("ddpm") | {"timesteps": 6}), torch.randint(5, (20, 4, 4)).float()
    found = list(curve(pair, x))
    assert [t for t, _, _ in found] == [6, 5, 4, 3, 2, 1, 0]
    assert [nats for _, nats, _ in found] == sorted(nats for _, nats, _ in found)
    terms = elbo_draws(pair, x, 1000)
    whole = -(terms["prior"] + terms["diffusion"]).mean(0)
    assert found[-1][1] == pytest.approx(float(whole.mean()), abs=5 * float(whole.std()) / DRAWS**0.5)
    assert found[-1][2] < found[0][2]


def test_an_elbo_of_its_own_is_a_mean_of_at_most_64_estimates() -> None:
    event = zoo.Event((2, 2), 5)
    x = torch.randint(5, (30, 2, 2)).float()
    run = TrainedRun(zoo.build("ddpm", event, small("ddpm")), zoo.Dataset("made up", event, x, x, x, "made up"), 0, [])
    few, some, many = (evaluate("likelihood", [run], Settings(particles=count))[0] for count in (16, 64, 512))
    assert few.value != some.value == many.value
    assert {score.kind for score in (few, some, many)} == {"lower bound"}
