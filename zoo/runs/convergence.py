"""How a bound rises with the number of particles, as numbers and drawings in the run's folder."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from zoo.data import Dataset
from zoo.errors import UnfitError
from zoo.files import write_text
from zoo.metrics.bounds import log_probs, particle_parts, particle_weights, sub_bounds, summarise
from zoo.pairs.pair import HasElbo
from zoo.pairs.traces import capabilities
from zoo.report.export import standalone
from zoo.report.figures.convergence import Level, ParticleBound, convergence, reliability
from zoo.runs.evaluation import Settings, TrainedRun
from zoo.runs.run import Run
from zoo.runs.stored_scores import read_scores, trained_run

FEWEST, MOST = 8, 4096
"""Particles of the points of the curve, besides 1 (the ELBO) and those of the scores."""
ROWS = 500
"""Data whose draws are held at once."""
FILES = ("convergence.csv", "convergence.svg", "particles.csv", "particles.svg")


@dataclass(frozen=True)
class Convergence:
    """Bounds of one run by the number of particles, and how far those of each datum can be trusted.

    Attributes:
        points: by number of particles, ascending.
        ess, khat: of the scores' particles, shape ``(n,)`` (see `zoo.metrics.bounds.Bounds`).
        nats: of each datum by these, shape ``(n,)``.
        particles: the number of these.
    """

    points: Sequence[ParticleBound]
    ess: Tensor
    khat: Tensor
    nats: Tensor
    particles: int


def converging(run: TrainedRun, settings: Settings, most: int = MOST) -> Convergence:
    """The bound of the test data by more and more particles.

    Up to the particles of the settings, the draws are those of the evaluation ``likelihood``, so that the value at
    their number is its bound and that at 1 its ELBO. Larger numbers of particles take these and new draws.

    Args:
        run: finished, with a pair that has latents.
        settings: ``particles``, ``memory`` and ``seed``.
        most: particles of the last point.

    Raises:
        UnfitError: a run that did not finish, or a pair that has no bound.

    Example:
        >>> import zoo
        >>> data = zoo.load_data("moons")
        >>> run = TrainedRun(zoo.build("ppca", data.event, {"latent": 1}), data, seed=0, history=[])
        >>> found = converging(run, Settings(particles=16), most=64)
        >>> [point.particles for point in found.points]
        [1, 8, 16, 32, 64]
    """
    pair, x, memory, seed = run.pair, run.data.test, settings.memory, settings.seed
    if run.status != "finished":
        raise UnfitError(f"{pair.label} has no bound to follow: the run {run.status}")
    can = capabilities(pair, x)
    if can.likelihood == "unnormalised":
        raise UnfitError(f"{pair.label} has no bound to follow: log Z is unknown, and an estimate of it is no bound")
    if can.likelihood == "none" or not (can.latents or can.shared):
        why = "it observes nothing" if can.likelihood == "none" else "without latents its value is exact"
        raise UnfitError(f"{pair.label} has no bound to follow: {why}")
    if isinstance(pair.extras, HasElbo):
        raise UnfitError(f"{pair.label} has no bound by particles to follow: it estimates its ELBO by terms at random")
    own, particles = particle_parts(pair, x, settings.particles, memory=memory, seed=seed), settings.particles
    found = summarise(own.sum(0), -own[1].mean(1))
    sizes = [2**power for power in range(int(math.log2(FEWEST)), int(math.log2(max(most, 1))) + 1)]
    values = {size: sub_bounds(own.sum(0), size) for size in (1, *(k for k in sizes if k < particles), particles)}
    more = [size for size in sizes if size > particles]
    parts: dict[int, list[Tensor]] = {size: [] for size in more}
    for first in range(0, len(x) if more else 0, ROWS):
        rows = slice(first, first + ROWS)
        new = particle_weights(pair, x[rows], more[-1] - particles, memory=memory, seed=seed + 1 + first)
        drawn = torch.cat([own.sum(0)[rows], new], 1)
        for size in more:
            parts[size].append(sub_bounds(drawn, size))
    values |= {size: torch.cat(bounds) for size, bounds in parts.items()}
    shift = run.data.log_scale(pair, x)
    nats = {size: shift - bounds for size, bounds in values.items()}
    last = nats[max(nats)]
    points = [ParticleBound(size, *_mean(each), *_mean(each - last), n=len(x)) for size, each in nats.items()]
    return Convergence(points, found.ess, found.khat, nats[particles], particles)


def write_convergence(run: Run, data: Dataset, settings: Settings, device: str = "auto") -> list[Path]:
    """Write `FILES` to the run's folder and return their paths; the last is left out where k-hat has too few particles.

    ``convergence.csv`` holds a line for each number of particles, ``particles.csv`` one for each test datum. Where a
    certificate is stored, its lower bound is drawn as a line: the scores' bound less the mean difference of the two on
    the certificate's data.

    Raises:
        UnfitError: see `converging`.
    """
    trained = trained_run(run, data, device)
    found = converging(trained, settings)
    levels = _levels(run, trained, found, settings)
    rows = zip(found.nats.tolist(), found.ess.tolist(), found.khat.tolist(), strict=True)
    texts = {
        FILES[0]: _csv(
            [field.name for field in fields(ParticleBound)], [list(asdict(point).values()) for point in found.points]
        ),
        FILES[1]: standalone(convergence(found.points, found.particles, levels)),
        FILES[2]: _csv(["datum", "nats", "ess", "khat"], [[place, *row] for place, row in enumerate(rows)]),
    }
    if not found.khat.isnan().any():
        texts[FILES[3]] = standalone(reliability(found.ess.tolist(), found.khat.tolist(), found.particles))
    for name, text in texts.items():
        write_text(run.folder / name, text)
    return [run.folder / name for name in texts]


def _levels(run: Run, trained: TrainedRun, found: Convergence, settings: Settings) -> list[Level]:
    """Values that the curve is to be compared with: of a stored certificate, and the exact one."""
    pair, x = trained.pair, trained.data.test
    stored = {score.metric: score for score in read_scores(run, "certificate", settings) or []}
    at = next(point.nats for point in found.points if point.particles == found.particles)
    levels = []
    excess = stored.get("bound_excess")
    if excess is not None and excess.value is not None and math.isfinite(excess.value):
        levels.append(Level(f"annealing, by {excess.n} data", at - excess.value, excess.stderr))
    if capabilities(pair, x).likelihood == "exact":
        exact = trained.data.log_scale(pair, x) - log_probs(pair, x, memory=settings.memory, seed=settings.seed)
        levels.append(Level("exact", float(exact.mean()), None))
    return levels


def _mean(values: Tensor) -> tuple[float, float | None]:
    return float(values.mean()), float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None


def _csv(header: Sequence[str], rows: Sequence[Sequence[float | None]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
