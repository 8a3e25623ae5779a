"""How probable are graphs whose nodes have no order?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.distributions.graphs import MOST_EXACT, ProbabilisticGraph, graph_fields
from zoo.errors import UnfitError, ZooError
from zoo.event import Event
from zoo.metrics.bounds import summarise
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluation
from zoo.pairs.sites import entries_of, latent_sites, per_datum
from zoo.pairs.traces import capabilities, traced
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, unmeasurable
from zoo.scores import Kind, Score
from zoo.seeding import seeded

METRICS = (
    *("ordered_nats", "ordered_elbo", "matched_nats", "matched_elbo", "unlabelled_nats", "matching_gain"),
    *("moved_share", "matching_ms"),
)
PARTICLES = 16
"""The most for each graph, because each of them is matched."""
CHUNK = 4000
"""Graphs that are matched at once."""
ROUNDING = 1e-3
"""Relative to 1 and to the value: by how many nats a graph's log-probability may differ from that of the sites."""
ORDERED = "p(G) in the order of the data: also a bound of the unlabelled graph's"
MATCHED = "p of the unlabelled graph, by the best order found for each particle"
SUMMED = "p of the unlabelled graph, all orders summed"


@evaluation("matching")
def matching(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Negative log-probabilities of test graphs, with their nodes in one order and without any order.

    A model of ordered arrays gives a graph without an order the sum of its probabilities in all different orders. The
    two are kept apart by name (see `zoo.distributions.graphs.ProbabilisticGraph`), and bounded by the same particles:

    - ``ordered_nats``, ``ordered_elbo``: of the arrays as the data hold them; exact for a model without latents.
    - ``matched_nats``, ``matched_elbo``: of the unlabelled graph, by its best order found given each particle's
      latents. At most the ordered ones.
    - ``unlabelled_nats``: the same with all orders summed, of up to 7 nodes; exact for a model without latents.
    - ``matching_gain``: the nats by which matching lowers the negative ELBO. ``moved_share``: share of graphs and
      particles for which it finds another order that is better. ``matching_ms``: its time for one graph and particle.

    Args:
        runs: one run.
        settings: ``particles`` (at most 16 are used), ``samples``, the most test graphs, and ``seed``.

    Returns:
        The scores above; all skipped for data that are no graphs, and where bonds depend on each other given latents.

    Reference:
        Simonovsky & Komodakis 2018, arXiv:1802.03480, section 3.3.
    """
    (run,) = runs
    return unmeasurable(run, METRICS) or attempt(METRICS, _of_pair, run, settings)


@dataclass(frozen=True)
class Matched:
    """Log-weights of each graph's particles, ``(n, particles)``, float64; ``summed`` is None of larger graphs."""

    ordered: Tensor
    matched: Tensor
    summed: Tensor | None
    moved: Tensor
    """Which particles have another order that is better."""
    seconds: float
    """Of matching alone."""


def match(pair: Pair, x: Tensor, particles: int, seed: int = 0) -> Matched:
    """log p(G, z) - log q(z | G) of each graph and particle: in its order, in the best found, and of all orders.

    Args:
        pair: observes ``atoms`` and ``bonds``, independent given its latents, all of which its guide samples.
        x: packed graphs, shape ``(n, event.size)``.
        particles: draws of the guide for each graph.
        seed: of the draws.

    Raises:
        UnfitError: bonds that depend on each other.
        ZooError: another pair.
    """
    if not pair.structure.plain:
        raise ZooError("graphs are matched given latents that the guide samples; here some are summed or shared")
    atoms, _ = graph_fields(pair.event, "matching")
    found: dict[str, list[Tensor]] = {"ordered": [], "matched": [], "summed": [], "moved": []}
    seconds = 0.0
    with pair.evaluating(), seeded(seed):
        for part in x.repeat_interleave(particles, 0).split(CHUNK):
            model_trace, guide_trace = traced(pair, part)
            names = latent_sites(model_trace)
            prior, posterior = (per_datum(each, len(part), names) for each in (model_trace, guide_trace))
            latents = (prior - posterior).cpu().double()
            graph = ProbabilisticGraph(*(_log_probs(model_trace, name, len(part)) for name in ("atoms", "bonds")))
            levels = _levels(pair.event, part.cpu())
            ordered = graph.ordered(*levels)
            theirs = (per_datum(model_trace, len(part)) - prior).cpu().double()
            if not torch.allclose(ordered, theirs, rtol=ROUNDING, atol=ROUNDING):
                raise ZooError("atoms and bonds are not independent given the latents, so a graph cannot be reordered")
            start = time.perf_counter()
            best, _ = graph.matched(*levels)
            seconds += time.perf_counter() - start
            found["ordered"].append(ordered + latents)
            found["matched"].append(best + latents)
            found["moved"].append(best > ordered + 1e-9)
            if atoms.size <= MOST_EXACT:
                found["summed"].append(graph.unlabelled(*levels) + latents)
    shaped = {name: torch.cat(parts).reshape(len(x), particles) for name, parts in found.items() if parts}
    return Matched(shaped["ordered"], shaped["matched"], shaped.get("summed"), shaped["moved"], seconds)


def _of_pair(run: TrainedRun, settings: Settings) -> list[Score]:
    pair, x = run.pair, run.data.test[: settings.samples]
    try:
        graph_fields(pair.event, "matching")
        can = capabilities(pair, x)
        particles = min(settings.particles, PARTICLES) if can.latents else 1
        found = match(pair, x, particles, settings.seed)
    except UnfitError as error:
        return [Score.skipped(metric, str(error)) for metric in METRICS]
    exact: Kind = "lower bound" if can.latents else "exact"

    def of(word: str, weights: Tensor, kind: Kind, reason: str) -> list[Score]:
        bound = summarise(weights, torch.zeros(len(x)))
        scores = [(f"{word}_nats", bound.importance, kind), (f"{word}_elbo", bound.elbo, "lower bound")]
        found = (mean_score(name, -value, "nats", own) for name, value, own in scores)
        return [replace(score, reason=reason) if score.status == "ok" else score for score in found]

    scores = [*of("ordered", found.ordered, exact, ORDERED), *of("matched", found.matched, "lower bound", MATCHED)]
    if found.summed is None:
        scores.append(Score.skipped("unlabelled_nats", f"all orders are summed of up to {MOST_EXACT} nodes"))
    else:
        scores.append(of("unlabelled", found.summed, exact, SUMMED)[0])
    gain, moved = (found.matched - found.ordered).mean(1), found.moved.double().mean(1)
    each = 1000 * found.seconds / found.ordered.numel()
    return [
        *scores,
        mean_score("matching_gain", gain, "nats", "estimate"),
        mean_score("moved_share", moved, "share", "estimate"),
        Score("matching_ms", each, "ms", kind="estimate", n=found.ordered.numel()),
    ]


def _levels(event: Event, x: Tensor) -> tuple[Tensor, Tensor]:
    values = event.unpack(x)
    atoms, bonds = values["atoms"], values["bonds"]
    assert atoms is not None
    assert bonds is not None
    return atoms, bonds


def _log_probs(model_trace: Any, name: str, n: int) -> Tensor:
    """The log-probabilities of the levels at a site, shape ``(n, entries, levels)``, float64, on the CPU."""
    fn = entries_of(model_trace.nodes[name]["fn"])
    if isinstance(fn, dist.Bernoulli):
        logs = torch.stack([F.logsigmoid(-fn.logits), F.logsigmoid(fn.logits)], -1)
    elif isinstance(fn, dist.Categorical):
        logs = fn.logits.log_softmax(-1)
    else:
        raise UnfitError(
            f"graphs are matched where atoms and bonds are independent given the latents; {name} are of "
            f"{type(fn).__name__}"
        )
    return logs.expand(n, *logs.shape[1:]).cpu().double()
