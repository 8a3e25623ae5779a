"""Selective answers and calibration: closed forms, and the evaluations on pairs whose p(y | x) is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from members import small
from torch import Tensor

import zoo
from zoo.data import Dataset
from zoo.event import Event
from zoo.metrics.calibration import brier, calibration
from zoo.metrics.risk import selective_risks
from zoo.metrics.shifted import SHIFTS
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.registry import datasets, families, load_shelves
from zoo.pairs.sampling import sample
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.scores import Score
from zoo.seeding import seeded

SETTINGS = Settings(particles=4)
IMAGES, PLANE = Event.parse("x=4x4:5,y=:3@label"), Event.parse("x=2:real,y=:2@label")


def scores(
    name: str, pair: Pair, test: Tensor, validation: Tensor | None = None, settings: Settings = SETTINGS
) -> dict[str, Score]:
    validation = test if validation is None else validation
    run = TrainedRun(pair, Dataset("made", pair.event, test, validation, test, "made up"), seed=0, history=[])
    return {score.metric: score for score in evaluate(name, [run], settings)}


def value(score: Score) -> float:
    assert score.value is not None, score
    return score.value


# ------------------------------------------------------------------------------------------------ risk over coverage


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_perfect_ranking_has_its_closed_form(share: float) -> None:
    n = 200
    errors = (torch.arange(n) >= (1 - share) * n).double()
    area, risk = selective_risks(-torch.arange(n).double(), errors)
    assert area.item() == pytest.approx(share + (1 - share) * math.log(1 - share), abs=1e-9)
    assert risk.item() == pytest.approx(max(0.0, share - 0.1) / 0.9, abs=1e-9)


def test_a_ranking_that_knows_nothing_has_the_error_itself() -> None:
    errors = (torch.arange(50) % 5 == 0).double()
    area, risk = selective_risks(torch.zeros(50), errors)
    assert (area.item(), risk.item()) == pytest.approx((0.2, 0.2))


def test_the_worst_ranking_is_that_of_all_errors_first() -> None:
    """risk(c) = 1 up to e, then e / c: e - e log e."""
    errors = (torch.arange(100) < 25).double()
    area, _ = selective_risks(-torch.arange(100).double(), errors)
    assert area.item() == pytest.approx(0.25 - 0.25 * math.log(0.25), abs=1e-9)


def test_a_weight_is_a_number_of_copies() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence, errors = torch.rand(30, generator=generator), torch.randint(2, (30,), generator=generator)
    times = torch.randint(4, (30,), generator=generator)
    weighted = selective_risks(confidence, errors, times[None])
    copied = selective_risks(confidence.repeat_interleave(times), errors.repeat_interleave(times))
    for one, other in zip(weighted, copied, strict=True):
        assert one.item() == pytest.approx(other.item(), abs=1e-9)


@pytest.mark.thorough
def test_the_area_is_the_mean_risk_over_all_coverages() -> None:
    generator = torch.Generator().manual_seed(1)
    confidence, errors = torch.rand(40, generator=generator), torch.randint(2, (40,), generator=generator)
    coverages = [(step + 0.5) / 4000 for step in range(4000)]
    curve = [selective_risks(confidence, errors, coverage=coverage)[1].item() for coverage in coverages]
    assert selective_risks(confidence, errors)[0].item() == pytest.approx(sum(curve) / 4000, abs=1e-4)


# ------------------------------------------------------------------------------------------------------- calibration


def two_classes(x: Tensor, y: Tensor | None = None) -> None:
    """y ~ Cat(1/2), x | y ~ N(2y - 1, 1.5^2): p(y = 1 | x) is logistic in x_1 + x_2."""
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Categorical(logits=x.new_zeros(2)), obs=y)
        pyro.sample("x", dist.Normal((2.0 * y - 1).unsqueeze(-1).expand(*y.shape, 2), 1.5).to_event(1), obs=x)


class Doubtless:
    """p(y | x) too sure of itself: x is taken for less spread than it is."""

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(logits=x.new_zeros(2)), obs=y)
            pyro.sample("x", dist.Normal((2.0 * y - 1).unsqueeze(-1).expand(*y.shape, 2), 0.6).to_event(1), obs=x)


def none(x: Tensor, y: Tensor | None = None) -> None:
    """No latents but the class, which is summed."""


def of_two_classes(n: int = 4000) -> Tensor:
    with seeded(0):
        return sample(Pair(PLANE, two_classes, none), n)


def test_the_true_posterior_is_calibrated() -> None:
    found = scores("calibration", Pair(PLANE, two_classes, none), of_two_classes())
    excess = found["ece_excess"]
    assert excess.stderr is not None
    assert abs(value(excess)) < 3 * excess.stderr
    assert 0 < value(found["ece"]) < 0.03
    x, y = of_two_classes()[:, :2].double(), of_two_classes()[:, 2]
    truth = (2 * x.sum(1) / 1.5**2).sigmoid()  # the odds of N(1, 1.5) against N(-1, 1.5)
    assert value(found["nll"]) == pytest.approx(float(-torch.where(y == 1, truth, 1 - truth).log().mean()), abs=1e-5)
    assert value(found["brier"]) == pytest.approx(float(2 * (truth - y).square().mean()), abs=1e-5)
    assert {found[f"{metric}_rotated"].status for metric in ("ece", "nll", "brier")} == {"skipped"}


@pytest.mark.thorough
def test_overconfidence_is_found() -> None:
    found = scores("calibration", Pair(PLANE, Doubtless().model, none), of_two_classes())
    assert found["ece_excess"].stderr is not None
    assert value(found["ece_excess"]) > 10 * found["ece_excess"].stderr
    assert "15 bins" in found["ece"].reason


@pytest.mark.thorough
def test_labels_drawn_by_the_probabilities_have_the_error_of_chance() -> None:
    """Its mean and deviation over many draws are those that are stated."""
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(300, generator=generator).clamp(0.01, 0.99)
    log_p = torch.stack([p, 1 - p], 1).log()
    draws = [(torch.rand(300, generator=generator) > p).long() for _ in range(40)]
    found = [calibration(log_p, y) for y in draws]
    errors = torch.tensor([each.error for each in found])
    assert float(errors.mean()) == pytest.approx(found[0].chance, abs=4 * found[0].chance_stderr / math.sqrt(40))
    assert float(errors.std()) == pytest.approx(found[0].chance_stderr, rel=0.4)


def test_the_brier_score_is_between_zero_and_two() -> None:
    log_p = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])
    assert brier(log_p, torch.tensor([0, 0])).tolist() == [0.0, 2.0]


# ---------------------------------------------------------------------------------------------------- the evaluations


def labelled_images(n: int = 60) -> Tensor:
    with seeded(0):
        return IMAGES.pack({"x": torch.randint(5, (n, 4, 4)), "y": torch.randint(3, (n,))})


@pytest.mark.thorough
def test_a_constant_p_of_x_saves_nothing() -> None:
    found = scores("selective", build("hybrid", IMAGES, {"x": "uniform"}), labelled_images())
    gains = {name: score for name, score in found.items() if name.endswith("_gain")}
    assert len(gains) == 4 * (1 + len(SHIFTS))
    for score in gains.values():
        assert value(score) == pytest.approx(0.0, abs=1e-9)
        assert score.stderr == pytest.approx(0.0, abs=1e-9)


class FarAndSure(torch.nn.Module):
    """p(x) is N(0, 1) and the classifier the surer the farther from 0, whatever the class."""

    def model(self, x: Tensor, y: Tensor | None = None) -> Any:
        with pyro.plate("data", len(x)):
            value = pyro.sample("x", dist.Normal(x.new_zeros(2), 1.0).to_event(1), obs=x)
            pyro.sample("y", dist.Categorical(logits=torch.stack([value.sum(1), -value.sum(1)], -1)), obs=y)


@pytest.mark.thorough
def test_far_from_the_data_the_classifier_is_sure_and_the_joint_is_not() -> None:
    """The mixture of what is normal, answered rightly, and of entries far away: noise of a wide batch."""
    with seeded(0):
        x = torch.randn(200, 2)
        x[:20] *= 30  # noise has the batch's deviation
        test = PLANE.pack({"x": x, "y": (x.sum(1) < 0).float()})
        near = torch.randn(200, 2)
        validation = PLANE.pack({"x": near, "y": (near.sum(1) < 0).float()})
    found = scores("selective", Pair(PLANE, FarAndSure().model, none), test, validation)
    assert value(found["aurc_posterior_alone"]) == pytest.approx(0.0, abs=1e-9)
    for rule in ("joint", "gated"):
        gain = found[f"aurc_{rule}_noise_gain"]
        assert gain.stderr is not None
        assert value(gain) > 3 * gain.stderr > 0
        assert value(gain) == pytest.approx(
            value(found["aurc_posterior_noise"]) - value(found[f"aurc_{rule}_noise"]), abs=1e-9
        )
        assert "95 % interval" in gain.reason
    assert found["aurc_joint_inverted"].status == found["aurc_joint_rotated"].status == "skipped"


@pytest.mark.thorough
def test_another_data_set_is_mixed_in_and_any_answer_to_it_is_an_error() -> None:
    """Fewer data, far away, of which the classifier is sure: the joint withholds them, and no right answer."""
    with seeded(0):
        near, far = torch.randn(200, 2), torch.randn(50, 2) + torch.tensor([40.0, 40.0])
    load_shelves()
    with datasets.scoped():
        zoo.dataset("far")(lambda: Dataset("far", Event(2, "real"), far, far, far, "made up"))
        test = PLANE.pack({"x": near, "y": (near.sum(1) < 0).float()})
        settings = replace(SETTINGS, against=("far", "nothing"))
        found = scores("selective", Pair(PLANE, FarAndSure().model, none), test, settings=settings)
    assert value(found["error_90_posterior_far"]) == pytest.approx(0.1 / 0.9)
    assert value(found["error_90_joint_far"]) == pytest.approx(0.0, abs=1e-9)
    assert value(found["error_90_joint_far_gain"]) == pytest.approx(0.1 / 0.9)
    assert found["error_90_joint_far"].n == 250
    assert found["error_90_joint_nothing"].status == "failed"


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["selective", "calibration"])
def test_every_family_with_a_label_is_measured_and_others_say_why_not(name: str) -> None:
    x = labelled_images(20)
    for family in families:
        if "record" in family.supports and family.example is None and family.name != "independent":  # takes no label
            found = scores(name, build(family.name, IMAGES, small(family.name)), x)
            assert {score.status for score in found.values()} == {"ok"}, family.name
    event, array = Event((4, 4), 5), IMAGES.main_of(x)
    for score in scores(name, build("independent", event), array).values():
        assert (score.status, "no label" in score.reason) == ("skipped", True)


@pytest.mark.parametrize("name", ["selective", "calibration"])
def test_data_without_a_finite_posterior_fail_and_say_so(name: str) -> None:
    x = of_two_classes(50)
    pair = Pair(PLANE, two_classes, none)
    run = TrainedRun(pair, Dataset("made", PLANE, x, x, x.clone(), "made up"), seed=0, history=[])
    run.data.test[0, 0] = torch.nan
    found = {score.metric: score for score in evaluate(name, [run], SETTINGS)}
    wanted = "aurc_joint_alone" if name == "selective" else "nll"
    assert found[wanted].status == "failed"
    assert "1 of 50 data" in found[wanted].reason
