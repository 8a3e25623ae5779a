"""The page in a real browser: Debian's chromium, headless."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_believe import FAMILIES, MadeUp, study
from PIL import Image

from zoo.report.writing import write_report

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here to look at the page with")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
PROBE = """<!doctype html><body style="margin:0"><script>
const frame = document.createElement("iframe");
frame.style = "border:0;height:800px;width:WIDTHpx";
frame.sandbox = "SANDBOX";
frame.srcdoc = SOURCE;
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const all = (selector, root = page) => [...root.querySelectorAll(selector)];
  let answer;
  try { answer = (() => { QUESTION })(); } catch (error) { answer = String(error); }
  document.title = JSON.stringify(answer);
};
document.body.append(frame);
</script>"""
LAYOUT = """
const root = page.documentElement, seen = (s) => page.querySelector(s).offsetParent !== null;
const boxes = all("body *").filter((e) => !e.closest(".scroll") && !e.closest("svg"));
const letters = all("svg text").filter((e) => e.getClientRects().length);
const cut = letters.filter((e) => {
  const text = e.getBoundingClientRect(), figure = e.closest(".figure").getBoundingClientRect();
  return text.left < figure.left - 1 || text.right > figure.right + 1 || text.bottom > figure.bottom + 1;
});
const covered = all(".scroll").filter((e) => {
  const name = e.querySelector("tbody th");
  return name && name.offsetWidth > 0.5 * e.clientWidth;
});
return {
  scroll: root.scrollWidth,
  client: root.clientWidth,
  right: Math.ceil(Math.max(...boxes.map((e) => e.getBoundingClientRect().right))),
  wide: seen("figure .wide"),
  narrow: seen("figure .narrow"),
  member: view.getComputedStyle(page.querySelector(".measured .member")).display,
  letters: Math.min(...letters.map((e) => e.getBoundingClientRect().height)),
  cut: cut.map((e) => e.textContent),
  covered: covered.map((e) => e.getAttribute("aria-label")),
};
"""
ENLARGE = """
const summary = page.querySelector(".enlarge summary");
const width = () => summary.querySelector("img, svg").getBoundingClientRect().width, before = width();
summary.focus();
const focused = page.activeElement === summary;
summary.click();
const after = width(), box = summary.getBoundingClientRect();
summary.click();
return {focused, before, after, covers: box.width >= 380 && box.height >= 780, again: width()};
"""
SORT = """
const table = page.querySelector(".scroll table"), header = () => table.tHead.rows[0].cells[COLUMN];
const column = () => [...table.tBodies[0].rows].map((row) => row.cells[COLUMN].textContent);
const found = [[header().getAttribute("aria-sort"), column()]];
for (let i = 0; i < 3; i++) {
  header().querySelector("button").click();
  found.push([header().getAttribute("aria-sort"), column()]);
}
return found;
"""
HIDE = """
const rows = (group) => all(`tr[data-group="${group}"], .card[data-group="${group}"]`);
const shown = (group) => rows(group).filter((e) => !e.hidden).length;
const marks = () => all('.figure [data-family="gan"].off').length;
const box = all(".groups label").find((e) => e.textContent === "Implicit").querySelector("input");
const found = [[shown("implicit"), shown("flow"), marks()]];
box.click(); found.push([shown("implicit"), shown("flow"), marks()]);
box.click(); found.push([shown("implicit"), shown("flow"), marks()]);
const table = page.querySelector(".scroll table");
const width = () => table.rows[1].querySelectorAll("td:not([hidden])").length;
const column = table.closest(".scroll").nextElementSibling.querySelector("input");
found.push(width()); column.click(); found.push(width());
const measured = page.querySelector(".measured"), head = measured.tHead.rows[0], options = measured.nextElementSibling;
const cell = measured.querySelector("td[data-column=Novelty]");
const state = () => [head.querySelectorAll("th:not([hidden])").length, cell.hidden];
found.push(state()); all("label", options).find((e) => e.textContent === "Novelty").querySelector("input").click();
const seen = [...head.cells].map((e) => e.offsetWidth).filter(Boolean);
found.push(state(), page.documentElement.scrollWidth, Math.min(...seen));
return found;
"""
HIGHLIGHT = """
const link = all(".grid a").find((e) => e.textContent === "gan"), lit = () => all(".lit").length;
const own = all("[data-family]").filter((e) => e.dataset.family === "gan");
const before = lit();
link.focus();
const focused = [lit() === own.length, own.every((e) => e.matches(".lit")), own.some((e) => e.closest("svg"))];
page.querySelector("h1").dispatchEvent(new view.PointerEvent("pointerover", {bubbles: true}));
const left = lit();
own.find((e) => e.closest("svg")).dispatchEvent(new view.PointerEvent("pointerover", {bubbles: true}));
const hovered = lit() === own.length;
page.querySelector(".enlarge summary").click();
const open = all(".enlarge[open]").length;
page.dispatchEvent(new view.KeyboardEvent("keydown", {key: "Escape"}));
return {before, focused, left, hovered, open, closed: all(".enlarge[open]").length};
"""


def browse(tmp_path: Path, *options: str) -> str:
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    long = MadeUp("a-family-with-quite-a-long-name-of-its-own", "and-a-long-guide", "flow", "exact", 99.0, 3.0)
    folder = tmp_path_factory.mktemp("report")
    write_report(study(families=[*FAMILIES, long], coded=True), folder)
    return folder / "index.html"


def ask(page: Path, tmp_path: Path, question: str, width: int = 1200, script: bool = True) -> Any:
    """What a question, a function body in JavaScript, finds on the page in a frame of this width."""
    source = json.dumps(page.read_text()).replace("</", "<\\/")
    sandbox = "allow-same-origin" + " allow-scripts" * script
    probe = tmp_path / "probe.html"
    for name, text in {"WIDTH": str(width), "SANDBOX": sandbox, "QUESTION": question, "SOURCE": source}.items():
        probe.write_text((probe.read_text() if probe.exists() else PROBE).replace(name, text, 1))
    title = re.search(r"<title>(.*?)</title>", browse(tmp_path, "--dump-dom", f"file://{probe}"))
    assert title is not None
    return json.loads(html.unescape(title[1]))


@pytest.mark.thorough
@pytest.mark.parametrize(("width", "script"), [(1280, True), (390, True), (390, False), (360, True)])
def test_nothing_sticks_out_or_is_cut_at_any_width(page: Path, tmp_path: Path, width: int, script: bool) -> None:
    found = ask(page, tmp_path, LAYOUT, width, script)
    assert found["client"] == width
    assert found["scroll"] <= width
    assert found["right"] <= width
    phone = width < 500
    assert (found["wide"], found["narrow"]) == (not phone, phone)
    assert found["member"] == ("block" if phone else "table-row")
    assert found["letters"] > 9
    assert found["cut"] == []
    assert found["covered"] == []


@pytest.mark.thorough
@pytest.mark.parametrize("event", ["8x8:17", "2:real"])
def test_a_picture_is_enlarged_without_the_script(tmp_path: Path, event: str) -> None:
    write_report(study(seeds=1, event=event), tmp_path)
    found = ask(tmp_path / "index.html", tmp_path, ENLARGE, 390, script=False)
    assert found["focused"]
    assert found["covers"]
    assert found["before"] == found["again"] < 0.6 * found["after"]


@pytest.mark.thorough
def test_a_header_sorts_by_value_and_back(page: Path, tmp_path: Path) -> None:
    (first, drawn), *clicks = ask(page, tmp_path, SORT.replace("COLUMN", "2"))
    assert (first, *(state for state, _ in clicks)) == ("none", "ascending", "descending", "none")
    up, down, again = (column for _, column in clicks)
    values = [float(words.split()[0]) for words in up if words != "–"]
    assert values == sorted(values)
    assert values != [float(words.split()[0]) for words in drawn if words != "–"]
    assert [words for words in down if words != "–"] == [words for words in up if words != "–"][::-1]
    assert up[-1] == down[-1] == "–", "what is missing comes last"
    assert again == drawn


@pytest.mark.thorough
def test_groups_and_columns_are_hidden_and_shown(page: Path, tmp_path: Path) -> None:
    all_shown, hidden, again, columns, fewer, before, after, scroll, width = ask(page, tmp_path, HIDE)
    assert all_shown == again
    assert hidden[0] == 0 < all_shown[0]
    assert hidden[1] == all_shown[1]
    assert all_shown[2] == 0 < hidden[2], "in the figures too"
    assert fewer == columns - 1
    assert (before, after) == ([before[0], True], [before[0] + 1, False]), "an optional column is switched on"
    assert scroll == 1200
    assert width > 80


@pytest.mark.thorough
def test_a_family_is_highlighted_everywhere(page: Path, tmp_path: Path) -> None:
    found = ask(page, tmp_path, HIGHLIGHT)
    assert found["focused"] == [True, True, True]
    assert found["hovered"]
    assert (found["before"], found["left"]) == (0, 0)
    assert (found["open"], found["closed"]) == (1, 0), "Escape closes an enlarged picture"


@pytest.mark.thorough
@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_are_what_they_say(page: Path, tmp_path: Path, dark: bool) -> None:
    shot = tmp_path / "shot.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    browse(tmp_path, scheme, "--window-size=1200,4200", f"--screenshot={shot}", f"file://{page}")
    with Image.open(shot) as image:
        grey = np.asarray(image.convert("L"), dtype=float) / 255
    paper = float(np.median(grey))
    assert paper < 0.15 if dark else paper > 0.9
    for part in np.array_split(grey, 4):
        assert abs(float(np.median(part)) - paper) < 0.05
        ink = np.abs(part - paper)
        assert (ink > 0.6).mean() > 0.002, "the ink is hard to see"
