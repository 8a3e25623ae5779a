"""Text: sentences as levels, the LSTM over them, its softmax in groups, free bits, and what is said of latents."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from draws import every
from make_believe import MadeUp
from markupsafe import escape
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.cli.samples import check_place, save_samples
from zoo.data import Dataset
from zoo.data.brown import distinct, of_sentences
from zoo.data.words import sentences, words_of
from zoo.distributions.autoregressive import greedy
from zoo.distributions.levels import before_end
from zoo.engine.objectives import elbo, free_bits
from zoo.errors import ZooError
from zoo.event import Event
from zoo.experiments.collect import _over_seeds, _real
from zoo.files import read_tensors
from zoo.nn.softmax import GroupedSoftmax
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.traces import log_prob
from zoo.report.page import render, render_use
from zoo.report.study import Study
from zoo.runs.evaluation import KEPT, Settings, TrainedRun, evaluate
from zoo.scores import Score
from zoo.seeding import seeded
from zoo.training.loop import fit

SMALL = {"width": 8, "hidden": 16}
TINY = Event(4, 3)


@pytest.fixture(scope="module")
def toy() -> Dataset:
    """A few hundred sentences of one to five words, of seven."""
    draw = random.Random(0)
    lines = [tuple(draw.choices("abcdefg", range(7, 0, -1), k=draw.randint(1, 5))) for _ in range(900)]
    return of_sentences("toy", list(dict.fromkeys(lines)), "words at random", 4, 7)


def with_ends(name: str, **hyper: object) -> Pair:
    """A pair of `TINY` events that knows of the end, with random weights."""
    pair = build(name, TINY, SMALL | hyper, seed=1)
    pair.extras.initialise(torch.tensor([[1.0, 2.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]]))
    with seeded(0), torch.no_grad():
        for parameter in pair.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return pair


def test_files_become_different_sentences_without_tags(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\n\tThe/at and/or/cc ./.\n\n The/at and/or/cc ./.\n")
    (tmp_path / "b").write_text("the/at And/or/cc ./.\nNo/rb ./.\n")
    assert distinct([tmp_path / "a", tmp_path / "b"]) == [("the", "and/or", "."), ("no", ".")]


def test_sentences_are_levels_that_end_in_zeros(toy: Dataset) -> None:
    words = toy.names["x"]
    assert words[:2] == ["", "<unk>"]
    assert len(words) == toy.event.levels == 7
    assert toy.event.shape == (5,)
    assert not ((toy.train != 0) & ~before_end(toy.train)).any()
    counts = torch.bincount(toy.train[toy.train > 0].long(), minlength=7)[2:]
    assert counts.tolist() == sorted(counts.tolist(), reverse=True)
    assert {tuple(row) for row in toy.test.tolist() if 1 not in row}.isdisjoint(map(tuple, toy.train.tolist()))
    row = torch.tensor([[words.index("a"), 1, 0, 0, 0]])
    assert sentences(row, words_of(toy.event, toy.names)) == ["a <unk>"]


def test_grouped_softmax_is_a_softmax_of_all_levels() -> None:
    with seeded(0):
        softmax, h = GroupedSoftmax(6000, 4), torch.randn(50, 4)
        for parameter in softmax.parameters():
            nn.init.normal_(parameter)
        levels = torch.randint(6000, (50,))
    logs = softmax.logits(h)
    assert len(softmax.groups) == 2
    torch.testing.assert_close(logs.logsumexp(1), torch.zeros(50), atol=1e-4, rtol=0)
    torch.testing.assert_close(softmax.nats(h, levels), F.cross_entropy(logs, levels, reduction="none"))
    softmax.initialise(torch.arange(6000, 0, -1.0))
    expected = (torch.arange(6001, 1, -1.0) / torch.arange(6001, 1, -1.0).sum()).log()
    torch.testing.assert_close(softmax.logits(torch.zeros(4)), expected)


@pytest.mark.parametrize("name", ["rnnlm", "rnnlm:word_dropout=1"])
def test_probabilities_of_all_sentences_sum_to_one(name: str) -> None:
    pair, x = with_ends(name), every(TINY).float()
    proper = ~((x != 0) & ~before_end(x)).any(1)
    with pair.evaluating():
        logs = log_prob(pair, x)
    assert (logs[~proper] == -math.inf).all()
    assert float(logs[proper].double().exp().sum()) == pytest.approx(1, abs=1e-5)


def test_sentences_are_drawn_with_nothing_after_the_end() -> None:
    pair = with_ends("rnnlm")
    with seeded(0):
        x = sample(pair, 4000)
    assert not ((x != 0) & ~before_end(x)).any()
    rows, counts = x.unique(dim=0, return_counts=True)
    with pair.evaluating():
        expected = 4000 * log_prob(pair, rows).exp()
    assert ((counts - expected).abs() < 5 * (expected + 1).sqrt()).all()


def test_an_end_is_found_only_where_nothing_follows_it() -> None:
    pair = build("rnnlm", TINY, SMALL)
    pair.extras.initialise(torch.tensor([[1.0, 0.0, 0.0, 1.0], [2.0, 1.0, 1.0, 0.0]]))
    assert not pair.extras.decoder.ends
    pair.extras.initialise(torch.tensor([[1.0, 2.0, 1.0, 0.0], [2.0, 1.0, 1.0, 0.0]]))
    assert not pair.extras.decoder.ends  # it is the last entry, which nothing could follow
    with pair.evaluating():
        assert float(log_prob(pair, every(TINY).float()).double().exp().sum()) == pytest.approx(1, abs=1e-5)


def test_without_words_a_decoder_knows_only_latents_and_length() -> None:
    pair = with_ends("rnnlm", word_dropout=1)
    with pair.evaluating():
        one, other = log_prob(pair, torch.tensor([[1.0, 2.0, 2.0, 1.0], [2.0, 1.0, 1.0, 2.0]]))
        mixed = log_prob(pair, torch.tensor([[1.0, 1.0, 2.0, 2.0], [2.0, 2.0, 1.0, 1.0]]))
    assert float(one + other) == pytest.approx(float(mixed.sum()), abs=1e-4)


class Wasteful(nn.Module):
    """z ~ N(0, 1) and x ~ N(0, 1), whatever z; q(z) = N(m, 1), so that KL = m^2 / 2."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor([mean]))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(x.new_zeros(1), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.mean, 1.0).to_event(1))


@pytest.mark.parametrize(("mean", "beta", "pulled"), [(3.0, 1.0, True), (3.0, 0.5, True), (0.5, 1.0, False)])
def test_free_bits_cost_nothing_and_pull_nothing(mean: float, beta: float, pulled: bool) -> None:
    module, x = Wasteful(mean), torch.zeros(4000, 1)
    pair = Pair(Event(1, "real"), module.model, module.guide)
    with seeded(0):
        surrogate, loss = free_bits(1.0)(pair, x, beta)
    surrogate.backward()
    constant = 0.5 * math.log(2 * math.pi)
    assert float(loss) == pytest.approx(constant + beta * max(1.0, mean**2 / 2), abs=0.3 * pulled + 1e-5)
    assert module.mean.grad is not None
    assert float(module.mean.grad) == pytest.approx(beta * mean if pulled else 0.0, abs=0.1)
    if pulled and beta == 1:
        with seeded(0):
            assert float(loss) == pytest.approx(float(elbo()(pair, x, 1.0)[1]), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("rnnlm", {}, "latents that a guide draws"),
        ("sentence-vae", {"objective": "iwae", "particles": 2}, "free_bits are of objective=elbo"),
        ("gan", {}, "takes no free bits"),
    ],
)
def test_free_bits_are_refused_where_they_mean_nothing(name: str, settings: dict[str, object], message: str) -> None:
    event = Event(4, "real") if name == "gan" else TINY
    train, validation, test = (torch.arange(24.0).reshape(6, 4) % 3).split(2)
    data = Dataset("counts", event, train, validation, test, "0, 1, 2, 0, 1, ...")
    with pytest.raises(ZooError, match=message):
        fit(build(name, event), data, {"steps": 1, "free_bits": 1.0, "kl_warmup": 0} | settings)


def scores_of(pair: Pair, data: Dataset) -> dict[str, Score]:
    run = TrainedRun(pair, data, seed=0, history=[])
    return {score.metric: score for score in evaluate("sentences", [run], Settings(particles=8))}


def test_words_at_random_have_the_perplexity_of_their_frequencies(toy: Dataset) -> None:
    """A decoder whose LSTM says nothing is the unigram model, which the bias starts from."""
    pair = build("rnnlm", toy.event, SMALL)
    pair.extras.initialise(toy.train)
    pair.extras.decoder.out.weight.data.zero_()
    pair.extras.decoder.out.bias.data.zero_()
    found = scores_of(pair, toy)
    assert found["unigram"].value == pytest.approx(found["sentence_nats"].value, abs=1e-4)
    counted = float(before_end(toy.test).sum())
    assert found["perplexity"].value == pytest.approx(
        math.exp(found["unigram"].value * len(toy.test) / counted), rel=1e-4
    )
    assert found["kl"].status == "skipped"


def test_kl_is_information_and_the_distance_of_the_aggregate(toy: Dataset) -> None:
    """A guide that ignores x tells nothing of it, however large its KL is."""
    pair = build("sentence-vae", toy.event, SMALL | {"latent": 2})
    pair.extras.initialise(toy.train)
    posterior = pair.extras.posterior
    posterior.weight.data.zero_()
    posterior.bias.data.copy_(torch.tensor([2.0, 0.0, 0.5413, 0.5413]))  # N((2, 0), 1)
    idle = scores_of(pair, toy)
    assert idle["information"].value == pytest.approx(0, abs=1e-5)
    assert idle["kl"].value == pytest.approx(2, abs=0.4)
    assert idle["active_units"].value == 0
    with seeded(0):
        nn.init.normal_(posterior.weight, std=200.0)
    found = scores_of(pair, toy)
    assert found["kl"].value == pytest.approx(found["information"].value + found["marginal_kl"].value)
    assert 1 < found["information"].value <= math.log(len(toy.test))
    assert found["active_units"].value == 2


def test_data_that_go_on_after_their_end_have_no_perplexity(toy: Dataset) -> None:
    broken = toy.test.clone()
    broken[0] = torch.tensor([2.0, 0.0, 3.0, 0.0, 0.0])
    pair = build("rnnlm", toy.event, SMALL)
    pair.extras.initialise(toy.train)
    data = Dataset("toy", toy.event, toy.train, toy.validation, broken, "Words.", names=toy.names)
    found = scores_of(pair, data)
    assert found["perplexity"].status == "failed"
    assert "1 of" in found["perplexity"].reason
    plain = scores_of(pair, Dataset("toy", toy.event, toy.train, toy.validation, toy.test, "Levels."))
    assert {score.status for score in plain.values()} == {"skipped"}


def test_samples_of_text_are_written_a_sentence_a_line(tmp_path: Path, toy: Dataset) -> None:
    path, words = tmp_path / "x.txt", toy.names["x"]
    check_place(path, toy.event, names=toy.names)
    save_samples(path, torch.tensor([[2.0, 1.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0, 0.0]]), toy.event, (), toy.names)
    assert path.read_text() == f"{words[2]} <unk>\n{words[3]}\n"
    with pytest.raises(ZooError, match="no text"):
        check_place(path, toy.event)


def test_the_report_prints_sentences_and_what_lies_between_them(toy: Dataset, tmp_path: Path) -> None:
    """From an evaluation of a VAE that keeps its interpolations, as a suite does."""
    pair = build("sentence-vae", toy.event, SMALL | {"latent": 2})
    pair.extras.initialise(toy.train)
    run = TrainedRun(pair, toy, seed=0, history=[], folder=tmp_path / "run")
    scores = evaluate("sentences", [run], Settings(particles=2))
    kept, _ = read_tensors(tmp_path / "run" / KEPT / "sentences.safetensors")
    ends = kept["interpolations"][:, [0, -1]].reshape(-1, 5)
    assert (ends[:, None] == toy.test[None]).all(-1).any(1).all()
    member = MadeUp("sentence-vae", group="prescribed")
    rows = [member.row(score, "toy", 0, "sentences") for score in scores]
    shown = _real(toy) | {"samples": {"sentence-vae": toy.train[:3].tolist()}}
    uses = {"toy": {"sentence-vae": {"sentences": _over_seeds([kept])}}}
    study = Study("text", False, {}, rows, [], {"toy": shown}, uses=uses)
    page, use = render(study), render_use(study)
    words = toy.names["x"]
    assert f"<li>{escape(sentences(toy.train[:1], words)[0])}</li>" in page
    assert "Sentences in numbers" in page
    for line in sentences(kept["interpolations"][0], words):
        assert f"<li>{escape(line)}</li>" in use


def test_greedy_words_are_the_likeliest_that_are_allowed() -> None:
    pair = with_ends("rnnlm")
    with pair.evaluating():
        fn = pair.extras.decoder()
        plain, other = greedy(fn), greedy(fn, without=[int(greedy(fn)[0])])
        logs = pair.extras.decoder.logits(plain[None])[0]
    assert torch.equal(plain, logs.argmax(-1).float())
    assert other[0] != plain[0]
    assert other[0] == logs[0].index_fill(-1, plain[0].long(), -math.inf).argmax()
