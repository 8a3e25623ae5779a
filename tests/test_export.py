"""Figures as files: every figure of the page is one, stands by itself, and shows something."""

from __future__ import annotations

import io
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from command import zoo
from make_believe import FAMILIES, MadeUp, study
from PIL import Image
from test_neighbours import measured

from zoo import ZooError
from zoo.report import export
from zoo.report.export import figure_files, formats_of, named_figures, standalone
from zoo.report.figures.svg import drawing, tag
from zoo.report.page import render
from zoo.report.study import Study

try:
    import cairosvg
except (ImportError, OSError):
    cairosvg = None
WITH_CAIRO = pytest.mark.skipif(cairosvg is None, reason="cairosvg, or the system's cairo, is not installed")


def everything() -> Study:
    """A study that has every figure."""
    made, points = measured(), study(seeds=1, datasets=("moons",), event="2:real", families=FAMILIES[2:6])
    coded = study(seeds=1, coded=True)
    made.scores = coded.scores + points.scores
    made.curves += points.curves
    made.pictures["digits"]["coded"] = coded.pictures["digits"]["coded"]
    drawn = np.random.default_rng(0).normal(size=(9, 2)).tolist()
    points.pictures["moons"]["latents"] = {"vae+normal": {"posterior": drawn, "prior": drawn}}
    points.pictures["moons"]["densities"] = {"realnvp": np.linspace(-3, 0, 16).reshape(4, 4).tolist()}
    made.pictures |= points.pictures
    for member in FAMILIES[4:7]:
        for metric, value in {"elbo": 95.0, "kl": 5.0, "reconstruction": 90.0}.items():
            row = next(row for row in made.scores if (row["family"], row["guide"]) == (member.family, member.guide))
            made.scores.append(row | {"evaluation": "likelihood", "metric": metric, "value": value, "status": "ok"})
    return Study.parse(made.json(), "made up")


@pytest.mark.thorough
def test_every_figure_of_the_page_is_a_file() -> None:
    made = everything()
    page, drawn = render(made), named_figures(made)
    wide = page.replace('<div class="narrow">', "\0")
    wide = re.sub(r"\0.*?</svg></div>", "", wide, flags=re.DOTALL)
    titles = re.findall(r'<title id="title-\d+">(.*?)</title>', wide) + re.findall(r'class="sheet" alt="([^"]*)"', wide)
    own = [re.findall(r'<title id="title">(.*?)</title>', svg)[0] for svg in drawn.values()]
    assert set(titles) == set(own)
    assert len(titles) == len(own) + 1, "real points stand on the page twice, with samples and with densities"


@pytest.mark.thorough
def test_names_are_of_the_data_set_the_figure_and_the_family() -> None:
    names = set(named_figures(everything()))
    assert {"digits-ranking", "digits-elbo-gaps", "digits-elbo-parts", "digits-rate-distortion"} <= names
    assert {"digits-speed-likelihood", "digits-speed-quality", "moons-ranking"} <= names
    assert {"digits-learning-nats-vae+iaf", "digits-learning-discrepancy-gan", "digits-samples-real-data"} <= names
    assert {
        "digits-neighbours-ppca",
        "digits-lossy-3-ppca",
        "moons-latents-vae+normal",
        "moons-density-realnvp",
    } <= names


def test_names_that_a_file_cannot_have_stay_apart() -> None:
    weird = [MadeUp(name, group="flow", kind="exact", nats=90.0) for name in ("a/b", "a?b", "../c")]
    names = [*figure_files(study(seeds=1, families=weird, datasets=("my data & <co> 5%",)), ["svg"])]
    assert len(names) == len(set(names)) > 6
    assert all(re.fullmatch(r"[\w.+=-]+\.svg", name) and not name.startswith(".") for name in names)
    assert {"my-data-co-5-samples-a-b.svg", "my-data-co-5-samples-a-b-2.svg"} <= set(names)


def test_an_svg_stands_by_itself() -> None:
    for name, content in figure_files(everything(), ["svg"]).items():
        root = ET.fromstring(content)
        assert {"width", "height", "viewBox"} <= set(root.attrib), name
        source = content.decode()
        assert not re.search(r"var\(|currentColor|@import|url\(|<style|<script", source), name
        links = [value for node in root.iter() for key, value in node.attrib.items() if key.endswith("href")]
        assert all(link.startswith("data:image/png;base64,") for link in links), name
        for node in root.iter("{http://www.w3.org/2000/svg}text"):
            assert "fill:#" in node.attrib["style"], name


def test_every_class_that_figures_use_has_its_style() -> None:
    own = standalone(drawing(9, 9, "t", "d", tag("g", tag("circle", r=1, class_="full"), class_="g-flow dots")))
    circle = next(ET.fromstring(own).iter("{http://www.w3.org/2000/svg}circle"))
    assert circle.attrib["style"] == "fill:#1a7f69", "full takes the colour of its group from above"
    styled = {name for name, _ in export._rules()}
    used = {
        word
        for svg in named_figures(everything()).values()
        for node in ET.fromstring(svg).iter()
        for word in node.get("class", "").split()
    }
    assert {f".{word}" for word in used - {"ink", "number", "dots"}} <= styled


@pytest.mark.thorough
@WITH_CAIRO
def test_png_and_pdf_show_what_the_svg_holds() -> None:
    found = figure_files(everything(), ["png", "pdf"])
    drawn = named_figures(everything())
    assert set(found) == {f"{name}.{suffix}" for name in drawn for suffix in ("png", "pdf")}
    for name, content in found.items():
        assert content.startswith(b"\x89PNG\r\n\x1a\n" if name.endswith("png") else b"%PDF-"), name
        if name.endswith("png"):
            with Image.open(io.BytesIO(content)) as image:
                grey = np.asarray(image.convert("L"))
            assert 0.001 < (grey < 200).mean() < 0.8, f"{name} is blank"


@pytest.mark.thorough
@WITH_CAIRO
def test_pixels_of_a_sheet_stay_sharp() -> None:
    content = figure_files(measured(), ["png"])["digits-samples-real-data.png"]
    with Image.open(io.BytesIO(content)) as image:
        levels = np.unique(np.asarray(image.convert("L")))
    assert len(levels) <= 17, "interpolated pixels would have levels in between"


@pytest.mark.thorough
def test_figures_are_written_where_the_report_is(tmp_path: Path) -> None:
    study(seeds=1).save(tmp_path / "table1")
    zoo("report", "table1", "--reports", tmp_path, "--figures", "svg")
    written = {path.name for path in (tmp_path / "table1/figures").iterdir()}
    assert written == {f"{name}.svg" for name in named_figures(study(seeds=1))}
    before = {path: path.read_bytes() for path in (tmp_path / "table1/figures").iterdir()}
    done = zoo("report", "table1", "--reports", tmp_path, "--figures", "svg", "--json")
    assert all(str(path) in done.output and path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("words", [("compare", "uniform"), ("report", "table1")])
@pytest.mark.parametrize("formats", ["gif", "svg,", ""])
def test_other_formats_are_refused_before_anything_runs(tmp_path: Path, words: tuple[str, str], formats: str) -> None:
    places = ["--reports", tmp_path / "reports"] + (["--runs", tmp_path / "runs"] if words[0] == "compare" else [])
    done = zoo(*words, *places, "--figures", formats, code=2)
    assert "figures are written as svg, pdf, png, got" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    done = zoo("compare", "uniform", "--runs", tmp_path / "runs", "--figures", "svg,pdf,png", code=2)
    assert "figures in pdf and png need cairosvg" in done.output
    assert "pip install 'pyro-zoo[figures]'" in done.output
    assert list(tmp_path.iterdir()) == []
    assert formats_of("svg") == ("svg",)
    with pytest.raises(ZooError, match="take --figures svg"):
        formats_of("PNG")
