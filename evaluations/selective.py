"""Does weighing with p(x) help to decide which questions to answer?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo.errors import UnfitError
from zoo.metrics.labels import labelled, log_joint
from zoo.metrics.risk import QUANTILE, risk_curve, selective_risks
from zoo.metrics.shifted import SHIFTS, shifted
from zoo.pairs.registry import column, evaluation
from zoo.report.text import percent
from zoo.report.verdicts import Pooled, Row, Verdict, one_seed, pool
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score

RULES = ("posterior", "joint", "gated")
MIXTURES = ("alone", *SHIFTS)
SHARE = 0.1
"""Of data that are no such data, in a mixture."""
COVERAGE = 0.9
RESAMPLES = 1000
CURVE = 100
"""Points of a risk-coverage curve for figures: coverages of 0.01, 0.02, ..., 1."""
ROUNDING = 1e-6
"""Nats by which a log p(x) may be below a quantile that it is equal to."""
METRICS = tuple(
    f"{quantity}_{rule}_{mixture}{of}"
    for mixture in MIXTURES
    for rule in RULES
    for quantity in ("aurc", "error_90")
    for of in (("",) if rule == RULES[0] else ("", "_gain"))
)


@column(
    "coverage",
    title="Coverage",
    evaluation="selective",
    metric="error_90_gated_shuffled_gain",
    rule="yes if a threshold of p(x) saves errors where 90 % are answered, by more than two standard errors (mean over "
    "seeds): of test data of which a tenth are shuffled, against the highest p(y | x) alone; no otherwise.",
    place=7,
    optional=True,
)
def saves_errors(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Does p(x) help to decide which data to answer?"""
    verdict = score.verdict("yes" if score.number > 2 * (score.stderr or 0.0) else "no", "share fewer errors")
    alone, mixed = (pool(rows, "selective", f"error_90_posterior_{name}") for name in ("alone", "shuffled"))
    shares = ((mixed, "by p(y | x) alone"), (alone, "on test data"))
    known = [(each, words) for each, words in shares if each.value is not None]
    notes = [f"errors {percent(each.number, each.stderr)} {words}" for each, words in known]
    notes += [verdict.reason, one_seed(score.seeds)]
    return replace(verdict, reason="; ".join(dict.fromkeys(filter(None, notes))))


@evaluation("selective")
def selective(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Errors of the answers that are given, if those of least confidence are withheld, with p(x) and without.

    A datum is answered by the class of the highest p(y | x). Three rules rank the data by confidence:

    - ``posterior``: max_k log p(y = k | x);
    - ``joint``: max_k log p(x, y = k), which is the former plus log p(x);
    - ``gated``: ``posterior``, after all data whose log p(x) is at least the 5 % quantile of that of validation data.

    Each is scored on a mixture: ``alone``, the test data with a label; or with a share of 10 % of data that are none,
    any answer to which is an error: the same test data ``shuffled``, ``rotated``, ``inverted`` or replaced by ``noise``
    (`zoo.metrics.shifted`). All of both are used, with weights.

    - ``aurc_RULE_MIXTURE``: area under the curve of the share of errors over the share that is answered;
      ``error_90_RULE_MIXTURE``: that share where 90 % are answered.
    - ``..._gain``, for the rules with p(x): what they save against ``posterior``, paired; the reason is its 95 %
      interval. Standard errors and intervals are by a bootstrap over test data, which are drawn with what is made of
      them.

    Args:
        runs: one run.
        settings: ``particles`` (at most `zoo.metrics.labels.MOST_PARTICLES` are used), ``memory`` and ``seed``.

    Returns:
        The scores above; all skipped for a pair without p(y | x).

    Reference:
        Geifman & El-Yaniv 2017, arXiv:1705.08500 (selective classification).
    """
    (run,) = runs
    return unmeasurable(run, METRICS) or attempt(METRICS, _of_run, run, settings)


def _of_run(run: TrainedRun, settings: Settings) -> list[Score]:
    pair, event = run.pair, run.pair.event
    try:
        _, x, y = labelled(pair, run.data.test)
    except UnfitError as error:
        return [Score.skipped(metric, str(error)) for metric in METRICS]

    def joint(data: Tensor) -> Tensor:
        return log_joint(pair, data, settings.particles, memory=settings.memory, seed=settings.seed)

    least = float(joint(run.data.validation).logsumexp(1).quantile(QUANTILE))
    own = joint(x)
    wrong = (own.argmax(1) != y.cpu()).double()
    generator, n = torch.Generator().manual_seed(settings.seed), len(x)
    drawn = torch.randint(n, (RESAMPLES, n), generator=generator)
    times = torch.zeros(RESAMPLES, n).scatter_add(1, drawn, torch.ones(RESAMPLES, n))
    weights = torch.cat([torch.ones(1, n), times]).double()  # the first row is the data themselves
    found, curves = list[Score](), dict[str, Tensor]()

    def measure(mixture: str, joint: Tensor, errors: Tensor, weights: Tensor) -> None:
        ranks = _ranks(joint, least)
        found.extend(_scores(mixture, joint, ranks, errors, weights))
        if joint.isfinite().all():
            for rule, confidence in ranks.items():
                at = torch.arange(1, CURVE + 1, dtype=torch.double) / CURVE
                curves[f"curve_{rule}_{mixture}"] = risk_curve(confidence, errors, weights[:1], at)[0]

    for mixture in MIXTURES:
        if mixture == MIXTURES[0]:
            measure(mixture, own, wrong, weights)
            continue
        try:
            others = joint(shifted(mixture, event, x, settings.seed))
        except UnfitError as error:
            found += [Score.skipped(metric, str(error)) for metric in METRICS if f"_{mixture}" in metric]
            continue
        both, errors = torch.cat([own, others]), torch.cat([wrong, torch.ones(n)])
        measure(mixture, both, errors, torch.cat([(1 - SHARE) * weights, SHARE * weights], 1))
    run.keep("selective", curves, settings)
    return found


def _ranks(joint: Tensor, least: float) -> dict[str, Tensor]:
    """The confidences of each rule, shape ``(n,)``."""
    posterior, log_x = joint.log_softmax(1).amax(1), joint.logsumexp(1)
    unfamiliar = (log_x < least - ROUNDING).double()
    last = math.log(joint.shape[1]) + 1  # confidences are between -log K and 0
    return {"posterior": posterior, "joint": posterior + log_x, "gated": posterior - last * unfamiliar}


def _scores(mixture: str, joint: Tensor, ranks: Mapping[str, Tensor], errors: Tensor, weights: Tensor) -> list[Score]:
    """Of one mixture; the first row of ``weights`` is the data, the others are resamples."""
    bad = int((~joint.isfinite().all(1)).sum())
    found, plain = list[Score](), dict[str, Tensor]()
    for rule, confidence in ranks.items():
        for quantity, values in zip(
            ("aurc", "error_90"), selective_risks(confidence, errors, weights, COVERAGE), strict=True
        ):
            name = f"{quantity}_{rule}_{mixture}"
            gain = plain.setdefault(quantity, values) - values
            made = [(name, values, "")]
            if rule != RULES[0]:
                low, high = gain[1:].quantile(torch.tensor([0.025, 0.975], dtype=gain.dtype)).tolist()
                made.append((f"{name}_gain", gain, f"95 % interval {low:.4f} to {high:.4f}"))
            for metric, each, reason in made:
                if bad:
                    found.append(Score.failed(metric, f"{bad} of {len(joint)} data have no finite p(x, y)"))
                    continue
                stderr = float(each[1:].std())
                found.append(Score(metric, float(each[0]), "share", stderr, "estimate", len(joint), reason=reason))
    return found
