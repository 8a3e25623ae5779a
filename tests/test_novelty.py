"""The evaluation of novelty against closed forms, and what it skips."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from members import members, small
from PIL import Image
from test_evaluations import Normal, asked, finished, normal_data, value
from test_passes import Implicit
from torch import Tensor

import zoo
from zoo import Dataset, Event, Settings, TrainedRun, load_data
from zoo.codec.baselines import as_images, as_levels, datum_bytes
from zoo.event import EXAMPLES
from zoo.metrics.detection import auroc
from zoo.metrics.shifted import shifted
from zoo.pairs.build import build
from zoo.pairs.registry import datasets, load_shelves
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities
from zoo.runs.config import DataSpec, configure
from zoo.runs.evaluation import evaluate
from zoo.runs.nats import kept_nats
from zoo.runs.run import Run
from zoo.runs.stored_scores import evaluate_run, trained_run
from zoo.scores import Score
from zoo.seeding import seeded

SETTINGS = Settings(particles=20, samples=400)


def isotropic(name: str, scale: float, loc: float = 0.0, n: int = 400) -> None:
    """Register points of N(loc, scale^2 I) in the plane."""

    def make(seed: int) -> Dataset:
        splits = (scale * torch.randn(3 * n, 2, generator=torch.Generator().manual_seed(len(name))) + loc).split(n)
        return Dataset(name, Event(2, "real"), *splits, "made up")

    zoo.dataset(name)(make)


@pytest.fixture
def scoped() -> Iterator[None]:
    load_shelves()
    with datasets.scoped():
        yield


def near(score: Score, expected: float) -> bool:
    assert score.stderr is not None, score.reason
    return abs(value(score) - expected) < 4 * score.stderr + 1e-6


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_other_data_of_another_width(scale: float) -> None:
    """|x|^2 is exponential in the plane: A = s^2 / (1 + s^2), which is the reversal for s < 1."""
    isotropic("wide", scale)
    scores = asked("novelty", finished(Normal(), isotropic_data()), settings=replace(SETTINGS, against=("wide",)))
    found = scores["auroc_log_p_wide"]
    assert near(found, scale**2 / (1 + scale**2))
    assert (found.kind, found.n, found.reason) == ("estimate", 800, "log p(x) exact")
    assert near(scores["fpr95_log_p_wide"], 0.95 ** (scale**2))
    if scale < 1:
        assert value(scores["auroc_typicality_wide"]) > value(found)


def isotropic_data() -> Dataset:
    with seeded(5):
        return Dataset("made up", Event(2, "real"), *torch.randn(1200, 2).split(400), "made up")


def test_shifts_that_leave_the_distribution_as_it_is() -> None:
    scores = asked("novelty", finished(Normal(), isotropic_data()), settings=SETTINGS)
    for shift in ("shuffled", "noise"):
        assert near(scores[f"auroc_log_p_{shift}"], 0.5)
        assert near(scores[f"fpr95_log_p_{shift}"], 0.95)
    for shift in ("rotated", "inverted"):
        assert scores[f"auroc_log_p_{shift}"].status == "skipped"


@pytest.mark.usefixtures("scoped")
def test_other_data_are_compared_in_their_own_units() -> None:
    """Both data sets are standardised when they are loaded, each by its own scale."""
    isotropic("ours", 10.0, 100.0)
    isotropic("theirs", 30.0, 100.0)
    data = load_data("ours")
    assert data.units is not None
    pair = finished(Normal()).pair
    pair.in_own_units = False
    run = TrainedRun(pair, data, 0, [])
    scores = asked("novelty", run, settings=replace(SETTINGS, against=("theirs", "ours")))
    assert near(scores["auroc_log_p_theirs"], 0.9)
    assert "trained on" in scores["auroc_log_p_ours"].reason


def test_complexity_is_the_length_of_the_stored_file() -> None:
    data = load_data("digits")
    images = as_images(data.event, as_levels(data.event, data.test[:5]))
    assert images is not None
    for image, size in zip(images, datum_bytes("png", data.event, images), strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG", optimize=True)
        assert size == len(file.getvalue())


@pytest.mark.thorough
def test_a_model_that_knows_nothing_is_corrected_by_the_complexity_alone() -> None:
    data = load_data("digits")
    run = TrainedRun(build("uniform", data.event), data, 0, [])
    scores = asked("novelty", run, settings=SETTINGS)
    known, novel = data.test[:400], shifted("noise", data.event, data.test[:400])
    assert value(scores["auroc_log_p_noise"]) == value(scores["auroc_typicality_noise"]) == 0.5
    expected = auroc(*(-lengths(data.event, x) for x in (known, novel)))
    assert value(scores["auroc_complexity_noise"]) == pytest.approx(expected.value)
    assert expected.value < 0.1, "noise has longer files, which is subtracted"
    raw = [[len(zlib.compress(bytes(each.flatten().byte().tolist()), 9)) for each in x] for x in (known, novel)]
    expected = auroc(*(-torch.tensor(sizes).double() for sizes in raw))
    assert value(scores["auroc_deflate_noise"]) == pytest.approx(expected.value)


def lengths(event: Event, x: Tensor) -> Tensor:
    images = as_images(event, as_levels(event, x))
    assert images is not None
    return torch.tensor(datum_bytes("png", event, images)).double()


@pytest.mark.thorough
def test_of_records_the_label_is_left_out() -> None:
    data = load_data("digits:labels=all")
    run = TrainedRun(build("ssvae", data.event), data, 0, [])
    scores = asked("novelty", run, settings=replace(SETTINGS, particles=2, samples=20))
    assert scores["auroc_log_p_noise"].status == "ok"
    assert scores["auroc_log_p_noise"].reason == "log p(x) by a lower bound"


@pytest.mark.thorough
def test_what_does_not_apply_is_skipped_with_a_reason() -> None:
    settings = replace(SETTINGS, samples=30, against=("digits-binary", "nothing"))
    data = load_data("digits")
    scores = asked("novelty", TrainedRun(build("independent", data.event), data, 0, []), settings=settings)
    assert scores["auroc_log_p_digits-binary"].status == "skipped"
    assert "8x8:binary" in scores["auroc_log_p_digits-binary"].reason
    assert scores["auroc_log_p_nothing"].status == "failed"
    assert "--background" in scores["auroc_ratio_noise"].reason
    assert scores["auroc_log_p_noise"].status == "ok"
    plane = asked("novelty", finished(Normal(), normal_data()), settings=settings)
    assert "PNG" in plane["auroc_complexity_noise"].reason
    assert {score.status for score in asked("novelty", finished(Implicit(), unchecked=True)).values()} == {"skipped"}
    stopped = asked("novelty", finished(Normal(), status="diverged", reason="at step 3"))
    assert {score.status for score in stopped.values()} == {"failed"}
    assert set(stopped) == set(asked("novelty", finished(Normal())))


@pytest.mark.thorough
def test_the_background_model_is_trained_once_for_each_rate(tmp_path: Path) -> None:
    data = load_data("digits")
    config = configure("ppca", DataSpec(name="digits"), data, seed=0, recipe={"steps": 30})
    run = Run.of(config, tmp_path)
    run.train(config, data, "cpu")
    settings = replace(SETTINGS, samples=40, background=0.5)

    def scores() -> list[Score]:
        return evaluate("novelty", [trained_run(run, data, "cpu")], settings)

    first, file = scores(), run.folder / "background-0.5.safetensors"
    written = file.stat().st_mtime_ns
    ratio = next(score for score in first if score.metric == "auroc_ratio_noise")
    assert ratio.status == "ok"
    assert value(ratio) > 0.5, "the background model has seen noise, and finds it less improbable"
    assert scores() == first
    assert file.stat().st_mtime_ns == written
    here = replace(settings, data_dir=tmp_path, against=("mnist",))
    nats, again = (evaluate_run(run, data, "likelihood", here, "cpu")[0] for _ in range(2))
    assert nats == again
    assert kept_nats(run, data, here, nats).of == "p(x)", "a folder of data is no part of what scores are kept under"
    loose = trained_run(run, data, "cpu")
    skipped = evaluate("novelty", [replace(loose, folder=None)], settings)
    assert {score.status for score in skipped if "ratio" in score.metric} == {"skipped"}


def test_settings_that_scores_on_disk_do_not_have_count_only_where_they_are_set() -> None:
    assert Settings().key == {"particles": 512, "memory": 2**30, "seed": 0, "samples": 1000}
    changed = Settings(against=("mnist",), background=0.3, data_dir=Path("here"))
    assert changed.key == Settings().key | {"against": ["mnist"], "background": 0.3}
    assert json.loads(json.dumps(changed.key)) == changed.key
    assert {*changed.key, "data_dir"} == {each.name for each in fields(Settings)}, "no setting is forgotten"
    with pytest.raises(zoo.ZooError, match="mutation rate"):
        Settings(background=1.5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "support"), [each for each in members() if "+" not in each[0]])
def test_every_family_is_measured_where_it_has_a_likelihood(name: str, support: str) -> None:
    """Of its own samples, which are few: all that matters is that there is a number, or that it is implicit."""
    event = EXAMPLES[support]
    pair = build(name, event, small(name), seed=1)
    with seeded(0):
        data = Dataset("drawn", event, *sample(pair, 90).detach().split(30), "drawn")
    scores = asked("novelty", TrainedRun(pair, data, 0, [], unchecked=True), settings=Settings(particles=2, samples=30))
    status = "skipped" if capabilities(pair).likelihood == "none" else "ok"
    for measure in ("log_p", "typicality", *(["complexity", "deflate"] if event.levels else [])):
        assert scores[f"auroc_{measure}_noise"].status == status, scores[f"auroc_{measure}_noise"].reason
