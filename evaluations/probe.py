"""Can the label of a datum be read linearly from its latents?"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.data import load_data
from zoo.data.dataset import Dataset
from zoo.errors import UnfitError, ZooError
from zoo.event import Field
from zoo.metrics.two_sample import Share
from zoo.pairs.build import parse_settings
from zoo.pairs.registry import datasets, evaluation
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score
from zoo.use.latents import Latents

METRICS = ("probe", "probe_x")
DRAWS = 8
"""Of the latents of each datum, which are averaged."""
TRAIN = 5
"""Train data for each test datum, at most."""


@evaluation("probe")
def probe(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """The accuracy of logistic regression from latents to labels, trained on the train split, on the test split.

    Latents are means over 8 draws of the guide, which is not given the label; of a flow, z = f(x). The model need not
    know of labels: a registered data set that takes ``labels=all`` brings its own.

    - ``probe``: from all latents of a datum. ``probe_SITE``: from those of each site, where there are several.
    - ``probe_x``: from the data themselves, for comparison.

    Args:
        runs: one run.
        settings: ``samples``, the most test data, with five times as many train data; ``data_dir``; ``seed``.

    Returns:
        The scores above; skipped, with the reason, without labels or latents.

    Reference:
        Alain & Bengio 2016, arXiv:1610.01644.
    """
    (run,) = runs
    return unmeasurable(run, METRICS) or attempt(METRICS, _of_pair, run, settings)


def _of_pair(run: TrainedRun, settings: Settings) -> list[Score]:
    pair = run.pair if run.pair.event.label is None else run.pair.unlabelled
    try:
        (data, label), latents = _labelled(run.data, settings), Latents(pair)
    except ZooError as error:
        return [Score.skipped(metric, str(error)) for metric in METRICS]
    sides, labels = [], []
    for split, most in ((data.train, TRAIN * settings.samples), (data.test, settings.samples)):
        rows = split[~data.event.missing(split)][:most]
        x = data.event.drop_label(rows) if pair.event.fields else data.event.main_of(rows)
        x = x.reshape(len(x), *pair.event.shape).to(pair.device)
        with pair.evaluating():
            z = torch.stack([latents.draw(x) for _ in range(DRAWS)]).mean(0)
        sides.append({"probe": z, "probe_x": x.flatten(1)})
        if len(latents.shapes) > 1:
            sides[-1] |= {f"probe_{site}": each.flatten(1) for site, each in latents.split(z).items()}
        y = data.event.unpack(rows)[label.name]
        assert y is not None  # data without one are left out
        labels.append(y)
    return [_accuracy(metric, sides[0][metric], labels[0], sides[1][metric], labels[1]) for metric in sides[0]]


def _labelled(data: Dataset, settings: Settings) -> tuple[Dataset, Field]:
    """The data with their label of finitely many classes, and that field.

    Raises:
        UnfitError: there is none.
    """
    name, _, text = data.name.partition(":")
    if data.event.label is None and data.registered and "labels" in inspect.signature(datasets[name].make).parameters:
        given = parse_settings(text.split(",")) if text else {}
        spec = ",".join(f"{key}={value}" for key, value in (given | {"labels": "all"}).items())
        data = load_data(f"{name}:{spec}", data_dir=settings.data_dir)
    label = data.event.label
    if label is None or label.levels is None or label.shape:
        raise UnfitError(f"{data.name} has no label of finitely many classes")
    return data, label


def _accuracy(metric: str, z: Tensor, y: Tensor, test: Tensor, truth: Tensor) -> Score:
    from sklearn.linear_model import LogisticRegression  # here, because it takes a second to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(z.cpu().numpy(), y.cpu().numpy())
    share = Share(float(fitted.score(test.cpu().numpy(), truth.cpu().numpy())), len(test))
    return Score(metric, share.value, "share", share.stderr, "estimate", share.n)
