"""`zoo check`: good pairs of every form pass; each law catches the pair that breaks it, and no other law does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyro.distributions as dist
import pytest
import torch
from breaches import (
    BITS,
    REAL,
    DensityOfBits,
    Detached,
    FailsAtOnce,
    FixedBatch,
    ForgetsWhatItLearnt,
    Fractions,
    Good,
    GuideOverBatch,
    HalfOfTheData,
    HidesItsNet,
    Implicit,
    Infinite,
    InPlace,
    MatrixOnTheCPU,
    Mixed,
    ModelOverBatch,
    NobodysChild,
    NoGuide,
    NoiseOfItsOwn,
    NoJacobian,
    NormalForGamma,
    NotInTheState,
    NoWidth,
    ObservesNothing,
    OfAnAutoGuide,
    OfItsOwn,
    OnALine,
    OnTheCPU,
    OtherName,
    OutsideThePlate,
    OverTheBatch,
    Peeks,
    PointMass,
    Positive,
    PriorOfTheData,
    Recentred,
    Rounded,
    SamplerOnTheCPU,
    SamplesNothing,
    ScalarLogProb,
    Scaled,
    SeedOfItsOwn,
    Shared,
    SharedOfTheData,
    SharedPoint,
    StepsOfTheWhole,
    TermsOnTheCPU,
    TooManyLevels,
    Unused,
    WithoutNoise,
    WrongElbo,
    WrongEvidence,
)
from forms import FORMS
from torch import Tensor

import zoo
from zoo.cli.template import starting_file
from zoo.contract.check import Finding, check, check_pair
from zoo.contract.laws import GROUND, LAWS
from zoo.data import Dataset, load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs import plugins as outside
from zoo.pairs.build import build
from zoo.pairs.declarations import Family
from zoo.pairs.pair import Pair, no_guide
from zoo.pairs.registry import families
from zoo.pairs.user_errors import MENDS
from zoo.seeding import seeded
from zoo.training.loop import fit


def findings_of(kind: Callable[[], Any], event: Event = REAL, device: str = "auto") -> list[Finding]:
    def make(seed: int) -> Pair:
        with seeded(seed):
            made = kind()
            return Pair(event, made.model, getattr(made, "guide", no_guide), extras=made)

    return check_pair(make, event, device=device)


def broken(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.ok is False]


class Breach(NamedTuple):
    """A pair that breaks a law, and parts of the finding."""

    kind: type
    event: Event
    law: str
    detail: str


BROKEN = [
    Breach(FixedBatch, REAL, "the programs run", "the data plate has the size of the batch"),
    Breach(FixedBatch, REAL, "the programs run", "at linear.py:"),
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
    Breach(WrongElbo, REAL, "elbo_terms agrees with the programs", "should add up to the ELBO of the programs"),
    Breach(OtherName, REAL, "the guide's sites", "the model's latent 'z'"),
    Breach(NoGuide, REAL, "the guide's sites", "'z' is not sampled by the guide"),
    Breach(NormalForGamma, REAL, "supports agree", "Normal for 'z' may draw what the model's Gamma rules out"),
    Breach(DensityOfBits, BITS, "supports agree", "under a continuous Normal"),
    Breach(TooManyLevels, Event(3, 7), "samples are of the event", "should be of 3:7"),
    Breach(TooManyLevels, Event(3, 17), "supports agree", "does not take all of 3:17"),
    Breach(StepsOfTheWhole, REAL, "elbo_step adds up to elbo_terms", "over its 3 steps to the term 'diffusion'"),
    Breach(SamplesNothing, REAL, "samples are of the event", "samples by 'quick' should be of 3:real"),
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
    Breach(MatrixOnTheCPU, REAL, "it runs on another device", "breaches.py:"),
    Breach(SamplerOnTheCPU, REAL, "it runs on another device", "breaches.py:"),
    Breach(TermsOnTheCPU, REAL, "it runs on another device", "breaches.py:"),
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


def test_a_pair_on_the_cpu_is_sound_for_the_cpu_alone() -> None:
    findings = findings_of(OnTheCPU, device="cpu")
    assert broken(findings) == []
    assert findings[-1].ok is None


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


def test_control_flow_on_values_is_checked_on_another_device() -> None:
    assert [finding for finding in findings_of(LooksAtValues) if not finding.ok] == []


class PositiveData(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.LogNormal(self.decoder(z), 1.0).to_event(1)


@pytest.mark.thorough
def test_a_model_of_positive_reals_is_checked_on_its_draws() -> None:
    assert broken(findings_of(PositiveData)) == []


def test_an_objective_of_its_own_passes() -> None:
    findings = findings_of(Implicit, BITS)
    assert [finding.law for finding in findings if finding.ok is None] == ["the guide's sites are the model's latents"]
    assert broken(findings) == []


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_pair_passes(form: Callable[[], Any]) -> None:
    families.add(Family("form", lambda event: form(), event=REAL))
    assert [finding for finding in check("form") if not finding.ok] == []


# --- by name, and the starting file -----------------------------------------------------------------------------------


@pytest.mark.thorough
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


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["mine", "my-own_vae2", "event"])
def test_the_starting_file_passes_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(starting_file(name))
    assert outside.load_families([path]) == [name]
    assert [finding for finding in check(name) if not finding.ok] == []


@pytest.mark.thorough
def test_laws_are_checked_on_the_data_that_are_given(tmp_path: Path) -> None:
    """A program of positive numbers: on its own draws all is well, on data with another it is refused at every door."""
    (tmp_path / "waiting.py").write_text(
        "import pyro, pyro.distributions as dist, torch, zoo\n"
        "event = zoo.Event(2, 'real')\n"
        "def model(x):\n"
        "    rate = pyro.param('rate', torch.tensor(1.0), constraint=dist.constraints.positive)\n"
        "    with pyro.plate('data', len(x)):\n"
        "        pyro.sample('x', dist.Exponential(rate.expand(2)).to_event(1), obs=x)\n"
    )
    (name,) = outside.load_families([tmp_path / "waiting.py"])
    assert broken(check(name)) == []
    x = torch.randn(90, 2, generator=torch.Generator().manual_seed(0)).abs()
    lower = x.index_fill(0, torch.tensor([0]), -1.0)  # in the train split, which the ground laws do not see
    within, beyond = (Dataset("made", Event(2, "real"), *values.split(30), "Drawn.") for values in (x, lower))
    assert broken(check(name, data=within)) == []
    for door in (
        lambda: check(name, data=beyond),
        lambda: fit(build(name, beyond.event), beyond, {"steps": 0}),
        lambda: zoo.TrainedRun(build(name, beyond.event), beyond, 0, []),
        lambda: zoo.TrainedModel(build(name, beyond.event), beyond),
    ):
        with pytest.raises(ZooError, match=r"1 of 30 train data lie outside the support of what waiting observes"):
            door()
    unlabelled = load_data("digits:labels=0")
    with pytest.raises(ZooError, match="takes binary or levels data"):
        check("uniform", data=load_data("moons"))
    assert broken(check("independent", data=unlabelled)) == []


@pytest.mark.thorough
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
