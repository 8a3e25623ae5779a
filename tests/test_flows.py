"""Laws swept over every flow with a density on real numbers, and anchors for the parts of flows."""

from __future__ import annotations

import inspect
import math

import pyro.distributions as dist
import pytest
import torch
from draws import data, perturb
from pyro.distributions.transforms.spline import ConditionedSpline
from torch import Tensor

from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.coupling import Additive, Affine, Elementwise, orders
from zoo.flows.flow import Flow
from zoo.flows.masked import MaskedAutoregressive
from zoo.flows.splines import RationalQuadratic
from zoo.nn.mlp import MADE
from zoo.pairs.build import build
from zoo.pairs.registry import families, load_shelves
from zoo.seeding import seeded

load_shelves()
SMALL = {"layers": 3, "hidden": 16}
"""Hyper-parameters that keep the sweep short, for those families that have them."""
EVENTS = [Event(2, "real"), Event((4, 4), "real"), Event(2, 3), Event((3, 5), "binary")]
REAL_PLANES = [Event(2, "real"), Event((1, 2), "real")]
LEVEL_PLANES = [Event(2, 3), Event((1, 2), 3)]


def small(name: str, event: Event) -> Flow | None:
    """The family's flow in float64; ``None`` if it is of another kind or does not take the event."""
    known = inspect.signature(families[name].make).parameters
    try:
        flow = build(name, event, {key: value for key, value in SMALL.items() if key in known}).extras
    except ZooError:
        return None
    return flow.double().eval() if isinstance(flow, Flow) else None


def wild(name: str, event: Event, strength: float = 0.5) -> Flow:
    """A flow in float64 that is set from data and far from the identity."""
    flow = small(name, event)
    assert flow is not None
    flow.initialise(shifted(event, 200))
    for parameter in flow.parameters():
        perturb([parameter], strength / math.sqrt(parameter.shape[-1] if parameter.dim() > 1 else 1))
    return flow


def shifted(event: Event, n: int) -> Tensor:
    """Levels, or real numbers far from the standard normal."""
    return data(event, n) if event.levels else 3 + 2 * data(event, n)


def dequantised(event: Event, n: int) -> Tensor:
    """Points off the levels' edges, where the density has kinks, shape ``(n, D)``."""
    x = shifted(event, n).flatten(1)
    with seeded(3):
        return x if event.levels is None else x + 0.01 + 0.98 * torch.rand(x.shape, dtype=torch.float64)


def tails(event: Event, n: int) -> Tensor:
    """Real numbers up to twelve deviations away; levels up to their very edges."""
    with seeded(4):
        far = torch.rand(n, event.size, dtype=torch.float64)
    if event.levels is None:
        return 3 + 24 * (2 * far - 1)
    return torch.where(far < 0.5, 1e-4 * far, event.levels - 1e-4 * (1 - far))


FLOWS = [family.name for family in families if family.group == "flow"]
CASES = [(name, event) for name in FLOWS for event in EVENTS if small(name, event)]
SWEPT = {name for name, _ in CASES}


def planes(candidates: list[Event]) -> list[tuple[str, Event]]:
    """Each flow with the first event of two dimensions that it takes."""
    taken = [(name, [event for event in candidates if small(name, event)]) for name in sorted(SWEPT)]
    return [(name, events[0]) for name, events in taken if events]


def ids(case: object) -> str:
    return str(case)


def test_the_sweep_finds_the_flows() -> None:
    flows = {"nice", "realnvp", "realnvp-conv", "maf", "iaf", "spline", "dense", "convexp", "gensylvester"}
    assert flows <= SWEPT
    assert flows <= {name for name, _ in planes(REAL_PLANES)}


@pytest.mark.parametrize(("name", "event"), CASES, ids=ids)
def test_the_inverse_inverts(name: str, event: Event) -> None:
    flow = wild(name, event)
    with torch.no_grad():
        bulk = dequantised(event, 50)
        assert (flow(bulk)[0] - flow.entry(bulk)[0]).abs().mean() > 0.05
        for y, close in ((bulk, 1e-8), (tails(event, 50), 1e-6)):
            torch.testing.assert_close(flow.inverse(flow(y)[0]), y, rtol=0, atol=close)


@pytest.mark.parametrize(("name", "event"), CASES, ids=ids)
def test_the_log_determinant_is_that_of_autograds_jacobian(name: str, event: Event) -> None:
    y = torch.cat([dequantised(event, 4), tails(event, 2)]).requires_grad_()
    z, logdet = wild(name, event)(y)
    rows = [torch.autograd.grad(column.sum(), y, retain_graph=True)[0] for column in z.unbind(1)]
    torch.testing.assert_close(logdet, torch.linalg.slogdet(torch.stack(rows, 1)).logabsdet, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("name", "event"), planes(REAL_PLANES), ids=ids)
def test_the_density_of_reals_integrates_to_one(name: str, event: Event) -> None:
    t = torch.linspace(-3.6, 3.6, 161, dtype=torch.float64)  # dense in the middle, and as far as plus and minus 45
    assert mass(wild(name, event, 0.3), 3 + 2.5 * t.sinh(), 2.5 * t.cosh() * 0.045) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("name", "event"), planes(LEVEL_PLANES), ids=ids)
def test_the_density_of_levels_integrates_to_one_over_them(name: str, event: Event) -> None:
    angle = math.pi * (torch.arange(60, dtype=torch.float64) + 0.5) / 60
    within, width = (1 - angle.cos()) / 2, math.pi / 120 * angle.sin()  # dense at the edges, where it may jump
    side, widths = torch.cat([level + within for level in range(3)]), width.repeat(3)
    assert mass(wild(name, event, 0.2), side, widths) == pytest.approx(1, abs=1e-3)


def mass(flow: Flow, side: Tensor, width: Tensor) -> float:
    """The integral of the density over the square of ``side``, whose points stand for ``width``."""
    y = torch.cartesian_prod(side, side).reshape(-1, *flow.event.shape)
    area = torch.cartesian_prod(*[width.expand(len(side))] * 2).prod(1)
    with torch.no_grad():
        return float((flow.density().log_prob(y).exp() * area).sum())


@pytest.mark.parametrize(("name", "event"), planes(REAL_PLANES), ids=ids)
def test_samples_are_of_the_density(name: str, event: Event) -> None:
    """The weights q(y)/p(y) of samples y from p average to one, whatever q lies within p."""
    flow = wild(name, event, 0.3)
    with seeded(5), torch.no_grad():
        y = flow.density().expand((20000,)).sample()
        q = dist.Normal(y.quantile(0.5, 0), 0.3 * (y.quantile(0.8, 0) - y.quantile(0.2, 0))).to_event(len(event.shape))
        weights = (q.log_prob(y) - flow.density().log_prob(y)).exp()
    error = float(weights.std()) / math.sqrt(len(weights))
    assert error < 0.05
    assert float(weights.mean()) == pytest.approx(1, abs=4 * error)


@pytest.mark.parametrize("name", sorted(SWEPT))
def test_one_dimension_is_refused_or_modelled(name: str) -> None:
    flow = small(name, Event(1, "real"))
    if flow is None:
        with pytest.raises(ZooError, match="take another family"):
            build(name, Event(1, "real"))
    else:
        torch.testing.assert_close(flow.inverse(flow(torch.ones(3, 1).double())[0]), torch.ones(3, 1).double())


MAPS = [Affine(), Additive(), RationalQuadratic(6, 3.0)]


@pytest.mark.parametrize("f", MAPS, ids=lambda f: type(f).__name__)
def test_elementwise_maps_increase_and_start_as_the_identity(f: Elementwise) -> None:
    h = torch.linspace(-5, 5, 1001, dtype=torch.float64).requires_grad_()
    parameters = torch.randn(f.count, generator=torch.Generator().manual_seed(0)).double().expand(1001, -1)
    image, slope = f.forward(h, parameters)
    (derivative,) = torch.autograd.grad(image.sum(), h)
    assert (image.diff() > 0).all()
    torch.testing.assert_close(derivative.log(), slope, rtol=0, atol=1e-10)
    back, back_slope = f.inverse(image, parameters)
    torch.testing.assert_close(back, h, rtol=0, atol=1e-10)
    torch.testing.assert_close(back_slope, -slope, rtol=0, atol=1e-9)
    torch.testing.assert_close(f.forward(h, torch.zeros_like(parameters))[0], h, rtol=0, atol=1e-12)


def test_the_spline_is_pyros_between_its_inner_knots() -> None:
    bins, bound, least = 6, 3.0, 1e-3  # Pyro adds its least sizes to those that it is given
    ours, raw = RationalQuadratic(bins, bound), torch.randn(17, generator=torch.Generator().manual_seed(0)).double()
    widths, heights, slopes = (2 * torch.tanh(raw / 2)).split([bins, bins, bins - 1])
    shares = [(logits.softmax(0) - least) / (1 - least * bins) for logits in (widths, heights)]
    theirs = ConditionedSpline((*(s[None] for s in shares), slopes.exp()[None] - least, None), bound, "quadratic")
    first, last = 2 * bound * widths.softmax(0)[0] - bound, bound - 2 * bound * widths.softmax(0)[-1]
    h = torch.linspace(float(first) + 1e-3, float(last) - 1e-3, 200, dtype=torch.float64)
    image, slope = ours.forward(h, raw.expand(200, -1))
    torch.testing.assert_close(image, theirs(h[:, None])[:, 0], rtol=0, atol=1e-4)
    torch.testing.assert_close(
        slope, theirs.log_abs_det_jacobian(h[:, None], theirs(h[:, None]))[:, 0], rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("size", [2, 7])
def test_a_masked_network_sees_what_came_before_and_its_stream_gives_its_outputs(size: int) -> None:
    with seeded(0):
        net = MADE(size, (20, 20), 3).double()
        torch.nn.init.normal_(net.first)
        x = torch.randn(4, size, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(net, x[0:1])[0, :, :, 0]  # (entries, count, inputs)
    assert torch.equal(jacobian.abs().sum(1) > 0, torch.ones(size, size).tril(-1).bool())
    stream = net.stream(4)
    outputs = [next(stream), *(stream.send(entry) for entry in x.unbind(1)[:-1])]
    torch.testing.assert_close(torch.stack(outputs, 1), net(x), rtol=0, atol=1e-12)


def test_value_and_determinant_share_dropped_units() -> None:
    """In training too, the log-determinant of a sequential pass is that of the map with the same units dropped."""
    step = MaskedAutoregressive(torch.arange(5), Affine(), 40, dropout=0.5).double().train()
    perturb(step.parameters(), 0.3)
    h = torch.randn(1, 5, dtype=torch.float64)

    def drawn(h: Tensor) -> Tensor:
        with seeded(7):
            return step.inverse_and_logdet(h)[0].squeeze(0)

    jacobian = torch.autograd.functional.jacobian(drawn, h).squeeze(1)
    with seeded(7):
        logdet = step.inverse_and_logdet(h)[1][0]
    torch.testing.assert_close(logdet, torch.linalg.slogdet(jacobian).logabsdet, rtol=0, atol=1e-8)


def test_iaf_is_maf_backwards() -> None:
    event = Event(5, "real")
    forwards, backwards = build("maf", event, SMALL, 3).extras, build("iaf", event, SMALL, 3).extras
    for one, other in zip(forwards.steps, backwards.steps, strict=True):
        torch.nn.init.normal_(one.net.out.weight, std=0.3)
        other.step.load_state_dict(one.state_dict())
        h = torch.randn(6, 5)
        torch.testing.assert_close(other(h)[0], one.inverse(h))
        torch.testing.assert_close(other.inverse(h), one(h)[0])


def test_one_dense_layer_learns_the_normal_of_maximum_likelihood() -> None:
    with seeded(0):
        x = torch.randn(500, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64) + 5
    flow = build("dense", Event(3, "real"), {"layers": 1}).extras.double()
    flow.initialise(x)
    optimiser = torch.optim.LBFGS(flow.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value: Tensor = -flow.density().log_prob(x).mean()
        value.backward()
        return value

    optimiser.step(loss)
    best = dist.MultivariateNormal(x.mean(0), covariance_matrix=x.T.cov(correction=0)).log_prob(x).mean()
    torch.testing.assert_close(-loss().detach(), best, rtol=0, atol=1e-6)


def test_orders_of_steps_are_pairs_of_a_split_and_its_reverse() -> None:
    black, white, *_ = orders(Event((4, 4), 5), 4)
    assert sorted(black.tolist()) == list(range(16))
    assert torch.equal(white, black.flip(0))
    assert {(int(place) // 4 + int(place) % 4) % 2 for place in black[:8]} == {0}


def test_a_logistic_number_that_is_infinite_is_no_datum(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform number that is exactly zero."""
    flow = build("dense", Event(4, 5), {"layers": 1}).extras
    with torch.no_grad():
        perturb(flow.parameters(), 0.1)
    monkeypatch.setattr(dist.Logistic, "rsample", lambda base, shape: torch.full((*shape, 4), -math.inf))
    assert flow.density().sample((3,)).isfinite().all()
