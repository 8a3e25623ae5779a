"""Families of records, M2 among them, and the scores of labels and of p(x, y) and p(x | c)."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from members import small
from torch import Tensor

from zoo.contract.check import check
from zoo.contract.values import random_data
from zoo.data import Dataset
from zoo.errors import UnfitError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.registry import families
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_weights
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.scores import Score
from zoo.seeding import seeded
from zoo.training.loop import fit

EVENTS = ["x=4x4:5,y=:3@label", "x=3x5:binary,y=:2@label", "x=6:real,y=:4@label"]
QUICK = Settings(particles=40, samples=50)


def of_records() -> list[str]:
    return [family.name for family in families if family.supports == ("record",)]


def data_of(event: Event, n: int = 60, known: int = 20) -> Tensor:
    batch = random_data(event, n)
    batch[known:, -1] = torch.nan
    return batch


@pytest.mark.thorough
@pytest.mark.parametrize("text", [EVENTS[0], *(pytest.param(text, marks=pytest.mark.slow) for text in EVENTS[1:])])
def test_the_contract_holds_for_families_of_records(text: str) -> None:
    others = {"diva", "graphvae", "wavenet-sound"}  # which take other records, and are checked in tests of their own
    assert of_records() == sorted({"classwise", "hybrid", "ssvae"} | others)
    for name in set(of_records()) - others:
        findings = check(name, Event.parse(text), small(name))
        wrong = [finding for finding in findings if not finding.ok]
        assert [finding for finding in wrong if finding.detail != "it has no parameters"] == []
        with seeded(0):
            drawn = sample(build(name, Event.parse(text), small(name)), 7)
        assert drawn.shape == (7, Event.parse(text).size)


@pytest.mark.parametrize("text", EVENTS)
def test_the_loss_is_minus_the_elbo_of_the_programs(text: str) -> None:
    """In expectation, and without the classifier's term: y summed by the loss is y drawn by the guide."""
    event = Event.parse(text)
    pair: Any = build("ssvae", event, {**small("ssvae"), "alpha": 0.0, "dropout": 0.0}, seed=1)
    with seeded(0):
        batch = data_of(event, 6, 3).repeat(4000, 1)
    with seeded(1), pair.evaluating():
        weights, loss = log_weights(pair, batch), pair.extras.loss(batch)
    error = float(weights.reshape(4000, 6).mean(1).std()) / math.sqrt(4000)
    assert float(loss) == pytest.approx(-float(weights.mean()), abs=5 * error)


def test_the_classifiers_term_is_its_cross_entropy_on_labels() -> None:
    event = Event.parse(EVENTS[0])
    with seeded(0):
        batch = data_of(event)
    losses = {}
    for alpha in (0.0, 7.0):
        pair: Any = build("ssvae", event, {**small("ssvae"), "alpha": alpha}, seed=1)
        with seeded(2), pair.evaluating():
            losses[alpha] = float(pair.extras.loss(batch))
            logits = pair.extras.classifier(batch[:20, :16] / 2 - 1)
    entropy = float(torch.nn.functional.cross_entropy(logits, batch[:20, -1].long()))
    assert losses[7.0] - losses[0.0] == pytest.approx(7 * entropy, rel=1e-3)


@pytest.mark.parametrize("text", ["8x8:17", "x=4:real,c=:3@given", "x=4:real,y=2:3@label", "x=4:real,w=:3@label"])
def test_m2_refuses_other_events(text: str) -> None:
    with pytest.raises(UnfitError, match=r"takes record data|takes a record such as"):
        build("ssvae", Event.parse(text))


@pytest.mark.thorough
def test_m2_learns_from_data_without_labels() -> None:
    event = Event.parse("x=8:binary,y=:2@label")
    with seeded(0):
        y = torch.randint(2, (400,)).float()
        x = (torch.rand(400, 8) < torch.where(y[:, None] == 1, 0.85, 0.15)).float()
    whole = event.pack({"x": x, "y": y})
    train = event.pack({"x": x, "y": torch.where(torch.arange(400) < 4, y, torch.nan)})
    pair = build("ssvae", event, {"hidden": 32, "latent": 2})
    fit(pair, Dataset("two", event, train, whole, whole, ""), {"steps": 150, "batch": 100, "lr": 1e-2}, device="cpu")
    error, nats, of_guide = evaluate("labels", [run_of(pair, whole)], QUICK)
    assert error.value is not None
    assert error.value < 0.1
    assert of_guide.value is not None
    assert of_guide.value < 0.1
    assert nats.value is not None
    assert nats.value < math.log(2)


# ---------------------------------------------------------------------------------------------- scores of records


def run_of(pair: Pair, test: Tensor) -> TrainedRun:
    return TrainedRun(pair, Dataset("made", pair.event, test, test, test, "made up"), seed=0, history=[])


def scores(name: str, pair: Pair, test: Tensor) -> dict[str, Score]:
    return {score.metric: score for score in evaluate(name, [run_of(pair, test)], QUICK)}


CLASSES = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0]])
LABELLED, CONDITIONAL = Event.parse("x=2:real,y=:3@label"), Event.parse("x=2:real,c=:real@given")


def of_classes(x: Tensor, y: Tensor | None = None) -> None:
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Categorical(logits=x.new_zeros(3)), obs=y)
        pyro.sample("x", dist.Normal(CLASSES[y.long()], 1.0).to_event(1), obs=x)


def flat(x: Tensor, y: Tensor | None = None) -> None:
    if y is None:
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=x.new_zeros(3)))


def shifted(x: Tensor, c: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(c[:, None].expand(-1, 2), 1.0).to_event(1), obs=x)


def labelled_data() -> Tensor:
    with seeded(0):
        return sample(Pair(LABELLED, of_classes, flat), 200)


def test_labels_are_inferred_by_bayes_rule() -> None:
    test = labelled_data()
    x, y = test[:, :2], test[:, 2].long()
    posterior = dist.Normal(CLASSES, 1.0).log_prob(x[:, None]).sum(2).log_softmax(1)
    found = scores("labels", Pair(LABELLED, of_classes, flat), test)
    assert found["error"].value == pytest.approx(float((posterior.argmax(1) != y).float().mean()))
    assert found["label_nats"].value == pytest.approx(-float(posterior[torch.arange(200), y].mean()), abs=1e-5)
    assert (found["label_nats"].kind, found["label_nats"].reason) == ("exact", "p(y | x)")
    assert found["guide_error"].value == pytest.approx(float((y != 0).float().mean()))  # a flat q: the first class


def test_labels_that_are_not_there_have_no_score() -> None:
    with seeded(0):
        test = torch.randn(20, 3)
    for pair, batch in ((Pair(CONDITIONAL, shifted), test), (build("independent", Event(3, "real")), test)):
        assert {score.status for score in scores("labels", pair, batch).values()} == {"skipped"}


def test_likelihoods_of_records_say_what_they_are_of() -> None:
    pair, test = Pair(LABELLED, of_classes, flat), labelled_data()
    joint = scores("likelihood", pair, test)
    expected = -dist.Normal(CLASSES[test[:, 2].long()], 1.0).log_prob(test[:, :2]).sum(1).mean() + math.log(3)
    assert joint["nats"].value == pytest.approx(float(expected), abs=1e-4)
    assert (joint["nats"].kind, joint["nats"].reason) == ("exact", "p(x, y)")
    assert joint["bits_per_dim"].value == pytest.approx(float(expected) / (3 * math.log(2)), abs=1e-4)
    assert joint["floor_uniform"].status == "skipped"

    test[:50, 2] = torch.nan
    mixed = scores("likelihood", pair, test)
    assert (mixed["nats"].kind, mixed["nats"].reason) == ("lower bound", "p(x, y) of 150 data and p(x) of 50 data")
    dimensions = 150 * 3 + 50 * 2  # in all
    assert mixed["nats"].value is not None
    in_bits = 200 * mixed["nats"].value / (dimensions * math.log(2))
    assert mixed["bits_per_dim"].value == pytest.approx(in_bits, rel=1e-6)
    test[:, 2] = torch.nan
    assert scores("likelihood", pair, test)["nats"].reason == "p(x)"


def test_conditional_likelihoods_do_not_score_what_is_given() -> None:
    with seeded(0):
        c = 10 * torch.randn(300)
        test = CONDITIONAL.pack({"x": c[:, None] + torch.randn(300, 2), "c": c})
    found = scores("likelihood", Pair(CONDITIONAL, shifted), test)
    entropy = math.log(2 * math.pi * math.e)
    assert found["nats"].value == pytest.approx(entropy, abs=0.2)
    assert (found["nats"].kind, found["nats"].reason) == ("exact", "p(x | c)")
    assert found["bits_per_dim"].value == pytest.approx(entropy / (2 * math.log(2)), abs=0.15)
    good = scores("sampling", Pair(CONDITIONAL, shifted), test)
    assert good["c2st"].value == pytest.approx(0.5, abs=0.15)  # samples are given what the data are given


@pytest.mark.parametrize(("evaluation", "reason"), [("lossless", "real data"), ("lossy", "a record of fields")])
def test_real_records_are_not_coded_and_say_so(evaluation: str, reason: str) -> None:
    pair = Pair(LABELLED, of_classes, flat)
    found = scores(evaluation, pair, labelled_data())
    assert all(reason in score.reason for score in found.values())
    assert not capabilities(pair).lossless


def test_a_diverged_score_keeps_its_reason() -> None:
    broken = run_of(Pair(LABELLED, of_classes, flat), labelled_data())
    broken.data.test[0, 0] = math.nan
    nats = evaluate("likelihood", [broken], QUICK)[0]
    assert (nats.status, nats.reason) == ("failed", "1 of 200 data have no finite value")
