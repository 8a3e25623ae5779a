"""Data that are records of fields: programs take them by name, and labels that are missing are latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

from zoo import engine
from zoo.contract.check import check_pair, ground_laws
from zoo.data import Dataset
from zoo.errors import ContractError
from zoo.event import Event
from zoo.metrics.bounds import bounds, log_probs
from zoo.pairs.pair import Pair
from zoo.pairs.records import density
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.seeding import seeded
from zoo.training.loop import Batches, fit

LABELLED = Event.parse("x=2:real,y=:3@label")
GIVEN = Event.parse("x=2:real,c=:real@given")


class Mixture(nn.Module):
    """y ~ Cat(1/3), x ~ N(mu_y, I): p(x, y) is exact, and q(y | x) bounds p(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.randn(3, 2))
        self.net = nn.Linear(2, 3)
        nn.init.zeros_(self.net.weight)  # q starts flat, so a bound has little noise

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(logits=x.new_zeros(3)), obs=y)
            pyro.sample("x", dist.Normal(self.mu[y.long()], 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        if y is None:
            with pyro.plate("data", len(x)):
                pyro.sample("y", dist.Categorical(logits=self.net(x)))


def mixture(seed: int = 0) -> Pair:
    with seeded(seed):
        made = Mixture()
        return Pair(LABELLED, made.model, made.guide)


def conditional(seed: int = 0) -> Pair:
    """x ~ N(c, I), given c."""
    with seeded(seed):
        shift = nn.Parameter(torch.zeros(2))

    def model(x: Tensor, c: Tensor) -> None:
        pyro.param("shift", shift)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(c[:, None] + pyro.param("shift"), 1.0).to_event(1), obs=x)

    return Pair(GIVEN, model)


def some(n: int = 12, seed: int = 0) -> Tensor:
    """Data of which every third has no label."""
    with seeded(seed):
        y = torch.randint(3, (n,)).float()
        return LABELLED.pack({"x": 2 * torch.randn(n, 2), "y": torch.where(torch.arange(n) % 3 == 0, torch.nan, y)})


def test_labelled_data_are_scored_jointly_and_exactly() -> None:
    pair, batch = mixture(), some()
    known = batch[~LABELLED.missing(batch)]
    x, y = known[:, :2], known[:, 2].long()
    mu = pair.named_parameters()["Mixture.mu"]
    expected = dist.Normal(mu[y], 1.0).log_prob(x).sum(1) - math.log(3)
    torch.testing.assert_close(log_weights(pair, known), expected)


def test_the_bound_without_a_label_tends_to_the_marginal() -> None:
    pair, batch = mixture(), some()
    bare = batch[LABELLED.missing(batch)]
    mu = pair.named_parameters()["Mixture.mu"].detach()
    marginal = (dist.Normal(mu, 1.0).log_prob(bare[:, None, :2]).sum(2) - math.log(3)).logsumexp(1).double()
    found = bounds(pair, bare, particles=4000)
    assert found.importance == pytest.approx(marginal, abs=0.1)
    assert (found.elbo < marginal).all()


def test_a_mixed_batch_scores_each_datum_as_alone() -> None:
    pair, batch = mixture(), some()
    with pair.evaluating():
        known = ~LABELLED.missing(batch)
        torch.testing.assert_close(log_weights(pair, batch)[known], log_weights(pair, batch[known]))
        alone = bounds(pair, batch[3:4], particles=4000).importance
        assert bounds(pair, batch, particles=4000).importance[3] == pytest.approx(float(alone), abs=0.1)


def test_a_mixed_batch_is_never_scored_by_its_columns() -> None:
    """A missing label that reached the model as NaN would give NaN, and none does."""
    assert bounds(mixture(), some(50), particles=10).importance.isfinite().all()


@pytest.mark.parametrize("mode", ["eager", "traced"])
def test_a_step_on_a_mixed_batch_is_the_mean_over_its_data(mode: Any) -> None:
    pair, batch = mixture(), some(4000)
    step = engine.compile(pair, mode=mode)
    with seeded(0):
        loss = step(batch)
    gradients = {name: p.grad.clone() for name, p in pair.named_parameters().items() if p.grad is not None}
    assert step.reason == ""
    with seeded(1), pair.evaluating():
        assert float(loss) == pytest.approx(-float(log_weights(pair, batch).mean()), abs=0.05)
    known = batch[~LABELLED.missing(batch)]
    mu = pair.named_parameters()["Mixture.mu"]
    probabilities = dist.Normal(mu.detach(), 1.0)  # of data with a label the gradient is exact
    own = torch.zeros(3, 2).index_add(0, known[:, 2].long(), mu.detach()[known[:, 2].long()] - known[:, :2])
    assert probabilities.batch_shape == gradients["Mixture.mu"].shape
    bare = batch[LABELLED.missing(batch)]
    with seeded(0):
        step(bare)
    assert mu.grad is not None
    share = len(bare) / len(batch)
    assert gradients["Mixture.mu"] == pytest.approx(own / len(batch) + share * mu.grad, abs=0.05)


def test_every_batch_has_as_many_labels() -> None:
    train = some(90)
    data = Dataset("some", LABELLED, train, train[:9], train[:9], "made up")
    batches = Batches(data, 20, seed=0)
    shown = torch.cat([batches(step) for step in range(9)])
    missing = LABELLED.missing(shown).reshape(9, 20)
    assert (missing.sum(1) == 7).all()  # a third of 20, the nearest
    assert (missing.float().sort(1).values == missing).all()
    labelled = shown[~missing.flatten()][:52]
    assert len(labelled.unique(dim=0)) == 52  # each once in four batches of thirteen, of sixty data


def test_the_order_of_data_without_a_label_is_that_of_any_data() -> None:
    x = torch.arange(40.0)[:, None] + 0.5
    data = Dataset("plain", Event(1, "real"), x, x, x, "made up")
    generator = torch.Generator().manual_seed((5 * 1_000_003 + 17) % 2**32)
    assert torch.equal(Batches(data, 8, seed=5)(0), x[torch.randperm(40, generator=generator)[:8]])


@pytest.mark.thorough
def test_a_label_that_the_guide_leaves_out_is_summed() -> None:
    """With no guide, p(x) is exact where the label is missing, as p(x, y) is where it is known."""
    with seeded(0):
        made, batch = Mixture(), some()
    pair, missing = Pair(LABELLED, made.model), LABELLED.missing(batch)
    each = dist.Normal(made.mu.detach(), 1.0).log_prob(batch[:, None, :2]).sum(2) - math.log(3)
    known = each.gather(1, batch[:, 2:].nan_to_num().long())[:, 0]
    expected = torch.where(missing, each.logsumexp(1), known)
    assert capabilities(pair).likelihood == "exact"
    torch.testing.assert_close(log_probs(pair, batch).float(), expected)
    for mode in ("eager", "traced"):
        step = engine.compile(pair, mode=mode)  # type: ignore[arg-type]
        assert float(step(batch)) == pytest.approx(-float(expected.mean()), abs=1e-4)
        assert step.reason == ""


def test_given_fields_condition_and_are_not_scored() -> None:
    pair = conditional()
    x, c = torch.randn(6, 2), torch.randn(6)
    expected = dist.Normal(c[:, None], 1.0).log_prob(x).sum(1)
    torch.testing.assert_close(log_prob(pair, GIVEN.pack({"x": x, "c": c})), expected)
    assert capabilities(pair).likelihood == "exact"
    torch.testing.assert_close(log_probs(pair, GIVEN.pack({"x": x, "c": c})).float(), expected)


def test_samples_keep_what_they_are_given() -> None:
    c = torch.linspace(-50, 50, 300)
    drawn = GIVEN.unpack(sample(conditional(), 300, chunk=70, given={"c": c}))
    assert torch.equal(drawn["c"], c)  # type: ignore[arg-type]
    assert drawn["x"].sub(c[:, None]).abs().max() < 6  # type: ignore[union-attr]


def test_samples_without_what_they_depend_on_are_refused() -> None:
    with pytest.raises(ContractError, match=r"depend on c of shape \(3,\); given=\{...\} has nothing"):
        sample(conditional(), 3)
    with pytest.raises(ContractError, match=r"depend on nothing; given=\{...\} has c"):
        sample(mixture(), 3, given={"c": torch.zeros(3)})


def test_joint_samples_have_the_joint_distribution() -> None:
    pair = mixture()
    with seeded(0):
        drawn = sample(pair, 6000)
    x, y = drawn[:, :2], drawn[:, 2].long()
    assert torch.bincount(y) / 6000 == pytest.approx(torch.full((3,), 1 / 3), abs=0.03)
    mu = pair.named_parameters()["Mixture.mu"].detach()
    for label in range(3):
        assert x[y == label].mean(0) == pytest.approx(mu[label], abs=0.1)


@pytest.mark.parametrize("make", [mixture, conditional])
def test_the_contract_holds_for_records(make: Callable[[int], Pair]) -> None:
    findings = check_pair(make, make(0).event)
    assert [finding for finding in findings if finding.ok is False] == []
    wanted = {"what the model observes is x", "the model reads x by obs=x only", "samples are of the event"}
    assert wanted <= {finding.law for finding in findings if finding.ok}


def test_ground_laws_take_mixed_data() -> None:
    ground_laws(mixture(), some())


@pytest.mark.thorough
def test_training_on_records_learns_both_kinds_of_data() -> None:
    with seeded(0):
        mu, y = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 4.0]]), torch.randint(3, (400,))
        x = mu[y] + torch.randn(400, 2)
    label = torch.where(torch.arange(400) < 250, y.float(), torch.nan)
    train = LABELLED.pack({"x": x, "y": label})
    data = Dataset("three", LABELLED, train, LABELLED.pack({"x": x, "y": y}), train, "made up")
    pair = mixture()
    assert fit(pair, data, {"steps": 300, "batch": 50, "lr": 0.05}, device="cpu").status == "finished"
    assert pair.named_parameters()["Mixture.mu"].detach() == pytest.approx(mu, abs=0.4)
    guess = pair.named_parameters()["Mixture.net.weight"].detach() @ x.T
    assert float((guess.argmax(0) == y).float().mean()) > 0.8


# ---------------------------------------------------------------------------------------------- programs and fields


def observing(x: Tensor, scale: float = 1.0) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, scale).expand([2]).to_event(1), obs=x)


def by_other_names(images: Tensor, *, c: Tensor | None = None) -> None:
    assert c is not None
    observing(images)


def everything(**fields: Tensor) -> None:
    assert set(fields) == {"x", "c"}
    observing(fields["x"])


def given_first(c: Tensor, x: Tensor | None = None) -> None:
    """As in Pyro's regressions: the data may be left out."""
    with pyro.plate("data", len(c)):
        pyro.sample("obs", dist.Normal(c[:, None].expand(-1, 2), 1.0).to_event(1), obs=x)


@pytest.mark.parametrize("model", [observing, by_other_names, everything, given_first])
def test_arguments_are_fields_by_name(model: Callable[..., None]) -> None:
    batch = torch.randn(5, 3)
    centre = batch[:, 2:] if model is given_first else torch.zeros(5, 1)
    expected = dist.Normal(centre, 1.0).log_prob(batch[:, :2]).sum(1)
    torch.testing.assert_close(log_prob(Pair(GIVEN, model), batch), expected)


def regression(x: Tensor, y: Tensor | None = None) -> None:
    """As published: y = w x + noise, the weights are shared, and the data may be left out."""
    weight = pyro.sample("weight", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.Normal(x @ weight, 0.5), obs=y)


@pytest.mark.thorough
def test_a_published_regression_is_a_pair() -> None:
    event = Event.parse("x=2:real@given,y=:real")
    with seeded(0):
        x = torch.randn(300, 2)
        batch = event.pack({"x": x, "y": x @ torch.tensor([2.0, -1.0]) + 0.5 * torch.randn(300)})
        pair = Pair(event, regression, AutoNormal(regression))
    ground_laws(pair, batch)
    recipe = {"steps": 300, "lr": 0.03, "checkpoints": 2}
    fit(pair, Dataset("line", event, batch, batch, batch, ""), recipe, device="cpu")
    with seeded(0):
        drawn = event.unpack(sample(pair, 300, given={"x": x}))["y"]
    assert drawn is not None
    assert (drawn - x @ torch.tensor([2.0, -1.0])).std() == pytest.approx(0.5, abs=0.1)
    assert density(pair, batch) == "p(y | x)"


def demanding(x: Tensor, weight: Tensor) -> None:
    observing(x)


def without_x(c: Tensor) -> None:
    observing(c[:, None].expand(-1, 2))


def observing_what_is_given(x: Tensor, c: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("c", dist.Normal(0.0, 1.0), obs=c)
        pyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (demanding, "requires the argument 'weight', which is no field of x=2:real,c=:real@given"),
        (without_x, "has no argument 'x', an observed field"),
        (observing_what_is_given, "never, as it is given"),
    ],
)
def test_programs_that_do_not_fit_the_fields_are_refused(model: Callable[..., None], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        ground_laws(Pair(GIVEN, model), torch.randn(8, 3))


def test_a_model_that_cannot_do_without_the_label_is_refused() -> None:
    def supervised(x: Tensor, y: Tensor) -> None:
        observing(x + 0 * y[:, None])

    with pytest.raises(ContractError, match=r"TypeError.*where y is missing it is None"):
        Pair(LABELLED, supervised)


def test_a_label_that_leaks_into_x_is_refused() -> None:
    """The model reads its argument y where it should read the draw of its site."""

    def leaking(x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            drawn = pyro.sample("y", dist.Categorical(logits=x.new_zeros(3)), obs=y)
            centre = drawn if y is None else y
            pyro.sample("x", dist.Normal(centre[:, None].expand(-1, 2).float(), 1.0).to_event(1), obs=x)

    def guide(x: Tensor, y: Tensor | None = None) -> None:
        if y is None:
            with pyro.plate("data", len(x)):
                pyro.sample("y", dist.Categorical(logits=x.new_zeros(3)))

    with pytest.raises(ContractError, match="depends on x: it sees what it should generate"):
        ground_laws(Pair(LABELLED, leaking, guide), some())
