"""Distributions of our own: laws swept over all of them, and what each does at its edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from torch import Tensor
from torch.nn.functional import normalize

from zoo.distributions import (
    ClosedUniform,
    DiscretisedLogistic,
    DiscretisedNormal,
    Floor,
    Levels,
    LogisticMixture,
    dequantise,
    level_counts,
    likelihood,
    observe,
    parameters_per_entry,
)
from zoo.distributions.autoregressive import Autoregressive, whole_passes
from zoo.distributions.colours import ColourMixture
from zoo.distributions.integer_transformed import Blocks, IntegerTransformed
from zoo.distributions.levels import ROWS
from zoo.distributions.mixture import Mixture, NormalMixture
from zoo.distributions.von_mises_fisher import SphereUniform, VonMisesFisher
from zoo.event import Event
from zoo.flows.integer import Arrange, ChannelShift
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_weights
from zoo.seeding import seeded

BELOW_ONE = 1 - 2**-24
"""The largest float32 that a uniform draw gives; added to 8 or more it rounds up to the next integer."""


class Case(NamedTuple):
    """A distribution over points that stand for all values; each point stands for a volume (1 for integers)."""

    make: Callable[..., Any]
    parameters: list[Tensor]
    points: Tensor
    volume: Tensor

    def made(self) -> tuple[Any, list[Tensor]]:
        parameters = [parameter.clone().requires_grad_() for parameter in self.parameters]
        return self.make(*parameters), parameters

    def expectation(self, fn: Any) -> Tensor:
        """E[1], and E[x] and E[x^2] of each dimension."""
        mass = fn.log_prob(self.points).exp() * self.volume
        x = self.points.reshape(len(mass), -1)
        return torch.cat([mass.sum()[None], mass @ x, mass @ x**2])


def integers(make: Callable[..., Any], parameters: list[Any], levels: int, size: int = 0) -> Case:
    points = torch.arange(levels, dtype=torch.float64)
    if size:
        points = torch.cartesian_prod(*[points] * size).reshape(-1, size)
    return Case(make, tensors(parameters), points, torch.ones(len(points), dtype=torch.float64))


def reals(make: Callable[..., Any], parameters: list[Any], size: int, low: float, high: float) -> Case:
    side = torch.linspace(low, high, 8001 if size < 2 else 401, dtype=torch.float64)
    points = torch.cartesian_prod(*[side] * max(1, size)).reshape(-1, *[size] * (size > 0))
    return Case(make, tensors(parameters), points, ((side[1] - side[0]) ** max(1, size)).expand(len(points)))


def circle(make: Callable[..., Any], parameters: list[Any]) -> Case:
    t = torch.linspace(-math.pi, math.pi, 4001, dtype=torch.float64)[:-1]
    return Case(make, tensors(parameters), torch.stack([t.cos(), t.sin()], -1), (t[1] - t[0]).expand(len(t)))


def tensors(values: list[Any]) -> list[Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def autoregressive(table: Tensor) -> Autoregressive:
    def logits(x: Tensor) -> Tensor:
        first = table[0].expand(len(x), -1)
        return torch.stack([first, first + table[1] * x[:, :1]], 1)

    return Autoregressive(Event(2, 3), logits, whole_passes(Event(2, 3), logits, table.detach()))


def blocks(table: Tensor) -> Blocks:
    def given_first(earlier: Tensor) -> Any:
        return Levels(logits=table[1] * earlier.unsqueeze(-1)).to_event(1)

    return Blocks(Levels(logits=table[:1]).to_event(1), (1, given_first), levels=3)


def rearranged(table: Tensor) -> IntegerTransformed:
    return IntegerTransformed(Levels(logits=table).to_event(1), Arrange((2,), torch.tensor([1, 0])), 3)


def smooth(logits: Tensor, loc: Tensor) -> IntegerTransformed:
    """Of values, whose gradients pass through rounding: a shift of the second entry, then blocks of logistics."""

    def given_first(earlier: Tensor) -> Any:
        return LogisticMixture(logits, loc + earlier.unsqueeze(-1), loc.exp().clamp(max=2), 3).to_event(1)

    first = LogisticMixture(logits, loc, loc.exp().clamp(max=2), 3).expand([1]).to_event(1)
    shift = ChannelShift(slice(1, None), (2, 1, 1), 3, lambda a: a.unsqueeze(-1))  # type: ignore[arg-type] # any function
    return IntegerTransformed(Blocks(first, (1, given_first), levels=3, smooth=True), shift, 3, smooth=True)


TABLE = [[0.3, -1.0, 0.8], [1.0, 0.2, -0.7]]
CASES = {
    "logistic": integers(lambda *p: DiscretisedLogistic(*p, 8), [4.2, 1.5], 8),
    "logistic, sharp": integers(lambda *p: DiscretisedLogistic(*p, 17), [16.4, 0.05], 17),
    "logistics": integers(lambda *p: LogisticMixture(*p, 8), [[0.3, -1.0, 2.0], [-2.0, 3.3, 9.0], [0.1, 1.5, 4.0]], 8),
    "normal, in levels": integers(lambda *p: DiscretisedNormal(*p, 8), [4.2, 1.5], 8),
    "floor": integers(lambda: Floor(*tensors([3.4]), 8), [], 8),
    "levels": integers(lambda logits: Levels(logits=logits), TABLE[:1], 3),
    "autoregressive": integers(autoregressive, [TABLE], 3, 2),
    "blocks": integers(blocks, [TABLE], 3, 2),
    "rearranged": integers(rearranged, [TABLE], 3, 2),
    "smooth": integers(smooth, [[0.3, -1.0], [0.2, 1.7]], 3, 2),
    "colours": integers(lambda p: ColourMixture(p, 2, 4), [[0.3 * i * (-1) ** i for i in range(12)]], 4, 2),
    "closed uniform": reals(lambda: ClosedUniform(*tensors([1.0, 5.0])), [], 0, 1.00025, 4.99975),
    "mixture": reals(
        lambda w, loc: Mixture(w, dist.Normal(loc, 0.7).to_event(1)), [[0.0, 1.0], [[0.0], [3.0]]], 1, -6, 9
    ),
    "normals, 1": reals(NormalMixture, [[0.0, 1.0], [[0.0], [3.0]], [[0.5], [1.0]]], 1, -6, 9),
    "normals, 2": reals(NormalMixture, [[0.0, 1.0], [[0.0, 1.0], [2.0, -1.0]], [[0.5, 1.0], [1.0, 0.6]]], 2, -7, 8),
    "sphere": circle(lambda: SphereUniform(torch.zeros(2, dtype=torch.float64)), []),
    "von Mises-Fisher": circle(lambda mu, kappa: VonMisesFisher(normalize(mu, dim=-1), kappa), [[0.6, -0.8], 3.0]),
}
SWEEP = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
N = 20_000


@SWEEP
def test_it_normalises_whatever_its_parameters(case: Case) -> None:
    fn, parameters = case.made()
    total = case.expectation(fn)[0]
    assert float(total.detach()) == pytest.approx(1, abs=2e-4)
    if parameters:
        for slope in torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True):
            torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-6)


@SWEEP
def test_draws_lie_in_the_support_and_have_the_moments(case: Case) -> None:
    fn, _ = case.made()
    with seeded(0):
        x = fn.sample((N,))
    assert fn.support.check(x.float()).all()  # a sphere's tolerance is a few roundings
    assert not x.requires_grad
    flat = x.double().reshape(N, -1)
    moments, expected = torch.cat([flat, flat**2], 1), case.expectation(fn)[1:]
    assert ((moments.mean(0) - expected).abs() < 5 * moments.std(0) / math.sqrt(N) + 1e-3).all()


@SWEEP
def test_an_expanded_one_scores_alike(case: Case) -> None:
    fn, _ = case.made()
    wide, points = fn.expand((3, 2)), case.points[:5]
    assert (wide.batch_shape, wide.event_shape) == ((3, 2), fn.event_shape)
    assert wide.sample((4,)).shape == (4, 3, 2, *fn.event_shape)
    for i, point in enumerate(points):
        whole = wide.log_prob(point.expand(3, 2, *fn.event_shape))
        torch.testing.assert_close(whole, fn.log_prob(points)[i].expand(3, 2))


@pytest.mark.parametrize("name", ["normals, 1", "normals, 2", "von Mises-Fisher"])
def test_gradients_of_draws_are_those_of_the_mean(name: str) -> None:
    case = CASES[name]
    fn, parameters = case.made()
    size = fn.event_shape[0]
    weights = torch.linspace(0.5, 1.5, size, dtype=torch.float64)
    expected = torch.autograd.grad(case.expectation(fn)[1 : 1 + size] @ weights, parameters)
    copies = [parameter.detach().expand(N, *parameter.shape).clone().requires_grad_() for parameter in parameters]
    with seeded(1):
        drawn = case.make(*copies).rsample()
    for slopes, slope in zip(torch.autograd.grad((drawn @ weights).sum(), copies), expected, strict=True):
        assert ((slopes.mean(0) - slope).abs() < 5 * slopes.std(0) / math.sqrt(N) + 1e-6).all()


@pytest.mark.parametrize("make", [DiscretisedLogistic, DiscretisedNormal])
@settings(max_examples=50)
@given(st.integers(2, 300), st.floats(-50, 350), st.floats(1e-3, 1e3))
def test_a_rounded_variable_normalises_at_any_place_and_scale(
    make: type, levels: int, loc: float, scale: float
) -> None:
    fn, level = make(*tensors([loc, scale]), levels), torch.arange(levels).double()
    assert fn.log_prob(level).isfinite().all()
    assert fn.log_prob(level).logsumexp(0).item() == pytest.approx(0, abs=1e-9)
    if make is DiscretisedNormal:
        assert fn.mean.item() == pytest.approx((fn.log_prob(level).exp() @ level).item(), abs=1e-9 * levels)


def test_a_discretised_logistic_is_a_difference_of_sigmoids() -> None:
    fn = DiscretisedLogistic(*tensors([3.3, 1.7]), 17)
    edges = torch.sigmoid((torch.tensor([4.5, 5.5]) - 3.3) / 1.7)
    assert fn.log_prob(torch.tensor(5.0)).exp().item() == pytest.approx(edges.diff().item(), rel=1e-5)


def test_a_mixture_of_logistics_is_the_sum_of_its_components() -> None:
    fn, x = CASES["logistics"].made()[0], torch.arange(8).double()
    parts = [DiscretisedLogistic(loc, scale, 8) for loc, scale in zip(fn.loc, fn.scale, strict=True)]
    expected = sum(w * part.log_prob(x).exp() for w, part in zip(fn.logits.softmax(0), parts, strict=True))
    torch.testing.assert_close(fn.log_prob(x).exp(), expected)


def test_mixtures_mix_joint_densities() -> None:
    """Three far components in two dimensions, which a product of one-dimensional mixtures would not give."""
    logits, scale = torch.tensor([0.3, -0.2, 0.5]), torch.tensor([[0.4, 0.7], [0.8, 0.5], [0.6, 1.1]])
    loc = torch.tensor([[-1.5, -1.0], [1.2, 1.4], [0.2, -0.5]])
    parts, x = dist.Normal(loc, scale).to_event(1), torch.randn(50, 2)
    expected = dist.MixtureSameFamily(dist.Categorical(logits=logits), parts).log_prob(x)
    for fn in (Mixture(logits, parts), NormalMixture(logits, loc, scale)):
        torch.testing.assert_close(fn.log_prob(x), expected)


def test_a_discretised_logistic_has_gradients_everywhere() -> None:
    loc, raw = torch.tensor([-1e3, 0.0, 8.0, 1e3], requires_grad=True), torch.tensor(-3.0, requires_grad=True)
    values = torch.arange(17.0)[:, None].expand(17, 4)
    total = DiscretisedLogistic(loc, raw.exp(), 17).log_prob(values).sum()
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(total, (loc, raw)))


@settings(max_examples=50)
@given(st.floats(-5, 25, width=32), st.integers(2, 20))
def test_all_mass_of_a_floor_lies_on_its_sample(y: float, levels: int) -> None:
    fn = Floor(torch.tensor(y), levels)
    assert fn.log_prob(fn.sample()) == 0
    if not float(y).is_integer():
        assert fn.log_prob(torch.arange(float(levels))).exp().sum() == 1


@settings(max_examples=50)
@given(st.integers(0, 255), st.sampled_from([0.0, 2**-24, 0.5, BELOW_ONE]))
def test_dequantisation_is_finite_at_the_edges_of_a_cell(level: int, u: float) -> None:
    assert torch.tensor(16.0) + BELOW_ONE == 17  # the sum may round up
    x = torch.tensor(float(level))
    assert Floor(x + u, 256).log_prob(x) == 0
    assert ClosedUniform(x, x + 1).log_prob(x + u) == 0


def test_a_closed_uniform_has_no_density_outside() -> None:
    fn = ClosedUniform(torch.tensor(1.0), torch.tensor(5.0))
    assert fn.log_prob(torch.tensor([0.99, 5.01])).eq(-torch.inf).all()


def test_the_dequantisation_bound_of_a_flat_density_is_exact() -> None:
    event = Event((2, 3), 17)

    def model(x: Tensor) -> None:
        low = torch.zeros(event.shape)
        with pyro.plate("data", len(x)):
            observe(event, ClosedUniform(low, low + 17).to_event(2), x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            dequantise(event, x)

    pair, x = Pair(event, model, guide), torch.randint(0, 17, (50, 2, 3)).float()
    assert capabilities(pair).likelihood == "bound"
    torch.testing.assert_close(log_weights(pair, x), torch.full((50,), -6 * math.log(17)))
    assert set(sample(pair, 40).unique().tolist()) <= set(range(17))


def test_real_data_are_observed_directly() -> None:
    event = Event(2, "real")
    x = torch.randn(5, 2)
    with pyro.plate("data", 5):
        trace = poutine.trace(observe).get_trace(event, dist.Normal(torch.zeros(2), 1.0).to_event(1), x)
        assert dequantise(event, x) is x
    assert [name for name, site in trace.nodes.items() if site["type"] == "sample"] == ["x"]


@pytest.mark.parametrize("support", ["binary", 17, "real"])
def test_likelihood_factorises_over_the_event(support: str | int) -> None:
    event = Event((2, 3), support)
    fn = likelihood(event, torch.randn(5, 2, 3, parameters_per_entry(event)))
    assert (fn.batch_shape, fn.event_shape) == ((5,), (2, 3))
    x = fn.sample()
    assert x.dtype == torch.float32
    assert fn.support.check(x).all()
    assert fn.log_prob(x).isfinite().all()


def test_level_draws_are_floats_and_score_like_categorical_ones() -> None:
    logits = torch.randn(4, 5)
    x = Levels(logits=logits).expand((3, 4)).sample()
    assert x.dtype == torch.float32
    assert torch.equal(Levels(logits=logits).log_prob(x), dist.Categorical(logits=logits).log_prob(x))


def test_level_counts_add_up_to_the_data() -> None:
    x = torch.tensor([[0.0, 2.0], [1.0, 2.0], [0.25, 0.0]])
    assert torch.equal(level_counts(3, x), torch.tensor([[1.75, 1.25, 0.0], [1.0, 0.0, 2.0]]))
    many = torch.randint(7, (2 * ROWS + 1, 3, 2))
    assert torch.equal(level_counts(7, many.float()), torch.nn.functional.one_hot(many, 7).sum(0).float())
