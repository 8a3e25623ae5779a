"""The documentation: every registered name has a page, links lead somewhere, and pages agree with the code."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
from broken_links import broken_links
from build_pages import LINK, ROOT, documented_arguments, listed, pages, rooms, site_links
from measured_rows import judged, measured_rows, refresh

import zoo
from zoo.pairs.registry import families
from zoo.scores import label

TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README_ROW = re.compile(r"^\| `([\w+-]+)`[^|]*\| ([\d.]+)[^|]*\|[^|]*\| ([\d.]*) *\|$", re.MULTILINE)
"""Pair, nats and bits per pixel of a line of the README's table."""


@pytest.fixture(scope="module")
def built() -> dict[str, str]:
    return pages()


@pytest.mark.thorough
def test_every_family_has_a_page(built: dict[str, str]) -> None:
    for family in families:
        assert built[f"families/{family.name}.md"].startswith(f"# {family.name}\n")
        assert f"({family.name}.md)" in built["families/index.md"]


def test_every_entry_of_a_shelf_has_a_section(built: dict[str, str]) -> None:
    for shelf in ("guides", "priors", "evaluations", "acquisitions", "data"):
        sections = re.findall(r"^## (\S+)$", built[f"{shelf}.md"], re.MULTILINE)
        assert sections == [entry["name"] for entry in listed()[shelf]]


def test_a_familys_page_shows_settings_and_recipe(built: dict[str, str]) -> None:
    lines = built["families/vae.md"].splitlines()
    assert any(line.startswith("| `latent` | `16` |") for line in lines)
    assert any(line.startswith("| `optimiser` | **adamw** |") for line in lines)


def test_measured_rows_stand_on_their_familys_page(built: dict[str, str]) -> None:
    for row in measured_rows():
        page = built[f"families/{row['family'].partition(':')[0]}.md"]
        start = f"| `{label(row['family'], row['guide'])}` on {row['dataset']} |"
        [line] = [line for line in page.splitlines() if line.startswith(start)]
        assert len(judged(row)) >= 5
        assert all(f"**{row[column]}**" in line for column in judged(row))


def test_refreshed_rows_keep_their_provenance(tmp_path: Path) -> None:
    report, folder = tmp_path / "own", tmp_path / "measured"
    report.mkdir()
    folder.mkdir()
    origin = {"command": "zoo compare own", "commit": "abc", "date": "2026", "processor": "cpu", "torch": "2"}
    (report / "table1.csv").write_text("family,likelihood\nvae,exact\n")
    (report / "scores.json").write_text(json.dumps({"provenance": origin | {"seed": 0}}))
    refresh(report, folder)
    assert measured_rows(folder) == [{"family": "vae", "likelihood": "exact"} | origin]


def test_the_api_pages_cover_every_module_and_public_name(built: dict[str, str]) -> None:
    text = "\n".join(built[page] for page in built if page.startswith("api/"))
    modules = {module for room in rooms().values() for module in room}
    public = {f"zoo.{name}" for name in zoo.__all__ if getattr(zoo, name).__name__ == name}
    assert set(re.findall(r"^::: (\S+)$", text, re.MULTILINE)) == modules | public


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_relative_links_lead_to_files_with_a_page(path: Path) -> None:
    text = path.read_text()
    assert [link for link in LINK.findall(text) if not (path.parent / link.partition("#")[0]).exists()] == []
    site_links(text, str(path.parent.relative_to(ROOT)))


def test_a_link_to_a_file_without_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="no page for 'tests/x'"):
        site_links("[tests](tests/x)", "")


def test_broken_links_and_anchors_of_a_site_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top"></h1> <a href="b.html#here"> <a href="b.html#gone"> <img src="c.png">'
    )
    (tmp_path / "b.html").write_text('<h1 id="here"></h1> <a href="a.html#top"> <a href="#here"> <a href="mailto:x@y">')
    assert broken_links(tmp_path) == ["a.html: b.html#gone", "a.html: c.png"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_python_blocks_parse_and_their_imports_run(path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        imports = [node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), path.name, "exec"), {})


def test_the_readmes_table_agrees_with_the_measured_rows() -> None:
    """Nats within their standard error, bits per pixel to the digits that are shown."""
    measured = {label(row["family"], row["guide"]).removesuffix("+normal"): row for row in measured_rows()}
    quoted = README_ROW.findall((ROOT / "README.md").read_text())
    assert len(quoted) >= 10
    for name, nats, bits in quoted:
        row = measured[name]
        error = float(row["likelihood_stderr"] or 0) + 0.05
        assert float(nats) == pytest.approx(float(row["likelihood_value"]), abs=error)
        assert bool(bits) == bool(row["lossless_value"])
        assert not bits or float(bits) == pytest.approx(float(row["lossless_value"]), abs=0.02)


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    stated = dict(re.findall(r"^([\w-]+): *(.+)$", citation, re.MULTILINE))
    assert stated.keys() >= {"cff-version", "message", "title"}
    assert (stated["version"], stated["license"]) == (project["version"], project["license"])
    assert project["version"] == zoo.__version__
    assert re.search(r"^authors:\n  - name: ", citation, re.MULTILINE)


@pytest.mark.thorough
def test_documented_arguments_are_in_the_signature() -> None:
    sources = [path for folder in ("zoo", "models", "guides", "evaluations") for path in (ROOT / folder).rglob("*.py")]
    strange = [
        f"{path.relative_to(ROOT)}:{node.lineno} {name}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        for name in documented_arguments(ast.get_docstring(node) or "")
        if name not in arguments(node)
    ]
    assert strange == []


def arguments(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """The arguments of a function, or of a class's methods, and the fields of a dataclass."""
    own = {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
    fields = {each.target for each in ast.walk(node) if isinstance(each, ast.AnnAssign)}
    return own | {field.id for field in fields if isinstance(field, ast.Name)}
