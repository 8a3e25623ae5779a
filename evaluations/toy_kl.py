"""How far is a learnt density from the true one?"""

from __future__ import annotations

from collections.abc import Sequence

from zoo.data.toys import KNOWN
from zoo.metrics.bounds import log_probs
from zoo.pairs.registry import evaluation
from zoo.pairs.traces import capabilities
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, unmeasurable
from zoo.scores import Score

METRICS = ("kl",)
DRAWS = 20_000


@evaluation("toy_kl")
def toy_kl(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """``kl``: the divergence KL(p || q) in nats of a learnt density q from a toy's known density p.

        KL(p || q) = E_p[log p(x) - log q(x)]

    A mean over `DRAWS` new draws from p; 0 if q is p. Needs an exact likelihood; other data are skipped.

    Args:
        runs: one run.
        settings: ``seed`` of the draws, ``memory``.

    Returns:
        The one score.
    """
    (run,) = runs
    return unmeasurable(run, METRICS) or attempt(METRICS, _of_run, run, settings)


def _of_run(run: TrainedRun, settings: Settings) -> list[Score]:
    if run.data.name not in KNOWN:
        return [Score.skipped("kl", f"the true density of {run.data.name} is not known; of {', '.join(KNOWN)} it is")]
    if capabilities(run.pair).likelihood != "exact":
        return [Score.skipped("kl", "needs an exact likelihood: a bound would bound the divergence only")]
    toy = KNOWN[run.data.name]
    x = toy.draw(DRAWS, settings.seed)
    learnt = log_probs(run.pair, x.to(run.pair.device).reshape(-1, *run.data.event.shape), memory=settings.memory)
    return [mean_score("kl", toy.log_density(x.double()) - learnt, "nats", "estimate")]
