"""DIVA, and the digits turned by angles that it is trained on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from members import small

from zoo.contract.check import check
from zoo.contract.values import random_data
from zoo.data import load_data
from zoo.data.rotated import ANGLES, rotate
from zoo.errors import UnfitError, ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_weights
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.seeding import seeded
from zoo.training.loop import fit

EVENTS = ["x=4x4:5,y=:3@label,d=:3@given", "x=3x5:binary,y=:2@label,d=:2@given", "x=6:real,d=:2@given,y=:4@label"]
SMALL = {"channels": 2}


def made(event: Event, **hyper: Any) -> Any:
    return build("diva", event, {**small("diva"), **SMALL, **hyper}, seed=1)


@pytest.mark.thorough
@pytest.mark.parametrize("text", EVENTS)
def test_the_contract_holds(text: str) -> None:
    event = Event.parse(text)
    findings = check("diva", event, {**small("diva"), **SMALL})
    assert [finding for finding in findings if not finding.ok] == []
    pair = made(event)
    assert capabilities(pair, random_data(event, 5)).likelihood == "bound"
    with seeded(0):
        d = torch.randint(2, (7,)).float()
        drawn = event.unpack(sample(pair, 7, given={"d": d}))
    assert torch.equal(drawn["d"], d)


@pytest.mark.parametrize("text", EVENTS)
def test_the_loss_is_minus_the_elbo_of_the_programs(text: str) -> None:
    """In expectation, and without the classifiers' terms: y summed by the loss is y drawn by the guide."""
    event = Event.parse(text)
    pair = made(event, alpha_d=0.0, alpha_y=0.0)
    with seeded(0):
        batch = random_data(event, 6)
        torch.nn.init.normal_(pair.extras.prior_y.weight)
        torch.nn.init.normal_(pair.extras.prior_d.weight)
    batch[3:] = event.pack({**event.unpack(batch[3:]), "y": torch.full((3,), torch.nan)})
    batch = batch.repeat(4000, 1)
    with seeded(1), pair.evaluating():
        weights, loss = log_weights(pair, batch), pair.extras.loss(batch)
    error = float(weights.reshape(4000, 6).mean(1).std()) / math.sqrt(4000)
    assert float(loss) == pytest.approx(-float(weights.mean()), abs=6 * error)


@pytest.mark.parametrize("weight", ["alpha_d", "alpha_y"])
def test_scores_do_not_contain_the_classifiers_terms(weight: str) -> None:
    event = Event.parse(EVENTS[0])
    with seeded(0):
        batch = random_data(event, 20)
    losses, scores = [], []
    for value in (0.0, 7.0):
        pair = made(event, **{"alpha_d": 0.0, "alpha_y": 0.0, weight: value})
        with seeded(2), pair.evaluating():
            losses.append(float(pair.extras.loss(batch)))
        with seeded(2), pair.evaluating():
            scores.append(log_weights(pair, batch))
    assert losses[1] > losses[0]
    assert torch.equal(*scores)


@pytest.mark.parametrize(
    "text", ["8x8:17", "x=4:real,y=:3@label", "x=4:real,d=:3@given", "x=4:real,y=:3@label,c=:3@given"]
)
def test_other_events_are_refused(text: str) -> None:
    with pytest.raises(UnfitError, match=r"takes record data|takes a record such as"):
        build("diva", Event.parse(text))


@pytest.mark.thorough
def test_it_learns_labels_and_leaves_the_prior_of_an_unknown_domain() -> None:
    data = load_data("rotated-digits:leave=0,images=200")
    pair = made(data.event, hidden=32, latent=8, channels=4)
    before = pair.extras.prior_d.weight.detach().clone()
    fit(pair, data, {"steps": 150, "batch": 100, "lr": 3e-3, "checkpoints": 1}, device="cpu")
    after = pair.extras.prior_d.weight.detach()
    assert torch.equal(after[-1], before[-1])
    assert not torch.equal(after[0], before[0])
    run = TrainedRun(pair, data, seed=0, history=[])
    guided = {score.metric: score for score in evaluate("labels", [run], Settings(particles=2))}["guide_error"].value
    wrong = pair.extras.log_class(data.event.main_of(data.test)).argmax(1) != data.event.unpack(data.test)["y"]
    assert guided == pytest.approx(float(wrong.double().mean()))
    assert guided < 0.6  # chance is 0.9


# ------------------------------------------------------------------------------------------------------- rotated data


@pytest.mark.parametrize("leave", [0, 75])
def test_the_same_images_at_every_angle_but_one(leave: int) -> None:
    data = load_data(f"rotated-digits:leave={leave},images=30")
    parts = data.event.unpack(data.train)
    x, y, d = parts["x"].reshape(5, 30, 8, 8), parts["y"].reshape(5, 30), parts["d"].reshape(5, 30)
    test = data.event.unpack(data.test)
    upright = test["x"] if leave == 0 else x[0]
    kept = [angle for angle in ANGLES if angle != leave]
    for level, angle in enumerate(kept):
        assert torch.equal(x[level], rotate(upright, angle, 17))
        assert torch.equal(y[level], test["y"])
        assert (d[level] == level).all()
    assert torch.equal(test["x"], rotate(upright, leave, 17))
    assert (test["d"] == len(kept)).all()
    assert data.names["d"][-1] == "unknown"
    assert data.event.unpack(data.validation)["d"].unique().tolist() == list(range(len(kept)))


def test_new_digits_and_seeds() -> None:
    same, new = (load_data(f"rotated-digits:images=30,new={new}") for new in (False, True))
    assert len(same.test) == 30
    assert len(new.test) == 447
    assert torch.equal(same.train, new.train)
    assert not torch.equal(load_data("rotated-digits:images=30", seed=1).train, same.train)


def test_four_quarter_turns_are_none() -> None:
    image = torch.arange(25.0).reshape(1, 5, 5)
    turned = image
    for _ in range(4):
        turned = rotate(turned, 90, 25)
    assert torch.equal(turned, image)
    assert torch.equal(rotate(image, 90, 25), image.rot90(1, (1, 2)))


@pytest.mark.parametrize("settings", ["leave=10", "images=2", "images=1001"])
def test_settings_that_data_do_not_have_are_refused(settings: str) -> None:
    with pytest.raises(ZooError, match="rotated-digits, got"):
        load_data(f"rotated-digits:{settings}")
