"""What does a model say of data that were changed to fool a classifier?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data import Dataset, load_data
from zoo.errors import UnfitError
from zoo.event import Event, Field
from zoo.files import cached_tensors
from zoo.metrics.attacks import ATTACKS, Classify, attacked, limits
from zoo.metrics.bounds import log_likelihoods
from zoo.metrics.detection import auroc
from zoo.metrics.labels import labelled, posterior
from zoo.metrics.risk import QUANTILE
from zoo.metrics.shifted import with_main, without_label
from zoo.metrics.two_sample import Share
from zoo.nn.classifier import Classifier
from zoo.pairs.records import density
from zoo.pairs.registry import datasets, evaluation
from zoo.pairs.traces import capabilities
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score
from zoo.training.classifier import CLASSIFIER, fit_classifier

EPSILONS = (0.1, 0.2, 0.3)
"""The largest change of an entry, as a share of its range."""
ABOUT = {"plain": "a classifier trained on the labels", "own": "the model's own p(y | x)"}
"""What is attacked: its word in the names of scores, and in their reasons."""
MEASURES = {"plain": ("log_p",), "own": ("log_p", "log_joint")}
"""What is asked of attacked data, by what was attacked."""
MOST_PARTICLES = 64
"""Draws of the guide for each datum, where settings ask for more."""
FEW_PARTICLES = 4
"""For a gradient of p(y | x) that the guide does not give: a class is given the same draws as the others."""
CHUNK = 250
"""Data that are attacked at a time."""
FEW = 6
"""Data that figures show: the first of the test data with a label."""


@evaluation("attack")
def attack(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """How far a classifier falls when data are changed to fool it, and whether p(x) tells these data from clean ones.

    The classifier is ``plain``, a small one that is trained on the labels alone and is the same for all families (see
    `zoo.training.classifier`); or ``own``, the p(y | x) of the model, where its data have labels. Each is attacked by
    ``fgsm`` and ``pgd``, with ``EPS`` of 0.1, 0.2 and 0.3 of the range of an entry. Levels move by whole levels, since
    nothing between them has a probability (see `zoo.metrics.attacks`).

    - ``CLASSIFIER_accuracy_clean`` and ``CLASSIFIER_accuracy_ATTACK_EPS``: share of test data that it classifies right.
    - ``CLASSIFIER_auroc_log_p_ATTACK_EPS``: the probability that -log p(x) is higher for an attacked datum than for a
      clean one, over all test data, whether or not the attack fooled the classifier.
    - ``own_auroc_log_joint_ATTACK_EPS``: the same of -log p(x, y), with y the class that the model finds most probable.

    Args:
        runs: one run.
        settings: ``samples``, the most test data; ``particles`` (at most `MOST_PARTICLES` are used), ``memory``,
            ``seed`` and ``data_dir``.

    Returns:
        The scores above; skipped where labels, a likelihood or a gradient is missing.

    Reference:
        Goodfellow et al. 2015, arXiv:1412.6572; Madry et al. 2018, arXiv:1706.06083.
    """
    (run,) = runs
    return [
        score
        for victim, make in (("plain", _plain), ("own", _own))
        for score in unmeasurable(run, _metrics(victim))
        or attempt(_metrics(victim), _of_victim, run, victim, make, settings)
    ]


def _metrics(victim: str) -> list[str]:
    """The names of the scores of one classifier."""
    cases = [f"{name}_{epsilon:g}" for name in ATTACKS for epsilon in EPSILONS]
    areas = [f"{victim}_auroc_{measure}_{case}" for measure in MEASURES[victim] for case in cases]
    return [*(f"{victim}_accuracy_{case}" for case in ("clean", *cases)), *areas]


@dataclass(frozen=True)
class _Victim:
    """A classifier, and the test data on which it is attacked."""

    classifier: Callable[[Tensor], Classify]
    """Given packed data, it classifies arrays that stand in their main field."""
    x: Tensor
    y: Tensor
    about: str


def _of_victim(
    run: TrainedRun, name: str, make: Callable[[TrainedRun, Settings], _Victim], settings: Settings
) -> list[Score]:
    """The scores of one classifier; all are skipped if there is none."""
    event = run.data.event
    try:
        victim = make(run, settings)
        bounds = limits(event.array, event.main_of(run.data.train))
        data = {"clean": event.main_of(victim.x)}
        for attack in ATTACKS:
            for epsilon in EPSILONS:
                data[f"{attack}_{epsilon:g}"] = _attacked(event, victim, attack, epsilon, bounds)
    except UnfitError as error:
        return [Score.skipped(metric, str(error)) for metric in _metrics(name)]
    classes = {case: _predicted(victim, values) for case, values in data.items()}
    found = [_accuracy(f"{name}_accuracy_{case}", victim, guess) for case, guess in classes.items()]
    for measure in MEASURES[name]:
        packed = {case: _packed(event, victim.x, data[case], classes[case], measure) for case in data}
        metrics = [f"{name}_auroc_{measure}_{case}" for case in data if case != "clean"]
        surprises = dict[str, Tensor]()
        found += attempt(metrics, _areas, metrics, run, packed, settings, surprises)
        if measure == "log_p" and surprises:
            _keep(run, name, victim, data, surprises, settings)
    return found


def _keep(
    run: TrainedRun,
    name: str,
    victim: _Victim,
    data: Mapping[str, Tensor],
    surprises: Mapping[str, Tensor],
    settings: Settings,
) -> None:
    """Keep a few data before and after each attack, p(y | x) and log p(x), and its quantiles over all data."""
    event, rows = run.data.event, victim.x[:FEW]
    kept = {"y": victim.y[:FEW], "least": (-surprises["clean"]).quantile(QUANTILE)}
    for case, values in data.items():
        log_p = -surprises[case]
        with torch.no_grad():
            classes = victim.classifier(rows)(values[:FEW]).softmax(-1)
        shown = event.main_of(run.data.restore(with_main(event, rows, values[:FEW])))
        kept |= {f"x_{case}": shown, f"p_y_{case}": classes, f"log_p_{case}": log_p[:FEW]}
        kept |= {f"median_{case}": log_p.median()}
    run.keep(f"attack-{name}", kept, settings)


def _attacked(event: Event, victim: _Victim, name: str, epsilon: float, bounds: tuple[Tensor, Tensor]) -> Tensor:
    parts = zip(victim.x.split(CHUNK), victim.y.split(CHUNK), strict=True)
    return torch.cat(
        [attacked(name, event.array, victim.classifier(x), event.main_of(x), y, epsilon, bounds) for x, y in parts]
    )


def _predicted(victim: _Victim, values: Tensor) -> Tensor:
    """The most probable class of each datum, shape ``(n,)``."""
    with torch.no_grad():
        parts = zip(victim.x.split(CHUNK), values.split(CHUNK), strict=True)
        return torch.cat([victim.classifier(x)(part).argmax(-1) for x, part in parts])


def _accuracy(metric: str, victim: _Victim, guess: Tensor) -> Score:
    share = Share(float((guess == victim.y).double().mean()), len(guess))
    return Score(metric, share.value, "share", share.stderr, "estimate", share.n, "ok", victim.about)


def _packed(event: Event, x: Tensor, values: Tensor, guess: Tensor, measure: str) -> Tensor:
    """The data ``x`` with other values, and with the guessed label where the measure is of it."""
    changed = without_label(event, with_main(event, x, values))
    if measure == "log_p":
        return changed
    assert event.label is not None  # whose class was guessed
    return event.pack(event.unpack(changed) | {event.label.name: guess}, x.dtype)


def _areas(
    metrics: Sequence[str],
    run: TrainedRun,
    packed: Mapping[str, Tensor],
    settings: Settings,
    surprises: dict[str, Tensor],
) -> list[Score]:
    """How well minus the log-likelihood, put into ``surprises``, tells attacked data from the same data before."""
    likelihood = capabilities(run.pair, packed["clean"]).likelihood
    if likelihood == "none":
        why = "an implicit model: it observes nothing, so it has no likelihood"
        return [Score.skipped(metric, why) for metric in metrics]
    values, kind = dict[str, Tensor](), ""
    for case, x in packed.items():
        particles = min(settings.particles, MOST_PARTICLES)
        found, kind = log_likelihoods(run.pair.relative, x, particles, memory=settings.memory, seed=settings.seed)
        values[case] = run.data.log_scale(run.pair, x) - found
    surprises |= values
    known, scores = values.pop("clean"), list[Score]()
    exact = kind == "exact" and not run.data.dequantised
    constant = ", up to a constant" if likelihood == "unnormalised" else ""
    remark = f"log {density(run.pair, packed['clean'])} {'exact' if exact else 'by a lower bound'}{constant}"
    for metric, novel in zip(metrics, values.values(), strict=True):
        area = auroc(known, novel, paired=True)
        scores.append(Score(metric, area.value, "AUROC", area.stderr, "estimate", area.n, "ok", remark))
    return scores


def _plain(run: TrainedRun, settings: Settings) -> _Victim:
    """A classifier trained on the labels of the train split, once for each data set and seed."""
    data = _labelled(run.data, settings).to(run.data.train.device)
    event, classes = data.event.array, _classes(data.event) or 0
    x, y = _known(data.event, data.train)

    def train() -> dict[str, Tensor]:
        return fit_classifier(event, classes, data.event.main_of(x), y, seed=settings.seed).state_dict()

    key = [CLASSIFIER.model_dump(mode="json"), settings.seed]
    classifier = Classifier(event, classes).to(x.device).train(False).requires_grad_(False)
    classifier.load_state_dict(cached_tensors(run.file("classifier", shared=True), key, train))
    test = run.data.test[~data.event.missing(data.test)][: settings.samples]
    of_test = _known(data.event, data.test)[1][: settings.samples]
    return _Victim(lambda _: classifier, test, of_test, f"{ABOUT['plain']} of {len(x)} data")


def _own(run: TrainedRun, settings: Settings) -> _Victim:
    """The p(y | x) of a model of data with labels."""
    pair, event = run.pair, run.data.event
    _, x, y = labelled(pair, run.data.test[: settings.samples])

    def classifier(rows: Tensor) -> Classify:
        return lambda values: posterior(pair, with_main(event, rows, values), FEW_PARTICLES, settings.seed)

    return _Victim(classifier, x, y, ABOUT["own"])


def _labelled(data: Dataset, settings: Settings) -> Dataset:
    """The same data with their labels.

    Raises:
        UnfitError: they are not known.
    """
    if _classes(data.event):
        return data
    name = data.name.partition(":")[0]
    source = datasets.get(name) if data.registered and not data.event.fields else None
    if source is None or "labels" not in inspect.signature(source.make).parameters:
        raise UnfitError(f"the classes of {data.name} are not known; take data with a label, such as digits:labels=all")
    found = load_data(f"{name}:labels=all", data_dir=settings.data_dir)
    if not torch.equal(found.event.main_of(found.test).reshape(data.test.shape), data.test.cpu()):
        raise UnfitError(f"the data of {name} with labels are others than those of {data.name}")
    field = found.event.main
    ours = Field(field.name, data.event.shape, field.levels or "real")
    return found.reshaped(Event.record(ours, *found.event.fields[1:]))


def _classes(event: Event) -> int | None:
    """The number of classes of the label, if it is a single number of finitely many."""
    return event.label.levels if event.label and not event.label.shape else None


def _known(event: Event, batch: Tensor) -> tuple[Tensor, Tensor]:
    """The data of a packed batch that have a label, and their classes, int64."""
    assert event.label is not None
    rows = batch[~event.missing(batch)]
    y = event.unpack(rows)[event.label.name]
    assert y is not None  # those without one are left out
    return rows, y.long()
