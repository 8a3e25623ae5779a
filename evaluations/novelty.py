"""Does a model know what it has not seen?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo.codec.baselines import PACKERS, as_images, as_levels, datum_bytes
from zoo.errors import UnfitError, ZooError
from zoo.files import cached_tensors
from zoo.metrics.bounds import log_likelihoods
from zoo.metrics.detection import auroc, false_alarms, roc
from zoo.metrics.shifted import SHIFTS, mutated, novel, short_name, without_label
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.records import density, scored
from zoo.pairs.registry import column, evaluation
from zoo.pairs.traces import capabilities
from zoo.report.text import plus_minus
from zoo.report.verdicts import Pooled, Row, Verdict, one_seed, pool
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.runs.run import Run
from zoo.scores import Score
from zoo.training.loop import fit

MEASURES = ("log_p", "typicality", "complexity", "deflate", "ratio")
"""Each is a score of a datum that is high where it is novel."""
CURVE = 100
"""Steps of a ROC curve for figures: shares of flagged test data of 0, 0.01, ..., 1."""
MOST_PARTICLES = 64
"""Draws of the guide for each datum, where settings ask for more."""


LEAST_AUROC = 0.95


@column(
    "novelty",
    title="Novelty",
    evaluation="novelty",
    metric="auroc_log_p_shuffled",
    rule=f"yes if -log p(x) tells shuffled and rotated test data from test data, each with an AUROC of {LEAST_AUROC:g} "
    "or more (mean over seeds); reversed if one of the two is below 0.5 by more than two standard errors, so that "
    "novel data look more familiar than test data do; weak otherwise. The lower AUROC is shown.",
    place=6,
    optional=True,
)
def knows_novelty(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Does log p(x) know data that are unlike the test data?"""
    found = {name: pool(rows, "novelty", f"auroc_log_p_{name}") for name in ("shuffled", "rotated")}
    known = {name: each for name, each in found.items() if each.value is not None}
    least = min(known, key=lambda name: known[name].number)
    lowest = known[least]
    word = "weak" if lowest.number < LEAST_AUROC else "yes"
    if any(each.number + 2 * (each.stderr or 0.0) < 0.5 for each in known.values()):
        word = "reversed"
    verdict = lowest.verdict(word, f"AUROC, {least}")
    others = [f"{plus_minus(each.number, each.stderr)}, {name}" for name, each in known.items() if name != least]
    notes = [*others, verdict.reason, f"of {lowest.n} data", one_seed(lowest.seeds)]
    return replace(verdict, reason="; ".join(dict.fromkeys(filter(None, notes))))


@evaluation("novelty")
def novelty(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Whether data that a model has not seen score as novel, and test data as known.

    ``auroc_MEASURE_DATA``: the probability that a novel datum scores higher than a test datum; 0.5 where the score
    says nothing, below it where novel data look more familiar than test data do. ``fpr95_MEASURE_DATA``: the share of
    test data that are flagged where 95 % of the novel data are. DATA are the test data ``shuffled``, ``rotated``,
    ``inverted`` or replaced by ``noise`` (see `zoo.metrics.shifted`), or the test split of another data set. MEASURE is

    - ``log_p``: -log p(x), by its importance-weighted bound where it is not derivable.
    - ``typicality``: |log p(x) - m|, with m the mean over validation data.
    - ``complexity``: -log2 p(x) - L(x), with L the length in bits of the datum's own PNG file; of images.
    - ``deflate``: the same with the length of its levels, compressed by DEFLATE as they are; PNG first predicts each
      row by one of five filters, and its choice adds noise to L.
    - ``ratio``: log b(x) - log p(x), with b a model of the same family and recipe, trained on data of which each entry
      is replaced by noise with the probability ``background``.

    Of data with labels, log p(x) is that without the label.

    Args:
        runs: one run.
        settings: ``samples``, the most test data and the most validation data; ``against``, other data sets;
            ``background``, without which ``ratio`` is skipped, as it costs another training; ``particles`` (at most
            `MOST_PARTICLES` are used), ``memory`` and ``seed``.

    Returns:
        The scores above; skipped where a shift or a measure does not apply.

    Reference:
        Nalisnick et al. 2019, arXiv:1810.09136 (the reversal) and arXiv:1906.02994 (typicality); Serrà et al. 2020,
        arXiv:1909.11480 (complexity); Ren et al. 2019, arXiv:1906.02845 (ratio).
    """
    (run,) = runs
    names = dict.fromkeys([*SHIFTS, *settings.against])
    metrics = [metric for name in names for metric in _metrics(name)]
    return unmeasurable(run, metrics) or attempt(metrics, _of_run, run, list(names), settings)


def _metrics(name: str, *measures: str) -> list[str]:
    """The scores of novel data called ``name``, of all measures unless some are named."""
    return [f"{what}_{measure}_{short_name(name)}" for measure in measures or MEASURES for what in ("auroc", "fpr95")]


def _of_run(run: TrainedRun, names: Sequence[str], settings: Settings) -> list[Score]:
    if capabilities(run.pair, without_label(run.data.event, run.data.test)).likelihood == "none":
        why = "an implicit model: it observes nothing, so it has no likelihood"
        return [Score.skipped(metric, why) for name in names for metric in _metrics(name)]
    detector = _Detector(run, settings)
    found = [score for name in names for score in attempt(_metrics(name), detector.compare, name)]
    run.keep("novelty", detector.curves, settings)
    return found


class _Detector:
    """The measures of one run, and their scores of its test data."""

    def __init__(self, run: TrainedRun, settings: Settings) -> None:
        self.run, self.settings, self.event = run, settings, run.data.event
        splits = (
            without_label(self.event, split[: settings.samples]) for split in (run.data.test, run.data.validation)
        )
        self.known, validation = splits
        self.constant = capabilities(run.pair, self.known).likelihood == "unnormalised"
        self.background = _background(run, settings)
        self.mean = float(self.log_p(run.pair, validation).mean())
        self.of_known = self.measure(self.known)
        self.curves = dict[str, Tensor]()

    def log_p(self, pair: Pair, x: Tensor) -> Tensor:
        """In the data's own units; notes which kind it is."""
        particles, memory = min(self.settings.particles, MOST_PARTICLES), self.settings.memory
        values, kind = log_likelihoods(pair.relative, x, particles, memory=memory, seed=self.settings.seed)
        self.kind = "lower bound" if self.run.data.dequantised else kind
        return values - self.run.data.log_scale(pair, x)

    def measure(self, x: Tensor) -> dict[str, Tensor | str]:
        """Measure -> its score of each datum, shape ``(n,)``; or why there is none."""
        log_p, codes = self.log_p(self.run.pair, x), _code_bits(self.run.pair, x)
        return {
            "log_p": -log_p,
            "typicality": (log_p - self.mean).abs(),
            **{name: bits if isinstance(bits, str) else -log_p / math.log(2) - bits for name, bits in codes.items()},
            "ratio": self.background if isinstance(self.background, str) else self.log_p(self.background, x) - log_p,
        }

    def compare(self, name: str) -> list[Score]:
        """The scores of one kind of novel data."""
        try:
            settings = self.settings
            x = novel(name, self.run.data, self.known, seed=settings.seed, data_dir=settings.data_dir)
            of_novel = self.measure(x)
        except UnfitError as error:
            return [Score.skipped(metric, str(error)) for metric in _metrics(name)]
        found = list[Score]()
        for measure in MEASURES:
            metrics, ours, theirs = _metrics(name, measure), self.of_known[measure], of_novel[measure]
            if isinstance(ours, str) or isinstance(theirs, str):
                found += [Score.skipped(metric, str(ours)) for metric in metrics]
            else:
                found += attempt(metrics, self.detect, metrics, ours, theirs, name in SHIFTS)
        return found

    def detect(self, metrics: Sequence[str], ours: Tensor, theirs: Tensor, paired: bool) -> list[Score]:
        """How well one measure separates the data."""
        how = "exact" if self.kind == "exact" else "by a lower bound"
        constant = ", up to a constant" if self.constant else ""
        remark = f"log {density(self.run.pair, self.known)} {how}{constant}"
        found = auroc(ours, theirs, paired=paired), false_alarms(ours, theirs, paired=paired)
        self.curves[metrics[0].replace("auroc", "curve")] = roc(ours, theirs, torch.arange(CURVE + 1) / CURVE)
        answers = zip(metrics, found, ("AUROC", "share"), strict=True)
        return [
            Score(metric, each.value, unit, each.stderr, "estimate", each.n, "ok", remark)
            for metric, each, unit in answers
        ]


def _code_bits(pair: Pair, x: Tensor) -> dict[str, Tensor | str]:
    """Measure -> each datum's own code in bits, shape ``(n,)``, float64, on the CPU; or why it has none."""
    event, array = pair.event, pair.event.array
    fields = [field.name for field in scored(pair, with_label=False)]
    if len(fields) > 1 or array.levels is None:
        several = f"a standard code is of {event.main.name} alone, and log p of {', '.join(fields)}"
        why = several if len(fields) > 1 else f"standard codes (PNG, DEFLATE) are of levels, got {array}"
        return dict.fromkeys(("complexity", "deflate"), why)
    levels = as_levels(array, event.main_of(x))
    images, compress = as_images(array, levels), PACKERS["zlib"][0]
    return {
        "complexity": f"a PNG file is of an image of up to 256 levels, got {array}"
        if images is None
        else _bits(datum_bytes("png", array, images)),
        "deflate": _bits([len(compress(each.tobytes())) for each in levels]),
    }


def _bits(sizes: Sequence[int]) -> Tensor:
    return 8 * torch.tensor(sizes, dtype=torch.float64)


def _background(run: TrainedRun, settings: Settings) -> Pair | str:
    """The model of perturbed data, which is trained once for each run and rate."""
    rate = settings.background
    if not rate:
        return "a background model costs another training: ask for it by its mutation rate, --background 0.3"
    if run.folder is None:
        return "the run is not on disk, so the recipe of its background model is not known"
    config, event = Run(run.folder).config, run.data.event

    def fresh() -> Pair:
        pair = build(config.name, run.pair.event, config.hyper, config.seed)
        pair.in_own_units = run.pair.in_own_units
        return pair.to(run.pair.device)

    def train() -> dict[str, Tensor]:
        pair, data = fresh(), run.data.map(lambda split: mutated(event, split, rate, settings.seed))
        progress = fit(pair, data, config.recipe, seed=config.seed, device=pair.device.type, unchecked=config.unchecked)
        if progress.status != "finished":
            raise ZooError(f"the background model {progress.status}: {progress.reason}")
        return pair.state()

    key = [config.digest, rate, settings.seed]
    pair = fresh()
    pair.load(cached_tensors(run.file(f"background-{rate:g}"), key, train))
    return pair.train(False)
