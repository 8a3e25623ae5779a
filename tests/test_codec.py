"""Coding: the stack, the rules by distribution, the handlers, and the round trip as a law over every family."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from members import members, small
from torch import Tensor, nn

from zoo.codec import code, codes, decode, encode
from zoo.codec.container import unpack
from zoo.codec.grids import FINENESS, FINEST, Grid, fitting
from zoo.codec.handlers import Pop, Push
from zoo.codec.lossless import Plan, check, pop_batch, precisely, push_batch, why_not
from zoo.codec.rules import InBlocks, Mapped
from zoo.codec.stack import SMALLEST, Stack, checked, seed_words
from zoo.data import Dataset, load_data
from zoo.distributions import ClosedUniform, DiscretisedLogistic, DiscretisedNormal, Floor, Levels
from zoo.distributions.autoregressive import Autoregressive, whole_passes
from zoo.distributions.mixture import Mixture, NormalMixture
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.metrics.bounds import log_probs, particle_weights
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, sample
from zoo.seeding import seeded
from zoo.training.loop import fit

EVENTS = {"binary": Event((4, 4), "binary"), "levels": Event((4, 4), 5)}
MEMBERS = [
    (name, support)
    for name, support in members()
    if support in EVENTS and not why_not(build(name, EVENTS[support], small(name)))
]
few = settings(max_examples=25)
seeds = st.integers(0, 2**31)


def draws(fn: Any, grid: Grid | None, stack: Stack) -> Tensor:
    return code(fn, grid).pop(stack)


# the stack


def test_the_stack_gives_back_what_was_pushed_last_first() -> None:
    tables = torch.rand(500, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    symbols = torch.arange(500) % 7
    stack = Stack()
    stack.push(symbols[:200], tables[:200])
    stack.push(symbols[200:], tables[200:])
    again = Stack(stack.words())
    assert torch.equal(again.pop(tables[200:]), symbols[200:].double())
    assert torch.equal(again.pop(tables[:200]), symbols[:200].double())
    assert len(again.words()) == 0


def test_pop_and_push_leave_the_stack_bit_for_bit_and_only_needed_seed_bits_are_kept() -> None:
    tables = torch.rand(3000, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    stack = Stack(seeded=True)
    popped = stack.pop(tables)
    assert 0 <= stack.needed + stack.bits <= 128  # the hidden state is all that is neither popped nor counted
    stack.push(popped, tables)
    assert np.array_equal(stack.words(), seed_words(len(stack.words())))
    assert 32 * len(stack.words()) <= stack.needed + 64
    assert stack.is_seed()
    stack.push(popped[:3], tables[:3])
    assert not stack.is_seed()


def test_fewer_seed_words_are_the_top_of_more() -> None:
    assert np.array_equal(seed_words(50), seed_words(80)[-50:])
    assert seed_words(1)[-1] != 0


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (torch.tensor([[0.5, -0.1]]), "negative"),
        (torch.tensor([[0.5, math.nan]]), "NaN"),
        (torch.tensor([[0.5, math.inf]]), "sums to nothing|negative"),
        (torch.zeros(1, 3), "sums to nothing"),
        (torch.ones(3), "2 to"),
        (torch.ones(2, 1), "2 to"),
    ],
)
def test_bad_tables_are_refused(tables: Tensor, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        Stack(seeded=True).pop(tables)
    with pytest.raises(ZooError, match=message):
        Stack().push(torch.zeros(len(tables)), tables)


def test_tables_reach_the_coder_contiguous_in_float64_with_a_smallest_mass() -> None:
    rows = checked(torch.rand(4, 3).T.contiguous().T * torch.tensor([1.0, 0.0, 1.0]))
    assert rows.flags.c_contiguous
    assert rows.dtype == np.float64
    assert rows.min() == SMALLEST


@pytest.mark.parametrize("symbol", [-1.0, 3.0, 0.5, math.nan])
def test_a_symbol_that_is_no_level_is_refused(symbol: float) -> None:
    with pytest.raises(ZooError, match="from 0 to 2"):
        Stack().push(torch.tensor([symbol]), torch.ones(1, 3))


def test_words_that_no_stack_gives_are_refused() -> None:
    with pytest.raises(RunError, match="no coded bits"):
        Stack(np.array([1, 0], dtype=np.uint32))


# the rules

B = Event((2, 3), 4)


class Tilted(nn.Module):
    """A small causal network over the entries of `B`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6, 4, generator=torch.Generator().manual_seed(0)).double())

    def forward(self, x: Tensor) -> Tensor:
        seen = self.weight * torch.ones(6, 6).tril(-1).double()[..., None]
        return torch.einsum("nj,ijk->nik", x.double().flatten(1), seen).reshape(*x.shape, 4) / 4


def autoregressive() -> Autoregressive:
    net = Tilted()
    return Autoregressive(B, net, whole_passes(B, net, torch.zeros((), dtype=torch.float64)), (50,))


def normals(rng: torch.Generator, *shape: int) -> tuple[Tensor, Tensor]:
    loc = 5 * torch.randn(shape, dtype=torch.float64, generator=rng)
    return loc, (2 * torch.randn(shape, dtype=torch.float64, generator=rng)).exp()


DISCRETE = {
    "bernoulli": lambda rng: dist.Bernoulli(logits=normals(rng, 60, 5)[0]).to_event(1),
    "categorical": lambda rng: dist.Categorical(logits=normals(rng, 60, 5, 9)[0]).to_event(1),
    "levels": lambda rng: Levels(logits=normals(rng, 60, 5, 17)[0]).to_event(1),
    "logistic": lambda rng: DiscretisedLogistic(*normals(rng, 60, 5), 17).to_event(1),
    "normal": lambda rng: DiscretisedNormal(*normals(rng, 60, 5), 17).to_event(1),
    "binomial": lambda rng: dist.Binomial(11, logits=normals(rng, 300)[0] / 2),
    "poisson": lambda rng: dist.Poisson(normals(rng, 60, 5)[0].exp().clamp(max=100), validate_args=False).to_event(1),
    "autoregressive": lambda rng: autoregressive(),
}
REAL = {
    "normal": lambda rng: dist.Normal(*normals(rng, 60, 5)).to_event(1),
    "laplace": lambda rng: dist.Laplace(*normals(rng, 300)),
    "logistic": lambda rng: dist.Logistic(*normals(rng, 300)),
    "uniform": lambda rng: ClosedUniform(torch.zeros(300).double(), 1.0, validate_args=False),
}


@few
@given(seeds, st.sampled_from(sorted(DISCRETE)))
def test_discrete_rules_round_trip_at_the_ideal_rate(seed: int, name: str) -> None:
    fn = DISCRETE[name](torch.Generator().manual_seed(seed))
    with seeded(seed):
        value = fn.sample().double()
    stack = Stack()
    code(fn).push(stack, value)
    ideal = -float(fn.log_prob(value).detach().sum()) / math.log(2)
    assert 0.999 * ideal - 64 <= stack.bits <= 1.001 * ideal + 64
    again = Stack(stack.words())
    assert torch.equal(code(fn).pop(again).double(), value)
    assert len(again.words()) == 0


def test_what_lies_far_from_the_window_escapes() -> None:
    fn = dist.Geometric(torch.full((4,), 0.3).double(), validate_args=False)
    value = torch.tensor([0.0, 1000.0, 2.0**31 - 10, 131.0]).double()
    stack = Stack()
    code(fn).push(stack, value)
    assert torch.equal(code(fn).pop(Stack(stack.words())), value)
    with pytest.raises(ZooError, match="32 bits"):
        code(fn).push(stack, value * 2)


def test_bijections_and_blocks_compose() -> None:
    """x = (a, b): a uniform, b given a; turned by a bijection of the levels."""
    a = torch.randint(4, (500, 2), generator=torch.Generator().manual_seed(1)).double()
    tables = torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1

    def block(i: int, earlier: Tensor) -> Any:
        weights = tables[earlier.long()[:, 0]] if i else torch.ones(len(earlier), 4).double()
        return dist.Categorical(weights.unsqueeze(1)).to_event(1)

    coder = Mapped(InBlocks(500, [1, 1], block, None), lambda x: (x + 1) % 4, lambda z: (z - 1) % 4)
    stack = Stack()
    coder.push(stack, a)
    shares = tables / tables.sum(1, keepdim=True)
    z = ((a + 1) % 4).long()
    assert stack.bits == pytest.approx(1000 - float(shares[z[:, 0], z[:, 1]].log2().sum()), abs=32)
    assert torch.equal(coder.pop(Stack(stack.words())), a)


@few
@given(seeds, st.sampled_from(sorted(REAL)), st.integers(0, 9))
def test_real_rules_round_trip_on_a_grid_at_the_mass_of_its_bins(seed: int, name: str, exponent: int) -> None:
    fn, grid = REAL[name](torch.Generator().manual_seed(seed)), Grid(exponent)
    with seeded(seed):
        value = grid.centre(grid.index(fn.sample()))
    flat = fn.base_dist if isinstance(fn, torch.distributions.Independent) else fn
    mass = flat.cdf(value + grid.width / 2) - flat.cdf(value - grid.width / 2)
    stack = Stack()
    code(fn, grid).push(stack, value)
    ideal = -float(mass.clamp(min=1e-300).log2().sum())
    if name != "uniform" or exponent > 1:
        assert 0.999 * ideal - 64 <= stack.bits <= 1.001 * ideal + 64
    assert torch.equal(code(fn, grid).pop(Stack(stack.words())), value)


@few
@given(seeds, st.sampled_from(sorted(REAL)), st.integers(0, FINEST))
def test_popping_and_pushing_back_changes_nothing(seed: int, name: str, exponent: int) -> None:
    fn, grid = REAL[name](torch.Generator().manual_seed(seed)), Grid(exponent)
    stack = Stack(seeded=True)
    code(fn, grid).push(stack, draws(fn, grid, stack))
    assert stack.is_seed()


def vectors(rng: torch.Generator) -> dict[str, Any]:
    """Distributions of 40 vectors of 4 numbers whose entries depend on each other."""
    L = torch.randn(40, 4, 4, dtype=torch.float64, generator=rng).tril(-1) + torch.eye(4).double()
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=rng))[0]
    loc, scale = torch.randn(40, 4, dtype=torch.float64, generator=rng), 0.5 + torch.rand(40, 4, generator=rng).double()
    base = dist.Normal(loc, scale).to_event(1)
    logits, means = (torch.randn(40, 3, *shape, dtype=torch.float64, generator=rng) for shape in ((), (4,)))
    bent = dist.transforms.ComposeTransform([Turned(turn), Bent(), Turned(turn.T)], cache_size=0)
    return {
        "multivariate": dist.MultivariateNormal(loc, scale_tril=0.3 * L),
        "low rank": dist.LowRankMultivariateNormal(loc, L[..., :2], scale),
        "flow": dist.TransformedDistribution(base, [bent]),
        "mixture a datum": NormalMixture(logits, means, 0.3 + means.abs()),
        "one mixture": Mixture(logits[0], dist.Normal(means[0], 0.5).to_event(1), (40,)),
        "reshaped": dist.TransformedDistribution(
            base, [dist.transforms.ReshapeTransform(torch.Size([4]), torch.Size([2, 2]))]
        ),
    }


class Turned(dist.transforms.Transform):
    """y = R x with a rotation R."""

    domain = codomain = dist.constraints.real_vector
    bijective = True

    def __init__(self, R: Tensor) -> None:
        super().__init__()
        self.R = R

    def _call(self, x: Tensor) -> Tensor:
        return x @ self.R.T

    def _inverse(self, y: Tensor) -> Tensor:
        return y @ self.R

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])


class Bent(dist.transforms.Transform):
    """y = sinh(x) entry by entry."""

    domain = codomain = dist.constraints.real_vector
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return x.sinh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.asinh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.cosh().log().sum(-1)


@pytest.mark.parametrize("name", ["multivariate", "low rank", "flow", "reshaped", "mixture a datum", "one mixture"])
def test_vectors_are_coded_at_the_rate_of_their_density(name: str) -> None:
    """A pop takes log2 of the density and of a bin's width; a flow, through its base noise, within a tenth of a bit."""
    grid, fn = Grid(8), vectors(torch.Generator().manual_seed(1))[name]
    stack = Stack(seeded=True)
    value = draws(fn, grid, stack)
    popped = -stack.bits
    ideal = float((-fn.log_prob(value).sum()) / math.log(2)) + value.numel() * grid.exponent
    assert popped == pytest.approx(ideal, abs=0.1 * len(value) + 64 if name == "flow" else 64 + 0.001 * ideal)
    assert value.shape == fn.shape()
    code(fn, grid).push(stack, value)
    assert stack.is_seed()


def test_a_flow_is_pushed_and_popped_exactly_even_where_its_inverse_is_nonsense() -> None:
    class Wrong(Bent):
        def _inverse(self, y: Tensor) -> Tensor:
            return torch.where(y > 0, y * math.nan, 0 * y)

    base = dist.Normal(torch.zeros(20, 3).double(), 1.0).to_event(1)
    fn, stack = dist.TransformedDistribution(base, [Wrong()]), Stack(seeded=True)
    code(fn, Grid(6)).push(stack, draws(fn, Grid(6), stack))
    assert stack.is_seed()


def test_a_floor_takes_no_bits() -> None:
    fn = Floor(torch.tensor([0.5, 2.2, 9.0]).double(), 4).to_event(1)
    stack = Stack()
    code(fn).push(stack, torch.tensor([0.0, 2.0, 3.0]))
    assert stack.bits == 0
    assert code(fn).pop(stack).tolist() == [0, 2, 3]
    with pytest.raises(ZooError, match="no probability"):
        code(fn).push(stack, torch.tensor([0.0, 1.0, 3.0]))


@given(st.integers(0, FINEST), st.floats(-400, 400))
def test_a_grid_gives_back_its_centres(exponent: int, value: float) -> None:
    grid = Grid(exponent)
    index = grid.index(torch.tensor(value, dtype=torch.float64))
    centre = grid.centre(index)
    assert abs(float(centre) - value) <= grid.width / 2
    assert torch.equal(grid.index(centre), index)
    assert float(grid.edge(index)) == float(centre) - grid.width / 2
    assert 0 <= float(index) < grid.bins


@pytest.mark.parametrize("deviation", [2.0, 0.3, 0.01])
def test_the_grid_is_as_fine_as_the_posterior_asks(deviation: float) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0 * x, deviation).to_event(1))

    pair = Pair(Event(6, "binary"), model, guide)
    width = fitting(pair, torch.zeros(50, 6)).width
    assert deviation / FINENESS / 2.5 < width <= min(deviation / FINENESS * 1.05, 1)


# the handlers


class Ladder(nn.Module):
    """Two levels of latents, a discrete one beside them; the guide draws them from the bottom up."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 3)
        self.down = nn.Linear(3, 6)
        self.top = nn.Linear(2, 3)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            c = pyro.sample("c", dist.Bernoulli(x.new_tensor(0.3)))
            z1 = pyro.sample("z1", dist.Normal(self.top(z2), 0.5).to_event(1))
            logits = pyro.deterministic("logits", self.down(z1) + c.unsqueeze(-1), event_dim=1)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(self.up(x), 0.4).to_event(1))
            pyro.sample("z2", dist.Normal(z1[:, :2], 0.6).to_event(1))
            pyro.sample("c", dist.Bernoulli(torch.sigmoid(z1[:, 2])))


def ladder() -> Pair:
    with seeded(0):
        made = Ladder()
    return Pair(Event(6, "binary"), made.model, made.guide)


def bits(n: int, size: int = 6) -> Tensor:
    return torch.randint(2, (n, size), generator=torch.Generator().manual_seed(n)).float()


@pytest.mark.parametrize("n", [1, 7])
def test_the_stack_after_encoding_and_decoding_is_the_stack_before(n: int) -> None:
    """Several levels of latents in another order than the model's, continuous and discrete."""
    pair, x = ladder(), bits(n)
    with precisely(pair):
        stack = Stack(seeded=True)
        stack.push(torch.arange(9) % 3, torch.ones(9, 3))
        before = stack.words()
        push_batch(pair, stack, x, Grid(7))
        assert torch.equal(pop_batch(pair, stack, n, Grid(7)).float(), x)
    after = stack.words()
    assert np.array_equal(after[-len(before) :], before)
    assert len(before) <= len(after)


def test_bits_back_pays_the_negative_elbo() -> None:
    pair, x = ladder(), bits(2000)
    with precisely(pair):
        stack = Stack(seeded=True)
        push_batch(pair, stack, x, Grid(6))
        elbo = particle_weights(pair, x.double(), 50).mean(1)
    assert stack.bits == pytest.approx(-float(elbo.sum()) / math.log(2), rel=0.01)
    assert stack.needed > 0


def test_a_site_without_a_rule_is_named_and_a_rule_can_be_added() -> None:
    class Dice(dist.TorchDistribution):
        arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own interface)
        support = dist.constraints.independent(dist.constraints.integer_interval(0, 5), 1)

        def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
            return Dice(torch.Size(batch_shape), torch.Size([2]), validate_args=False)

        def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
            return torch.randint(6, self.shape(sample_shape)).float()

        def log_prob(self, value: Tensor) -> Tensor:
            return value.new_full(value.shape[:-1], -2 * math.log(6))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", Dice(torch.Size(), torch.Size([2]), validate_args=False), obs=x)

    pair, x = Pair(Event(2, 6), model), torch.tensor([[0.0, 5.0], [3.0, 3.0]])
    with pytest.raises(ZooError, match=r"site 'x', Dice.*@zoo.codec.codes"):
        encode(pair, x)

    from zoo.codec.rules import FiniteCode as Masses

    codes(Dice)(lambda fn, grid: Masses(torch.ones(*fn.batch_shape, 2, 6)))
    assert torch.equal(decode(pair, encode(pair, x)), x)


@pytest.mark.parametrize("fn", [dist.StudentT(torch.tensor(3.0)), dist.VonMises(torch.tensor(0.0), torch.tensor(1.0))])
def test_a_latent_without_a_cdf_is_named(fn: Any) -> None:
    with pytest.raises(ZooError, match=r"site 'z'.*cdf.*@zoo.codec.codes"), Pop(Stack(seeded=True), Grid(3)):
        pyro.sample("z", fn)


def test_an_error_inside_leaves_the_stack_alone() -> None:
    def program() -> None:
        pyro.sample("c", dist.Bernoulli(torch.tensor(0.5)), obs=torch.tensor(1.0))
        raise ValueError("stop")

    stack = Stack()
    with pytest.raises(ValueError, match="stop"):
        Push(stack, None)(program)()
    assert stack.bits == 0


# whole pairs


@pytest.mark.parametrize(("name", "support"), MEMBERS)
def test_every_family_gives_back_any_data(name: str, support: str) -> None:
    """Random shapes, single data and ragged batches, all-zero and extreme data; the pair is left as it was."""
    for seed, shape, n, batch in ((0, (4, 4), 11, 4), (1, (3, 5), 1, 512), (2, (2, 3), 5, 512)):
        event = Event(shape, EVENTS[support].levels or "real")
        pair, top = build(name, event, small(name), seed=seed), (event.levels or 2) - 1
        with seeded(seed):
            x = torch.randint(top + 1, (n, *shape)).float()
        x[0], x[-1] = 0, top if n > 1 else x[0]
        state = {key: value.clone() for key, value in pair.state().items()}
        file = encode(pair, x, batch=batch)
        back = decode(pair, file)
        assert torch.equal(back, x)
        assert back.dtype == torch.float32
        assert all(
            torch.equal(value, state[key]) and value.dtype == state[key].dtype for key, value in pair.state().items()
        )


def test_the_members_are_those_that_claim_it() -> None:
    names = {name for name, _ in MEMBERS}
    assert {"independent", "uniform", "pixelcnn", "wavenet", "ppca", "vae", "vae+planar", "vae+iaf"} <= names
    assert {"idf", "git", "hvae", "pixelvae", "pixelvae+iaf"} <= names
    assert names.isdisjoint({"gan", "realnvp", "vae+vmf"})


@pytest.mark.parametrize(
    ("name", "event", "reason"),
    [
        ("gan", Event((4, 4), 5), "implicit"),
        ("vae", Event(3, "real"), "real data"),
        ("ppca", Event(3, "real"), "real"),
        ("vae+vmf", Event(6, 5), "site 'z', VonMisesFisher"),
        ("vae:prior=lars", Event(6, 5), "site 'z', Resampled"),
    ],
)
def test_who_is_no_lossless_code_says_why(name: str, event: Event, reason: str) -> None:
    pair = build(name, event)
    assert reason in why_not(pair)
    with pytest.raises(ZooError, match="no lossless code"):
        encode(pair, torch.zeros(2, *event.shape))


def test_a_guide_that_leaves_a_latent_out_is_refused() -> None:
    made = Ladder()

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z1", dist.Normal(made.up(x), 0.4).to_event(1))
            pyro.sample("c", dist.Bernoulli(0 * x[:, 0] + 0.5))

    with pytest.raises(ZooError, match="'z2' is in one"):
        encode(Pair(Event(6, "binary"), made.model, guide), bits(3))


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor([[0.0, 1.0, 2.0, 0, 0, 0]]),
        torch.full((1, 6), math.nan),
        torch.zeros(2, 5),
        torch.zeros(0, 6),
        bits(2) + 0.5,
    ],
)
def test_data_of_another_event_are_refused(x: Tensor) -> None:
    with pytest.raises(ZooError, match="data to code should"):
        encode(ladder(), x)


@given(st.integers(1, 3000), st.integers(1, 600), st.sampled_from([0.0, 0.05, 0.62, 1.0, 8.0]))
def test_a_plan_covers_the_data(count: int, batch: int, growth: float) -> None:
    sizes = Plan(count, batch, growth, 3).sizes
    assert sum(sizes) == count
    assert all(0 < size <= batch for size in sizes)
    assert sizes[0] == 1 or growth == 0
    for done, size in zip(np.cumsum(sizes), sizes[1:], strict=False):
        assert growth == 0 or size <= max(1, growth * done)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data("digits")


def trained(name: str, data: Dataset, steps: int) -> Pair:
    pair = build(name, data.event)
    with seeded(0):
        fit(pair, data, {"steps": steps, "checkpoints": 1, "lr": 2e-3}, device="cpu")
    return pair


@pytest.mark.parametrize(("name", "steps", "excess"), [("vae", 60, 0.01), ("independent", 0, 0.001)])
def test_a_thousand_digits_take_what_the_model_says(digits: Dataset, name: str, steps: int, excess: float) -> None:
    pair, x = trained(name, digits, steps), digits.train[:1000]
    payload = 32 * len(unpack(encode(pair, x))[1])
    with precisely(pair):
        exact = capabilities(pair).likelihood == "exact"
        nats = log_probs(pair, x.double()) if exact else particle_weights(pair, x.double(), 16).mean(1)
    assert payload == pytest.approx(-float(nats.sum()) / math.log(2), rel=excess)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "excess"), [("pixelcnn", 20, 0.001), ("vae+iaf", 150, 0.01), ("vae+planar", 150, 0.01)]
)
def test_a_thousand_digits_take_what_the_model_says_slowly(
    digits: Dataset, name: str, steps: int, excess: float
) -> None:
    test_a_thousand_digits_take_what_the_model_says(digits, name, steps, excess)


def test_the_check_block_knows_other_weights(digits: Dataset) -> None:
    pair = build("vae", digits.event, {"hidden": 16, "guide.hidden": 16})
    with precisely(pair):
        first = check(pair, Grid(5))
        assert check(pair, Grid(5)) == first
        with torch.no_grad():
            for parameter in pair.parameters():
                parameter *= 1.001
        assert check(pair, Grid(5)) != first


def test_samples_of_a_model_are_random_bits_to_it(coins: Dataset) -> None:
    """Data drawn from an exact model take its entropy, no less."""
    pair = build("independent", coins.event)
    pair.extras.initialise(coins.train)
    with seeded(0):
        x = sample(pair, 4000)
    entropy = -float(log_probs(pair, x).double().sum()) / math.log(2)
    assert 32 * len(unpack(encode(pair, x))[1]) == pytest.approx(entropy, rel=0.005)
