"""How probable are data that the family never saw?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.metrics.bounds import FEWEST_PARTICLES, LARGEST_KHAT, Bounds, bounds, log_probs, most_particles
from zoo.metrics.normaliser import LogZ, Normaliser, estimate_normaliser
from zoo.metrics.two_sample import Share
from zoo.pairs.build import build
from zoo.pairs.pair import HasInitialise
from zoo.pairs.records import density, dimensions
from zoo.pairs.registry import column, evaluation
from zoo.pairs.structure import listed
from zoo.pairs.traces import Capabilities, capabilities
from zoo.report.text import percent
from zoo.report.verdicts import Pooled, Row, Verdict, pool
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, ratio_score, unmeasurable
from zoo.runs.nats import keep_nats
from zoo.scores import Kind, Score
from zoo.seeding import seeded

ELBO_PARTS = ("kl", "reconstruction")
OF_WEIGHTS = ("elbo", *ELBO_PARTS, "ess", "khat_share")
OF_PAIR = ("nats", "bits_per_dim", *OF_WEIGHTS, "bound_gap")
OF_DATA = ("nats", "nats_per_step", "bits_per_dim", "elbo")
"""Those whose reason says what they are of."""
ONLY_DEQUANTISED = "no latents but the dequantised datum: all of the ELBO is reconstruction"
NO_LATENTS = "no latents of a datum, only shared ones: all of the ELBO is reconstruction"
NO_WEIGHTS = "the family estimates its ELBO by terms at random, without importance weights: see elbo_..."
CHAINS, TEMPERATURES = 100, 4
"""Of annealing, for log Z: chains, and temperatures for each particle."""
SURE = 3.0
"""Standard errors by which backward chains may be below forward ones before their starts count as not exact."""
APART = 1.0
"""Nats between forward and backward chains from which on the value says how far they are apart."""
UNKNOWN = 10.0
"""Standard errors of the nats by which backward chains may be above forward ones before log Z counts as not known."""
CONSERVATIVE = "at least log Z in expectation if the draws that its chains start from are exact: conservative"
FLOORS = {"floor_uniform": "uniform", "floor_independent": "independent"}
"""Metric -> the family that every other should beat."""


@column(
    "likelihood",
    title="Likelihood",
    evaluation="likelihood",
    metric="nats",
    rule="exact if the test log-likelihood is computed exactly in every seed that could be scored; approximate if it "
    "is a lower bound or an estimate in any; no if the family has none. A bound is shown with the share of data whose "
    f"importance weights are too heavy-tailed (k̂ > {LARGEST_KHAT:g}) for it to be called tight; the share decides "
    "nothing.",
    literature={"autoregressive": "exact", "flow": "exact", "implicit": "no", "prescribed": "approximate"},
    place=2,
    width=46,
    skipped="no",
)
def exact_or_approximate(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Is the likelihood of test data exact?"""
    if score.kind == "exact":
        return score.verdict("exact", "nats")
    verdict, khat = score.verdict("approximate", "nats"), pool(rows, "likelihood", "khat_share")
    if khat.value is None:
        return verdict
    note = f"k̂ > {LARGEST_KHAT:g} for {percent(khat.value, khat.stderr)} of data"
    return replace(verdict, reason="; ".join(filter(None, [note, verdict.reason])))


@evaluation("likelihood")
def likelihood(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Negative log-likelihood of the test split in evaluation mode; lower is better.

    - ``nats`` per datum with its standard error over data: exact where it is derivable, else the importance-weighted
      bound. ``bits_per_dim`` = nats / (ln 2 · size), and for sequences ``nats_per_step``: the nats of all data over
      their dimensions or steps in all. For real data they are of a density in the data's own units and may be negative.
      Real data on a grid have none: with uniform noise of its step, values are lower bounds.
      Latents that all data share are averaged over draws of the guide: the value bounds its posterior predictive, and
      the standard error does not count the noise of draws that data share. Of records the reason says what the value
      is of: p(x, y) with labels, p(x | c) where c is given.
    - ``elbo``: the negative ELBO in nats, the sum of ``kl``, the mean of log q(z|x) - log p(z), near zero where the
      latents carry no information, and ``reconstruction``, the mean of -log p(x|z). A dequantised datum is part of x.
      A family that estimates its ELBO itself has the mean of each of its terms instead, ``elbo_prior`` and so on, of at
      most 64 estimates for each datum.
    - ``ess``: mean effective sample size of the particles. ``khat_share``: share of data with a Pareto k-hat above 0.7.
    - Of a density that is known up to a constant (`zoo.distributions.Unnormalised`) ``nats`` is an estimate, with the
      error of log Z in it: log Z is annealed from the base, which makes ``nats`` too small in expectation (optimistic).
      ``nats_conservative`` takes log Z from chains that lead back from the model's own draws. Where it is greater by
      more than `APART` nats and `UNKNOWN` standard errors, ``nats`` has failed: log Z is not known. ``log_z_forward``
      and ``log_z_backward`` are both; where log Z is computed exactly, they are compared with ``log_z``.
    - ``bound_gap``, for a pair with an analytic log_prob and latents: the exact value minus the bound, not below zero
      by more than noise.
    - ``floor_uniform``, ``floor_independent``: the nats of those families on the same data.

    Args:
        runs: one run.
        settings: ``particles`` per datum for the bound, and a fourth of the temperatures for log Z; ``memory`` and
            ``seed``.

    Returns:
        The scores above; all failed if the run did not finish.

    Reference:
        Burda et al. 2016, arXiv:1509.00519, eq. 8 (the bound); Vehtari et al. 2024, arXiv:1507.02646 (k-hat).
    """
    (run,) = runs
    return unmeasurable(run, (*OF_PAIR, *FLOORS)) or [
        *attempt(OF_PAIR, _of_pair, run, settings),
        *(score for floor in FLOORS for score in attempt((floor,), _of_floor, floor, run, settings)),
    ]


def _of_pair(run: TrainedRun, settings: Settings) -> list[Score]:
    can = capabilities(run.pair, run.data.test)
    if can.likelihood == "none":
        return _skipped(OF_PAIR, "an implicit model: it observes nothing, so it has no likelihood")
    x, memory, seed = run.data.test, settings.memory, settings.seed
    log_z, temperatures = None, TEMPERATURES * settings.particles
    if can.energies:
        log_z = estimate_normaliser(run.pair, chains=CHAINS, temperatures=temperatures, seed=seed)
    unknown = can.likelihood == "unnormalised"
    pair, shift = run.pair.relative, run.data.log_scale(run.pair, x)
    if log_z and unknown:
        shift = shift + log_z.forward.value
    exact, bound = None, None
    if can.latents or can.shared:
        bound = bounds(pair, x, most_particles(pair, settings.particles), memory=memory, seed=seed)
        bound = replace(bound, elbo=bound.elbo - shift, importance=bound.importance - shift)
    if can.likelihood == "exact" or bound is None:
        exact = log_probs(pair, x, memory=memory, seed=seed) - shift
    kind: Kind = "estimate" if unknown else "lower bound" if exact is None or run.data.dequantised else "exact"
    if exact is not None:
        values = -exact
    else:
        assert bound is not None
        values = -bound.importance
    steps, bits = run.data.event.steps(x), math.log(2) * dimensions(run.pair, x).cpu().double()
    of = [density(run.pair, x)] if run.data.event.fields else []
    of += [run.data.units.remark] if run.data.units and run.data.dequantised else []
    informative, remark = bool(set(can.latents) - set(can.dequantising)), "; ".join([*of, *_remarks(can, bound)])
    found = [
        mean_score("nats", values, "nats", kind),
        *([] if steps is None else [ratio_score("nats_per_step", values, steps.cpu(), "nats/step", kind)]),
        ratio_score("bits_per_dim", values, bits, "bits/dim", kind),
        *_of_weights(bound, informative, NO_LATENTS if can.shared and not can.latents else ONLY_DEQUANTISED),
        _gap(exact, bound),
    ]
    if log_z and unknown:
        of_z = f"log Z by {CHAINS} chains of {temperatures} temperatures, optimistic: see nats_conservative"
        remark = "; ".join(filter(None, [remark, of_z, _apart(log_z)]))
        found = _estimated(found, log_z, values)
    if found[0].status == "ok":
        keep_nats(run, settings, values, density(run.pair, x))
    found = [replace(each, reason=remark) if each.metric in OF_DATA and each.status == "ok" else each for each in found]
    return [*found, *(_of_log_z(log_z, values if unknown else None) if log_z else [])]


def _apart(log_z: Normaliser) -> str:
    """How far the estimates of log Z are apart, if that is worth a word."""
    gap = log_z.backward.value - log_z.forward.value
    return f"chains back from the model's draws differ by {gap:+.1f} nats" if abs(gap) > APART else ""


def _estimated(scores: Sequence[Score], log_z: Normaliser, nats: Tensor) -> list[Score]:
    """The scores with the error of log Z in those of data; these have failed where log Z is not known."""
    found = [_of_estimate(each, log_z.forward, nats) for each in scores]
    gap, apart = log_z.backward.value - log_z.forward.value, _apart(log_z)
    if not apart or gap <= UNKNOWN * (found[0].stderr or 0.0):
        return found
    why = f"log Z is not known: {apart}; take more temperatures by more particles, or see nats_conservative"
    return [Score.failed(each.metric, why) if each.metric in OF_DATA else each for each in found]


def _of_estimate(score: Score, log_z: LogZ, nats: Tensor) -> Score:
    """A score of data with the error of log Z in it, in proportion to the nats of a datum."""
    if score.metric not in OF_DATA or score.value is None:
        return score
    share = score.value / float(nats.mean()) if score.metric != "elbo" else 1.0
    return replace(score, kind="estimate", stderr=math.hypot(score.stderr or 0.0, share * log_z.stderr))


def _of_log_z(log_z: Normaliser, nats: Tensor | None) -> list[Score]:
    """The estimates of log Z; and of ``nats`` by the optimistic one, what they are by the conservative one."""

    def score(metric: str, found: LogZ, reason: str) -> Score:
        return Score(metric, found.value, "nats", found.stderr, "estimate", CHAINS, reason=reason)

    scores = [
        score("log_z_forward", log_z.forward, "at most log Z in expectation: flatters log p"),
        score("log_z_backward", log_z.backward, CONSERVATIVE),
    ]
    if log_z.exact is not None:
        scores.append(Score("log_z", log_z.exact, "nats", kind="exact", reason="by enumeration"))
    gap = log_z.forward.value - log_z.backward.value
    if nats is not None and gap > SURE * math.hypot(log_z.forward.stderr, log_z.backward.stderr):
        why = f"log Z backward is {gap:.2g} nats below forward, so the draws that its chains start from are not exact"
        scores.append(Score.failed("nats_conservative", why))
    elif nats is not None:
        other = nats + log_z.backward.value - log_z.forward.value
        conservative = mean_score("nats_conservative", other, "nats", "estimate")
        error = math.hypot(conservative.stderr or 0.0, log_z.backward.stderr)
        scores.append(replace(conservative, stderr=error, reason=CONSERVATIVE))
    return scores


def _remarks(can: Capabilities, bound: Bounds | None) -> list[str]:
    """What the value is of, where latents are summed or shared."""
    summed, remarks = listed(can.enumerated), list[str]()
    if summed and not can.analytic:
        remarks.append(f"exact by enumeration of {summed}" if can.likelihood == "exact" else f"{summed} summed exactly")
    if can.shared and can.likelihood == "bound" and bound is not None:
        shared, draws = listed(can.shared), bound.particles
        remarks.append(f"of the posterior predictive of the guide, by {draws} draws of {shared}")
    return remarks


def _of_weights(bound: Bounds | None, informative: bool, otherwise: str) -> list[Score]:
    """The scores of the importance weights; ``informative`` if a datum has latents besides its dequantisation."""
    if bound is None:
        return _skipped(OF_WEIGHTS, "no latents, so there are no importance weights")
    if bound.terms:
        terms = [mean_score(f"elbo_{name}", -term, "nats", "estimate") for name, term in bound.terms.items()]
        skipped = _skipped([name for name in OF_WEIGHTS if name != "elbo"], NO_WEIGHTS)
        return [mean_score("elbo", -bound.elbo, "nats", "lower bound"), *skipped, *terms]
    kl, reconstruction = bound.kl, -bound.elbo - bound.kl
    parts = [mean_score("kl", kl, "nats", "estimate"), mean_score("reconstruction", reconstruction, "nats", "estimate")]
    if not informative:
        parts = _skipped(ELBO_PARTS, otherwise)
    ess = mean_score("ess", bound.ess, f"of {bound.particles}", "estimate")
    return [mean_score("elbo", -bound.elbo, "nats", "lower bound"), *parts, ess, _khat_share(bound)]


def _khat_share(bound: Bounds) -> Score:
    if bound.khat.isnan().any():
        return Score.skipped("khat_share", f"k-hat needs {FEWEST_PARTICLES} particles or more, got {bound.particles}")
    share = Share(float((bound.khat > LARGEST_KHAT).double().mean()), len(bound.khat))
    return Score("khat_share", share.value, "share", share.stderr, "estimate", share.n)


def _gap(exact: Tensor | None, bound: Bounds | None) -> Score:
    if exact is None or bound is None:
        return Score.skipped(
            "bound_gap", "needs an analytic log_prob and latents, to compare an exact value with a bound"
        )
    return mean_score("bound_gap", exact - bound.importance, "nats", "estimate")


def _of_floor(metric: str, run: TrainedRun, settings: Settings) -> list[Score]:
    data = run.data
    try:
        pair = build(FLOORS[metric], data.event, seed=settings.seed).to(data.train.device)
    except ZooError as error:
        return [Score.skipped(metric, str(error))]
    if isinstance(pair.extras, HasInitialise):
        with seeded(settings.seed), torch.no_grad():
            pair.extras.initialise(data.initial())
    values = log_probs(pair, data.test, memory=settings.memory, seed=settings.seed) - data.log_scale(pair, data.test)
    return [mean_score(metric, -values, "nats", "lower bound" if data.dequantised else "exact")]


def _skipped(metrics: Sequence[str], reason: str) -> list[Score]:
    return [Score.skipped(metric, reason) for metric in metrics]
