"""The figures of the ELBO and of the plane."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from make_believe import MadeUp, study
from PIL import Image

from zoo.report import figures, tables
from zoo.report.figures.svg import Rows
from zoo.report.pictures import densities, latents
from zoo.report.study import TRUTH, Study
from zoo.report.writing import write_report
from zoo.scores import Score

VALUES = {"vae:prior=flow,latent=16": (5.0, 90.0, 93.0), "vae:latent=2": (3.0, 97.0, 99.5), "flat": (-0.5, -4.0, -3.0)}
"""Family -> KL, nats and negative ELBO."""


def members(values: dict[str, tuple[float, float, float]]) -> list[tables.Member]:
    rows = []
    for family, (kl, nats, elbo) in values.items():
        member = MadeUp(family, group="prescribed")
        found = [("kl", kl, "estimate"), ("reconstruction", elbo - kl, "estimate"), ("elbo", elbo, "lower bound")]
        for metric, value, kind in [*found, ("nats", nats, "lower bound")]:
            score = Score(metric, value, "nats", 0.1, kind)  # type: ignore[arg-type]  # one of the kinds
            rows.append(member.row(score, "d", 0, "likelihood"))
    return tables.members(Study("s", False, {}, rows, [], {}), "d")


def words(drawn: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(drawn).iter() if node.tag.endswith("text")]


@pytest.mark.parametrize("width", [880.0, 348.0])
def test_gaps_are_written_and_drawn_in_proportion(width: float) -> None:
    drawn = figures.elbo_gaps(members(VALUES), width)
    assert [word for word in words(drawn) if re.fullmatch(r"\d\.\d\d", word)] == ["1.00", "3.00", "2.50"]
    nodes = ET.fromstring(drawn).iter()
    gaps = [float(n.attrib["x2"]) - float(n.attrib["x1"]) for n in nodes if "seed" in n.attrib.get("class", "")]
    assert np.array(gaps) / gaps[0] == pytest.approx([1.0, 3.0, 2.5], rel=0.05)


@pytest.mark.parametrize("width", [880.0, 348.0])
def test_both_parts_of_an_elbo_are_drawn_in_proportion(width: float) -> None:
    drawn = figures.elbo_parts(members(VALUES), width)
    assert [word for word in words(drawn) if re.fullmatch(r"−?\d\.\d\d", word)] == ["−0.50", "5.00", "3.00"]
    bars = [float(n.attrib["width"]) for n in ET.fromstring(drawn).iter() if "bar" in n.attrib.get("class", "")]
    assert np.array(bars) / bars[2] == pytest.approx([0.1, 0.5, 1.0, 17.6, 0.6, 19.3], rel=0.05)


@pytest.mark.parametrize("count", [3, 14])
def test_many_points_are_numbered_and_named_below(count: int) -> None:
    rows = []
    for index in range(count):
        member = MadeUp(f"f{index:02}", group="flow")
        rows.append(member.row(Score("nats", 90.0 + index, "nats", 0.1, "exact"), "d", 0, "likelihood"))
        rows.append(member.row(Score("seconds_100", 1.0 + index, "s"), "d", 0, "sampling"))
    lines = tables.members(Study("s", False, {}, rows, [], {}), "d")
    shown = words(figures.speed(lines, "likelihood", "nats", "nats", "title"))
    if count == 3:
        assert {"f00", "f01", "f02"} <= set(shown)
    else:
        assert shown[-14:] == [f"{index + 1}  f{index:02}" for index in range(14)]
        assert {str(index + 1) for index in range(14)} <= set(shown)


def test_without_latents_there_is_no_figure_of_them() -> None:
    lines = tables.members(study(), "digits")
    assert figures.elbo_gaps(lines, 880) == figures.elbo_parts(lines, 880) == ""


@pytest.mark.parametrize("width", [880.0, 348.0])
def test_names_are_whole_and_rows_apart(width: float) -> None:
    rows = Rows(["a", "vae+sylvester-householder:prior=mixture"], width, 20.0)
    assert rows.names[1] in rows.name(1)
    assert rows.left < 0.37 * width
    assert rows.top < rows.y(0) < rows.y(1) - 20 < rows.bottom - 20


def ink(picture: str | None) -> np.ndarray:
    assert picture
    [source] = re.findall(r"base64,([^\"]+)", picture)
    with Image.open(io.BytesIO(base64.b64decode(source))) as image:
        return 1 - np.asarray(image.convert("L"), float) / 255


def test_densities_share_a_scale_and_keep_their_places() -> None:
    log = np.full((4, 4), np.log(0.5))
    log[0, 3] = 0.0
    stored = {"b": (log + np.log(0.5)).tolist(), TRUTH: log.tolist()}
    found = densities({"densities": stored}, {"b": "flow"})
    assert [picture.label for picture in found] == [TRUTH, "b"]
    truth, half = (ink(picture.html) for picture in found)
    assert truth.argmax() == 3
    assert half[0, 3] / truth[1, 0] == pytest.approx(1, abs=0.01)
    [broken] = densities({"densities": {"b": [[None] * 4] * 4}}, {"b": "flow"})
    assert ink(broken.html).max() == 0


@pytest.mark.thorough
def test_latents_are_shown_with_their_prior(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = study(seeds=1)
    drawn = {"posterior": rng.normal(size=(40, 2)), "prior": rng.normal(size=(30, 2))}
    made.pictures["digits"] |= {
        "latents": {"ppca": drawn, "gan": {"posterior": [[None, 1]], "prior": []}},
        "densities": {},
    }
    dots, nothing = latents(made.pictures["digits"], {"ppca": "prescribed", "gan": "implicit"})
    assert str(dots.html).count("<circle") + int((re.findall(r"(\d+) outside", str(dots.html)) or [0])[0]) == 70
    assert nothing.html is None
    write_report(made, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "Latents in the plane" in page
    assert "Learnt densities" not in page
