"""`zoo check`: good pairs of every form pass; each law catches the pair that breaks it, and no other law does."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import pytest
import torch
from forms import FORMS
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

import zoo
from zoo.cli.template import starting_file
from zoo.contract.check import Finding, check, check_pair
from zoo.contract.laws import GROUND, LAWS
from zoo.data import load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs import plugins as outside
from zoo.pairs.build import build
from zoo.pairs.declarations import Family
from zoo.pairs.pair import Pair, Player, no_guide
from zoo.pairs.registry import families
from zoo.pairs.user_errors import MENDS
from zoo.seeding import seeded
from zoo.training.loop import fit

REAL, BITS = Event(3, "real"), Event(3, "binary")


def findings_of(kind: Callable[[], Any], event: Event = REAL) -> list[Finding]:
    def make(seed: int) -> Pair:
        with seeded(seed):
            made = kind()
            return Pair(event, made.model, getattr(made, "guide", no_guide), extras=made)

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


class SharedPoint(OutsideThePlate):
    def guide(self, x: Tensor) -> None:
        pyro.sample("w", dist.Delta(x.new_zeros(())))
        super().guide(x)


class SharedOfTheData(OutsideThePlate):
    def guide(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(x.mean(), 1.0))
        super().guide(x)


class Mixed(Good):
    """A class k besides z, which is summed."""

    def centres(self, k: Tensor) -> Tensor:
        return k.unsqueeze(-1) * torch.ones(3, device=k.device)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(x.new_ones(4)))
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", dist.Normal(self.decoder(z) + self.centres(k), 1.0).to_event(1), obs=x)


class Recentred(Mixed):
    def centres(self, k: Tensor) -> Tensor:
        return super().centres(k) - k.float().mean(0).unsqueeze(-1)


class Shared(Good):
    """A shift and a scale that all data share, under one of Pyro's guides, with the latent of each datum."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = AutoNormal(pyro.poutine.block(self.model, expose=["shift", "scale"]))

    def model(self, x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
        scale = pyro.sample("scale", dist.Gamma(x.new_tensor(5.0), 5.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", dist.Normal(self.decoder(z) + shift, scale).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        self.shared(x)
        super().guide(x)


class Positive(Good):
    """A latent on the positive numbers, under a guide from the shelf."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = zoo.amortise("normal", self.model, REAL, {"hidden": 4})

    def prior(self, x: Tensor) -> Any:
        return dist.Gamma(x.new_ones(len(x), 2), 1.0).to_event(1)

    def guide(self, x: Tensor) -> None:
        self.encoder(x)


class NoJacobian(Good):
    def prior(self, x: Tensor) -> Any:
        return dist.Gamma(x.new_ones(len(x), 2), 1.0).to_event(1)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", self.posterior(x), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u.exp(), event_dim=1))


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
        return dist.Normal(wide.mean, 1e-30 + 0.0 * wide.stddev).to_event(1)


class WithoutNoise(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(super().likelihood(z, x).mean, 0.0).to_event(1)


class Infinite(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(super().likelihood(z, x).mean + 1e30, 1.0).to_event(1)


class Doubled(dist.Normal):  # type: ignore[misc] # Pyro is not typed
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + 1.0


class OfItsOwn(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return Doubled(super().likelihood(z, x).mean, 1.0).to_event(1)


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


class InPlace(Good):
    def posterior(self, x: Tensor) -> Any:
        x /= 16
        return super().posterior(x)


class NoiseOfItsOwn(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return super().likelihood(z + torch.randn_like(z), x)


class Scaled(Good):
    def model(self, x: Tensor) -> None:
        super().model(x / 16)


class HalfOfTheData(Good):
    def model(self, x: Tensor) -> None:
        with pyro.poutine.mask(mask=torch.arange(len(x)) % 2 == 0):
            super().model(x)


class PriorOfTheData(Good):
    def prior(self, x: Tensor) -> Any:
        return self.posterior(x)


class PointMass(Good):
    def posterior(self, x: Tensor) -> Any:
        return dist.Delta(super().posterior(x).mean).to_event(1)


class OnALine(Good):
    def posterior(self, x: Tensor) -> Any:
        wide = super().posterior(x)
        loadings = torch.ones(2, 1).expand(len(x), 2, 1)
        return dist.LowRankMultivariateNormal(wide.mean, loadings, torch.full((2,), 1e-12))


class HidesItsNet(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(self.decoder(z) + SHIFT, 1.0).to_event(1)


class WrongEvidence(nn.Module):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.zeros_like(x), 1.0).to_event(1), obs=x)

    def log_prob(self, x: Tensor) -> Tensor:
        return -(x**2).sum(1) / 2


class OfAnAutoGuide:
    def __init__(self) -> None:
        self.model = Good().model
        self.guide = AutoNormal(self.model)


SHIFT = torch.zeros(3, requires_grad=True)
"""A trainable tensor that is no parameter of anything."""


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


class Breach(NamedTuple):
    """A pair that breaks a law, and parts of the finding."""

    kind: type
    event: Event
    law: str
    detail: str


BROKEN = [
    Breach(FixedBatch, REAL, "the programs run", "the data plate has the size of the batch"),
    Breach(FixedBatch, REAL, "the programs run", "at test_check.py:"),
    Breach(FailsAtOnce, REAL, "the programs run", "ValueError: no such thing"),
    Breach(ObservesNothing, REAL, "the programs run", "pyro.sample('x', ..., obs=x)"),
    Breach(OutsideThePlate, REAL, "every site lies in the data plate", "site 'w' lies outside"),
    Breach(SharedPoint, REAL, "the guide has a density", "the guide is a point mass in w"),
    Breach(SharedOfTheData, REAL, "the guide has a density", "the guide computes 'w', which all data share, from x"),
    Breach(Recentred, REAL, "summed latents are read", "'x' should have one distribution"),
    Breach(NoJacobian, REAL, "a change of variables", "the Delta of 'z' should have the log_density"),
    Breach(OfAnAutoGuide, REAL, "latents of a datum are computed from it", "'z' is not amortised: an AutoGuide"),
    Breach(InPlace, REAL, "the programs leave x as it is", "the guide changes x in place"),
    Breach(NoiseOfItsOwn, REAL, "all randomness is at sites", "the model should give 'x' the same distribution"),
    Breach(Scaled, REAL, "what the model observes is x", "site 'x' should observe entries of x as they are"),
    Breach(HalfOfTheData, REAL, "every entry is scored", "a mask hides 'x'"),
    Breach(PriorOfTheData, REAL, "the model reads x by obs=x only", "the prior of 'z' depends on x"),
    Breach(PointMass, REAL, "a guide spreads over", "the guide gives 'z' all mass at a point"),
    Breach(OnALine, REAL, "a guide spreads over", "the guide's draws of 'z' span 1 dimensions and the model's 2"),
    Breach(HidesItsNet, REAL, "what is trained is known", "SHIFT of shape (3,)"),
    Breach(WrongEvidence, REAL, "log_prob agrees with the programs", "log_prob(x) should be the log-probability"),
    Breach(ScalarLogProb, REAL, "every site lies in the data plate", "log_prob(x) should have shape (5,)"),
    Breach(OtherName, REAL, "the guide's sites", "the model's latent 'z'"),
    Breach(NoGuide, REAL, "the guide's sites", "'z' is not sampled by the guide"),
    Breach(NormalForGamma, REAL, "supports agree", "Normal for 'z' may draw what the model's Gamma rules out"),
    Breach(DensityOfBits, BITS, "supports agree", "under a continuous Normal"),
    Breach(TooManyLevels, Event(3, 7), "samples are of the event", "should be of 3:7"),
    Breach(TooManyLevels, Event(3, 17), "supports agree", "does not take all of 3:17"),
    Breach(Unused, REAL, "gradients reach", "Unused.spare.weight gets none from the elbo loss"),
    Breach(Detached, REAL, "gradients reach", "Detached.encoder.weight gets none"),
    Breach(NoWidth, REAL, "a guide spreads over", "2 of 2 dimensions of 'z' take one value only"),
    Breach(WithoutNoise, REAL, "distributions have valid parameters", "the Normal at 'x' has scale = 0"),
    Breach(OfItsOwn, REAL, "a distribution draws what", "the Doubled at 'x' add up to 2.72, not to 1"),
    Breach(Infinite, REAL, "losses and log-probabilities are finite", "elbo loss should be a finite number, got"),
    Breach(Peeks, REAL, "the model reads x by obs=x only", "the distribution of 'x' depends on x"),
    Breach(GuideOverBatch, REAL, "data are independent", "log-probability of 'z' under the guide for x[0] changed"),
    Breach(ModelOverBatch, REAL, "data are independent", "log-probability of 'x' under the model for x[0] changed"),
    Breach(SeedOfItsOwn, REAL, "same seed", "'SeedOfItsOwn.encoder.bias' should have the same values"),
    Breach(NotInTheState, REAL, "saving and loading", "register_buffer"),
    Breach(ForgetsWhatItLearnt, REAL, "saving and loading", "they differ by"),
    Breach(OnTheCPU, REAL, "it runs on another device", "x.new_zeros"),
    Breach(MatrixOnTheCPU, REAL, "it runs on another device", "test_check.py:"),
    Breach(Fractions, BITS, "samples are of the event", "should be of 3:binary"),
    Breach(Rounded, BITS, "gradients reach", "Rounded.generator.weight gets none from the generator loss"),
    Breach(NobodysChild, BITS, "gradients reach", "NobodysChild.generator.weight belongs to no player"),
    Breach(OverTheBatch, REAL, "data are independent", "output 'x' for x[0] changed"),
]


@pytest.mark.parametrize("breach", BROKEN, ids=lambda breach: breach.kind.__name__)
def test_each_law_catches_the_pair_that_breaks_it(breach: Breach) -> None:
    [found] = broken(findings_of(breach.kind, breach.event))
    assert found.law.startswith(breach.law)
    assert breach.detail in found.detail
    mends = [law.mend for law in (*GROUND, *LAWS) if law.text == found.law]
    assert any(mend in found.detail for mend in (*mends, *MENDS.values()))


def test_every_law_is_broken_by_a_pair_above() -> None:
    for law in (*GROUND, *LAWS):
        assert any(law.text.startswith(breach.law) for breach in BROKEN), law.text


def test_no_law_is_checked_after_a_broken_precondition() -> None:
    findings = findings_of(OutsideThePlate)
    assert [finding.ok for finding in findings] == [True, True, True, False] + [None] * (len(findings) - 4)
    assert "not checked until this holds: every site" in findings[-1].detail


@pytest.mark.parametrize("kind", [Good, Mixed, Shared, Positive])
def test_a_good_pair_passes_every_law(kind: type) -> None:
    assert [finding for finding in findings_of(kind) if not finding.ok] == []


class LooksAtValues(Good):
    def guide(self, x: Tensor) -> None:
        if x.sum() > 1e9:
            x = x * 0
        super().guide(x)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the law is checked there")
def test_control_flow_on_values_leaves_the_device_law_undecided() -> None:
    findings = findings_of(LooksAtValues)
    assert broken(findings) == []
    assert findings[-1].ok is None
    assert "a program depends on values" in findings[-1].detail
    assert "`if x.sum() > 1e9:`" in findings[-1].detail


class Positive(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.LogNormal(self.decoder(z), 1.0).to_event(1)


def test_a_model_of_positive_reals_is_checked_on_its_draws() -> None:
    assert broken(findings_of(Positive)) == []


def test_an_objective_of_its_own_passes() -> None:
    findings = findings_of(Implicit, BITS)
    assert [finding.law for finding in findings if finding.ok is None] == ["the guide's sites are the model's latents"]
    assert broken(findings) == []


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_pair_passes(form: Callable[[], Any]) -> None:
    families.add(Family("form", lambda event: form(), event=REAL))
    assert [finding for finding in check("form") if not finding.ok] == []


# --- by name, and the starting file -----------------------------------------------------------------------------------


def test_without_an_event_every_support_is_checked() -> None:
    findings = check("independent", seed=1)
    laws = len(GROUND) + len(LAWS)
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
