from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from make_believe import FAMILIES, MadeUp, study
from markupsafe import escape

import zoo.report
from zoo.report import tables, text
from zoo.report.study import Study
from zoo.report.verdicts import UNMEASURED, columns
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
    assert {path.name for path in folder.iterdir()} == FILES | ({"use.html"} if made.scores else set())
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


@pytest.mark.thorough
def test_json_is_strict(report: tuple[str, Study, Path]) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads((report[2] / "scores.json").read_text(), parse_constant=refuse)


@pytest.mark.thorough
@pytest.mark.parametrize("report", ["failed", "coded", "coded points"], indirect=True)
def test_redrawing_gives_the_same_files(report: tuple[str, Study, Path], tmp_path: Path) -> None:
    """Every figure of images and of points, and numbers that are missing."""
    folder = report[2]
    write_report(Study.load(folder), tmp_path)
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in FILES)


def test_nothing_shows_nan(report: tuple[str, Study, Path]) -> None:
    for name in FILES - {"scores.json"}:
        shown = re.sub(r"base64,[^\"]*", "", (report[2] / name).read_text())
        assert not re.search(r"\b(nan|NaN|inf|Infinity|None)\b", shown), name


def test_the_page_is_well_formed_and_makes_no_requests(report: tuple[str, Study, Path]) -> None:
    own = r"#|data:|(scores|paired|report|table1)\.\w+$|(index|use)\.html(#[\w-]+)?$"
    for path in sorted(report[2].glob("*.html")):
        source = path.read_text()
        page = Page(source)
        assert page.open == []
        assert [address for address in page.addresses if not re.match(own, address)] == []
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
    shown_of = {name: tables.leading(tables.members(report[1], name)) for name in tables.datasets(report[1])}
    for shown, row in zip(grid, stored, strict=True):
        words = [
            row[column.name] + " ≠" * (row[f"{column.name}_disagrees"] == "yes") for column in shown_of[row["dataset"]]
        ]
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


def test_columns_of_which_a_suite_has_no_score_are_left_out_and_named(tmp_path: Path) -> None:
    made = study()
    made.scores = [row for row in made.scores if row["evaluation"] in ("likelihood", "stability")]
    write_report(made, tmp_path)
    shown = tables.leading(tables.members(made, "digits"))
    assert {column.evaluation for column in shown} == {"likelihood", "stability"}
    left_out = [column for column in columns(optional=False) if column.evaluation not in ("likelihood", "stability")]
    sentence = f"Not measured by this suite: {', '.join(column.title for column in left_out)}."
    assert sentence in words(tmp_path)
    assert sentence in (tmp_path / "report.md").read_text()
    assert all(f"| {column.title} |" not in (tmp_path / "report.md").read_text() for column in left_out)
    wide = next(csv.DictReader(io.StringIO((tmp_path / "table1.csv").read_text())))
    assert {wide[column.name] for column in left_out} <= set(UNMEASURED), "the file keeps every column"


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
    grids = re.findall(r"\\begin\{tabular\}(.*?)\n(.*?)\\end\{tabular\}", bare, re.DOTALL)
    assert all(
        line.count("&") == shape.count("p{") - 1
        for shape, body in grids
        for line in body.splitlines()
        if line.endswith(r"\\")
    )
    stored, optional = Study.load(report[2]), columns(optional=True)
    of = [tables.members(stored, name) for name in tables.datasets(stored)]
    pairs = [(tables.leading(lines), tables.answered(lines, optional)) for lines in of]
    shapes = [len(each) for pair in pairs for each in pair if each]
    assert [shape.count("p{") - 1 for shape, _ in grids] == shapes
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


@pytest.mark.thorough
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


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_groups_that_the_literature_does_not_have_are_named(tmp_path: Path) -> None:
    sentence = "has no row for the groups Energy-based, Diffusion"
    added = [MadeUp("steps", group="diffusion"), MadeUp("energy", group="energy", kind="estimate", nats=90.0)]
    for folder, families, found in (("with", [*FAMILIES, *added], True), ("without", FAMILIES, False)):
        write_report(study(seeds=1, families=families), tmp_path / folder)
        texts = {name: (tmp_path / folder / name).read_text() for name in ("index.html", "report.md", "table1.tex")}
        assert {name: sentence in text for name, text in texts.items()} == dict.fromkeys(texts, found)


@pytest.mark.thorough
def test_the_share_of_heavy_tails_stands_next_to_a_bound(tmp_path: Path) -> None:
    made = study(seeds=2)
    for member in FAMILIES[1:3]:
        score = Score("khat_share", 0.52, "share", 0.02, "estimate", 447)
        made.scores += [member.row(score, "digits", seed, "likelihood") for seed in range(2)]
    write_report(made, tmp_path)
    shown = {row[0]: row[2] for row in cells((tmp_path / "index.html").read_text(), "measured sortable")}
    assert shown["realnvp"].endswith("k̂ > 0.7 for 52 ± 2 % of data")
    assert "k̂" not in shown["wavenet"], "its value is exact"
    assert "k̂" not in shown["vae+iaf"], "nothing was measured"
