"""The parts of a report: numbers, the order of members, figures, pictures and stored studies."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_believe import FAMILIES, MadeUp, study
from PIL import Image

from zoo.errors import ZooError
from zoo.report import figures, tables
from zoo.report.figures.rates import cut
from zoo.report.numbers import numbers
from zoo.report.pictures import pictures
from zoo.report.study import Study
from zoo.report.writing import write_report
from zoo.scores import Score


def test_numbers_are_sorted_by_their_values_not_by_their_words() -> None:
    for table in numbers(tables.members(study(coded=True), "digits")).values():
        assert len(table.valued) == len(table.lines)
        for (name, shown), (valued_name, valued) in zip(table.lines, table.valued, strict=True):
            assert (name, shown) == (valued_name, tuple(words for words, _ in valued))
            for words, value in valued:
                if value is not None and (plain := re.fullmatch(r"([\d,.]+)( ± [\d.]+)?", words)):
                    assert float(plain[1].replace(",", "")) == pytest.approx(value, rel=0.06)
                assert (value is None) <= (re.match(r"\D*$|one seed", words) is not None)


def test_members_are_in_the_order_of_the_literature_best_first() -> None:
    lines = tables.members(study(), "digits")
    groups = [group for group, *_ in tables.by_group(lines)]
    assert groups == ["autoregressive", "flow", "implicit", "prescribed", "floor"]
    prescribed = [line.label for line in lines if line.group == "prescribed"]
    assert prescribed == ["vae+iaf", "vae+planar", "vae+normal", "ppca"]


def test_the_ranking_places_families_by_their_value() -> None:
    lines = tables.members(study(), "digits")
    drawn = list(ET.fromstring(figures.ranking(lines, 880)).iter())
    discs = [float(node.attrib["cx"]) for node in drawn if node.tag.endswith("circle")]
    kinds = [line.pool("likelihood", "nats").kind for line in lines if line.group != "floor"]
    assert discs == sorted(discs)
    assert len(discs) == kinds.count("exact")
    assert sum(node.tag.endswith("polygon") for node in drawn) == kinds.count("lower bound")
    dashed = [float(node.attrib["x1"]) for node in drawn if node.attrib.get("class") == "floor"]
    assert len(dashed) == len(figures.floors(lines)) == 2
    assert max(discs) < min(dashed)


def test_a_family_worse_than_uniform_leaves_the_others_readable() -> None:
    lost = MadeUp("lost", group="flow", kind="exact", nats=1e7)
    drawn = ET.fromstring(figures.ranking(tables.members(study(families=[*FAMILIES, lost]), "digits"), 880))
    discs = [float(node.attrib["cx"]) for node in drawn.iter() if node.tag.endswith("circle")]
    assert max(discs) - min(discs) > 40
    assert any(node.text == "→" for node in drawn.iter())


def test_numpy_values_and_broken_numbers_are_stored_as_json(tmp_path: Path) -> None:
    shown = {"event": "2:real", "real": np.ones((1, 2)), "samples": {}}
    made = Study("s", False, {"a": np.float32(0.5), "b": (1, np.inf)}, [], [], {"d": shown})
    made.save(tmp_path)
    loaded = Study.load(tmp_path)
    assert loaded.provenance == {"a": 0.5, "b": [1, None]}
    assert loaded.pictures == {"d": shown | {"real": [[1.0, 1.0]]}}


@pytest.mark.parametrize("content", [None, "{", "[]", '{"suite": "s"}'])
def test_a_missing_or_torn_study_is_a_clear_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "scores.json").write_text(content)
    with pytest.raises(ZooError, match=r"scores\.json"):
        Study.load(tmp_path)


@pytest.mark.thorough
def test_a_failed_drawing_leaves_the_old_report(tmp_path: Path) -> None:
    write_report(study(seeds=1), tmp_path)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    made = study(seeds=1)
    made.pictures["digits"]["event"] = "nonsense"
    with pytest.raises(ZooError):
        write_report(made, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


@pytest.mark.parametrize("event", ["64:17", "1x8x8:17", "3x8x8:real", "5:real", "2:real", "2:binary", "1:real"])
@pytest.mark.parametrize("empty", [False, True])
def test_data_of_any_shape_are_shown(tmp_path: Path, event: str, empty: bool) -> None:
    made = study(seeds=1)
    shape = [int(size) for size in event.split(":")[0].split("x")]
    real = np.random.default_rng(0).integers(0, 2, (0 if empty else 9, *shape)).astype(float)
    made.pictures["digits"] = {"event": event, "real": real, "samples": {"gan": real * np.nan, "ppca": real[:1]}}
    write_report(made, tmp_path)
    assert ("real data" in (tmp_path / "index.html").read_text()) != empty


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["exact", "lower bound", "estimate"]),
            st.floats(allow_nan=False, width=32) | st.none(),
            st.floats(0, 1e30) | st.none(),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_scores_can_be_drawn(values: list[tuple[Any, float | None, float | None]]) -> None:
    rows = []
    for index, (kind, value, error) in enumerate(values):
        member = MadeUp(f"f{index}", group="flow")
        rows.append(member.row(Score("nats", value, "nats", error, kind), "d", 0, "likelihood"))
        rows.append(member.row(Score("seconds_100", abs(value or 1.0), "s"), "d", 0, "sampling"))
    lines = tables.members(Study("s", False, {}, rows, [], {}), "d")
    for figure in (figures.ranking(lines, 348), figures.speed(lines, "likelihood", "nats", "y", "t")):
        assert not figure or ET.fromstring(figure) is not None
        assert "nan" not in figure


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"provenance": 3}, "provenance"),
        ({"scores": 3}, "scores"),
        ({"scores": [{"value": 1}]}, "a score has the columns"),
        ({"curves": [{"step": 1}]}, "a row of the curves has the keys"),
        ({"pictures": {"digits": {}}}, "the pictures of a data set have the keys"),
    ],
)
def test_a_tampered_study_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(json.loads(study().json()) | change))
    with pytest.raises(ZooError, match=message):
        Study.load(tmp_path)
    (tmp_path / "scores.json").write_bytes(bytes(range(256)))
    with pytest.raises(ZooError, match="torn"):
        Study.load(tmp_path)


def test_colours_are_kept_on_a_sheet() -> None:
    red = [[[[255.0]], [[0.0]], [[0.0]]]] * 8
    shown = {"event": "3x1x1:256", "real": red, "samples": {}}
    [sheet] = pictures(shown, {})
    assert sheet.html
    source = re.search(r"base64,([^\"]+)", sheet.html)
    assert source
    with Image.open(io.BytesIO(base64.b64decode(source[1]))) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_rate_and_distortion_are_drawn_for_lossy_codecs_only() -> None:
    lines = tables.members(study(coded=True), "digits")
    drawn = figures.rate_distortion(lines, 640)
    names = [line.label for line in lines if line.group == "prescribed"]
    shown = set(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))
    assert {*names, "PCA"} <= shown
    assert not {"JPEG", "pixelcnn", "gan", "uniform"} & shown, "JPEG starts beyond the frame, the others have no codec"
    assert drawn.count("curve") == len(names)
    assert figures.rate_distortion(tables.members(study(), "digits"), 640) == ""


def test_samplers_are_drawn_by_their_passes() -> None:
    at = {"mmd2@ddim:10": 0.04, "mmd2@ddim:100": 0.01, "mmd2@ancestral:10": 0.09, "c2st@ddim:10": 0.7}
    where = {"suite": "", "family": "ddpm", "guide": "", "group": "diffusion", "dataset": "digits", "seed": 0}
    rows = [Score(each, value, kind="estimate").row(evaluation="samplers", **where) for each, value in at.items()]
    drawn = figures.passes_and_quality([tables.Member("digits", "diffusion", "ddpm", "", tuple(rows))], 440)
    assert "ddim: 10 passes 0.04, 100 passes 0.01; ancestral: 10 passes 0.09" in drawn
    assert (drawn.count("<polyline"), drawn.count("<circle")) == (2, 3)
    assert figures.passes_and_quality(tables.members(study(), "digits"), 440) == ""


def test_a_curve_is_cut_where_it_leaves_the_frame() -> None:
    assert cut([(0.0, 0.0), (2.0, 4.0)], 1.0, 9.0) == pytest.approx((1.0, 2.0))
    assert cut([(0.0, 0.0), (2.0, 4.0)], 9.0, 1.0) == pytest.approx((0.5, 1.0))
    assert cut([(0.0, 0.0), (0.5, 0.5)], 1.0, 1.0) == (0.5, 0.5)


def test_bytes_of_models_and_standard_codes_are_sorted_together() -> None:
    table = numbers(tables.members(study(coded=True), "digits"))["lossless"]
    sizes = [int(cells[0].replace(",", "")) for _, cells in table.lines]
    assert sizes == sorted(sizes)
    labels = [label for label, _ in table.lines]
    assert labels.index("pixelcnn") < labels.index("bz2") < labels.index("zlib") < labels.index("PNG, each")
    assert "gan" not in labels


@pytest.mark.thorough
def test_strips_show_reconstructions_from_coarse_to_fine(tmp_path: Path) -> None:
    write_report(study(coded=True), tmp_path)
    page = (tmp_path / "index.html").read_text()
    rates = [float(rate) for rate in re.findall(r"note strip\">([\d.]+) bits/dim, [\d.]+ dB", page)]
    assert len(rates) == 6
    assert rates[:3] == sorted(rates[:3])
    assert page.count('<p class="note strip">real data</p>') == 2
