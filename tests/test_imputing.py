"""Missing entries: draws agree with conditionals in closed form, by regression or by enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from members import small
from test_use import in_use
from torch import Tensor

import zoo
from zoo.errors import ZooError
from zoo.metrics.bounds import log_probs
from zoo.pairs.pair import Pair
from zoo.runs.evaluation import TrainedRun, evaluate
from zoo.use.columns import entry_log_probs
from zoo.use.gaussian import gaussian_marginal

BITS = zoo.Event((2, 2), "binary")
EVERY = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).reshape(16, 2, 2)
"""All data of `BITS`."""


def linear() -> Pair:
    """pPCA at its maximum-likelihood solution for five columns of different units."""
    torch.manual_seed(0)
    x = torch.randn(400, 2) @ torch.randn(2, 5) * torch.tensor([1.0, 3.0, 0.2, 1.0, 2.0]) + 0.3 * torch.randn(400, 5)
    pair = zoo.build("ppca", zoo.Event(5, "real"), {"latent": 2})
    programs: Any = pair.extras
    programs.initialise(x)
    programs.set_closed_form(x)
    return pair


@cache
def peaked(name: str) -> zoo.TrainedModel:
    """A small model of four bits whose last is the first, most of the time, and whose others mostly differ."""
    torch.manual_seed(0)
    x = (torch.rand(400, 2, 2) < 0.5).float()
    x[:, 1, 1] = torch.where(torch.rand(400) < 0.9, x[:, 0, 0], x[:, 1, 1])
    x[:, 1, 0] = torch.where(torch.rand(400) < 0.7, 1 - x[:, 0, 1], x[:, 1, 0])
    data = zoo.Dataset("bits", BITS, x[:300], x[300:350], x[350:], "made up")
    pair = zoo.build(name, BITS, small(name) | {"dropout": 0.0})
    zoo.fit(pair, data, {"steps": 150, "batch": 50, "lr": 2e-2, "engine": "eager", "checkpoints": 2}, device="cpu")
    return zoo.TrainedModel(pair, data)


def enumerated(scores: Tensor, x: Tensor, missing: Tensor) -> Tensor:
    """The expected datum given the observed entries, from log p of all data: shape of ``x``."""
    fitting = ((x == EVERY) | missing).flatten(1).all(1)
    shares = scores.masked_fill(~fitting, -torch.inf).softmax(0).float()
    return torch.einsum("k,kij->ij", shares, EVERY)


def test_a_gaussian_marginal_is_read_off_the_programs() -> None:
    pair, x = linear(), torch.randn(20, 5)
    programs: Any = pair.extras
    found = gaussian_marginal(pair)
    assert found is not None
    wanted = programs.unit**2 * (programs.W @ programs.W.T + (2 * programs.log_s).exp() * torch.eye(5))
    assert torch.allclose(found.covariance, wanted.detach().double(), rtol=1e-4, atol=1e-5)
    assert torch.allclose(found.log_prob(x), log_probs(pair, x), atol=1e-3)
    for name in ("vae", "nice", "hvae"):
        assert gaussian_marginal(zoo.build(name, zoo.Event(5, "real"))) is None


def test_gaussian_conditionals_are_ratios_of_marginals() -> None:
    pair, x = linear(), torch.randn(6, 5)
    found = gaussian_marginal(pair)
    assert found is not None
    for d in range(5):
        rest = [each for each in range(5) if each != d]
        without = torch.distributions.MultivariateNormal(found.mean[rest], found.covariance[rest][:, rest])
        wanted = found.log_prob(x) - without.log_prob(x[:, rest].double())
        assert torch.allclose(found.conditionals(x)[:, d], wanted)


def test_gaussian_imputation_is_regression() -> None:
    model = in_use(linear())
    found = gaussian_marginal(model.pair)
    assert found is not None
    x = np.array([[1.0, np.nan, 0.5, np.nan, 2.0], [np.nan, 1.0, 1.0, 1.0, 1.0], [np.nan] * 5, [1.0] * 5])
    imputed = model.impute(x, draws=4000)
    assert imputed.kind == "exact"
    assert np.array_equal(np.isnan(x) | (imputed.draws == x), np.ones((4000, 4, 5), bool))
    seen, gone = [0, 2, 4], [1, 3]
    S = found.covariance.numpy()
    weights = S[np.ix_(gone, seen)] @ np.linalg.inv(S[np.ix_(seen, seen)])
    wanted = found.mean.numpy()[gone] + weights @ (x[0, seen] - found.mean.numpy()[seen])
    assert np.allclose(imputed.mean[0, gone], wanted, atol=1e-4)
    left = S[np.ix_(gone, gone)] - weights @ S[np.ix_(seen, gone)]
    assert np.allclose(np.cov(imputed.draws[:, 0, gone].T), left, atol=0.1 * left.max())
    assert np.allclose(imputed.mean[2], found.mean, atol=1e-4)


@pytest.mark.parametrize("wrong", [False, True], ids=["exact guide", "wrong guide"])
def test_resampled_imputation_of_a_gaussian_model_is_the_exact_one(
    wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = linear()
    if wrong:  # off by a deviation, and half as wide again
        programs: Any = pair.extras
        with torch.no_grad():
            programs.c.add_(0.2)
            programs.T.add_(0.4 * torch.eye(2))
    model = in_use(pair)
    x = np.array([[1.0, np.nan, 0.5, np.nan, 2.0], [0.0, 0.0, np.nan, -1.0, np.nan]])
    exact = model.impute(x, draws=4000)
    monkeypatch.setattr("zoo.use.imputing.gaussian_marginal", lambda pair: None)
    found = model.impute(x, draws=1500, particles=32)
    assert found.kind == "importance-resampled"
    assert (abs(found.ess - 32) < 0.5).all() != wrong
    spread = exact.draws.std(0)
    assert (abs(found.mean - exact.mean) <= 0.1 * spread + 1e-6).all()
    assert np.allclose(found.draws.std(0), spread, rtol=0.1, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["wavenet", "pixelcnn"])
@pytest.mark.parametrize(
    ("missing", "kind"), [([[0, 0], [1, 1]], "exact"), ([[1, 0], [1, 0]], "importance-resampled")], ids=["last", "any"]
)
def test_autoregressive_imputation_is_that_of_enumeration(name: str, missing: list[list[int]], kind: str) -> None:
    model, mask = peaked(name), torch.tensor(missing).bool().expand(16, 2, 2)
    scores = log_probs(model.pair, EVERY)
    found = model.impute(EVERY, mask, draws=2000, particles=2000)
    assert found.kind == kind
    wanted = torch.stack([enumerated(scores, x, mask[0]) for x in EVERY])
    assert torch.allclose(found.mean, wanted, atol=0.06)
    assert torch.allclose(found.draws.mean(0), wanted, atol=0.08)
    assert abs(wanted - 0.5)[mask].max() > 0.3  # the entries depend on each other


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["vae", pytest.param("pixelvae", marks=pytest.mark.slow)])
def test_imputation_with_latents_is_that_of_enumeration(name: str) -> None:
    model, mask = peaked(name), torch.tensor([[1, 0], [1, 0]]).bool().expand(4, 2, 2)
    scores = model.log_prob(EVERY, 500).value
    assert abs(float(scores.logsumexp(0))) < 0.02  # the bounds are tight
    x = EVERY[[0, 1, 4, 5]]  # all that may be observed
    found = model.impute(x, mask, draws=300, particles=6)
    assert found.kind == "importance-resampled"
    wanted = torch.stack([enumerated(scores, each, mask[0]) for each in x])
    assert torch.allclose(found.mean, wanted, atol=0.115)  # four standard errors


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["wavenet", "vae", pytest.param("pixelvae", marks=pytest.mark.slow)])
def test_the_log_probability_of_masked_entries_is_a_ratio_of_sums(name: str) -> None:
    model, mask = peaked(name), torch.tensor([[0, 0], [1, 1]]).bool().expand(16, 2, 2)
    scores = model.log_prob(EVERY, 500).value.reshape(4, 4)  # the last two entries count first
    found = model.log_prob(EVERY, 150, mask=mask)
    assert found.kind == ("exact" if name == "wavenet" else "estimate")
    wanted = (scores - scores.logsumexp(1, keepdim=True)).flatten()
    assert torch.allclose(found.value, wanted, atol=0.2 if name != "wavenet" else 1e-5)
    assert (abs(found.value - wanted) < 4 * found.stderr + 0.03).all()


@pytest.mark.thorough
def test_the_log_probability_of_masked_entries_of_a_gaussian_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = in_use(linear()), torch.randn(3, 5)
    mask = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    found, whole = model.log_prob(x, mask=mask), model.log_prob(x)
    gaussian = gaussian_marginal(model.pair)
    assert gaussian is not None
    assert torch.allclose(found.value[1], gaussian.conditionals(x)[1, 0], atol=1e-6)
    assert torch.allclose(found.value[2], whole.value[2], atol=1e-4)
    monkeypatch.setattr("zoo.use.imputing.gaussian_marginal", lambda pair: None)
    estimate = model.log_prob(0.3 * x, 2000, mask=mask)
    monkeypatch.undo()
    exact = model.log_prob(0.3 * x, mask=mask)
    assert (abs(estimate.value - exact.value) < 4 * estimate.stderr + 0.05).all()


def test_masks_and_missing_entries_are_checked() -> None:
    model = zoo.TrainedModel(zoo.build("independent", BITS))
    x = np.zeros((2, 2, 2))
    with pytest.raises(ZooError, match="True where an entry is missing"):
        model.impute(x, np.zeros((2, 2, 2), int))
    with pytest.raises(ZooError, match="entries are NaN that the mask does not mark"):
        model.impute(np.full((1, 2, 2), np.nan), np.zeros((1, 2, 2), bool))
    with pytest.raises(ZooError, match="dequantised data"):
        zoo.TrainedModel(zoo.build("nice", BITS)).impute(x)


@pytest.mark.parametrize(
    ("make", "given", "adds_up"),
    [
        (lambda: zoo.build("independent", zoo.Event(5, "real")), "", True),
        (lambda: peaked("wavenet").pair, "earlier", True),
        (linear, "rest", False),
    ],
    ids=["independent", "autoregressive", "gaussian"],
)
def test_contributions_add_up_where_they_are_a_chain(make: Callable[[], Pair], given: str, adds_up: bool) -> None:
    pair = make()
    x = EVERY if pair.event == BITS else torch.randn(6, 5)
    found = entry_log_probs(pair, x)
    assert found is not None
    assert found[1] == given
    assert torch.allclose(found[0].sum(1), log_probs(pair, x), atol=1e-4) is adds_up


@pytest.mark.parametrize("name", ["vae", "nice", "gan"])
def test_other_families_have_no_contributions(name: str) -> None:
    assert entry_log_probs(zoo.build(name, zoo.Event(3, "real")), torch.zeros(2, 3)) is None


def test_the_evaluation_scores_the_later_half() -> None:
    pair = linear()
    x = torch.randn(130, 5, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 3.0, 0.2, 1.0, 2.0])
    run = TrainedRun(pair, zoo.Dataset("made", pair.event, x, x[:50], x, "Drawn."), 0, [])
    found = {score.metric: score for score in evaluate("imputation", [run], zoo.Settings())}
    gaussian = gaussian_marginal(pair)
    assert gaussian is not None
    first = torch.arange(5).expand(100, 5) < 2
    conditional = gaussian.log_prob(x[:100]) - gaussian.log_prob_of(x[:100], first)
    assert found["half_nats"].kind == "exact"
    assert found["half_nats"].value == pytest.approx(-float(conditional.mean()), abs=1e-3)
    later = x[:100, 2:].double()
    assert found["floor_half_nats"].value == pytest.approx(
        float((later.var(0, correction=0).log() / 2).sum()) + 1.5 * np.log(2 * np.pi * np.e), abs=0.3
    )
    covariance = gaussian.covariance
    slope = covariance[2:, :2] @ covariance[:2, :2].inverse()
    error = later - gaussian.mean[2:] - (x[:100, :2].double() - gaussian.mean[:2]) @ slope.T
    assert found["half_rmse"].value == pytest.approx(float(error.square().mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize("name", ["nice", "gan", "ssvae"])
def test_families_without_conditionals_are_skipped_with_the_reason(name: str) -> None:
    event = zoo.Event.parse("x=4:real,y=:3@label") if name == "ssvae" else zoo.Event(4, "real")
    x = torch.randn(60, 4)
    x = torch.cat([x, torch.randint(3, (60, 1)).float()], 1) if name == "ssvae" else x
    run = TrainedRun(zoo.build(name, event, small(name)), zoo.Dataset("made", event, x, x, x, "Drawn."), 0, [])
    found = {score.metric: score for score in evaluate("imputation", [run], zoo.Settings())}
    assert {found[metric].status for metric in ("half_nats", "half_rmse")} == {"skipped"}
    reason = "halves are of data of one array" if name == "ssvae" else "gives no distribution of missing entries"
    assert reason in found["half_nats"].reason


@pytest.mark.thorough
def test_missing_entries_and_labels_of_a_record_follow_their_joint_distribution() -> None:
    """p(y) prod_d p(x_d | y): by enumeration of x_m and y. The guide of a missing label is wrong on purpose."""
    event = zoo.Event.parse("x=3:binary,y=:2@label")
    prior, rates = torch.tensor([0.3, 0.7]), torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.6, 0.7]])

    def model(x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(prior), obs=y)
            pyro.sample("x", dist.Bernoulli(rates[y.long()]).to_event(1), obs=x)

    def guide(x: Tensor, y: Tensor | None = None) -> None:
        if y is None:
            with pyro.plate("data", len(x)):
                pyro.sample("y", dist.Categorical(torch.tensor([0.5, 0.5]).expand(len(x), 2)))

    trained = zoo.TrainedModel(Pair(event, model, guide))
    x = {"x": np.array([[1.0, 0.0, np.nan], [1.0, np.nan, np.nan]]), "y": np.array([1.0, np.nan])}
    found = trained.impute(x, draws=4000, particles=64)
    joint = prior * torch.where(torch.tensor([True, False, False]), rates, 1.0).prod(1)  # p(y, x_0 = 1)
    p_y = joint / joint.sum()
    assert np.allclose(found.draws["x"][:, 0].mean(0), [1, 0, 0.7], atol=0.03)
    assert np.allclose(found.draws["x"][:, 1, 1:].mean(0), p_y @ rates[:, 1:], atol=0.03)
    assert (found.draws["y"][:, 0] == 1).all()


@pytest.mark.parametrize("by", ["site", "distribution"])
def test_padding_says_nothing_of_missing_steps(by: str) -> None:
    """z ~ N(0, 1), x_t ~ N(z, 1): E[x_m | x_o] is the sum of k observed steps over k + 1, whatever is padding."""
    event = zoo.Event.parse("x=6:real~n,n=:7@given")

    def model(x: Tensor, n: Tensor) -> None:
        within = torch.arange(6) < n[:, None]
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            steps = dist.Normal(z[:, None].expand(-1, 6), 1.0)
            if by == "distribution":
                pyro.sample("x", steps.mask(within).to_event(1), obs=x)
            else:
                with pyro.plate("steps", 6, dim=-2), pyro.poutine.mask(mask=within.T):
                    pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    def guide(x: Tensor, n: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.sum(1) / (n + 1), (n + 1).rsqrt()))

    pair = Pair(event, model, guide)
    x = event.pack({"x": torch.randn(20, 6), "n": torch.full((20,), 3.0)})
    trained = zoo.TrainedModel(pair, zoo.Dataset("made up", event, x, x, x, "Drawn."))
    found = trained.impute({"x": [[1.5, 2.5, np.nan, 0.0, 0.0, 0.0]], "n": [3.0]}, draws=1500, particles=8)
    assert np.allclose(found.mean["x"][0], [1.5, 2.5, 4 / 3, 0, 0, 0], atol=0.15)
    assert np.isclose(found.draws["x"][:, 0, 2].std(), np.sqrt(4 / 3), atol=0.1)
