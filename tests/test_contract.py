"""Ground laws: a program that would give a wrong number is refused; what only looks unusual gives the right one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn
from typer.testing import CliRunner

from zoo.cli import app
from zoo.codec import container
from zoo.contract.check import ground_laws
from zoo.data import Dataset
from zoo.distributions.von_mises_fisher import VonMisesFisher
from zoo.errors import ContractError
from zoo.event import Event
from zoo.pairs.pair import Pair, no_guide
from zoo.pairs.traces import capabilities, log_prob, log_weights, sample
from zoo.runs import laws as stored_laws
from zoo.seeding import seeded
from zoo.training.loop import fit

EVENT = Event((2, 3), 7)
PATTERN = torch.arange(6.0).reshape(2, 3)


def data(n: int = 20, event: Event = EVENT) -> Tensor:
    with seeded(0):
        return torch.randint(event.levels or 2, (n, *event.shape)).float()


def reals(n: int = 20, size: int = 2) -> Tensor:
    with seeded(0):
        return torch.randn(n, size)


# --- what is observed, and how samples are put back -------------------------------------------------------------------

LOGITS = 30.0 * nn.functional.one_hot(PATTERN.long(), 7)
"""Of a model that draws `PATTERN`; shape ``(2, 3, 7)``."""


def plain(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(logits=LOGITS).to_event(2), obs=x)


def flipped(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(logits=LOGITS.flip(1)).to_event(2), obs=x.flip(2))


def transposed(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(logits=LOGITS.transpose(0, 1)).to_event(2), obs=x.transpose(1, 2))


def flat(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(logits=LOGITS.flatten(0, 1)).to_event(1), obs=x.flatten(1).long())


def in_two_sites(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        for row in (1, 0):
            pyro.sample(f"x{row}", dist.Categorical(logits=LOGITS[row]).to_event(1), obs=x[:, row])


def entry_by_entry(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        for row in range(2):
            for column in pyro.plate(f"columns{row}", 3):
                name = f"x{row}{column}"
                pyro.sample(name, dist.Categorical(logits=LOGITS[row, column]), obs=x[:, row, column])


def in_an_outer_plate(x: Tensor) -> None:
    with pyro.plate("columns", 3, dim=-2), pyro.plate("data", len(x), dim=-1):
        logits = LOGITS.transpose(0, 1)[:, None]
        pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x.permute(2, 0, 1))


def in_an_inner_plate(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-2), pyro.plate("rows", 2, dim=-1):
        pyro.sample("x", dist.Categorical(logits=LOGITS).to_event(1), obs=x)


def as_a_subsample(x: Tensor) -> None:
    with pyro.plate("data", 1000, subsample=x) as batch:
        pyro.sample("x", dist.Categorical(logits=LOGITS).to_event(2), obs=batch)


def as_a_drawn_subsample(x: Tensor) -> None:
    with pyro.plate("data", 4, subsample_size=len(x)) as index:
        pyro.sample("x", dist.Categorical(logits=LOGITS).to_event(2), obs=x[index])


RIGHT = [
    *(plain, flipped, transposed, flat, in_two_sites, entry_by_entry),
    *(in_an_outer_plate, in_an_inner_plate, as_a_subsample, as_a_drawn_subsample),
]


@pytest.mark.parametrize("model", RIGHT)
def test_x_may_be_observed_in_any_arrangement(model: Callable[[Tensor], None]) -> None:
    pair, x = Pair(EVENT, model), data()
    ground_laws(pair, x)
    expected = dist.Categorical(logits=LOGITS).to_event(2).log_prob(x)
    assert torch.allclose(log_prob(pair, x), expected)
    for n in (1, 2, 3, 5):  # also of the size of another plate
        assert torch.equal(sample(pair, n), PATTERN.expand(n, 2, 3))


@pytest.mark.parametrize("model", [plain, flipped, flat, in_two_sites, in_an_outer_plate])
def test_a_coded_file_holds_x_in_its_own_arrangement(model: Callable[[Tensor], None]) -> None:
    pair, x = Pair(EVENT, model), data()
    assert torch.equal(torch.as_tensor(container.decode(pair, container.encode(pair, x))).float(), x)


def observing(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], None]:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Categorical(logits=torch.zeros(2, 3, 7)).to_event(2), obs=change(x))

    return model


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: (x > 3).float(), "other numbers, 0 to 1 where x is 0 to 6"),
        (lambda x: x // 2, "other numbers, 0 to 3"),
        (lambda x: 6 - x, "other numbers"),
        (lambda x: x.flip(0), "its data in another order"),
        (lambda x: torch.zeros_like(x), "the constant 0"),
        (lambda x: x[:, :1].expand(-1, 2, 3), r"entry \(0, 0\) is observed 2 times"),
        (lambda x: torch.where(x == 6, 0.0, x), "other numbers, 0 to "),
    ],
)
def test_what_is_no_rearrangement_of_x_is_refused(change: Callable[[Tensor], Tensor], words: str) -> None:
    with pytest.raises(ContractError, match=words) as refused:
        ground_laws(Pair(EVENT, observing(change)), data())
    assert "'x'" in str(refused.value)
    assert "test_contract.py:" in str(refused.value)


def test_an_entry_that_no_site_observes_is_named() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Categorical(logits=LOGITS[0]).to_event(1), obs=x[:, 0])

    with pytest.raises(ContractError, match=r"3 of 6 are not: entry \(1, 0\) is observed 0 times by site 'x'"):
        ground_laws(Pair(EVENT, model), data())


class Doubled(dist.Categorical):  # type: ignore[misc] # Pyro is not typed
    """Every probability is twice what it should be."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return Doubled(logits=self.logits.expand(*batch_shape, -1))

    def log_prob(self, value: Tensor) -> Any:
        return super().log_prob(value) + math.log(2)


def test_probabilities_that_sum_to_more_than_one_are_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", Doubled(logits=torch.zeros(2, 3, 7)).to_event(2), obs=x)

    with pytest.raises(ContractError, match="add up to 2, not to 1"):
        ground_laws(Pair(EVENT, model), data())


# --- programs over real data whose numbers are known ------------------------------------------------------------------


def normal(mean: Tensor, scale: float = 1.0) -> Any:
    return dist.Normal(mean, scale).to_event(1)


class Linear(nn.Module):
    """z ~ N(0, I), x ~ N(z, I) in the plane; the guide is the posterior, so every weight is p(x) = N(x; 0, 2 I)."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.late = nn.Linear(2, 2), nn.Linear(2, 2)
        nn.init.zeros_(self.late.weight)
        nn.init.zeros_(self.late.bias)

    def prior(self, x: Tensor) -> Any:
        return normal(x.new_zeros(2))

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return normal(z)

    def posterior(self, x: Tensor) -> Any:
        return normal(x / 2, math.sqrt(0.5))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", self.likelihood(z, x), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(x))


def pair_of(kind: type[nn.Module] | nn.Module, event: Event | None = None) -> Pair:
    made: Any = kind() if isinstance(kind, type) else kind
    return Pair(event or Event(2, "real"), made.model, getattr(made, "guide", no_guide), extras=made)


class LateLeak(Linear):
    """It depends on x once training has moved a network that starts at zero."""

    def prior(self, x: Tensor) -> Any:
        return normal(self.late(x))


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
    def guide(self, x: Tensor) -> None:
        with pyro.plate("data"):
            pyro.sample("z", self.posterior(x))


class LowLogProb(Linear):
    """It leaves mass out: below the bound."""

    def log_prob(self, x: Tensor) -> Tensor:
        return normal(x.new_zeros(2)).log_prob(x) - 1


class UnnormalisedLogProb(Linear):
    def log_prob(self, x: Tensor) -> Tensor:
        return normal(x.new_zeros(2), math.sqrt(2)).log_prob(x) + math.log(2 * math.pi)


WRONG = [
    (LateLeak, "the prior of 'z' depends on x"),
    (LeakByAttribute, "the distribution of 'x' depends on x"),
    (TeacherForced, "the distribution of 'x' depends on x"),
    (Factored, "'bonus' is a factor"),
    (PartOfEachDatum, "a mask hides 'x'"),
    (ObservedByHalves, "latent 'x_unobserved' is not sampled by the guide"),
    (Collapsed, "the guide's draws of 'a', 'b' span 1 dimensions and the model's 2"),
    (OnASphere, "the guide's draws of 'z' lie on a sphere"),
    (Swallowed, "in the guide, one draw of 'z' has the event shape"),
    (UnsizedPlate, "in the guide, site 'z' lies outside the data plate: .*plate 'data' has no size"),
    (UnnormalisedLogProb, "it is greater by .* nats than latents and guide allow"),
    (LowLogProb, "should be no less than a lower bound"),
]


@pytest.mark.parametrize(("kind", "words"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_program_is_refused(kind: type[nn.Module], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        ground_laws(pair_of(kind), reals())


def test_an_honest_program_passes_with_the_exact_evidence() -> None:
    pair, x = pair_of(Linear), reals()
    ground_laws(pair, x)
    assert torch.allclose(log_weights(pair, x), normal(torch.zeros(2), math.sqrt(2)).log_prob(x), atol=1e-5)


class Honest(Linear):
    def log_prob(self, x: Tensor) -> Tensor:
        return normal(x.new_zeros(2), math.sqrt(2)).log_prob(x)


class Unsupported(dist.TorchDistribution):  # type: ignore[misc] # Pyro is not typed
    """A normal that declares no support."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own interface)
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


# --- training and the commands ----------------------------------------------------------------------------------------


class Subsampled(Linear):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", 1000, subsample=x):
            z = pyro.sample("z", normal(self.net.bias))
            pyro.sample("x", self.likelihood(z, x), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", 1000, subsample=x):
            pyro.sample("z", self.posterior(x))


def test_the_size_of_the_data_plate_does_not_scale_the_loss() -> None:
    x = reals(40)
    plane = Dataset("plane", Event(2, "real"), x, x, x, "made up")
    pair = pair_of(Subsampled)
    nn.init.zeros_(pair.modules["Subsampled"].net.bias)  # type: ignore[union-attr,arg-type] # of a known module
    end = fit(pair, plane, {"steps": 1, "batch": 40, "lr": 1e-9, "checkpoints": 1}, device="cpu")
    expected = -float(normal(torch.zeros(2), math.sqrt(2)).log_prob(x).mean())
    assert end.history[-1]["train"] == pytest.approx(expected, abs=1e-4)


def test_training_refuses_what_breaks_a_law_unless_it_is_unchecked() -> None:
    x = reals(40)
    plane = Dataset("plane", Event(2, "real"), x, x, x, "made up")
    with pytest.raises(ContractError, match="the prior of 'z' depends on x"):
        fit(pair_of(LateLeak), plane, {"steps": 1}, device="cpu")
    end = fit(pair_of(LateLeak), plane, {"steps": 1, "batch": 40}, device="cpu", unchecked=True)
    assert end.status == "finished"


LEAK = """
import pyro, pyro.distributions as dist, torch
from zoo import Event
event = Event(64, "binary")
def model(x):
    bias = pyro.param("bias", torch.zeros(64))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(logits=bias + 4 * (x - 0.5)).to_event(1), obs=x)
"""


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def test_commands_refuse_or_say_that_nothing_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("leak.py").write_text(LEAK)
    of = ("leak.py", "--data", "digits-binary", "--train", "steps=2", "--device", "cpu")
    for command in (("train",), ("evaluate", "-e", "likelihood")):
        said = run(*command, *of, code=2)
        assert "the distribution of 'x' depends on x" in said
        assert "leak.py:8 `pyro.sample(" in said
    assert "unchecked" in run("train", *of, "--unchecked")
    lines = run("evaluate", *of, "--unchecked", "-e", "likelihood").splitlines()
    assert all("unchecked" in line for line in lines if line.startswith("likelihood"))


def test_a_comparison_has_a_failed_row_with_the_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("leak.py").write_text(LEAK)
    of = ("leak.py", "uniform", "--data", "digits-binary", "--train", "steps=2", "--quick", "--device", "cpu")
    run("compare", *of, code=1)
    report = Path("reports/own/report.md").read_text()
    assert "the model reads x by obs=x only" in report
    assert "| uniform | " in report
    run("compare", *of, "--unchecked", "--name", "unchecked")
    for file in ("report.md", "index.html"):
        assert "were skipped (--unchecked)" in (Path("reports/unchecked") / file).read_text()


def test_a_finished_run_is_checked_once_for_a_text_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(stored_laws, "ground_laws", lambda pair, x: calls.append(pair.label))
    of = ("uniform", "--data", "digits-binary", "--device", "cpu")
    run("train", *of)
    run("train", *of)
    assert calls == []  # training has checked it
    monkeypatch.setattr(stored_laws, "_text", lambda: "another text")
    run("train", *of)
    run("train", *of)
    assert calls == ["uniform"]


@pytest.mark.parametrize("far", [3.0, 20.0, 100.0])
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
