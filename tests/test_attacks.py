"""Attacks on classifiers with known gradients, and what the evaluation says of attacked data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from members import small
from test_evaluations import Normal, asked, finished, value
from test_passes import Implicit
from torch import Tensor

from zoo import Event, Settings, TrainedRun, load_data
from zoo.errors import UnfitError, ZooError
from zoo.metrics.attacks import ATTACKS, Classify, attacked, limits
from zoo.metrics.bounds import log_likelihoods
from zoo.metrics.labels import guided, log_joint, posterior
from zoo.pairs.build import build
from zoo.training.loop import fit

EVENTS = [Event((4, 4), 17), Event(6, "binary"), Event(6, "real"), Event((2, 3), 256)]
SETTINGS = Settings(particles=4, samples=60)


def linear(event: Event, classes: int = 3) -> Classify:
    weights = torch.randn(event.size, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = (event.levels or 2) - 1.0
    return lambda x: (x.reshape(len(x), -1).double() / unit - 0.5) @ weights


def batch(event: Event, n: int = 200) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if event.levels is None:
        return torch.randn(n, *event.shape, generator=generator)
    return torch.randint(event.levels, (n, *event.shape), generator=generator).float()


def accuracy(classify: Classify, x: Tensor, y: Tensor) -> float:
    return float((classify(x).argmax(1) == y).double().mean())


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_attacked_data_stay_near_and_within_the_support(event: Event, name: str) -> None:
    classify, x = linear(event), batch(event)
    y, bounds = classify(x).argmax(1), limits(event, x)
    low, high = bounds
    assert torch.equal(attacked(name, event, classify, x, y, 0.0, bounds), x), "nothing is changed by nothing"
    rates = [1.0]
    for epsilon in (0.1, 0.2, 0.3):
        if event.support == "binary":
            with pytest.raises(UnfitError, match="less than one of the 2 levels"):
                attacked(name, event, classify, x, y, epsilon, bounds)
            continue
        moved = attacked(name, event, classify, x, y, epsilon, bounds)
        assert ((moved - x).abs() <= epsilon * (high - low) + 1e-5).all()
        assert ((moved >= low) & (moved <= high)).all()
        if event.levels:
            assert torch.equal(moved, moved.round())
        rates.append(accuracy(classify, moved, y))
    assert rates == sorted(rates, reverse=True), "accuracy falls with the reach"
    assert len(rates) == 1 or rates[-1] < rates[0]


def test_one_step_is_the_sign_of_the_gradient() -> None:
    """Of two classes, that of the difference of their weights, cut at the limits."""
    event, x = Event(3, "real"), torch.tensor([[0.0, 0.5, 0.95]])
    weights = torch.tensor([[1.0, 3.0], [2.0, -1.0], [0.0, 1.0]])
    bounds = (torch.zeros(3), torch.ones(3))
    moved = attacked("fgsm", event, lambda x: x @ weights, x, torch.tensor([0]), 0.1, bounds)
    assert torch.allclose(moved, torch.tensor([[0.1, 0.4, 1.0]]))


def test_a_certain_classifier_is_attacked_too() -> None:
    """At log-odds of 120 the gradient of the cross-entropy is exactly zero in float32."""
    event, x = Event(2, "real"), torch.tensor([[0.6, 0.2]])
    bounds = (torch.zeros(2), torch.ones(2))

    def classify(x: Tensor) -> Tensor:
        return 300 * x

    at = x.clone().requires_grad_()
    torch.nn.functional.cross_entropy(classify(at), torch.tensor([0])).backward()
    assert at.grad is not None
    assert not at.grad.any()
    moved = attacked("fgsm", event, classify, x, torch.tensor([0]), 0.25, bounds)
    assert torch.allclose(moved, torch.tensor([[0.35, 0.45]]))


def test_whole_levels_that_a_share_of_the_range_holds() -> None:
    event = Event(1, 256)
    x, bounds = torch.full((1, 1), 100.0), limits(event, torch.zeros(1, 1))
    for epsilon, levels in ((0.1, 25), (0.2, 51), (0.3, 76)):
        moved = attacked("fgsm", event, lambda x: torch.cat([-x, x], 1), x, torch.tensor([0]), epsilon, bounds)
        assert float(moved) == 100 + levels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "blur"}, "fgsm, pgd; got 'blur'"),
        ({"epsilon": -0.1}, "0 or more"),
        ({"classify": lambda x: torch.zeros(len(x), 2)}, "no gradient"),
    ],
)
def test_what_cannot_be_attacked_is_refused(change: dict[str, Any], message: str) -> None:
    event = Event(2, "real")
    x = batch(event)
    given: dict[str, Any] = {"name": "fgsm", "event": event, "classify": linear(event), "x": x, "epsilon": 0.1} | change
    with pytest.raises(ZooError, match=message):
        attacked(y=torch.zeros(len(x), dtype=torch.int64), bounds=limits(event, x), **given)


# ------------------------------------------------------------------------------------------------ p(y | x) of a pair


@pytest.fixture(scope="module")
def labelled() -> TrainedRun:
    data = load_data("digits:labels=all")
    pair = build("ssvae", data.event)
    fit(pair, data, {"steps": 100, "lr": 2e-3, "engine": "eager"}, device="cpu")
    return TrainedRun(pair, data, 0, [])


@pytest.mark.thorough
def test_the_posterior_of_a_label_is_the_guides_where_it_draws_it(labelled: TrainedRun) -> None:
    pair, x = labelled.pair, labelled.data.test[:30]
    by_guide, expected = posterior(pair, x, 4), guided(pair, x)
    assert expected is not None
    assert torch.allclose(by_guide, expected)
    assert torch.allclose(by_guide.exp().sum(1), torch.ones(30), atol=1e-5)
    with torch.no_grad():
        assert not posterior(pair, x, 4).requires_grad


@pytest.mark.parametrize("name", ["ssvae", "hybrid:x=independent", "hybrid:x=realnvp", "hybrid:x=vae"])
def test_the_posterior_of_a_label_is_that_of_the_joint_and_has_a_gradient(name: str) -> None:
    event = Event.parse("x=4x4:5,y=:3@label")
    family, _, own = name.partition(":")
    pair = build(name, event, {key: value for key, value in small(family).items() if not (own and key == "x")}, seed=1)
    x = event.pack({"x": batch(event.array, 6), "y": torch.arange(6) % 3})
    at = x.clone().requires_grad_()
    found = posterior(pair, at, 4)
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), at)
    assert gradient[:, :16].any()
    if guided(pair, x) is None:
        assert torch.allclose(found.detach().double(), log_joint(pair, x, 4).log_softmax(1), atol=1e-3)


@pytest.mark.thorough
def test_own_and_plain_classifiers_fall_and_their_data_are_scored(labelled: TrainedRun, tmp_path: Path) -> None:
    run = replace(labelled, shared=tmp_path)
    scores = asked("attack", run, settings=SETTINGS)
    for victim in ("plain", "own"):
        falling = [value(scores[f"{victim}_accuracy_{case}"]) for case in ("clean", "fgsm_0.2", "fgsm_0.3")]
        assert falling[0] > 0.8
        assert falling == sorted(falling, reverse=True)
        assert falling[-1] < 0.3
        area = scores[f"{victim}_auroc_log_p_pgd_0.3"]
        assert (area.n, area.reason) == (120, "log p(x) by a lower bound")
        assert value(area) > 0.5
    assert scores["own_auroc_log_joint_fgsm_0.3"].reason == "log p(x, y) by a lower bound"
    written = (tmp_path / "classifier.safetensors").stat().st_mtime_ns
    assert asked("attack", run, settings=SETTINGS) == scores
    assert (tmp_path / "classifier.safetensors").stat().st_mtime_ns == written, "it is trained once"


@pytest.mark.thorough
def test_a_family_without_labels_is_shown_what_fools_the_plain_classifier() -> None:
    data = load_data("digits")
    run = TrainedRun(build("uniform", data.event), data, 0, [])
    scores = asked("attack", run, settings=SETTINGS)
    assert value(scores["plain_accuracy_clean"]) > 0.8
    assert value(scores["plain_auroc_log_p_fgsm_0.3"]) == 0.5, "all data are as probable"
    assert "no label" in scores["own_accuracy_clean"].reason
    assert scores["own_accuracy_clean"].status == "skipped"


def test_data_without_classes_and_models_without_a_likelihood_are_skipped() -> None:
    scores = asked("attack", finished(Normal()))
    assert {score.status for score in scores.values()} == {"skipped"}
    assert "not known" in scores["plain_accuracy_clean"].reason
    stopped = asked("attack", finished(Normal(), status="diverged"))
    assert set(stopped) == set(scores)
    assert {score.status for score in stopped.values()} == {"failed"}
    assert {score.status for score in asked("attack", finished(Implicit(), unchecked=True)).values()} == {"skipped"}


@pytest.mark.parametrize(("pair", "kind"), [("uniform", "exact"), ("vae", "lower bound")])
def test_likelihoods_are_exact_or_bounds(pair: str, kind: str) -> None:
    values, found = log_likelihoods(build(pair, Event(4, "binary")), torch.zeros(3, 4), particles=5)
    assert (found, values.shape) == (kind, (3,))
    with pytest.raises(ZooError, match="implicit"):
        log_likelihoods(finished(Implicit(), unchecked=True).pair, torch.zeros(3, 2))


@pytest.mark.thorough
def test_the_levels_of_a_continuous_point_are_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every datum that a likelihood is asked for is a datum of the event."""
    seen: list[Tensor] = []
    import zoo.evaluations.attack as module

    ask: Callable[..., object] = module.log_likelihoods
    monkeypatch.setattr(
        module, "log_likelihoods", lambda pair, x, *rest, **words: (seen.append(x), ask(pair, x, *rest, **words))[1]
    )
    data = load_data("digits")
    asked("attack", TrainedRun(build("uniform", data.event), data, 0, []), settings=replace(SETTINGS, samples=20))
    assert len(seen) == 7
    for x in seen:
        assert torch.equal(x, x.round().clamp(0, 16))
