"""How well are sentences predicted, and does the latent vector of a sentence say anything of it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from zoo.data.words import UNKNOWN, words_of
from zoo.distributions.autoregressive import Autoregressive, greedy
from zoo.distributions.levels import before_end
from zoo.errors import UnfitError
from zoo.metrics.bounds import log_likelihoods
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluation
from zoo.pairs.traces import capabilities, traced
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, ratio_score, unmeasurable
from zoo.runs.nats import own_nats
from zoo.scores import Kind, Score
from zoo.seeding import seeded

OF_TEXT = ("sentence_nats", "word_nats", "perplexity", "unigram")
OF_LATENTS = ("kl", "information", "marginal_kl", "active_units")
ACTIVE = 0.01
"""Variance of the posterior mean over data above which a unit is active (Burda et al. 2016, section 5)."""
ROWS = 64
"""Draws that are compared with all posteriors at once."""
PAIRS, POINTS = 8, 7
"""Interpolations, and points on each with its ends."""
LENGTHS = 4, 12
"""Words of the sentences that are interpolated and reconstructed."""
SHOWN = 12
"""Sentences that are reconstructed, and drawn from the prior."""


@evaluation("sentences")
def sentences(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Test sentences by their words, and what the latents of a sentence say of it. Of text alone.

    - ``sentence_nats``: nats per sentence, exact or by the importance-weighted bound. ``word_nats``: the nats of all
      sentences over the number of their words, the end of each counted as one; ``perplexity``: its exponential.
      Rare words count as one word, <unk>, so numbers compare within one vocabulary only.
    - ``unigram``: nats per sentence of independent words and ends by their frequency in the train split.
    - ``kl``: the mean of log q(z|x) - log p(z), z ~ q(z|x). It is the sum of ``information``, the mutual information
      of x and z under q, mean of log q(z|x) - log q(z), and ``marginal_kl``, mean of log q(z) - log p(z). There
      q(z) = (1/n) sum_i q(z|x_i) is of all n test data, so that the information is at most log n.
    - ``active_units``: dimensions of z whose posterior mean has a variance over data above 0.01.

    Kept for figures: the likeliest words but <unk>, greedily, at points between the posterior means of two test
    sentences; those at the mean of a sentence, and a draw for a draw of its posterior; and those of draws of the prior.

    Args:
        runs: one run.
        settings: ``particles`` for the bound, which is not computed again if the evaluation of the likelihood kept it;
            ``memory`` and ``seed``.

    Returns:
        The scores above; all skipped for data that are no text, and those of latents for families without.

    Reference:
        Bowman et al. 2016, arXiv:1511.06349; He et al. 2019, arXiv:1901.05534, section 4 (mutual information).
    """
    (run,) = runs
    metrics = (*OF_TEXT, *OF_LATENTS)
    if failed := unmeasurable(run, metrics):
        return failed
    if not words_of(run.data.event, run.data.names):
        return [
            Score.skipped(metric, "the data are no text: levels without words, of which 0 is the end")
            for metric in metrics
        ]
    return [*attempt(OF_TEXT, _of_text, run, settings), *attempt(OF_LATENTS, _of_latents, run, settings)]


def _of_text(run: TrainedRun, settings: Settings) -> list[Score]:
    x = run.data.test
    counted = before_end(x)
    if broken := int(((x != 0) & ~counted).any(1).sum()):
        return [
            Score.failed(metric, f"{broken} of {len(x)} test data go on after their end, level 0") for metric in OF_TEXT
        ]
    levels = run.data.event.levels
    assert levels is not None  # of words
    unigram = mean_score("unigram", _unigram(run.data.train, x, levels), "nats", "exact")
    can = capabilities(run.pair, x[:1])
    if can.likelihood not in ("exact", "bound"):
        return [*(Score.skipped(metric, "it has no normalised likelihood") for metric in OF_TEXT[:3]), unigram]
    kind: Kind = "exact" if can.likelihood == "exact" else "lower bound"
    nats = own_nats(run, settings)
    if nats is None:
        nats = -log_likelihoods(run.pair, x, settings.particles, memory=settings.memory, seed=settings.seed)[0]
    of_word = ratio_score("word_nats", nats, counted.sum(1).cpu(), "nats/word", kind)
    perplexity = replace(of_word, metric="perplexity", unit="per word")
    if of_word.value is not None and of_word.stderr is not None:
        value = math.exp(of_word.value)
        perplexity = replace(perplexity, value=value, stderr=value * of_word.stderr)
    return [mean_score("sentence_nats", nats, "nats", kind), of_word, perplexity, unigram]


def _unigram(train: Tensor, x: Tensor, levels: int) -> Tensor:
    """-log p of each sentence of independent words by their train frequencies, one added to each count."""
    counts = torch.bincount(train[before_end(train)].long(), minlength=levels).double() + 1
    logs = (counts / counts.sum()).log()
    return -(logs[x.long()] * before_end(x)).sum(1).cpu()


def _of_latents(run: TrainedRun, settings: Settings) -> list[Score]:
    try:
        name = _latent(run.pair)
    except UnfitError as error:
        return [Score.skipped(metric, str(error)) for metric in OF_LATENTS]
    x = run.data.test
    with run.pair.evaluating(), seeded(settings.seed):
        model, _ = traced(run.pair, x[:1])
        q = poutine.trace(run.pair.guide).get_trace(x).nodes[name]["fn"]
        z = q.sample()
        own, prior = q.log_prob(z).double(), model.nodes[name]["fn"].expand((len(x),)).log_prob(z).double()
        marginal = torch.cat([q.log_prob(part[:, None]).double().logsumexp(1) for part in z.split(ROWS)]) - math.log(
            len(x)
        )
        active = int((q.mean.var(0) > ACTIVE).sum())
        run.keep("sentences", _pictured(run, name, q, x), settings)
    information = mean_score("information", (own - marginal).cpu(), "nats", "estimate")
    return [
        mean_score("kl", (own - prior).cpu(), "nats", "estimate"),
        replace(information, reason=f"at most log {len(x)} = {math.log(len(x)):.2f}"),
        mean_score("marginal_kl", (marginal - prior).cpu(), "nats", "estimate"),
        Score("active_units", active, f"of {z.shape[1]}", None, "estimate", len(x)),
    ]


def _latent(pair: Pair) -> str:
    """The latent vector of a datum.

    Raises:
        UnfitError: there is none, or there are several.
    """
    can = capabilities(pair)
    if not can.latents:
        raise UnfitError("no latents of a datum")
    name, *others = can.latents
    if others or len(can.latents[name]) != 1 or not pair.structure.plain:
        raise UnfitError("of one latent vector for each datum, which the guide draws")
    return name


def _pictured(run: TrainedRun, name: str, q: Any, x: Tensor) -> dict[str, Tensor]:
    """Sentences for the report: interpolations, reconstructions and draws of the prior; none of other likelihoods."""
    pair, length = run.pair, before_end(x).sum(1) - 1
    unknown = [level for level, word in enumerate(words_of(run.data.event, run.data.names)) if word == UNKNOWN]
    few = ((length >= LENGTHS[0]) & (length <= LENGTHS[1])).nonzero()[: max(SHOWN, 2 * PAIRS), 0]
    if len(few) < 2 or not isinstance(_given(pair, name, q.mean[few[:1]]), Autoregressive):
        return {}
    means, draws = q.mean[few], q.sample()[few]
    pairs = len(few) // 2
    first, last = means[0 : 2 * pairs : 2, None], means[1 : 2 * pairs : 2, None]
    way = torch.linspace(0, 1, POINTS, device=x.device)[:, None]
    between = greedy(_given(pair, name, (first + way * (last - first)).flatten(0, 1)), unknown)
    ends = x[few[: 2 * pairs]].reshape(pairs, 2, -1)
    again = greedy(_given(pair, name, means[:SHOWN]), unknown), _given(pair, name, draws[:SHOWN]).sample()
    with poutine.block():
        prior = poutine.trace(poutine.uncondition(pair.model)).get_trace(x[:SHOWN]).nodes[name]["value"]
    return {
        "interpolations": torch.cat([ends[:, :1], between.reshape(pairs, POINTS, -1), ends[:, 1:]], 1)[:PAIRS],
        "reconstructions": torch.stack([x[few[:SHOWN]], *again], 1),
        "prior": greedy(_given(pair, name, prior), unknown),
    }


def _given(pair: Pair, name: str, z: Tensor) -> Any:
    """The distribution of x given latents ``z``, shape ``(n, d)``."""
    blank = pair.event.zeros(len(z)).to(z.device)
    nodes = poutine.trace(poutine.condition(pair.model, {name: z})).get_trace(blank).nodes
    fn: Any = nodes[capabilities(pair).observed[0]]["fn"]
    return fn
