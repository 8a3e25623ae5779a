"""Ground laws: a program that would give a wrong number is refused; what only looks unusual gives the right one."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear import LateLeak, Linear, normal, pair_of, reals
from pyro import poutine
from torch import Tensor, nn

from zoo.contract.check import ground_laws
from zoo.data import Dataset
from zoo.distributions.von_mises_fisher import VonMisesFisher
from zoo.errors import ContractError
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.training.loop import fit

# --- programs over real data whose numbers are known ------------------------------------------------------------------


class LeakByAttribute(Linear):
    kept = torch.zeros(1, 2)

    def posterior(self, x: Tensor) -> Any:
        self.kept = x
        return super().posterior(x)

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return normal(0.5 * z + self.kept.mean(0))


class TeacherForced(Linear):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return normal(z + torch.stack([torch.zeros_like(x[:, 0]), x[:, 0]], 1))


class Factored(Linear):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        pyro.factor("bonus", 0.5 * z.square().sum(-1))
        return super().likelihood(z, x)


class PartOfEachDatum(Linear):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(z, 1.0).mask(torch.tensor([True, False])).to_event(1)


class ObservedByHalves(Linear):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", self.likelihood(z, x), obs=x, obs_mask=torch.arange(len(x)) % 2 == 0)


class Collapsed(Linear):
    """Two latents of the guide that are one."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a, b = pyro.sample("a", normal(x.new_zeros(1))), pyro.sample("b", normal(x.new_zeros(1)))
            pyro.sample("x", normal(torch.cat([a, b], -1)), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", normal(x[:, :1] / 2))
            pyro.sample("b", dist.TransformedDistribution(dist.Normal(2 * a, 1e-9), []).to_event(1))


class OnASphere(Linear):
    def posterior(self, x: Tensor) -> Any:
        return VonMisesFisher(nn.functional.normalize(x, dim=-1), torch.ones(len(x)))


class Swallowed(Linear):
    def posterior(self, x: Tensor) -> Any:
        return dist.Normal(x / 2, 1.0).to_event(2)


class UnsizedPlate(Linear):
    """It takes the size of what it holds."""

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data"):
            pyro.sample("z", self.posterior(x))


class EmptyPlate(Linear):
    """Nothing in it has a dimension of the data."""

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data"):
            pyro.sample("z", normal(self.posterior(x).mean.new_zeros(2)))


class ObservingGuide(Linear):
    """As CEVAE's: a loss of its own is taken from what the guide observes."""

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("t", dist.Normal(x[:, 0], 1.0), obs=x[:, 1], infer={"is_auxiliary": True})
            pyro.sample("z", self.posterior(x))


class HiddenObservation(ObservingGuide):
    """The same guide, without the sites that are no part of log q."""

    def guide(self, x: Tensor) -> None:
        poutine.block(super().guide, hide=["t"])(x)


class LowLogProb(Linear):
    """It leaves mass out: below the bound."""

    def log_prob(self, x: Tensor) -> Tensor:
        return normal(x.new_zeros(2)).log_prob(x) - 1


class UnnormalisedLogProb(Linear):
    def log_prob(self, x: Tensor) -> Tensor:
        return normal(x.new_zeros(2), math.sqrt(2)).log_prob(x) + math.log(2 * math.pi)


class LateMean(Linear):
    """Data are mixed once training has moved a gate that starts at zero."""

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return normal(z + self.late.bias * z.mean(0))


class ByPlace(Linear):
    """A parameter of each place in a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(1000, 2))

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return normal(z + self.rows[: len(z)])


class BySize(Linear):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return normal(z + 0.01 * len(z))


class Bonus(Linear):
    """A factor by another name."""

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        pyro.sample("sure", dist.Delta(z[:, 0], log_density=5.0))
        return normal(z)

    def posterior(self, x: Tensor) -> Any:
        pyro.sample("sure", dist.Delta(x[:, 0]))
        return super().posterior(x)


class BonusOfTheGuide(Bonus):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        pyro.sample("sure", dist.Delta(z[:, 0]))
        return normal(z)

    def posterior(self, x: Tensor) -> Any:
        pyro.sample("sure", dist.Delta(x[:, 0], log_density=-5.0))
        return Linear.posterior(self, x)


class LateVolume(Linear):
    """The wrong sign of a volume that is zero at the start."""

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", self.posterior(x), infer={"is_auxiliary": True})
            a = self.late.bias
            pyro.sample("z", dist.Delta(u * a.exp(), log_density=a.sum().expand(len(x)), event_dim=1))


class Own(dist.TorchDistribution):  # type: ignore[misc] # Pyro is not typed
    """A normal whose log_prob counts another scale."""

    support, arg_constraints = dist.constraints.real, {}

    def __init__(self, scale: Tensor, counted: Tensor) -> None:
        self.scale, self.counted = torch.broadcast_tensors(scale, counted)
        super().__init__(self.scale.shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Own:
        return Own(self.scale.expand(batch_shape), self.counted.expand(batch_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.scale * torch.randn(*sample_shape, *self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * (value / self.scale).square() - self.counted.log() - math.log(2 * math.pi) / 2


class ForgottenScale(Linear):
    """It is one at the start."""

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        scale = (3 * self.late.bias).exp()
        return Own(scale.expand(z.shape), torch.ones(())).to_event(1)


class ScaleOfTheFirst(Linear):
    """That of the first entry is counted for all."""

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        scale = torch.tensor([1.0, 0.1]).expand(z.shape)
        return Own(scale, scale[:, :1]).to_event(1)


class PartOfAMixture(Linear):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        ones = torch.ones_like(z)
        return dist.MaskedMixture(ones.bool(), dist.Normal(ones, 1.0), Own(ones, 0.1 * ones)).to_event(1)


WRONG = [
    (LateMean, r"for x\[0\] changed from .* when the other data changed"),
    (ByPlace, r"for x\[\d\] changed from .* when it was alone"),
    (BySize, r"for x\[\d\] changed from .* when it was alone"),
    (Bonus, "the Delta of 'sure' in the model is the change of variables of no auxiliary site"),
    (BonusOfTheGuide, "the Delta of 'sure' in the guide is the change of variables of no auxiliary site"),
    (LateVolume, "the Delta of 'z' should have the log_density"),
    (ForgottenScale, "the probabilities of the Own at 'x' add up to"),
    (ScaleOfTheFirst, "the probabilities of the Own at 'x' add up to"),
    (PartOfAMixture, "the probabilities of the MaskedMixture at 'x' add up to"),
    (LateLeak, "the prior of 'z' depends on x"),
    (LeakByAttribute, "the distribution of 'x' depends on x"),
    (TeacherForced, "the distribution of 'x' depends on x"),
    (Factored, "'bonus' is a factor"),
    (PartOfEachDatum, "a mask hides 'x'"),
    (ObservedByHalves, "latent 'x_unobserved' is not sampled by the guide"),
    (Collapsed, "the guide's draws of 'a', 'b' span 1 dimensions and the model's 2"),
    (OnASphere, "the guide's draws of 'z' lie on a sphere"),
    (Swallowed, "in the guide, one draw of 'z' has the event shape"),
    (EmptyPlate, "in the guide, site 'z' lies outside the data plate: .*plate 'data' has no size"),
    (ObservingGuide, "the guide observes 't', and log q is the density of what it draws"),
    (UnnormalisedLogProb, "it is greater by .* nats than latents and guide allow"),
    (LowLogProb, "should be no less than a lower bound"),
]


@pytest.mark.parametrize(("kind", "words"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_program_is_refused(kind: type[nn.Module], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        ground_laws(pair_of(kind), reals())


class OffSupport(Linear):
    """A latent that all data share, which the guide draws below zero once in a while."""

    def model(self, x: Tensor) -> None:
        pyro.sample("w", dist.Uniform(0.0, 10.0))
        super().model(x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(1.0, 0.05))
        super().guide(x)


def test_a_single_number_off_the_support_is_refused_whatever_the_seed() -> None:
    pair, x = pair_of(OffSupport), reals()
    for seed in range(10):
        with pytest.raises(ContractError, match="Normal for 'w' may draw what the model's Uniform rules out"):
            ground_laws(pair, x, seed)


@pytest.mark.parametrize("kind", [Linear, UnsizedPlate, HiddenObservation])
def test_an_honest_program_passes_with_the_exact_evidence(kind: type[nn.Module]) -> None:
    pair, x = pair_of(kind), reals()
    ground_laws(pair, x)
    assert torch.allclose(log_weights(pair, x), normal(torch.zeros(2), math.sqrt(2)).log_prob(x), atol=1e-5)


class Honest(Linear):
    def log_prob(self, x: Tensor) -> Tensor:
        return normal(x.new_zeros(2), math.sqrt(2)).log_prob(x)


class Unsupported(dist.TorchDistribution):  # type: ignore[misc] # Pyro is not typed
    """A normal that declares no support."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, base: Any) -> None:
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return Unsupported(self.base.expand(batch_shape))

    def rsample(self, sample_shape: Any = torch.Size()) -> Any:
        return self.base.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Any:
        return self.base.log_prob(value)


class WithoutSupport(Linear):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return Unsupported(normal(z))

    def posterior(self, x: Tensor) -> Any:
        return Unsupported(super().posterior(x))


class DeltaInBoth(Linear):
    def prior(self, x: Tensor) -> Any:
        return dist.Delta(x.new_zeros(2)).to_event(1)

    def posterior(self, x: Tensor) -> Any:
        return dist.Delta(x.new_zeros(len(x), 2)).to_event(1)


class Tempered(Linear):
    """A scale of one's own is an objective, and no part of the measure."""

    def guide(self, x: Tensor) -> None:
        with poutine.scale(scale=0.3):
            super().guide(x)


@pytest.mark.parametrize("kind", [Honest, DeltaInBoth, Tempered, WithoutSupport])
def test_an_unusual_program_passes(kind: type[nn.Module]) -> None:
    ground_laws(pair_of(kind), reals())


def test_ground_laws_leave_the_pair_and_the_random_numbers_alone() -> None:
    pair = pair_of(Linear)
    before = {name: tensor.clone() for name, tensor in pair.state().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    ground_laws(pair, reals())
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair.state().items())
    assert all(module.training for module in pair.modules.values())


class InDoublePrecision(Linear):
    def posterior(self, x: Tensor) -> Any:
        return normal(self.net.double()(x))


class OnItsOwnDevice(Linear):
    def posterior(self, x: Tensor) -> Any:
        return normal(x + torch.zeros(2).cuda())


@pytest.mark.parametrize(
    ("kind", "mend"),
    [(InDoublePrecision, "parameters are float32"), (OnItsOwnDevice, "make tensors where the data are")],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU nothing fails before the data are on it")
def test_the_remedy_fits_the_error(kind: type[nn.Module], mend: str) -> None:
    with pytest.raises(ContractError, match=mend):
        pair_of(kind)


# --- latents without a guide ------------------------------------------------------------------------------------------


def mixture(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(x.new_ones(2)))
        pyro.sample("x", normal(torch.tensor([-3.0, 3.0])[k, None].expand(-1, 2)), obs=x)


def counted(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Poisson(1.0))
        pyro.sample("x", normal(k[..., None].expand(-1, 2)), obs=x)


def test_a_latent_without_a_guide_has_no_number() -> None:
    pair = Pair(Event(2, "real"), counted)
    assert capabilities(pair).unguided == ("k",)
    for ask in (log_weights, log_prob, ground_laws):
        with pytest.raises(ContractError, match=r"'k' is not sampled by the guide|no exact log-probability"):
            ask(pair, reals())


def test_a_finite_latent_that_cannot_be_enumerated_has_no_number() -> None:
    pair = Pair(Event(2, "real"), mixture)
    assert dict(capabilities(pair).enumerated) == {"k": 2}
    for ask in (log_weights, log_prob, ground_laws):
        with pytest.raises(ContractError, match="do not run on all values of k at once"):
            ask(pair, reals())


# --- parameters -------------------------------------------------------------------------------------------------------

NETS = {"mean": nn.Linear(2, 2)}
OFFSET = nn.Parameter(torch.zeros(2))
HELPERS = SimpleNamespace(layers=[nn.Linear(2, 2)])


def decode(z: Tensor) -> Tensor:
    result: Tensor = NETS["mean"](z) + OFFSET
    return result


def reaching(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", normal(x.new_zeros(2)))
        pyro.sample("x", normal(decode(z)), obs=x)


def amortised(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", normal((lambda value: HELPERS.layers[0](value))(x)))


def test_parameters_behind_helpers_dicts_and_lists_are_trained() -> None:
    pair = Pair(Event(2, "real"), reaching, amortised)
    names = {f"decode/NETS/mean.{part}" for part in ("weight", "bias")}
    names |= {f"HELPERS/layers/0.{part}" for part in ("weight", "bias")}
    assert set(pair.named_parameters()) == set(pair.state()) == names | {"variables.decode/OFFSET"}
    ground_laws(pair, reals())
    x = reals()
    plane = Dataset("plane", Event(2, "real"), x, x, x, "made up")
    before = {name: tensor.clone() for name, tensor in pair.state().items()}
    fit(pair, plane, {"steps": 3, "batch": 10, "lr": 0.1, "checkpoints": 1}, device="cpu")
    assert all(not torch.equal(tensor, before[name]) for name, tensor in pair.state().items())
