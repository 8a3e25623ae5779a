"""Joint models over any family: p(y | x) p(x) and p(x | y) p(y)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from members import in_turn, small
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.contract.check import check
from zoo.contract.values import random_data
from zoo.data import Dataset
from zoo.errors import UnfitError, ZooError
from zoo.event import EXAMPLES, Event, Field
from zoo.metrics.labels import log_joint
from zoo.pairs.build import build
from zoo.pairs.declarations import SUPPORTS
from zoo.pairs.pair import HasPlayers
from zoo.pairs.registry import families, load_shelves
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.seeding import seeded
from zoo.training.loop import fit

SMALL = "x=4x4:5,y=:3@label"
FLOW = "realnvp:layers=2,hidden=8"


def full_name(name: str) -> str:
    settings = ",".join(f"{key}={value}" for key, value in small(name).items())
    return f"{name}:{settings}" if settings else name


def of_arrays() -> list[tuple[str, str]]:
    """Families with a likelihood, on each support that they take."""
    load_shelves()
    return [
        (entry.name, support)
        for entry in families
        if entry.group != "implicit"
        for support in entry.supports
        if support in SUPPORTS
    ]


def labelled(support: str) -> Event:
    array = EXAMPLES[support]
    return Event.record(Field("x", array.shape, array.levels or "real"), Field("y", (), 3, "label"))


def batch_of(event: Event, n: int = 8) -> Tensor:
    with seeded(0):
        return random_data(event, n)


@pytest.mark.parametrize(("name", "support"), in_turn(of_arrays(), lambda each: each[0]))
def test_nats_are_those_of_x_plus_those_of_the_label(name: str, support: str) -> None:
    """Exactly, for the same draws of the guide; without labels they are those of x."""
    event = labelled(support)
    if isinstance(build(full_name(name), EXAMPLES[support]).extras, HasPlayers):
        with pytest.raises(ZooError, match="loss of its own"):
            build("hybrid", event, {"x": full_name(name), "hidden": 8})
        return
    pair: Any = build("hybrid", event, {"x": full_name(name), "hidden": 8})
    inner, x = pair.extras.pair, batch_of(event)
    exact = capabilities(inner).likelihood == "exact"
    assert capabilities(pair).likelihood == capabilities(inner).likelihood
    measure = log_prob if exact else log_weights
    with pair.evaluating():
        with seeded(1):
            of_x = measure(inner, event.main_of(x))
        with seeded(1):
            both = measure(pair, x)
        with seeded(1):
            without = measure(pair.unlabelled, event.drop_label(x))
        of_label = -F.cross_entropy(pair.extras.logits(event.main_of(x)), x[:, -1].long(), reduction="none")
    assert torch.allclose(both, of_x + of_label, atol=1e-4, rtol=1e-5)
    assert torch.allclose(without, of_x, atol=1e-4, rtol=1e-5)
    with seeded(2):
        drawn = sample(pair, 4)
    assert drawn.shape == (4, event.size)
    assert set(drawn[:, -1].tolist()) <= {0.0, 1.0, 2.0}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("hybrid", {"x": FLOW, "shared": True}),
        ("hybrid", {"x": "vae:hidden=8,latent=2", "tie": 0.1}),
        ("classwise", {"x": "dense:layers=1", "tie": 0.1}),
        pytest.param("hybrid", {"x": "vae:hidden=8,latent=2,prior=vamp", "shared": True}, marks=pytest.mark.slow),
        pytest.param("classwise", {"x": FLOW}, marks=pytest.mark.slow),
        pytest.param("classwise", {"x": "pixelcnn:width=8,blocks=1"}, marks=pytest.mark.slow),
    ],
)
def test_the_contract_holds(name: str, hyper: dict[str, Any]) -> None:
    assert [finding for finding in check(name, Event.parse(SMALL), hyper) if not finding.ok] == []


@pytest.mark.thorough
def test_a_log_prob_of_its_own_is_kept_and_checked() -> None:
    event = Event.parse("x=4:real,y=:3@label")
    findings = check("hybrid", event, {"x": "ppca:latent=2"})
    assert [finding for finding in findings if not finding.ok] == []
    assert capabilities(build("hybrid", event, {"x": "ppca:latent=2"})).likelihood == "exact"


def test_the_group_is_that_of_x() -> None:
    assert build("hybrid", Event.parse(SMALL), {"x": FLOW}).group == ""
    assert build("hybrid", Event.parse(SMALL), {"x": "vae:hidden=8"}).group == "prescribed"


def test_scores_contain_no_weight_and_the_loss_does() -> None:
    event, found = Event.parse(SMALL), {}
    x = batch_of(event)
    for weight in (0.0, 1.0, 3.0):
        pair: Any = build("hybrid", event, {"x": "independent", "weight": weight, "hidden": 8})
        with pair.evaluating():
            found[weight] = (log_prob(pair, x), float(pair.extras.loss(x)))
    assert torch.equal(found[0.0][0], found[3.0][0])
    assert found[1.0][1] == pytest.approx(-float(found[1.0][0].mean()), rel=1e-5)
    assert found[3.0][1] - found[0.0][1] == pytest.approx(3 * (found[1.0][1] - found[0.0][1]), rel=1e-5)


@pytest.mark.parametrize("x", [FLOW, "vae:hidden=8,latent=2"])
def test_shared_features_are_trained_by_labels_and_separate_ones_are_not(x: str) -> None:
    event = Event.parse(SMALL)
    batch = batch_of(event)
    for hyper, reached in (({"shared": True}, True), ({"shared": False}, False)):
        pair: Any = build("hybrid", event, {"x": x, "weight": 0.0, "hidden": 8, "dropout": 0.0, **hyper})
        pair.extras.loss(batch).backward()
        gradients = [p.grad.abs().sum() for p in pair.extras.x.parameters() if p.grad is not None]
        assert (float(sum(gradients)) > 0) == reached


def test_the_penalty_is_the_log_density_of_the_difference_of_all_parameters() -> None:
    """log N(0; 0, s^2) - log N(theta - theta~; 0, s^2), over N: its gradients pull both sets together."""
    event, s, n = Event.parse(SMALL), 0.3, 40
    pair: Any = build("hybrid", event, {"x": FLOW, "tie": s})
    pair.extras.initialise(batch_of(event, n))
    with seeded(1), torch.no_grad():
        for parameter in pair.extras.copy.parameters():
            parameter += torch.randn_like(parameter)
    theta, other = (nn.utils.parameters_to_vector(half.parameters()) for half in (pair.extras.copy, pair.extras.x))
    density = torch.distributions.Normal(torch.zeros(()), s)
    expected = (density.log_prob(torch.zeros_like(theta)) - density.log_prob(theta - other)).sum() / n
    assert pair.extras.penalty().item() == pytest.approx(expected.item(), rel=1e-4)
    pair.extras.penalty().backward()
    for a, b in zip(pair.extras.copy.parameters(), pair.extras.x.parameters(), strict=True):
        assert torch.allclose(a.grad, (a - b) / (s**2 * n), rtol=1e-4)
        assert torch.allclose(a.grad, -b.grad)


@pytest.mark.parametrize("x", [FLOW, "vae:hidden=8,latent=2"])
def test_the_limits_of_the_tie_are_shared_and_separate_parameters(x: str) -> None:
    """At equal sets the loss is that of ``shared``; as s grows it is that of two sets with no term between them."""
    event = Event.parse(SMALL)
    batch = batch_of(event)
    main, y = event.main_of(batch), batch[:, -1].long()

    def made(**hyper: Any) -> Any:
        pair: Any = build("hybrid", event, {"x": x, "hidden": 8, **hyper}, seed=3)
        pair.extras.initialise(batch)
        return pair

    def loss(pair: Any) -> float:
        with pair.evaluating(), seeded(1):
            return float(pair.extras.loss(batch))

    def unpenalised(pair: Any) -> float:
        with pair.evaluating(), seeded(1):
            density = log_weights(pair.extras.pair, main).mean()
            return float(F.cross_entropy(pair.extras.logits(main), y) - density)

    shared, near, far = made(shared=True), made(tie=1e-3), made(tie=1e6)
    for tied in (near, far):
        tied.extras.classifier.load_state_dict(shared.extras.classifier.state_dict())
        assert loss(tied) == pytest.approx(loss(shared), rel=1e-5)
        with torch.no_grad():
            for parameter in tied.extras.copy.parameters():
                parameter += 0.1
    assert loss(near) > unpenalised(near) + 1000
    assert loss(far) == pytest.approx(unpenalised(far), rel=1e-5)
    assert abs(loss(far) - loss(shared)) > 1e-4, "the classifier sees the features of its own set"


@pytest.mark.thorough
@pytest.mark.parametrize("x", ["independent", "pixelcnn:width=8,blocks=1", "uniform"])
def test_a_class_that_is_missing_is_summed(x: str) -> None:
    event = Event.parse(SMALL)
    pair: Any = build("classwise", event, {"x": x})
    batch = batch_of(event, 30)
    pair.extras.initialise(batch)
    with pair.evaluating():
        copies = torch.stack([log_prob(copy, event.main_of(batch)) for copy in pair.extras.pairs], 1)
        each = copies + pair.extras.shares
        joint, y = log_joint(pair, batch, particles=1), batch[:, -1].long()
        assert torch.allclose(joint.float(), each, atol=1e-3)
        assert torch.allclose(log_prob(pair, batch), each[range(30), y], atol=1e-3)
        assert torch.allclose(log_prob(pair.unlabelled, event.drop_label(batch)), each.logsumexp(1), atol=1e-3)
        assert float(pair.extras.loss(batch)) == pytest.approx(-float(each[range(30), y].mean()), rel=1e-4)
        batch[:, -1] = torch.nan
        assert float(pair.extras.loss(batch)) == pytest.approx(-float(each.logsumexp(1).mean()), rel=1e-4)
    assert float(pair.extras.shares.exp().sum()) == pytest.approx(1.0)


def test_draws_of_a_class_are_of_its_copy() -> None:
    """Three classes at -9, 0 and 9."""
    event = Event.parse("x=2:real,y=:3@label")
    pair: Any = build("classwise", event, {"x": "independent"})
    y = torch.arange(300) % 3
    with seeded(0):
        x = 9.0 * (y - 1)[:, None] + torch.randn(300, 2)
    pair.extras.initialise(event.pack({"x": x, "y": y}))
    with seeded(1):
        drawn = sample(pair, 300)
    assert torch.equal((drawn[:, 0] / 9).round().clamp(-1, 1) + 1, drawn[:, 2])
    assert drawn[:, 2].unique().numel() == 3


def tied(tie: float, gap: float = 0.0, x: str = "dense:layers=1") -> tuple[Any, Tensor]:
    """Two copies that are ``gap`` apart in every parameter, and data that they were started from."""
    event = Event.parse("x=4:real,y=:3@label")
    pair: Any = build("classwise", event, {"x": x, "tie": tie}, seed=3)
    batch = batch_of(event, 30)
    pair.extras.initialise(batch)
    with torch.no_grad():
        for parameter in (*pair.extras.copy.parameters(), pair.extras.offsets[1]):
            parameter += gap * torch.randn_like(parameter)
    return pair, batch


@pytest.mark.parametrize("x", ["dense:layers=1", "maf:layers=2,hidden=8", "independent"])
def test_tied_copies_that_are_equal_are_the_generative_model(x: str) -> None:
    """The limit s -> 0: p(y | x) p(x) is p(x, y), and so is the loss."""
    pair, batch = tied(1e-3, x=x)
    one: Any = build("classwise", pair.event, {"x": x}, seed=3)
    one.extras.initialise(batch)
    one.extras.x.load_state_dict(pair.extras.x.state_dict())
    some = batch.clone()
    some[::2, -1] = torch.nan
    with pair.evaluating():
        for rows in (batch, some):
            assert torch.allclose(log_prob(pair, rows), log_prob(one, rows), atol=1e-4)
            assert float(pair.extras.loss(rows)) == pytest.approx(float(one.extras.loss(rows)), rel=1e-4)


def test_one_tied_copy_gives_the_label_by_bayes_rule_and_the_other_x() -> None:
    pair, batch = tied(1.0, gap=0.5)
    made, x, y = pair.extras, pair.event.main_of(batch), batch[:, -1].long()
    with pair.evaluating():
        shares = [(made.shares + offset).log_softmax(0) for offset in made.offsets]
        own, other = (
            torch.stack([log_prob(each, x) for each in pairs], 1) + share
            for pairs, share in zip((made.pairs, made.copies), shares, strict=True)
        )
        posterior = log_joint(pair, batch, particles=1).log_softmax(1)
        assert torch.allclose(posterior.exp().sum(1), torch.ones(30, dtype=torch.float64))
        assert torch.allclose(posterior.float(), other - other.logsumexp(1, keepdim=True), atol=1e-4)
        expected = own.logsumexp(1) + posterior[range(30), y].float()
        assert torch.allclose(log_prob(pair, batch), expected, atol=1e-4)
        assert torch.allclose(log_prob(pair.unlabelled, pair.event.drop_label(batch)), own.logsumexp(1), atol=1e-4)
        assert not torch.allclose(own, other, atol=0.1)


@pytest.mark.parametrize(("tie", "together"), [(math.inf, False), (1.0, True)])
def test_copies_that_are_far_from_tied_share_no_gradient(tie: float, together: bool) -> None:
    """Data without a label reach p(y | x) through the tie only; so does p(x) the labels."""
    pair, batch = tied(tie, gap=0.5)
    batch[:, -1] = torch.nan
    pair.extras.loss(batch).backward()
    reached = [p.grad is not None and bool(p.grad.any()) for p in pair.extras.copy.parameters()]
    assert any(reached) == together
    assert all(p.grad is not None for p in pair.extras.x.parameters())


def test_the_tie_is_the_log_density_of_the_difference() -> None:
    pair, _ = tied(0.3, gap=0.5)
    made = pair.extras
    theta, other = (
        torch.cat([nn.utils.parameters_to_vector(half.parameters()), offset])
        for half, offset in zip((made.copy, made.x), reversed(made.offsets), strict=True)
    )
    density = torch.distributions.Normal(torch.zeros(()), 0.3)
    expected = (density.log_prob(torch.zeros_like(theta)) - density.log_prob(theta - other)).sum() / 30
    assert made.penalty().item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "hyper", "sentence"),
    [
        ("hybrid", {"x": "gan"}, "observes x, in one site; gan has 0"),
        ("hybrid", {"x": "ssvae"}, "takes record data"),
        ("hybrid", {"x": "pixelcnn", "shared": True}, "pixelcnn has no features to share"),
        ("hybrid", {"x": "vae+iaf", "shared": True}, "no features to share"),
        ("hybrid", {"weight": -1.0}, "weight is 0 or more"),
        ("hybrid", {"tie": 0.0}, "tie above 0"),
        ("hybrid", {"tie": 0.1, "shared": True}, "give one of them"),
        ("classwise", {"x": "vae"}, "vae has z: take a flow"),
        ("classwise", {"x": "nothing"}, "there is no family 'nothing'"),
        ("classwise", {"tie": 0.0}, "tie is above 0 and up to inf, got 0.0; leave it out"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, hyper: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ZooError, match=sentence):
        build(name, Event.parse(SMALL), hyper)


@pytest.mark.parametrize("name", ["hybrid", "classwise"])
def test_other_events_are_refused(name: str) -> None:
    for text in ("x=4:real,c=:3@given", "x=4:real,w=:3@label"):
        with pytest.raises(UnfitError, match=f"{name} takes a record such as"):
            build(name, Event.parse(text))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("hybrid:x=realnvp,shared=True", marks=pytest.mark.slow),
        "hybrid:x=independent",
        "classwise:x=independent",
        "classwise:x=dense:layers=1,tie=0.1",
    ],
)
def test_two_classes_are_learned_where_some_labels_are_missing(name: str) -> None:
    event = Event.parse("x=4:real,y=:2@label")
    with seeded(0):
        y = torch.randint(2, (400,))
        x = torch.randn(400, 4) + 3.0 * (y[:, None] * 2 - 1)
    whole = event.pack({"x": x, "y": y})
    train = whole.clone()
    train[100:, -1] = torch.nan
    pair = build(name, event, {"hidden": 16} if name.startswith("hybrid") else {})
    fit(pair, Dataset("two", event, train, whole, whole, ""), {"steps": 60, "lr": 1e-2, "checkpoints": 2}, device="cpu")
    run = TrainedRun(pair, Dataset("two", event, whole, whole, whole, ""), seed=0, history=[])
    scores = {score.metric: score for score in evaluate("labels", [run], Settings(particles=4))}
    assert scores["error"].value is not None
    assert scores["error"].value < 0.02
    assert scores["label_nats"].kind == "exact"
    assert scores["label_nats"].value is not None
    assert scores["label_nats"].value < math.log(2) / 2
