"""How well are labels inferred from the rest of a datum?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo.errors import UnfitError
from zoo.metrics.labels import guided, labelled, log_joint
from zoo.metrics.two_sample import Share
from zoo.pairs.registry import evaluation
from zoo.pairs.traces import capabilities
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, unmeasurable
from zoo.scores import Score

METRICS = ("error", "label_nats", "guide_error")


@evaluation("labels")
def labels(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """The labels of the test data as a pair infers them, where they are known.

        p(y = k | x) = p(x, y = k) / sum_j p(x, y = j)

    - ``error``: share of data for which the class of the highest p(y | x) is wrong. ``label_nats``: the mean of
      -log p(y | x). Where p(x, y) is known by a bound only, both take the importance-weighted bound for it.
    - ``guide_error``: the same share by the guide's q(y | x), where the guide draws a label that is missing.

    Args:
        runs: one run.
        settings: ``particles`` (at most 64 are used), ``memory`` and ``seed``.

    Returns:
        The scores above; all skipped for data without a label of finitely many classes.

    Reference:
        Kingma et al. 2014, arXiv:1406.5298 (classification by q(y | x)).
    """
    (run,) = runs
    return unmeasurable(run, METRICS) or attempt(METRICS, _of_pair, run, settings)


def _of_pair(run: TrainedRun, settings: Settings) -> list[Score]:
    pair, event = run.pair, run.pair.event
    try:
        field, x, y = labelled(pair, run.data.test)
    except UnfitError as error:
        return [Score.skipped(metric, str(error)) for metric in METRICS]
    joint = log_joint(pair, x, settings.particles, memory=settings.memory, seed=settings.seed)
    posterior = joint.log_softmax(1)
    right = posterior.gather(1, y.long().cpu()[:, None])[:, 0]
    exact = capabilities(pair, x).likelihood == "exact"
    nats = mean_score("label_nats", -right, "nats", "exact" if exact else "estimate")
    given = ", ".join(each.name for each in event.fields if each.name in pair.takes and each is not field)
    with torch.no_grad():
        of_guide = guided(pair, x)
    missing = Score.skipped("guide_error", f"the guide does not draw a {field.name} that is missing")
    return [
        _error("error", posterior, y),
        replace(nats, reason=nats.reason or f"p({field.name} | {given})"),
        missing if of_guide is None else _error("guide_error", of_guide, y),
    ]


def _error(metric: str, scores: Tensor, y: Tensor) -> Score:
    share = Share(float((scores.argmax(1).cpu() != y.cpu()).double().mean()), len(y))
    return Score(metric, share.value, "share", share.stderr, "estimate", share.n)
