"""Coding rules, swept over distributions: what is pushed is popped, at the rate of its mass or density."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from scipy import stats
from torch import Tensor

from zoo import Event, ZooError
from zoo.codec import code
from zoo.codec.grids import MAX_EXPONENT, Grid
from zoo.codec.handlers import Pop
from zoo.codec.stack import Stack
from zoo.distributions import ClosedUniform, DiscretisedLogistic, DiscretisedNormal, Floor, Levels
from zoo.distributions.autoregressive import Autoregressive, whole_passes
from zoo.distributions.integer_transformed import Blocks, IntegerTransformed
from zoo.distributions.markov import MarkovNormal
from zoo.distributions.mixture import Mixture, NormalMixture
from zoo.flows.integer import Arrange
from zoo.seeding import seeded

few = settings(max_examples=25)
seeds = st.integers(0, 2**31)
LEVELS = Event((2, 3), 4)


def causal(x: Tensor) -> Tensor:
    """Logits of each entry, linear in the sum of the entries before it."""
    x = x.double()
    before = (x.flatten(1).cumsum(1) - x.flatten(1)).reshape(x.shape)
    return before.unsqueeze(-1) * torch.linspace(-1, 1, 4).double()


class Sinh(dist.transforms.Transform):
    """y = sinh(x) entry by entry."""

    domain = codomain = dist.constraints.real_vector
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return x.sinh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.asinh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.cosh().log().sum(-1)


Make = Callable[[torch.Generator], Any]
"""A distribution from a source of random parameters."""


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=rng)


def wide(rng: torch.Generator, *shape: int) -> tuple[Tensor, Tensor]:
    """Location and scale over some orders of magnitude."""
    return 5 * normal(rng, *shape), (2 * normal(rng, *shape)).exp()


def lower(rng: torch.Generator) -> Tensor:
    return normal(rng, 40, 4, 4).tril(-1) + torch.eye(4).double()


def independent(rng: torch.Generator) -> Any:
    return dist.Normal(normal(rng, 40, 4), 0.5 + torch.rand(40, 4, generator=rng).double()).to_event(1)


def uniform(rng: torch.Generator) -> Any:
    lower = 9 * normal(rng, 160)
    return dist.Uniform(lower, lower + normal(rng, 1).exp())


def flow(rng: torch.Generator) -> Any:
    mix = [dist.transforms.LowerCholeskyAffine(normal(rng, 4), lower(rng)[0]) for _ in range(2)]
    return dist.TransformedDistribution(independent(rng), [mix[0], Sinh(), mix[1]])


def chain(rng: torch.Generator) -> Any:
    """Two steps of two numbers."""
    turn = normal(rng, 2, 2)
    return MarkovNormal(normal(rng, 2), lambda z, c: (z @ turn + c, (z.sin() / 2).exp()), normal(rng, 40, 2, 2))


def reshaped(rng: torch.Generator) -> Any:
    to = dist.transforms.ReshapeTransform(torch.Size([4]), torch.Size([2, 2]))
    return dist.TransformedDistribution(independent(rng), [to])


def integer_transformed(rng: torch.Generator) -> Any:
    """Two blocks of two integers, the second given the first, in another order."""
    first, table = Levels(logits=normal(rng, 2, 5)).to_event(1), normal(rng, 5, 5)
    blocks = Blocks(first, (2, lambda earlier: Levels(logits=table[earlier.long()]).to_event(1)), levels=5)
    return IntegerTransformed(blocks, Arrange((2, 2), torch.tensor([2, 0, 3, 1])), 5, (2, 2), (60,))


DISCRETE: dict[str, Make] = {
    "bernoulli": lambda rng: dist.Bernoulli(logits=wide(rng, 60, 5)[0]).to_event(1),
    "categorical": lambda rng: dist.Categorical(logits=wide(rng, 60, 5, 9)[0]).to_event(1),
    "one hot": lambda rng: dist.OneHotCategorical(logits=wide(rng, 60, 5, 9)[0]).to_event(1),
    "levels": lambda rng: Levels(logits=wide(rng, 60, 5, 17)[0]).to_event(1),
    "logistic": lambda rng: DiscretisedLogistic(*wide(rng, 60, 5), 17).to_event(1),
    "normal": lambda rng: DiscretisedNormal(*wide(rng, 60, 5), 17).to_event(1),
    "binomial": lambda rng: dist.Binomial(11, logits=wide(rng, 300)[0] / 2),
    "poisson": lambda rng: dist.Poisson(wide(rng, 60, 5)[0].exp().clamp(max=100), validate_args=False).to_event(1),
    "integer transformed": integer_transformed,
    "autoregressive": lambda rng: Autoregressive(
        LEVELS, causal, whole_passes(LEVELS, causal, torch.zeros((), dtype=torch.float64)), (50,)
    ),
}
REAL: dict[str, Make] = {
    "normal": lambda rng: dist.Normal(*wide(rng, 60, 5)).to_event(1),
    "laplace": lambda rng: dist.Laplace(*wide(rng, 300)),
    "logistic": lambda rng: dist.Logistic(*wide(rng, 300)),
    "student": lambda rng: dist.StudentT(1 + normal(rng, 300).exp(), *wide(rng, 300)),
}
VECTORS: dict[str, Make] = {
    "multivariate": lambda rng: dist.MultivariateNormal(normal(rng, 40, 4), scale_tril=0.3 * lower(rng)),
    "low rank": lambda rng: dist.LowRankMultivariateNormal(
        normal(rng, 40, 4), lower(rng)[..., :2], 0.5 + normal(rng, 40, 4) ** 2
    ),
    "flow": flow,
    "transformed entries": lambda rng: dist.TransformedDistribution(
        independent(rng), [dist.transforms.AffineTransform(1.0, -0.5)]
    ),
    "reshaped": reshaped,
    "mixture per datum": lambda rng: NormalMixture(normal(rng, 40, 3), *wide(rng, 40, 3, 4)),
    "chain": chain,
    "one mixture": lambda rng: Mixture(normal(rng, 3), dist.Normal(normal(rng, 3, 4), 0.5).to_event(1), (40,)),
}
"""40 vectors of four numbers each."""
POSITIVE: dict[str, Make] = {
    "lognormal": lambda rng: dist.LogNormal(normal(rng, 40, 4), 0.5).to_event(1),
    "gamma": lambda rng: dist.Gamma(normal(rng, 160).exp() + 1, normal(rng, 160).exp()),
    "exponential": lambda rng: dist.Exponential(normal(rng, 160).exp()),
    "half normal": lambda rng: dist.HalfNormal(normal(rng, 160).exp()),
    "exponents": lambda rng: dist.TransformedDistribution(independent(rng), [dist.transforms.ExpTransform()]),
}
"""160 positive numbers each, whose logarithms lie on the grid."""
BOUNDED: dict[str, Make] = {
    "uniform": lambda rng: uniform(rng),
    "unit uniform": lambda rng: ClosedUniform(torch.zeros(160).double(), 1.0, validate_args=False),
    "beta": lambda rng: dist.Beta(normal(rng, 160).exp(), normal(rng, 160).exp()),
    "angle": lambda rng: dist.VonMises(normal(rng, 160), (2 * normal(rng, 160)).exp()),
    "logistic of a normal": lambda rng: dist.TransformedDistribution(
        independent(rng), [dist.transforms.SigmoidTransform()]
    ),
}
"""160 numbers between bounds each."""


def cdf(fn: Any, value: Tensor) -> Tensor:
    """Of distributions for which torch has none, by scipy."""
    if isinstance(fn, dist.StudentT):
        return torch.tensor(stats.t.cdf(value, fn.df, fn.loc, fn.scale))
    below: Tensor = fn.cdf(value)
    return below


SHARES: dict[str, Make] = {"dirichlet": lambda rng: dist.Dirichlet(0.5 + normal(rng, 40, 5).exp())}
LATENT = REAL | VECTORS | POSITIVE | BOUNDED | SHARES


@few
@given(seeds, st.sampled_from(sorted(DISCRETE)))
def test_discrete_rules_round_trip_at_the_ideal_rate(seed: int, name: str) -> None:
    fn = DISCRETE[name](torch.Generator().manual_seed(seed))
    with seeded(seed):
        value = fn.sample().double()
    stack = Stack()
    code(fn).push(stack, value)
    ideal = -float(fn.log_prob(value).detach().sum()) / math.log(2)
    assert stack.bits == pytest.approx(ideal, rel=0.001, abs=64)
    again = Stack(stack.words())
    assert torch.equal(code(fn).pop(again).double(), value)
    assert len(again.words()) == 0


@few
@given(seeds, st.sampled_from(sorted(REAL)), st.integers(0, 9))
def test_real_rules_round_trip_at_the_mass_of_a_bin(seed: int, name: str, exponent: int) -> None:
    fn, grid = REAL[name](torch.Generator().manual_seed(seed)), Grid(exponent)
    with seeded(seed):
        value = grid.centre(grid.index(fn.sample()))
    entries = fn.base_dist if isinstance(fn, torch.distributions.Independent) else fn
    mass = cdf(entries, value + grid.width / 2) - cdf(entries, value - grid.width / 2)
    stack = Stack()
    code(fn, grid).push(stack, value)
    assert stack.bits == pytest.approx(-float(mass.clamp(min=1e-300).log2().sum()), rel=0.001, abs=64)
    assert torch.equal(code(fn, grid).pop(Stack(stack.words())), value)


@few
@given(seeds, st.sampled_from(sorted(LATENT)), st.integers(0, MAX_EXPONENT))
def test_popping_and_pushing_restores_the_stack(seed: int, name: str, exponent: int) -> None:
    fn, grid = LATENT[name](torch.Generator().manual_seed(seed)), Grid(exponent)
    stack = Stack(seeded=True)
    value = code(fn, grid).pop(stack)
    assert value.shape == fn.shape()
    assert fn.support.check(value).all()
    code(fn, grid).push(stack, value)
    assert stack.is_seed()


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_take_the_rate_of_their_density(name: str) -> None:
    """Minus log2 of density times bin width; a flow, through its base noise, within a tenth of a bit per vector.

    The seed is fixed: one draw in 10^6 is a symbol that only the coder's smallest probability makes possible.
    """
    fn, grid, stack = VECTORS[name](torch.Generator().manual_seed(1)), Grid(12), Stack(seeded=True)
    value = code(fn, grid).pop(stack)
    ideal = float(-fn.log_prob(value).sum()) / math.log(2) + value.numel() * grid.exponent
    assert -stack.bits == pytest.approx(ideal, abs=64 + (0.1 * len(value) if name == "flow" else 0.001 * ideal))


def test_steps_beyond_the_length_of_a_chain_take_no_bits() -> None:
    rng, within = torch.Generator().manual_seed(1), torch.arange(5) < torch.arange(1, 6)[:, None]
    context, stack, grid = normal(rng, 5, 5, 2), Stack(seeded=True), Grid(8)
    fn = MarkovNormal(normal(rng, 2), lambda z, c: (z + c, torch.ones_like(z)), context, within)
    value = code(fn, grid).pop(stack)
    assert torch.equal(value != 0, within.unsqueeze(-1).expand_as(value))
    ideal = -float(fn.log_prob(value).sum() + 20 * math.log(2 * math.pi) / 2) / math.log(2) + 30 * 8
    assert -stack.bits == pytest.approx(ideal, abs=64)
    code(fn, grid).push(stack, value)
    assert stack.is_seed()


@pytest.mark.parametrize("name", POSITIVE)
def test_positive_numbers_take_the_rate_of_the_density_of_their_logarithms(name: str) -> None:
    fn, grid, stack = POSITIVE[name](torch.Generator().manual_seed(1)), Grid(12), Stack(seeded=True)
    value = code(fn, grid).pop(stack)
    assert value.min() > 0
    density = float((fn.log_prob(value).sum() + value.log().sum()) / math.log(2))
    assert -stack.bits == pytest.approx(value.numel() * grid.exponent - density, rel=0.001, abs=64)


@pytest.mark.parametrize("name", BOUNDED)
def test_bounded_numbers_take_the_rate_of_their_density(name: str) -> None:
    fn, grid, stack = BOUNDED[name](torch.Generator().manual_seed(1)), Grid(14), Stack(seeded=True)
    value = code(fn, grid).pop(stack)
    lower, upper = (torch.as_tensor(bound) for bound in bounds_of(fn))
    assert bool(((lower < value) & (value < upper)).all())
    width = (upper - lower) / 2 ** math.ceil(math.log2((upper - lower).max()) + grid.exponent)
    ideal = -float(fn.log_prob(value).sum() / math.log(2) + width.log2().expand(value.shape).sum())
    assert -stack.bits == pytest.approx(ideal, rel=0.001, abs=64)


def test_shares_take_the_rate_of_the_density_of_their_fractions() -> None:
    fn, grid, stack = SHARES["dirichlet"](torch.Generator().manual_seed(1)), Grid(14), Stack(seeded=True)
    value = code(fn, grid).pop(stack)
    left = 1 - value[..., :-2].cumsum(-1)
    density = float((fn.log_prob(value) + left.log().sum(-1)).sum()) / math.log(2)
    assert -stack.bits == pytest.approx(40 * 4 * grid.exponent - density, rel=0.002, abs=64)


def bounds_of(fn: Any) -> tuple[Any, Any]:
    if isinstance(fn, dist.VonMises):
        return -math.pi, math.pi
    support = getattr(fn.support, "base_constraint", fn.support)
    return support.lower_bound, support.upper_bound


@few
@given(seeds, st.sampled_from(sorted(DISCRETE | LATENT)), st.integers(0, 9))
def test_masked_entries_take_no_bits(seed: int, name: str, exponent: int) -> None:
    """Both a mask of every entry and one of whole vectors; without any the stack is left alone."""
    rng, grid = torch.Generator().manual_seed(seed), Grid(exponent)
    fn = (DISCRETE | LATENT)[name](rng)
    keep = torch.rand(fn.batch_shape, generator=rng) < 0.4
    for mask in (keep, keep & False):
        coded, stack = code(fn.mask(mask), grid), Stack(seeded=True)
        value = coded.pop(stack)
        assert value.shape == fn.shape()
        expected, other = Stack(seeded=True), Stack(seeded=True)
        other.push(torch.arange(300.0) % 7, torch.ones(300, 7))
        assert torch.equal(coded.pop(other)[~mask], value[~mask])
        if mask.any():
            assert stack.needed > 0
        else:
            assert np.array_equal(stack.words(), expected.words())
        coded.push(stack, value)
        assert stack.is_seed()


def test_masked_entries_cost_nothing_and_should_be_blank() -> None:
    fn = dist.Bernoulli(torch.full((50, 4), 0.3).double()).to_event(1)
    mask = torch.arange(50) % 5 == 0
    value, stack = torch.ones(50, 4).double() * mask[:, None], Stack()
    code(fn.mask(mask)).push(stack, value)
    assert stack.bits == pytest.approx(-40 * math.log2(0.3), abs=64)
    assert torch.equal(code(fn.mask(mask)).pop(Stack(stack.words())), value)
    with pytest.raises(ZooError, match="an entry that is masked should be 0"):
        code(fn.mask(mask)).push(stack, value + 1)


def test_a_mask_by_a_handler_is_that_of_the_distribution() -> None:
    fn, mask = dist.Normal(torch.zeros(6).double(), 1.0), torch.tensor([1, 0, 0, 1, 1, 0]).bool()
    stacks = [Stack(seeded=True), Stack(seeded=True)]
    with Pop(stacks[0], Grid(4)), poutine.mask(mask=mask):
        pyro.sample("z", fn)
    with Pop(stacks[1], Grid(4)):
        pyro.sample("z", fn.mask(mask))
    assert np.array_equal(stacks[0].words(), stacks[1].words())
    assert stacks[0].needed > 0


def test_values_far_from_the_window_escape() -> None:
    fn = dist.Geometric(torch.full((4,), 0.3).double(), validate_args=False)
    value = torch.tensor([0.0, 1000.0, 2.0**31 - 10, 131.0]).double()
    stack = Stack()
    code(fn).push(stack, value)
    assert torch.equal(code(fn).pop(Stack(stack.words())), value)
    with pytest.raises(ZooError, match="32 bits"):
        code(fn).push(stack, value * 2)


def test_a_flow_round_trips_even_if_its_inverse_is_wrong() -> None:
    class Wrong(Sinh):
        def _inverse(self, y: Tensor) -> Tensor:
            return torch.where(y > 0, y * math.nan, 0 * y)

    base = dist.Normal(torch.zeros(20, 3).double(), 1.0).to_event(1)
    fn, stack = dist.TransformedDistribution(base, [Wrong()]), Stack(seeded=True)
    code(fn, Grid(6)).push(stack, code(fn, Grid(6)).pop(stack))
    assert stack.is_seed()


def test_a_floor_takes_no_bits() -> None:
    fn = Floor(torch.tensor([0.5, 2.2, 9.0]).double(), 4).to_event(1)
    stack = Stack()
    code(fn).push(stack, torch.tensor([0.0, 2.0, 3.0]))
    assert stack.bits == 0
    assert code(fn).pop(stack).tolist() == [0, 2, 3]
    with pytest.raises(ZooError, match="probability zero"):
        code(fn).push(stack, torch.tensor([0.0, 1.0, 3.0]))


def test_a_latent_without_a_cdf_is_named() -> None:
    fn = dist.FisherSnedecor(torch.tensor(3.0), torch.tensor(4.0))
    with pytest.raises(ZooError, match=r"site 'z'.*cdf.*@zoo.codec.codes"), Pop(Stack(seeded=True), Grid(3)):
        pyro.sample("z", fn)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (dist.LKJCholesky(3, torch.ones(())), "no coding rule for LKJCholesky"),
        (dist.Normal(0.0, 1.0), "real data"),
        (object(), "no coding rule for object"),
        (dist.Pareto(torch.tensor(1.0), torch.tensor(3.0)), "any real number, positive or bounded"),
        (Mixture(torch.zeros(2), dist.Laplace(torch.zeros(2, 3), 1.0).to_event(1)), "diagonal normals"),
        (
            dist.TransformedDistribution(independent(torch.Generator()), [Sinh(), dist.transforms.ExpTransform()]),
            "logarithm",
        ),
        (dist.TransformedDistribution(dist.Laplace(torch.zeros(2, 3), 1.0).to_event(1), [Sinh()]), "factorised normal"),
    ],
)
def test_what_no_rule_covers_is_refused(fn: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        code(fn)
