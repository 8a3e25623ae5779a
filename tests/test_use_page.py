"""What evaluations keep for figures, and the second page of the report, which shows it."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_believe import MadeUp
from PIL import Image
from test_active import rows as answered
from test_page import CHROMIUM, LAYOUT, ask
from test_report import Page
from torch import Tensor

from zoo.data import Dataset, load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.experiments.collect import _numbers, _over_seeds
from zoo.files import read_tensors
from zoo.metrics.detection import auroc, roc
from zoo.metrics.labels import log_joint
from zoo.metrics.plane import POINTS, SIDE, decision, grid
from zoo.metrics.risk import QUANTILE, risk_curve, selective_risks
from zoo.pairs.build import build
from zoo.pairs.pair import HasInitialise
from zoo.report.active import write_active
from zoo.report.export import figure_files, named_figures
from zoo.report.figures.uses import RGB
from zoo.report.study import Study
from zoo.report.text import number, plus_minus
from zoo.report.uses import MEASURES
from zoo.report.writing import write_report
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.scores import Score

ASKED = ("novelty", "selective", "attack")
IMAGES = Event.parse("x=4x4:11,y=:3@label")
FAMILY = "hybrid:x=independent"
Kept = dict[str, dict[str, Tensor]]


def images(n: int, seed: int) -> Tensor:
    """Noise whose mean says the class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=generator)
    x = (5 * y[:, None] + torch.randint(-2, 3, (n, 16), generator=generator)).clamp(0, 10)
    return IMAGES.pack({"x": x.reshape(n, 4, 4).float(), "y": y.float()})


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, Score]], Kept, Dataset]:
    """A family's scores and what it keeps, by evaluation."""
    splits = images(60, 0), images(40, 1), images(30, 2)
    data = Dataset("made", IMAGES, *splits, "made up")
    pair = build(FAMILY, IMAGES, {"hidden": 8}, seed=0)
    assert isinstance(pair.extras, HasInitialise)
    pair.extras.initialise(data.train)
    folder = tmp_path_factory.mktemp("run")
    run = TrainedRun(pair.train(False), data, 0, [], folder=folder, unchecked=True)
    found = {name: {score.metric: score for score in evaluate(name, [run], Settings(particles=4))} for name in ASKED}
    kept = {path.stem: read_tensors(path)[0] for path in (folder / "shown").iterdir()}
    return found, kept, data


def in_the_plane() -> dict[str, Tensor]:
    data = load_data("blobs")
    pair = build(FAMILY, data.event, {"hidden": 8}, seed=0)
    assert isinstance(pair.extras, HasInitialise)
    pair.extras.initialise(data.train)
    return decision(pair.train(False), data.test, data.validation)


@pytest.fixture(scope="module")
def study(measured: tuple[dict[str, dict[str, Score]], Kept, Dataset]) -> Study:
    scores, kept, data = measured
    member = MadeUp(FAMILY, group="prescribed")
    rows = [member.row(score, "made", 0, name) for name in ASKED for score in scores[name].values()]
    rows.append(member.row(Score("nats", 1.0, "nats", 0.1, "exact", 10), "blobs", 0, "likelihood"))
    parts = {name: _over_seeds([part]) for name, part in kept.items()}
    plane = {"decision": {name: _numbers(value) for name, value in in_the_plane().items()}}
    real = IMAGES.main_of(data.test).tolist()
    shown = {"event": str(IMAGES.array), "real": real, "samples": {}}
    uses = {"made": {FAMILY: parts}, "blobs": {FAMILY: plane}}
    return Study("decisions", False, {}, rows, [], {"made": shown}, uses=uses)


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_active(answered(), "random", {}, folder)
    write_report(study, folder)
    return folder


# ---------------------------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize("levels", [4, 1000])
def test_the_area_under_a_roc_curve_is_the_auroc(levels: int) -> None:
    """With ties and without."""
    generator = torch.Generator().manual_seed(0)
    known, novel = (
        torch.randint(levels, (n,), generator=generator) + shift for n, shift in ((70, 0), (90, levels / 5))
    )
    shares = torch.linspace(0, 1, 20001, dtype=torch.double)
    assert float(torch.trapezoid(roc(known, novel, shares), shares)) == pytest.approx(
        auroc(known, novel).value, abs=1e-3
    )


def test_a_risk_curve_has_the_area_and_the_risk_of_its_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence, errors = torch.randint(9, (60,), generator=generator), torch.randint(2, (60,), generator=generator)
    coverages = torch.linspace(0.0005, 1, 2000, dtype=torch.double)
    area, risk = selective_risks(confidence, errors, coverage=0.9)
    assert float(risk_curve(confidence, errors, None, coverages).mean()) == pytest.approx(float(area), abs=1e-3)
    assert risk_curve(confidence, errors, None, torch.tensor([0.9], dtype=torch.double)).item() == float(risk)


# -------------------------------------------------------------------------------------------------------- what is kept


@pytest.mark.thorough
def test_kept_curves_agree_with_the_scores(measured: tuple[dict[str, dict[str, Score]], Kept, Dataset]) -> None:
    scores, kept, _ = measured
    assert set(kept) == {"novelty", "selective", "attack-plain", "attack-own"}
    for name, curve in kept["selective"].items():
        value = scores["selective"][name.replace("curve", "error_90")].value
        assert curve[89].item() == pytest.approx(value, abs=1e-9), "the 90th of 100 coverages"
    for name, curve in kept["novelty"].items():
        area = float(torch.trapezoid(curve, dx=1 / (len(curve) - 1)))
        assert area == pytest.approx(scores["novelty"][name.replace("curve", "auroc")].value, abs=0.02)
    assert len(kept["novelty"]) >= 2 * 4


@pytest.mark.parametrize("victim", ["plain", "own"])
def test_kept_images_are_the_first_and_within_reach(
    measured: tuple[dict[str, dict[str, Score]], Kept, Dataset], victim: str
) -> None:
    _, kept, data = measured
    of = kept[f"attack-{victim}"]
    few = len(of["y"])
    assert torch.equal(of["x_clean"], IMAGES.main_of(data.test[:few]))
    pair = build(FAMILY, IMAGES, {"hidden": 8}, seed=0)
    assert isinstance(pair.extras, HasInitialise)
    pair.extras.initialise(data.train)
    for case in ("clean", "pgd_0.1", "pgd_0.3", "fgsm_0.3"):
        epsilon = float(case.partition("_")[2] or 0)
        assert (of[f"x_{case}"] - of["x_clean"]).abs().max() <= epsilon * 10
        joint = log_joint(pair.train(False), IMAGES.pack({"x": of[f"x_{case}"]}), 1)
        assert of[f"log_p_{case}"].tolist() == pytest.approx(joint.logsumexp(1).tolist(), abs=1e-4)
        assert of[f"p_y_{case}"].sum(1).tolist() == pytest.approx([1.0] * few, abs=1e-5)
        if victim == "own":
            assert of[f"p_y_{case}"].flatten().tolist() == pytest.approx(joint.softmax(1).flatten().tolist(), abs=1e-4)


@pytest.mark.thorough
def test_a_decision_is_that_of_the_pair_and_its_cross_far_from_data() -> None:
    data = load_data("blobs")
    seen = in_the_plane()
    cells, known = grid(tuple(seen["frame"].tolist())), data.event.main_of(data.test)
    cell = (cells[1, 0] - cells[0, 0]) * (cells[0, 1] - cells[SIDE, 1])
    assert float(seen["log_p"].exp().sum() * cell) == pytest.approx(1.0, abs=0.01)
    assert seen["p_y"].sum(-1).flatten().tolist() == pytest.approx([1.0] * SIDE**2)
    nearest = torch.cdist(seen["cross"][None], known).min()
    between = torch.cdist(known, known).fill_diagonal_(torch.inf).amin(1)
    assert nearest > 3 * between.max()
    at = int((cells - seen["cross"]).norm(dim=1).argmin())
    assert seen["cross_log_p"].item() == pytest.approx(seen["log_p"].flatten()[at].item(), abs=1e-4)
    pair = build(FAMILY, data.event, {"hidden": 8}, seed=0)
    assert isinstance(pair.extras, HasInitialise)
    pair.extras.initialise(data.train)
    below = log_joint(pair.train(False), data.validation, 1).logsumexp(1) < seen["least"]
    assert float(below.double().mean()) == pytest.approx(QUANTILE, abs=1e-3)
    assert len(seen["points"]) == POINTS


@pytest.mark.parametrize(("name", "event"), [(FAMILY, "x=4x4:5,y=:3@label"), ("independent", "2:real")])
def test_other_data_have_no_decision(name: str, event: str) -> None:
    pair = build(name, Event.parse(event), seed=0)
    assert decision(pair, pair.event.zeros(8), pair.event.zeros(8)) == {}


# ---------------------------------------------------------------------------------------------------------- the page


@pytest.mark.thorough
def test_every_number_of_a_legend_is_that_of_the_scores(study: Study, folder: Path) -> None:
    text = [words.strip() for words in Page((folder / "use.html").read_text()).text]
    scores = {(row["evaluation"], row["metric"]): row for row in study.scores if row["dataset"] == "made"}
    rules = {"posterior": "by p(y | x)", "joint": "by p(x, y)", "gated": "by a threshold of p(x)"}
    wanted = {f"{words} {{}}": ("selective", f"error_90_{rule}_shuffled") for rule, words in rules.items()}
    wanted |= {f"{data} {{}}": ("novelty", f"auroc_{m}_{data}") for data in ("shuffled", "noise") for m in MEASURES}
    for words, key in wanted.items():
        row = scores[key]
        if row["status"] == "ok":
            assert words.format(plus_minus(row["value"], row["stderr"])) in text
    kept = study.uses["made"][FAMILY]["attack-own"]
    for place, p in enumerate(kept["p_y_pgd_0.3"]):
        guess = int(np.argmax(p))
        mark = "" if guess == kept["y"][place] else "≠ "
        assert f"{mark}{guess}: {max(p):.2f}" in text
        below = kept["log_p_pgd_0.3"][place] < kept["least"]
        assert f"{'▾ ' * below}{number(kept['log_p_pgd_0.3'][place])}" in text


def test_both_figures_say_what_is_stored(study: Study, folder: Path) -> None:
    page = (folder / "use.html").read_text()
    kept = study.uses["blobs"][FAMILY]["decision"]
    assert f"cross: log p(x) = {number(kept['cross_log_p'])}, below {number(kept['least'])}: abstains" in page
    drawn = named_figures(study)
    source = re.findall(r'href="data:image/png;base64,([^"]+)"', drawn["blobs-decision-hybrid-x=independent"])
    alone, weighed = (np.asarray(Image.open(io.BytesIO(base64.b64decode(each))), int) for each in source)
    known = np.asarray(kept["log_p"]) >= kept["least"]
    assert (weighed[..., 3][~known] == 0).all()
    assert (weighed[known] == alone[known]).all()
    sure = np.asarray(kept["p_y"]).max(-1) > 0.75
    assert (alone[..., 3][sure] > 0).all()
    for name in ("made-attack-own-hybrid-x=independent", "blobs-decision-hybrid-x=independent"):
        root = ET.fromstring(drawn[name])
        assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
        assert all(child.text for child in list(root)[:2])


def test_pages_refer_to_each_other_and_every_link_resolves(folder: Path) -> None:
    pages = {name: Page((folder / name).read_text()) for name in ("index.html", "use.html")}
    for name, page in pages.items():
        assert not page.open
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        for address in page.addresses:
            if address.startswith("data:"):
                continue
            file, _, place = address.partition("#")
            assert (folder / (file or name)).exists(), address
            if place:
                assert place in pages[file or name].values("id"), address
    assert "use.html" in pages["index.html"].addresses
    assert "index.html" in pages["use.html"].addresses


@pytest.mark.thorough
def test_without_anything_in_use_there_is_no_page_and_no_link(study: Study, tmp_path: Path) -> None:
    write_report(study, tmp_path)
    assert (tmp_path / "use.html").exists()
    rows = [row for row in study.scores if row["evaluation"] == "likelihood"]
    write_report(Study("decisions", False, {}, rows, [], {}), tmp_path)
    assert not (tmp_path / "use.html").exists()
    assert "use.html" not in (tmp_path / "index.html").read_text()


def test_figures_in_use_are_files_that_stand_alone(study: Study) -> None:
    found = figure_files(study, ("svg",), answered())
    assert {"active.svg", "blobs-decision-hybrid-x=independent.svg"} <= set(found)
    assert {"made-attack-own-hybrid-x=independent.svg", "made-attack-plain-hybrid-x=independent.svg"} <= set(found)
    dots = [
        each for each in ET.fromstring(found["blobs-decision-hybrid-x=independent.svg"]) if "dots" in str(each.attrib)
    ]
    assert [each.attrib["style"].rpartition("fill:")[2] for each in dots] == 2 * [f"rgb{RGB[0]}", f"rgb{RGB[1]}"]
    for name in (name for name in found if "selective" in name or name == "active.svg"):
        assert b"var(--" not in found[name], name


@pytest.mark.parametrize("content", ["ask,seed\nrandom,0\n", "", "ask,seed,round\n\0"])
def test_a_damaged_file_of_active_learning_is_named(content: str, study: Study, tmp_path: Path) -> None:
    (tmp_path / "active.csv").write_text(content)
    with pytest.raises(ZooError, match=r"active\.csv is damaged.*write it again by zoo active"):
        write_report(study, tmp_path)


@pytest.mark.thorough
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here to look at the page with")
@pytest.mark.parametrize(("width", "script"), [(1280, True), (390, False)])
def test_nothing_sticks_out_of_the_second_page(folder: Path, tmp_path: Path, width: int, script: bool) -> None:
    question = LAYOUT.replace('view.getComputedStyle(page.querySelector(".measured .member")).display', '""')
    found: dict[str, Any] = ask(folder / "use.html", tmp_path, question, width, script)
    assert found["client"] == width
    assert max(found["scroll"], found["right"]) <= width
    assert (found["wide"], found["narrow"]) == (width > 500, width < 500)
    assert found["letters"] > 9
    assert found["cut"] == []
