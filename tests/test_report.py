from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_believe import FAMILIES, MadeUp, study
from markupsafe import escape
from PIL import Image

import zoo.report
from zoo.errors import ZooError
from zoo.report import figures, tables, text
from zoo.report.figures.rates import cut
from zoo.report.numbers import numbers
from zoo.report.pictures import pictures
from zoo.report.study import Study
from zoo.report.verdicts import columns
from zoo.report.writing import write_report
from zoo.scores import COLUMNS, Score, label

FILES = {"index.html", "report.md", "table1.csv", "table1.tex", "scores.csv", "paired.csv", "scores.json"}
SCRIPT = (Path(zoo.report.__file__).parent / "page.js").read_text()
WEIRD = [
    MadeUp("<b>a_b & 100%</b>", "x|y", "flow", "exact", 90.0, 2.0),
    MadeUp("#1 $~^{back\\slash}", group="prescribed", kind="lower bound", nats=95.0),
    MadeUp("naïve*模型*", kind="exact", nats=97.0),
]


def failed() -> Study:
    """A family that diverged in every seed, one that did in a single seed, one with broken numbers, one unmeasured."""
    made = study()
    for score in made.scores:
        source, metric = (score["family"], score["evaluation"]), score["metric"]
        if score["family"] == "wavenet" or (score["family"] == "realnvp" and score["seed"] == 1):
            score.update(value=None, stderr=None, status="failed", reason="diverged at step 120 <x>")
        if source == ("wavenet", "stability") and metric == "diverged_share":
            score.update(value=1.0, status="ok", reason="")
        if source == ("ppca", "likelihood"):
            score["value"] = float("nan")
    made.scores = [score for score in made.scores if score["guide"] != "iaf" or score["evaluation"] != "sampling"]
    for curve in made.curves:
        if curve["family"] == "wavenet" and curve["step"] > 700:
            curve["value"] = float("inf")
    return made


STUDIES = {
    "normal": study,
    "quick": lambda: study(seeds=1, quick=True),
    "failed": failed,
    "coded": lambda: study(coded=True),
    "coded points": lambda: study(seeds=1, datasets=("moons",), event="2:real", families=FAMILIES[2:8], coded=True),
    "two": lambda: study(datasets=("digits", "digits-binary")),
    "points": lambda: study(datasets=("moons",), event="2:real", families=FAMILIES[2:6]),
    "weird": lambda: study(families=WEIRD, datasets=("my_data & <co> 5%",)),
    "empty": lambda: Study("nothing", False, {}, [], [], {}),
}


@pytest.fixture(scope="module", params=STUDIES)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Study, Path]:
    folder = tmp_path_factory.mktemp("reports") / request.param
    made: Study = STUDIES[request.param]()
    write_report(made, folder)
    assert {path.name for path in folder.iterdir()} == FILES
    return request.param, made, folder


class Page(HTMLParser):
    """The text of a page's cells, its tags and what they refer to; fails on a tag that closes what was not open."""

    VOID = ("meta", "link", "img", "col", "br", "wbr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def values(self, attribute: str) -> list[str]:
        """The values of an attribute, in the order of the page."""
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def words(folder: Path) -> str:
    """The words of a page, with single spaces."""
    return " ".join(" ".join(Page((folder / "index.html").read_text()).text).split())


def test_json_is_strict_and_redrawing_gives_the_same_files(report: tuple[str, Study, Path], tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    folder = report[2]
    json.loads((folder / "scores.json").read_text(), parse_constant=refuse)
    write_report(Study.load(folder), tmp_path)
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in FILES)


def test_nothing_shows_nan(report: tuple[str, Study, Path]) -> None:
    for name in FILES - {"scores.json"}:
        shown = re.sub(r"base64,[^\"]*", "", (report[2] / name).read_text())
        assert not re.search(r"\b(nan|NaN|inf|Infinity|None)\b", shown), name


def test_the_page_is_well_formed_and_makes_no_requests(report: tuple[str, Study, Path]) -> None:
    source = (report[2] / "index.html").read_text()
    page = Page(source)
    assert page.open == []
    assert all(re.match(r"#|data:|(scores|paired|report|table1)\.\w+$", address) for address in page.addresses)
    assert not re.search(r"@import|url\(", source)
    assert "default-src 'none'; img-src data:;" in source, "a browser refuses any request"
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(identifiers)


def test_the_page_reads_without_its_script(report: tuple[str, Study, Path]) -> None:
    source = (report[2] / "index.html").read_text()
    before, script, after = source.partition(f"<script>\n{SCRIPT.strip()}</script>\n")
    assert script, "the script stands in the page as it is in its file"
    assert "<script" not in before + after
    page = Page(before + after)
    assert not {tag for tag, _ in page.tags} & {"button", "input", "select", "template", "noscript"}
    assert page.values("hidden") == []
    assert not re.search(r"fetch|XMLHttp|import|http|eval|storage|cookie|innerHTML", SCRIPT, re.IGNORECASE)
    assert len(SCRIPT.splitlines()) <= 80


def test_every_figure_names_its_title_and_description(report: tuple[str, Study, Path]) -> None:
    name, _, folder = report
    source = (folder / "index.html").read_text()
    drawn = re.findall(r"<svg xmlns.*?</svg>(?=</div>|</summary>|\n|<svg xmlns|<)", source, re.DOTALL)
    assert len(drawn) == sum("xmlns" in attributes for tag, attributes in Page(source).tags if tag == "svg")
    assert drawn or name == "empty"
    for figure in drawn:
        depth = figure.count("<svg") - figure.count("</svg>")
        root = ET.fromstring(figure + "</svg>" * depth)
        title, description = root[0], root[1]
        assert (title.tag[-5:], description.tag[-4:], root.attrib["role"]) == ("title", "desc", "img")
        assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
        assert title.text


def cells(source: str, table: str) -> list[list[str]]:
    """The text of the members' cells in the tables of a class, row by row."""
    found = []
    for body in re.findall(rf'<table class="{table}.*?</table>', source, re.DOTALL):
        for row in re.findall(r'<tr class="member".*?</tr>', body, re.DOTALL):
            each = re.findall(r"<t[hd][ >].*?</t[hd]>", row, re.DOTALL)
            found.append([" ".join("".join(Page(cell).text).split()) for cell in each])
    return found


def test_the_grid_comes_first_and_shows_the_verdicts(report: tuple[str, Study, Path]) -> None:
    source = (report[2] / "index.html").read_text()
    stored = list(csv.DictReader(io.StringIO((report[2] / "table1.csv").read_text())))
    grid = cells(source, "grid")
    assert len(grid) == len(stored)
    for shown, row in zip(grid, stored, strict=True):
        words = [row[column.name] + " ≠" * (row[f"{column.name}_disagrees"] == "yes") for column in columns()]
        assert shown == [label(row["family"], row["guide"]), *words]
    for chapter in re.findall(r'<section id="data-\d+">(.*?)</section>', source, re.DOTALL):
        first, samples, prose = (chapter.find(part) for part in ('<table class="grid', '<div class="sheets">', "<p>"))
        assert -1 < first < samples < prose
    assert source.count('<p class="lede">') == 1


def test_long_sentences_that_repeat_are_notes(report: tuple[str, Study, Path]) -> None:
    folder = report[2]
    source = (folder / "index.html").read_text()
    stored = Study.load(folder)
    for number, dataset in enumerate(tables.datasets(stored), 1):
        [chapter] = re.findall(rf'<section id="data-{number}">(.*?)</section>', source, re.DOTALL)
        shown = " ".join(" ".join(row) for row in cells(chapter, "measured"))
        said = [
            words
            for line in tables.members(stored, dataset)
            for verdict in line.verdicts.values()
            for words in text.reasons(verdict)
        ]
        notes = tables.repeated(said)
        for words in said:
            noted = said.count(words) > 1 and len(words) >= tables.SHORTEST_NOTE
            assert ((words in notes), (words in shown)) == (noted, not noted)
        listed = re.findall(rf'<li id="data-{number}-note-(\d+)">(.*?)</li>', chapter)
        assert [(words, int(n)) for n, words in listed] == [(escape(words), n) for words, n in notes.items()]
        referred = re.findall(rf'href="#data-{number}-note-(\d+)" title="(.*?)">note&nbsp;(\d+)<', chapter)
        assert len(referred) == sum(words in notes for words in said)
        assert all(n == seen and (n, words) in listed for n, words, seen in referred)
    for status in ("failed", "skipped"):
        reasons = [why for *_, why in tables.unanswered(stored, status)]
        for words, n in tables.repeated(reasons).items():
            assert f'<li id="{status}-note-{n}">{escape(words)}</li>' in source
            assert source.count(f'href="#{status}-note-{n}"') == reasons.count(words)
            assert f"<td>{escape(words)}</td>" not in source


def test_every_verdict_is_in_every_table(report: tuple[str, Study, Path]) -> None:
    _, made, folder = report
    stored = Study.load(folder)
    lines = tables.all_members(stored)
    wide = list(csv.DictReader(io.StringIO((folder / "table1.csv").read_text())))
    page = words(folder)
    assert len(wide) == len(lines) == len({(r["dataset"], r["family"], r["guide"]) for r in made.scores})
    for cells, line in zip(wide, lines, strict=True):
        assert line.label in page
        assert text.markdown(line.label) in (folder / "report.md").read_text()
        assert text.latex(line.label) in (folder / "table1.tex").read_text()
        for column in columns():
            word = line.verdicts[column.name].word
            assert cells[column.name] == word
            assert word in page
            assert cells[f"{column.name}_disagrees"] == ("yes" if line.agrees(column) is False else "no")


def test_every_report_prints_the_rules(report: tuple[str, Study, Path]) -> None:
    page, markdown = words(report[2]), (report[2] / "report.md").read_text()
    assert all(column.rule in page and text.markdown(column.rule) in markdown for column in columns())


def test_scores_csv_has_the_columns_and_all_rows(report: tuple[str, Study, Path]) -> None:
    _, made, folder = report
    rows = list(csv.DictReader(io.StringIO((folder / "scores.csv").read_text())))
    assert (folder / "scores.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert [(r["family"], r["metric"], r["reason"]) for r in rows] == [
        (r["family"], r["metric"], r["reason"]) for r in made.scores
    ]


def test_latex_is_sound(report: tuple[str, Study, Path], tmp_path: Path) -> None:
    source = (report[2] / "table1.tex").read_text()
    assert source.isascii()
    notes = [line[1:].strip() for line in source.splitlines() if line.startswith("%")]
    source = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\{}$&%#_]", lambda found: "" if found[0] != r"\\" else found[0], source)
    depth = 0
    for character in bare:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    opened: list[str] = []
    for word, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
        if word == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    rows = [line for line in bare.splitlines() if line.endswith(r"\\")]
    assert all(line.count("&") == len(columns()) for line in rows)
    assert not re.search(r"[%#]", bare)
    if shutil.which("pdflatex"):
        shutil.copy(report[2] / "table1.tex", tmp_path)
        body = [*notes[1:], r"\begin{document}", r"\input{table1}", r"\end{document}"]
        (tmp_path / "paper.tex").write_text("\n".join(body))
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0


def test_markdown_tables_are_rectangular(report: tuple[str, Study, Path]) -> None:
    for table in re.findall(r"(?:^\|.*\|\n)+", (report[2] / "report.md").read_text(), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "<b>" not in (report[2] / "report.md").read_text()


def test_only_a_quick_report_is_not_to_be_quoted(report: tuple[str, Study, Path]) -> None:
    name, _, folder = report
    for file in ("index.html", "report.md", "table1.tex"):
        assert ("to be quoted" in (folder / file).read_text()) == (name == "quick")


def test_failures_are_listed_with_their_reasons(tmp_path: Path) -> None:
    write_report(failed(), tmp_path)
    page = words(tmp_path)
    assert "diverged at step 120 <x>" in page
    assert "100 % of seeds diverged" in page
    listed = [(label, why) for label, _, _, why in tables.unanswered(Study.load(tmp_path), "failed")]
    assert ("ppca", "not a finite number") in listed
    assert "not a finite number" in page
    assert "no score sampling/relative_time" in page
    assert "1 of 3 seeds failed: diverged at step 120 <x>" in page
    assert "diverged at step 120" in (tmp_path / "report.md").read_text()
    assert 'class="diverged"' in (tmp_path / "index.html").read_text()


def test_disagreements_are_counted_and_listed(tmp_path: Path) -> None:
    made = study()
    write_report(made, tmp_path)
    page = words(tmp_path)
    lines = tables.members(made, "digits")
    apart = {(line.label, column.name) for line, column in tables.disagreements(lines)}
    assert apart == {("gan", "training"), ("realnvp", "likelihood"), ("ppca", "likelihood")}
    assert f"{tables.comparisons(lines) - 3} agree and 3 differ" in page
    assert "≠ unstable" in page
    assert "≠ *approximate*" in (tmp_path / "report.md").read_text()


def test_the_share_of_heavy_tails_stands_next_to_a_bound(tmp_path: Path) -> None:
    made = study(seeds=2)
    for member in FAMILIES[1:3]:
        score = Score("khat_share", 0.52, "share", 0.02, "estimate", 447)
        made.scores += [member.row(score, "digits", seed, "likelihood") for seed in range(2)]
    write_report(made, tmp_path)
    shown = {row[0]: row[2] for row in cells((tmp_path / "index.html").read_text(), "measured")}
    assert shown["realnvp"].endswith("k̂ > 0.7 for 52 ± 2 % of data")
    assert "k̂" not in shown["wavenet"], "its value is exact"
    assert "k̂" not in shown["vae+iaf"], "nothing was measured"


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


def test_strips_show_reconstructions_from_coarse_to_fine(tmp_path: Path) -> None:
    write_report(study(coded=True), tmp_path)
    page = (tmp_path / "index.html").read_text()
    rates = [float(rate) for rate in re.findall(r"note strip\">([\d.]+) bits/dim, [\d.]+ dB", page)]
    assert len(rates) == 6
    assert rates[:3] == sorted(rates[:3])
    assert page.count('<p class="note strip">real data</p>') == 2
