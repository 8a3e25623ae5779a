"""Lossless codes of records: several sites, labels that are missing, context, sequences and summed latents."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from coded import CLASSES, PROGRAMS, SHADES, TABLE, back, data_of, pair_of, same
from members import small
from test_sequences import BITS
from torch import Tensor

from zoo import Event, Pair, ZooError, build, capabilities
from zoo.codec import decode, encode
from zoo.codec.baselines import PACKERS, standard_codes
from zoo.codec.container import unpack
from zoo.codec.lossless import precisely, why_not
from zoo.contract.values import random_data
from zoo.data import Dataset
from zoo.errors import RunError, UnfitError
from zoo.metrics.bounds import log_probs, particle_weights
from zoo.pairs.records import dimensions
from zoo.pairs.registry import families, load_shelves
from zoo.pairs.sampling import contexts, sample
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.seeding import seeded

SLOW = ("hmm_factorial", "hmm_autoregressive")
"""Programs that take seconds; ``hmm`` is their kind."""


def swept(*without: str) -> list[Any]:
    """The programs, with those that are slow marked so."""
    names = [name for name in PROGRAMS if name not in without]
    return [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in names]


@pytest.mark.thorough
@pytest.mark.parametrize("name", swept())
def test_every_record_gives_back_any_data(name: str) -> None:
    pair = pair_of(name)
    assert why_not(pair) == ""
    assert capabilities(pair).lossless
    for n, batch in ((11, 4), (1, 512)):
        x = data_of(pair.event, n)
        assert same(back(pair, encode(pair, x, batch=batch), x), x)


@pytest.mark.thorough
@pytest.mark.parametrize("name", swept("scanvi", "marked mixture"))
def test_records_take_the_bits_that_the_model_says(name: str) -> None:
    """Of data that the model draws: -log2 p, or the negative ELBO, and the bits that bits-back starts from."""
    pair, n = pair_of(name), 600
    with seeded(1):
        x = sample(pair, n, given=contexts(pair.event, data_of(pair.event, n), n))
    header, words = unpack(encode(pair, x))
    with precisely(pair):
        exact = capabilities(pair, x).likelihood == "exact"
        nats = log_probs(pair, x.double()) if exact else particle_weights(pair, x.double(), 200).mean(1)
    assert 32 * len(words) == pytest.approx(
        -float(nats.sum()) / math.log(2), rel=0.05 if header.growth else 0.002, abs=300
    )


UNCODED = {
    "classwise": ("x=4x4:5,y=:3@label", "no coding rule for ByClass"),
    "mdn-rnn": ("z=4x3:real~n,done=4:binary~n,a=4:3~n@given,n=:5@given", "real data under a density"),
}
"""Families of records without a lossless code: an event that they take, and why."""
ARRAYS = {"binary", "levels", "real"}
"""Supports of data that are no records."""


def of_records() -> list[tuple[str, str]]:
    """Families of records with events that they take."""
    load_shelves()
    found = []
    events = ("x=4x4:5,y=:3@label", "x=3x5:binary,y=:2@label", "x=5x4:binary~n,n=:6@given", "x=6:5,c=2:real@given")
    events += ("x=4x4:5,y=:3@label,d=:2@given", "atoms=4:3,bonds=6:4", "x=8:4,past=16:4@given")
    for name in (family.name for family in families if not ARRAYS.intersection(family.supports)):
        if name in UNCODED:
            continue
        for text in events:
            with suppress(UnfitError):
                build(name, Event.parse(text), small(name))
                found.append((name, text))
    return found


RECORDS = of_records()


def test_every_family_of_records_is_swept() -> None:
    of_arrays = {family.name for family in families if ARRAYS.intersection(family.supports)}
    swept = {name for name, _ in RECORDS} | {*UNCODED}
    assert swept == {family.name for family in families} - of_arrays >= {"ssvae", "dmm", "hybrid"}
    for name, (event, reason) in UNCODED.items():
        assert reason in why_not(build(name, Event.parse(event), small(name)))


@pytest.mark.parametrize(("name", "text"), RECORDS)
@pytest.mark.parametrize("missing", [0.6, *(pytest.param(part, marks=pytest.mark.slow) for part in (0.0, 1.0))])
def test_every_family_of_records_gives_back_any_data(name: str, text: str, missing: float) -> None:
    event = Event.parse(text)
    pair, x = build(name, event, small(name)), data_of(event, 40, missing)
    assert why_not(pair) == ""
    file = encode(pair, x)
    assert unpack(file)[0].missing == int(event.missing(x).sum())
    assert same(back(pair, file, x), x)


def test_a_pair_whose_label_is_summed_where_it_is_missing_is_coded() -> None:
    def model(x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("y", dist.Categorical(CLASSES.to(x)), obs=y).long()
            pyro.sample("x", dist.Bernoulli(SHADES.to(x)[k]).to_event(1), obs=x)

    pair = Pair(Event.parse("x=2:binary,y=:3@label"), model, lambda x, y=None: None)
    x = data_of(pair.event, 900)
    header, words = unpack(encode(pair, x))
    nats = log_probs(pair, x)
    flags = 900 * float(dist.Bernoulli(header.missing / 900).entropy()) / math.log(2)
    assert 32 * len(words) == pytest.approx(flags - float(nats.sum()) / math.log(2), abs=200)
    assert same(back(pair, encode(pair, x), x), x)


@pytest.mark.thorough
def test_a_few_data_without_a_label_among_many_come_back() -> None:
    event = Event.parse("x=3x5:binary,y=:2@label")
    pair = build("ssvae", event, small("ssvae"))
    x = data_of(event, 130, 0.0)
    x[65, -1] = torch.nan  # the plan's own choice of data does not contain it
    for batch in (1, 100):
        assert same(back(pair, encode(pair, x, batch=batch), x), x)


def test_a_guide_with_auxiliary_sites_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Bernoulli(logits=z.unsqueeze(-1).expand(-1, 2)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            raw = pyro.sample("raw", dist.Normal(x.mean(1), 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(raw.sinh(), log_density=-raw.cosh().log()))

    assert "the auxiliary raw, which the model does not" in why_not(Pair(Event(2, "binary"), model, guide))


def test_a_label_that_the_model_does_not_take_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(0 * x + 0.5).to_event(1), obs=x)

    assert "does not take 'y'" in why_not(Pair(Event.parse("x=2:binary,y=:3@label"), model))


def test_summed_latents_with_several_values_for_a_datum_are_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2), pyro.plate("pixels", 3, dim=-1):
            k = pyro.sample("k", dist.Categorical(CLASSES.to(x)))
            pyro.sample("x", dist.Bernoulli(SHADES.to(x)[k, 0]), obs=x)

    assert "'k' is summed and has several values for each datum" in why_not(Pair(Event(3, "binary"), model))


# ---------------------------------------------------------------- context


def test_a_context_is_not_in_the_file_and_a_wrong_one_is_refused() -> None:
    pair, x = pair_of("table"), data_of(TABLE, 50)
    file, given = encode(pair, x), contexts(TABLE, x, 50)
    other = encode(pair, TABLE.pack({**TABLE.unpack(x), "c": given["c"] + 1}))
    assert len(unpack(file)[0].event) == len(str(TABLE))
    for wrong in ({"c": given["c"] + 1e-3}, {"c": given["c"].flip(0)}):
        with pytest.raises(RunError, match=r"the values of c are not those .*\(checksum\)"):
            decode(pair, file, given=wrong)
    with pytest.raises(RunError, match="checksum"):
        decode(pair, other, given=given)
    for wrong in ({}, {"c": given["c"][:-1]}, {**given, "d": given["c"]}):
        with pytest.raises(ZooError, match=r"to decode the file takes c of shape \(50, 2\) besides; got"):
            decode(pair, file, given=wrong)
    assert torch.equal(decode(pair, file, given={"c": given["c"] * torch.tensor(1.0)}), x)


def test_more_context_takes_no_more_bytes() -> None:
    def model(x: Tensor, c: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli((c[:, :1] > 0).to(c) * 0.98 + 0.01).to_event(1), obs=x)

    sizes = []
    for width in (1, 5000):
        event = Event.parse(f"x=1:binary,c={width}:real@given")
        with seeded(0):
            c = torch.randn(200, width)
        x = event.pack({"x": (c[:, :1] > 0).float(), "c": c})
        sizes.append(len(encode(Pair(event, model), x)))
    assert sizes[1] - sizes[0] < 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": 3.0}, "field 'kind' of data to code should be whole numbers from 0 to 2"),
        ({"bits": 0.5}, "field 'bits' of data to code should be whole numbers from 0 to 1"),
        ({"c": math.nan}, "field 'c' of data to code should be finite"),
    ],
)
def test_records_of_other_values_are_refused(change: dict[str, float], message: str) -> None:
    values = TABLE.unpack(data_of(TABLE, 5))
    wrong = {name: torch.full_like(values[name], value) for name, value in change.items()}  # type: ignore[arg-type] # no label
    with pytest.raises(ZooError, match=message):
        encode(pair_of("table"), TABLE.pack(values | wrong))


def test_padding_that_is_not_zero_is_refused() -> None:
    pair, x = pair_of("chain"), data_of(BITS, 5)
    x[0, -1], x[0, 9] = 1, 1
    with pytest.raises(ZooError, match="should be zero beyond the length"):
        encode(pair, x)


def test_padding_takes_no_bits() -> None:
    """A sequence of one step in a thousand takes what one step takes."""

    def model(x: Tensor, n: Tensor) -> None:
        shown = torch.arange(1000) < n[:, None]
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(torch.full_like(x, 0.5)).mask(shown).to_event(1), obs=x)

    event = Event.parse("x=1000:binary~n,n=:1001@given")
    with seeded(0):
        x = event.pack({"x": torch.randint(2, (64, 1000)), "n": torch.ones(64)})
    pair = Pair(event, model)
    assert 32 * len(unpack(encode(pair, x))[1]) <= 64 + 64
    assert torch.equal(back(pair, encode(pair, x), x), x)


@pytest.mark.thorough
def test_the_first_sequence_that_is_coded_is_the_shortest() -> None:
    pair, x = pair_of("chain"), data_of(BITS, 40)
    n = x[:, -1]
    sizes = [len(encode(pair, x[order])) for order in (n.argsort(), n.argsort(descending=True))]
    assert abs(sizes[0] - sizes[1]) < 12  # the order of data of one length remains


# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize("name", ["table", "chain"])
def test_the_signs_of_zeros_come_back(name: str) -> None:
    pair = pair_of(name)
    x = data_of(pair.event, 60)
    shown = ~(pair.event.padding(x) if pair.event.padding(x) is not None else torch.zeros_like(x).bool())
    with seeded(0):
        signs = (torch.rand_like(x) < 0.3) & (x == 0) & shown
    signed = torch.where(signs, -0.0, x)
    found = back(pair, encode(pair, signed), signed)
    assert found.numpy().tobytes() == signed.numpy().tobytes()
    assert signs.any()


# ---------------------------------------------------------------- the evaluation


@pytest.mark.thorough
def test_a_record_is_compared_with_standard_codes_of_its_fields() -> None:
    event = Event.parse("x=8x8:17,y=:10@label,c=3:real@given")
    with seeded(0):
        x = random_data(event, 60)
    sizes = standard_codes(event, x)
    alone = {
        field.name: standard_codes(field.event, x[:, columns].reshape(-1, *field.event.shape))
        for field, columns in zip(event.fields[:2], (slice(0, 64), slice(64, 65)), strict=True)
    }
    assert sizes["zlib"] == alone["x"]["zlib"] + alone["y"]["zlib"]
    general = {name: min(size for code, size in sizes.items() if code in PACKERS) for name, sizes in alone.items()}
    for name in set(sizes).difference(PACKERS):
        assert sizes[name] == sum(min(alone[field][name], general[field]) for field in alone) < sum(general.values())
    image = standard_codes(
        Event.parse("x=8x8:256,y=:2"), torch.cat([torch.arange(64.0).expand(60, 64), x[:, 64:65] % 2], 1)
    )
    assert "webp_tiled" in image
    x[:, 64] = torch.nan
    assert standard_codes(event, x)["zlib"] < alone["x"]["zlib"] + 40
    given = Event.parse("x=8x8:17,y=:10@given")
    assert standard_codes(given, x[:, :65].nan_to_num()) == alone["x"]


def test_a_latent_that_the_guide_marks_takes_the_bits_of_the_guide() -> None:
    pair, x = pair_of("marked mixture"), data_of(Event(2, "binary"), 900)
    q = (x @ torch.ones(2, 3)).softmax(-1)
    joint = CLASSES.log() + dist.Bernoulli(SHADES).log_prob(x.unsqueeze(1)).sum(-1)
    elbo = (q * (joint - q.log())).sum(-1)
    assert 32 * len(unpack(encode(pair, x))[1]) == pytest.approx(-float(elbo.sum()) / math.log(2), rel=0.05, abs=100)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["table", *(pytest.param(name, marks=pytest.mark.slow) for name in ("chain", "hmm"))])
def test_the_evaluation_codes_records(name: str) -> None:
    pair = pair_of(name)
    x = data_of(pair.event, 300)
    run = TrainedRun(pair, Dataset("made", pair.event, x, x, x, "made up"), seed=0, history=[])
    scores = {score.metric: score for score in evaluate("lossless", [run], Settings(particles=10, samples=10))}
    assert {score.status for score in scores.values()} == {"ok"}
    bytes_ = scores["bytes"].value or 0
    assert scores["bits_per_dim"].value == 8 * bytes_ / int(dimensions(pair, x).sum())
    assert -10 < (scores["overhead"].value or 0) < 60
