"""Data that are records of fields: programs take them by name, and labels that are missing are latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from PIL import Image
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

from zoo import engine
from zoo.contract.check import check_pair, ground_laws
from zoo.data import Dataset, load_data
from zoo.errors import ContractError, ZooError
from zoo.event import Event
from zoo.metrics.bounds import bounds, log_probs
from zoo.pairs.pair import Pair
from zoo.pairs.records import density
from zoo.pairs.registry import dataset, datasets
from zoo.pairs.traces import capabilities, log_prob, log_weights, sample
from zoo.runs.config import DataSpec
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


def test_a_published_regression_is_a_pair() -> None:
    event = Event.parse("x=2:real@given,y=:real")
    with seeded(0):
        x = torch.randn(300, 2)
        batch = event.pack({"x": x, "y": x @ torch.tensor([2.0, -1.0]) + 0.5 * torch.randn(300)})
        pair = Pair(event, regression, AutoNormal(regression))
    ground_laws(pair, batch)
    fit(pair, Dataset("line", event, batch, batch, batch, ""), {"steps": 300, "lr": 0.03}, device="cpu")
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


# ---------------------------------------------------------------------------------------------- the data set


def made(event: str, train: Tensor, **changes: Any) -> Dataset:
    return Dataset("made", Event.parse(event), train, train, train, "made up", **changes)


@pytest.mark.parametrize(
    ("event", "row", "words"),
    [
        ("x=2:real,y=:3@label", [math.nan, 0, 1], "only a label may be missing"),
        ("x=2:real,c=:real@given", [0, 0, math.nan], "only a label may be missing"),
        ("x=:real,y=2:3@label", [0, math.nan, 1], "known or missing as a whole"),
        ("x=2:real,y=:3@label", [0, 0, 3], "levels 0 to 2 of y=:3@label"),
        ("x=2:real,y=:3@label", [0, 0, 0.5], "levels 0 to 2 of y=:3@label"),
    ],
)
def test_records_out_of_their_support_are_refused(event: str, row: list[float], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        made(event, torch.tensor([row]).float())


def test_a_record_may_change_its_roles_and_shapes() -> None:
    data = made("x=4:real,y=:3@label", torch.tensor([[0.0, 1, 2, 3, 2]]))
    asked = Event.parse("x=2x2:real,y=:3@given")
    assert data.reshaped(asked).event == asked
    with pytest.raises(ZooError, match="fields may differ in shape and role only"):
        data.reshaped(Event.parse("x=4:real,z=:3@given"))
    with pytest.raises(ZooError, match="fields may differ in shape and role only"):
        data.reshaped(Event(5, "real"))
    with pytest.raises(ZooError, match="only a label may be missing"):
        made("x=4:real,y=:3@label", torch.tensor([[0.0, 1, 2, 3, math.nan]])).reshaped(asked)


# ---------------------------------------------------------------------------------------------- data with fields


@pytest.mark.parametrize(("labels", "known"), [(100, 100), ("all", 1000)])
def test_digits_know_their_labels(labels: int | str, known: int) -> None:
    from sklearn.datasets import load_digits

    data, plain = load_data(f"digits:labels={labels}"), load_data("digits")
    assert str(data.event) == "x=8x8:17,y=:10@label"
    assert torch.equal(data.event.main_of(data.train), plain.train)
    missing, target = data.event.missing(data.train), torch.from_numpy(load_digits().target).float()
    assert int((~missing).sum()) == known
    assert torch.equal(data.train[~missing, -1], target[:1000][~missing])
    assert torch.equal(data.test[:, -1], target[-447:])
    if labels == 100:
        assert torch.bincount(data.train[~missing, -1].long()).tolist() == [10] * 10
        assert "known for 100 of 1000 train data, drawn with seed 0" in data.source


def test_digits_in_black_and_white_have_the_same_labels() -> None:
    grey, black = load_data("digits:labels=100"), load_data("digits-binary:labels=100")
    assert str(black.event) == "x=8x8:binary,y=:10@label"
    assert torch.equal(grey.train[:, -1].nan_to_num(-1), black.train[:, -1].nan_to_num(-1))
    assert torch.equal(black.event.main_of(black.test), (grey.event.main_of(grey.test) >= 8).float())


def test_data_without_a_label_may_be_left_out() -> None:
    data = load_data("digits:labels=100,unlabelled=False")
    assert data.train.shape == (100, 65)
    other = load_data("digits:labels=100,unlabelled=False", seed=1)
    assert other.fingerprint != data.fingerprint
    assert torch.equal(other.test, data.test)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits:labels=33", "'all' or a multiple of the 10 classes"),
        ("digits:labels=2000", "200 labels of each class are asked for, and class 0 has 99"),
        ("digits:seed=1", "data set 'digits' has no setting 'seed'; it has: labels, unlabelled"),
        ("moons:labels=all", "data set 'moons' has no setting 'labels'; it has: none"),
    ],
)
def test_labels_that_are_not_there_are_refused(name: str, words: str) -> None:
    with pytest.raises(ZooError, match=words):
        load_data(name)


TABLE = "age,y,2\n" + "\n".join(f"{i}.5,{'' if i % 4 == 0 else i % 3},{-i}.25" for i in range(40))
"""A header, a column of labels of which some are missing, and two of numbers."""


@pytest.fixture
def table(tmp_path: Path) -> str:
    (tmp_path / "table.csv").write_text(TABLE)
    return str(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("roles", "event"),
    [
        ({"y": "label"}, "x=2:real,y=:3@label"),
        ({"y": "label", "age": "given"}, "x=1:real,age=:real@given,y=:3@label"),
    ],
)
def test_columns_become_fields_by_name(roles: dict[str, str], event: str, table: str) -> None:
    data = load_data(table, roles=roles)
    assert str(data.event) == event
    assert len(data.train) == 32
    x = torch.cat([data.train, data.validation, data.test])
    label = data.event.unpack(x)["y"]
    assert label is not None
    assert int(label.isnan().sum()) == 10
    row = next(row for row in x if row[-1] == 2)  # the values of a line stay together
    assert (float(row[0]) if "age" not in roles else float(row[1])) % 3 == 2.5


def test_an_event_names_the_columns_too(table: str) -> None:
    assert str(load_data(table, event=Event.parse("w=2:real,y=:5@label")).event) == "w=2:real,y=:5@label"


def test_arrays_become_fields_by_name(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 2, 2)), np.arange(30) % 4
    np.savez(tmp_path / "both.npz", x=x, y=y)
    path = str(tmp_path / "both.npz")
    assert str(load_data(path).event) == "x=2x2:real,y=:4"
    data = load_data(path, roles={"y": "given"})
    assert str(data.event) == "x=2x2:real,y=:4@given"
    rows = torch.cat([data.train, data.validation, data.test])
    assert sorted(rows.tolist()) == sorted(np.c_[x.reshape(30, 4), y].astype(np.float32).tolist())


def test_a_folder_for_each_class_gives_labels(tmp_path: Path) -> None:
    for index, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.full((2, 3), 100 * index + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
    data = load_data(str(tmp_path / "pets"))
    assert str(data.event) == "x=2x3:256,y=:binary@label"
    assert torch.equal(data.train[:, 0] // 100, data.train[:, -1])
    assert "y is 0 for cat, 1 for dog" in data.source


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"roles": {"z": "given"}}, "has the columns age, y, 2; there is no z"),
        ({"roles": {"y": "given"}}, "got nan at data row 1, column 'y'"),
        ({"roles": {"y": "label", "age": "target"}}, "the role of field 'age' is observed, given, label; got 'target'"),
        ({"roles": {"y": "label", "age": "label"}}, "one label at most"),
        ({"event": Event.parse("x=2:real,y=:2@label")}, "levels 0 to 1 of y=:binary@label"),
        ({"event": Event.parse("x=3:real,y=:3@label")}, r"field 'x' should have shape \(40, 3\), got \(40, 2\)"),
    ],
)
def test_fields_that_are_not_in_a_file_are_refused(options: dict[str, Any], words: str, table: str) -> None:
    with pytest.raises(ZooError, match=words) as caught:
        load_data(table, **options)
    assert "\n" not in str(caught.value)


def test_no_column_is_lost_unless_an_event_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x,y,z\n" + "\n".join(f"{i}.5,{i % 2},{i}" for i in range(20)))
    with pytest.raises(ZooError, match="column 'y' is in no field"):
        load_data(str(tmp_path / "x.csv"), roles={"x": "observed"})
    chosen = load_data(str(tmp_path / "x.csv"), event=Event.parse("x=:real,y=:2@label"))
    assert chosen.train.shape == (16, 2)
    assert str(load_data(str(tmp_path / "x.csv"), roles={"y": "label"}).event) == "x=2:real,y=:binary@label"


def test_roles_of_a_run_are_part_of_its_settings_only_if_there_are_any() -> None:
    """Runs from before there were roles keep their digests."""
    assert "roles" not in DataSpec(name="digits").model_dump_json()
    spec = DataSpec(name="digits:labels=all", roles={"y": "given"})
    assert DataSpec(**spec.model_dump()) == spec
    assert str(spec.load().event) == "x=8x8:17,y=:10@given"


def test_an_error_in_a_data_set_is_one_sentence_with_its_line() -> None:
    with datasets.scoped():

        @dataset("broken")
        def broken() -> Dataset:
            return {}["nothing"]  # type: ignore[return-value] # an error of the user's

        with pytest.raises(ZooError, match=r"'broken': its function raised KeyError at test_records.py:\d+: 'nothing'"):
            load_data("broken")
