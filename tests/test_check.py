"""`zoo check`: good pairs of every form pass; each law catches the pair that breaks it, and no other law does."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

from zoo.cli.template import starting_file
from zoo.contract.check import Finding, check, check_pair
from zoo.contract.laws import LAWS, PRECONDITIONS
from zoo.data import load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs import plugins as outside
from zoo.pairs.build import build
from zoo.pairs.pair import Pair, Player
from zoo.pairs.registry import Family, families
from zoo.pairs.traces import log_weights
from zoo.seeding import seeded
from zoo.training.loop import fit

REAL = Event(3, "real")


def findings_of(kind: Callable[[], Any], event: Event = REAL) -> list[Finding]:
    def make(seed: int) -> Pair:
        with seeded(seed):
            made = kind()
            return Pair(event, made.model, made.guide, extras=made) if hasattr(made, "guide") else Pair(
                event, made.model, extras=made
            )  # fmt: skip

    return check_pair(make, event)


def broken(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.ok is False]


class Good(nn.Module):
    """z ~ N(0, I), x ~ N(f(z), I), and an amortised normal guide."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
        self.encoder = nn.Linear(3, 4)

    def prior(self, x: Tensor) -> Any:
        return dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1)

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(self.decoder(z), 1.0).to_event(1)

    def posterior(self, x: Tensor) -> Any:
        mean, raw = self.encoder(x).chunk(2, -1)
        return dist.Normal(mean, nn.functional.softplus(raw)).to_event(1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", self.likelihood(z, x), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(x))


class FixedBatch(Good):
    def prior(self, x: Tensor) -> Any:
        return dist.Normal(x.new_zeros(2, 2), 1.0).to_event(1)


class FailsAtOnce(Good):
    def __init__(self) -> None:
        super().__init__()
        raise ValueError("no such thing")


class ObservesNothing(Good):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.prior(x))


class OutsideThePlate(Good):
    def model(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(x.new_zeros(()), 1.0))
        super().model(x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(x.new_zeros(()), 1.0))
        super().guide(x)


class ScalarLogProb(Good):
    def log_prob(self, x: Tensor) -> Tensor:
        return x.sum()


class OtherName(Good):
    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("u", self.posterior(x))


class NoGuide(Good):
    def guide(self, x: Tensor) -> None:
        return None


class NormalForGamma(Good):
    def prior(self, x: Tensor) -> Any:
        return dist.Gamma(x.new_ones(len(x), 2), 1.0).to_event(1)

    def posterior(self, x: Tensor) -> Any:
        return dist.Normal(super().posterior(x).mean + 50.0, 1.0).to_event(1)  # no draw shows it


class DensityOfBits(Good):
    """Binary data under a density."""


class TooManyLevels(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Binomial(9, logits=self.decoder(z)).to_event(1)


class Unused(Good):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


class Detached(Good):
    def posterior(self, x: Tensor) -> Any:
        mean = super().posterior(x).mean.detach()
        return dist.Normal(mean, 1.0).to_event(1)


class NoWidth(Good):
    def posterior(self, x: Tensor) -> Any:
        wide = super().posterior(x)
        return dist.Normal(wide.mean, 0.0 * wide.stddev).to_event(1)


class Peeks(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(self.decoder(z) + 0.5 * x, 1.0).to_event(1)


class GuideOverBatch(Good):
    def posterior(self, x: Tensor) -> Any:
        return super().posterior(x - x.mean(0))


class ModelOverBatch(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return super().likelihood(z - z.mean(0), x)


class SeedOfItsOwn(Good):
    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.encoder.bias.fill_(secrets.randbelow(2**20) / 2**20)


class NotInTheState(Good):
    def __init__(self) -> None:
        super().__init__()
        self.shift = float(torch.randn(()))

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return super().likelihood(z + self.shift, x)


class ForgetsWhatItLearnt(Good):
    """A running mean that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = 0.0

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        if self.training:
            self.mean += 0.1
        return super().likelihood(z + self.mean, x)


class OnTheCPU(Good):
    def prior(self, x: Tensor) -> Any:
        return dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1)


class MatrixOnTheCPU(Good):
    """The meta device itself multiplies matrices of two devices."""

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return super().likelihood(z @ torch.eye(2), x)


BROKEN = [
    (FixedBatch, REAL, "the programs run", "take n from len(x)"),
    (FixedBatch, REAL, "the programs run", "at test_check.py:"),
    (FailsAtOnce, REAL, "the programs run", "ValueError: no such thing"),
    (ObservesNothing, REAL, "the programs run", "pyro.sample('x', ..., obs=x)"),
    (OutsideThePlate, REAL, "every site lies in the data plate", "site 'w' lies outside"),
    (ScalarLogProb, REAL, "every site lies in the data plate", "log_prob(x) should have shape (5,)"),
    (OtherName, REAL, "the guide's sites", "the model's latent 'z'"),
    (NoGuide, REAL, "the guide's sites", "'z' is not sampled by the guide"),
    (NormalForGamma, REAL, "supports agree", "Normal for 'z' may draw what the model's Gamma rules out"),
    (DensityOfBits, Event(3, "binary"), "supports agree", "under a continuous Normal"),
    (TooManyLevels, Event(3, 7), "supports agree", "a Binomial that draws"),
    (TooManyLevels, Event(3, 17), "supports agree", "does not take all of 3:17"),
    (Unused, REAL, "gradients reach", "Unused.spare.weight gets none from the elbo loss"),
    (Detached, REAL, "gradients reach", "Detached.encoder.weight gets none"),
    (NoWidth, REAL, "losses and log-probabilities are finite", "elbo loss should be a finite number, got"),
    (Peeks, REAL, "samples are of the event", "other than by obs=x"),
    (GuideOverBatch, REAL, "data are independent", "log-probability under the guide of x[0] changed"),
    (ModelOverBatch, REAL, "data are independent", "log-probability under the model of x[0] changed"),
    (SeedOfItsOwn, REAL, "same seed", "'SeedOfItsOwn.encoder.bias' should have the same values"),
    (NotInTheState, REAL, "saving and loading", "register_buffer"),
    (ForgetsWhatItLearnt, REAL, "saving and loading", "they differ by"),
    (OnTheCPU, REAL, "it runs on another device", "x.new_zeros"),
    (MatrixOnTheCPU, REAL, "it runs on another device", "test_check.py:"),
]


@pytest.mark.parametrize(("kind", "event", "law", "detail"), BROKEN)
def test_each_law_catches_the_pair_that_breaks_it(kind: type[Good], event: Event, law: str, detail: str) -> None:
    findings = findings_of(kind, event)
    [found] = broken(findings)
    assert found.law.startswith(law)
    assert detail in found.detail
    mend = next(each.mend for each in (*PRECONDITIONS, *LAWS) if each.text == found.law)
    assert mend in found.detail


def test_every_law_is_broken_by_a_pair_above() -> None:
    for law in (*PRECONDITIONS, *LAWS):
        assert any(law.text.startswith(text) for _, _, text, _ in BROKEN), law.text


def test_laws_that_stand_on_a_broken_one_are_not_asked() -> None:
    findings = findings_of(OutsideThePlate)
    assert [finding.ok for finding in findings] == [True, False] + [None] * (len(findings) - 2)
    assert "not checked until this holds: every site" in findings[-1].detail


def test_a_good_pair_passes_every_law() -> None:
    assert [finding for finding in findings_of(Good) if not finding.ok] == []


class LooksAtValues(Good):
    def guide(self, x: Tensor) -> None:
        if x.sum() > 1e9:
            x = x * 0
        super().guide(x)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the law is proved there")
def test_control_flow_on_values_leaves_the_device_undecided() -> None:
    findings = findings_of(LooksAtValues)
    assert broken(findings) == []
    assert findings[-1].ok is None
    assert "a program depends on values" in findings[-1].detail
    assert "`if x.sum() > 1e9:`" in findings[-1].detail


class Positive(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.LogNormal(self.decoder(z), 1.0).to_event(1)


def test_a_model_of_positive_reals_is_judged_on_its_own_draws() -> None:
    assert broken(findings_of(Positive)) == []


# --- implicit pairs ---------------------------------------------------------------------------------------------------


class Implicit(nn.Module):
    """Two players over bits."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = nn.Linear(2, 3), nn.Linear(3, 1)

    def shape(self, raw: Tensor) -> Tensor:
        smooth = raw.sigmoid()
        return smooth + (smooth.round() - smooth).detach()

    def model(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.deterministic("x", self.shape(self.generator(z)), event_dim=1)

    def generator_loss(self, x: Tensor) -> Tensor:
        return -self.critic(self.model(x)).mean()

    def critic_loss(self, x: Tensor) -> Tensor:
        fake, real = self.critic(self.model(x).detach()), self.critic(x)
        return nn.functional.softplus(fake).mean() + nn.functional.softplus(-real).mean()

    def players(self) -> list[Player]:
        return [
            Player("critic", list(self.critic.parameters()), self.critic_loss),
            Player("generator", list(self.generator.parameters()), self.generator_loss),
        ]


class Fractions(Implicit):
    def shape(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()


class Rounded(Implicit):
    def shape(self, raw: Tensor) -> Tensor:
        return raw.sigmoid().round()


class OverTheBatch(Implicit):
    def shape(self, raw: Tensor) -> Tensor:
        return raw - raw.mean(0) / 2


class NobodysChild(Implicit):
    def players(self) -> list[Player]:
        return super().players()[:1]


def test_an_objective_of_its_own_passes() -> None:
    findings = findings_of(Implicit, Event(3, "binary"))
    assert [finding.law for finding in findings if finding.ok is None] == ["the guide's sites are the model's latents"]
    assert broken(findings) == []


@pytest.mark.parametrize(
    ("kind", "event", "law", "detail"),
    [
        (Fractions, Event(3, "binary"), "samples are of the event", "should be of 3:binary"),
        (Rounded, Event(3, "binary"), "gradients reach", "Rounded.generator.weight gets none from the generator loss"),
        (NobodysChild, Event(3, "binary"), "gradients reach", "NobodysChild.generator.weight belongs to no player"),
        (OverTheBatch, REAL, "data are independent", "output of x[0] changed"),
    ],
)
def test_implicit_pairs_that_break_a_law(kind: type[Implicit], event: Event, law: str, detail: str) -> None:
    [found] = broken(findings_of(kind, event))
    assert found.law.startswith(law)
    assert detail in found.detail


# --- every form of a pair ---------------------------------------------------------------------------------------------


class Half(PyroModule):  # type: ignore[misc] # Pyro is not typed
    """Two modules of this one class, and so of equal parameter names."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = PyroModule[nn.Linear](inputs, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = PyroParam(torch.full((outputs,), 0.5 + inputs), constraint=constraints.positive)

    def distribution(self, value: Tensor) -> Any:
        return dist.Normal(self.net(value) + self.bias, self.scale).to_event(1)


class Net(Half):
    def __init__(self) -> None:
        super().__init__(2, 3)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", self.distribution(z), obs=x)


Model = Net


class Net(Half):  # type: ignore[no-redef] # of the same name on purpose
    def __init__(self) -> None:
        super().__init__(3, 2)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.distribution(x))


Guide = Net


def pyro_modules(event: Event) -> tuple[Any, Any]:
    return Model(), Guide()


def plain_functions(event: Event) -> tuple[Any, Any]:
    decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 2)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        scale = pyro.param("scale", lambda: torch.rand(3) + 0.5, constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        scale = pyro.param("guide_scale", torch.ones(2), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), scale).to_event(1))

    return model, guide


@pytest.mark.parametrize("form", [pyro_modules, plain_functions, lambda event: Good()])
def test_every_form_of_a_pair_passes(form: Callable[[Event], Any]) -> None:
    families.add(Family("form", form, event=REAL))
    assert [finding for finding in check("form") if not finding.ok] == []


def test_pairs_of_equal_parameter_names_keep_apart() -> None:
    families.add(Family("form", pyro_modules, event=REAL))
    one, two = build("form", REAL, seed=0), build("form", REAL, seed=1)
    assert len(one.parameters()) == 8
    x = torch.randn(5, 3)
    with seeded(0), one.evaluating():
        before = log_weights(one, x)
    with torch.no_grad():
        for parameter in two.parameters():
            parameter.add_(1.0)
    with seeded(0), two.evaluating():
        assert not torch.allclose(before, log_weights(two, x))
    with seeded(0), one.evaluating():
        assert torch.equal(before, log_weights(one, x))


# --- by name, and the starting file -----------------------------------------------------------------------------------


def test_without_an_event_every_support_is_checked() -> None:
    findings = check("independent", seed=1)
    laws = len(PRECONDITIONS) + len(LAWS)
    assert len(findings) == 3 * laws
    assert [finding.law.rpartition(" ")[2] for finding in findings[::laws]] == ["(8x8:binary)", "(8x8:17)", "(2:real)"]
    assert broken(findings) == []


def test_wrong_names_are_not_findings() -> None:
    with pytest.raises(ZooError, match="there is no family 'no-such-family'"):
        check("no-such-family")
    with pytest.raises(ZooError, match="has no hyper-parameter 'lattent'"):
        check("ppca", REAL, {"lattent": 3})
    with pytest.raises(ZooError, match="takes binary or levels data, got real"):
        check("uniform", REAL)


@pytest.mark.parametrize("name", ["mine", "my-own_vae2", "event"])
def test_the_starting_file_passes_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(starting_file(name))
    assert outside.load_families([path]) == [name]
    assert [finding for finding in check(name) if not finding.ok] == []


def test_the_starting_file_learns_digits(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(starting_file("mine"))
    outside.load_families([path])
    data = load_data("digits")
    recipe = {**families["mine"].recipe, "steps": 60, "checkpoints": 2}
    progress = fit(build("mine", data.event), data, recipe)
    assert progress.status == "finished"
    assert progress.best_score < progress.history[0]["validation"] + 1
    assert progress.best_score < 150  # nats; an untrained one has 181, the uniform


@pytest.mark.parametrize("name", ["", "2d", "a b", "class", "a/b", "é", "_hidden", "x'", "a.py"])
def test_a_family_cannot_be_called_that(name: str) -> None:
    with pytest.raises(ZooError, match="such as my_vae"):
        starting_file(name)
