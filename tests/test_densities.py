"""A user's own densities: they are normalised and of their draws, in any dimension, or are not verified."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from torch import Tensor, nn
from torch.distributions import Transform

from zoo.contract.case import Case
from zoo.contract.check import ground_laws
from zoo.contract.findings import judge
from zoo.contract.laws import GROUND
from zoo.contract.normalisation import DRAWS, evidence
from zoo.errors import ContractError
from zoo.event import Event
from zoo.flows.flow import Flow
from zoo.pairs.pair import Pair
from zoo.seeding import seeded

[LAW] = [law for law in GROUND if law.text == "a distribution draws what its log_prob says"]


def pair_of(fn: Any, support: Any = "real") -> Pair:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", fn, obs=x)

    return Pair(Event(tuple(fn.event_shape), support), model)


def verdict(fn: Any, support: Any = "real") -> tuple[bool | None, str]:
    finding = judge(LAW, Case(lambda _: pair_of(fn, support), Event(tuple(fn.event_shape), support), seed=0))
    return finding.ok, finding.detail


class Joint(dist.TorchDistribution):  # type: ignore[misc] # Pyro is not typed
    """A distribution of one's own with the draws of another; its log-density is ``off`` by some nats."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, base: Any, off: float = 0.0) -> None:
        self.base, self.off = base, off
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.base.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return Joint(self.base.expand(batch_shape), self.off)

    def sample(self, sample_shape: Any = torch.Size()) -> Any:
        return self.base.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Any:
        return self.base.log_prob(value) + self.off


def normal(size: int) -> Any:
    return dist.MultivariateNormal(torch.zeros(size), torch.eye(size) + 0.5)


def bits(size: int) -> Any:
    return dist.Bernoulli(torch.full((size,), 0.3)).to_event(1)


@pytest.mark.parametrize("size", [2, 8, 32, 64])
def test_honest_vectors_pass(size: int) -> None:
    assert verdict(Joint(normal(size))) == (True, "")
    assert verdict(Joint(bits(size)), "binary") == (True, "")


@pytest.mark.parametrize("size", [2, 8, 32, 64])
@pytest.mark.parametrize(("off", "word"), [(2.0, "great"), (-2.0, "small")])
def test_a_constant_too_many_is_found_in_any_dimension(size: int, off: float, word: str) -> None:
    for fn, support in ((normal(size), "real"), (bits(size), "binary")):
        ok, detail = verdict(Joint(fn, off), support)
        assert ok is False
        assert f"the log_prob of the Joint at 'x' is too {word}" in detail


def test_what_could_be_wrong_unseen_is_not_verified() -> None:
    """Far from any normal, in many dimensions, and in too many."""
    heavy = dist.Exponential(torch.ones(60)).to_event(1)
    for fn in (heavy, normal(101)):
        ok, detail = verdict(Joint(dist.TransformedDistribution(fn, []), off=0.0))
        assert ok is None
        assert "not verified: the " in detail


FAR = 100.0
SHAPES = {
    "normal": lambda d: dist.Normal(torch.zeros(d), 1.0).to_event(1),
    "heavy": lambda d: dist.Cauchy(torch.zeros(d), 1.0).to_event(1),
    "bounded": lambda d: dist.Beta(torch.ones(d), 0.5 * torch.ones(d)).to_event(1),
    "two modes": lambda d: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)),
        dist.Normal(FAR * torch.tensor([-1.0, 1.0])[:, None].expand(2, d), 1.0).to_event(1),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 3, 20])
def test_no_honest_density_is_evidence_against_itself(shape: str, size: int) -> None:
    """In six trials each; one in 1e4 would show so much."""
    with pyro.validation_enabled(False):
        fn = SHAPES[shape](size)

        def claimed(x: Tensor) -> Any:
            return fn.log_prob(x).where(fn.support.check(x), -math.inf)

        for seed in range(3):
            with seeded(seed):
                found = evidence(claimed, fn.sample((DRAWS,)), False)
            assert found
            assert max(each.total for each in found) < math.log(1e4)


@pytest.mark.parametrize("far", [3.0, 20.0, FAR])
def test_an_analytic_density_of_far_modes_is_no_breach(far: float) -> None:
    class TwoModes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.modes = nn.Parameter(torch.tensor([-far, far]))

        def model(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                k = pyro.sample("k", dist.Categorical(x.new_ones(2)))
                pyro.sample("x", dist.Normal(self.modes[k].unsqueeze(-1), 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("k", dist.Categorical(logits=dist.Normal(self.modes, 1.0).log_prob(x)))

        def log_prob(self, x: Tensor) -> Tensor:
            density: Tensor = dist.Normal(self.modes, 1.0).log_prob(x).logsumexp(-1) - math.log(2)
            return density

    made = TwoModes()
    pair = Pair(Event(1, "real"), made.model, made.guide, extras=made)
    with seeded(0):
        ground_laws(pair, torch.randn(50, 1) + far * (2 * torch.randint(2, (50, 1)) - 1))


# --- changes of variables ---------------------------------------------------------------------------------------------


class Twist(Transform):
    """(a, b) -> (a, b exp(s a) + a^2) of the halves of a vector; ``share`` of its volume is counted."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, share: float = 1.0, back: float = 1.0) -> None:
        super().__init__()
        self.share, self.back = share, back

    def __eq__(self, other: object) -> bool:
        return self is other

    def _call(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return torch.cat([a, b * (0.5 * a).exp() + a.square()], -1)

    def _inverse(self, y: Tensor) -> Tensor:
        a, b = y.chunk(2, -1)
        return torch.cat([a, self.back * (b - a.square()) / (0.5 * a).exp()], -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.share * (0.5 * x.chunk(2, -1)[0]).sum(-1)


def twisted(size: int, *transforms: Any) -> Any:
    return dist.TransformedDistribution(dist.Normal(torch.zeros(size), 1.0).to_event(1), list(transforms))


@pytest.mark.thorough
@pytest.mark.parametrize("size", [2, 16, 64])
def test_a_transform_of_ones_own_counts_its_volume(size: int) -> None:
    x = torch.randn(20, size)
    ground_laws(pair_of(twisted(size, Twist())), x)
    for wrong in (Twist(0.0), Twist(-1.0), Twist(0.9)):
        for transforms in ((wrong,), (dist.transforms.ComposeTransform([Twist(), wrong]),), (wrong.inv,)):
            with pytest.raises(ContractError, match="at 'x' should count the volume of its change of variables"):
                ground_laws(pair_of(twisted(size, *transforms)), x)


def test_a_transform_of_ones_own_has_its_inverse() -> None:
    with pytest.raises(ContractError, match="the inverse of the Twist at 'x' should map its values back"):
        ground_laws(pair_of(twisted(4, Twist(back=0.5))), torch.randn(20, 4))


class NotAutoregressive(nn.Module):
    """Shifts and scales of each entry, which depend on all entries: their product is not the volume."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.permutation = nn.Linear(4, 8), range(4)

    def forward(self, x: Tensor) -> Any:
        return self.net(x).chunk(2, -1)


def test_a_network_in_one_of_pyros_transforms_keeps_the_order() -> None:
    with seeded(0):
        wrong = dist.transforms.AffineAutoregressive(NotAutoregressive())
        right = dist.transforms.affine_autoregressive(4, hidden_dims=[8])
    with pytest.raises(ContractError, match="the AffineAutoregressive at 'x' should count the volume"):
        ground_laws(pair_of(twisted(4, wrong.inv, right)), torch.randn(20, 4))
    assert verdict(twisted(4, right.inv)) == (True, "")


class Stretch(nn.Module):
    """A step of a flow: h' = h exp(s), of which ``share`` is counted."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share, self.log_scale = share, nn.Parameter(torch.linspace(0.1, 1.0, 6))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return h * self.log_scale.exp(), self.share * self.log_scale.sum().expand(len(h))

    def inverse(self, h: Tensor) -> Tensor:
        return h / self.log_scale.exp()


def test_a_step_of_ones_own_in_a_flow_counts_its_volume() -> None:
    event, x = Event(6, "real"), torch.randn(20, 6)
    right, wrong = (Flow(event, [Stretch(share)]) for share in (1.0, 0.5))
    ground_laws(Pair(event, right.model, right.guide), x)
    with pytest.raises(ContractError, match="the flow at 'x' should count the volume"):
        ground_laws(Pair(event, wrong.model, wrong.guide), x)
