"""The page in a real browser: Debian's chromium, headless."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

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
frame.srcdoc = SOURCE;
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const seen = (s) => page.querySelector(s).offsetParent !== null;
  const boxes = [...page.querySelectorAll("body *")].filter((e) => !e.closest(".scroll") && !e.closest("svg"));
  const right = Math.max(...boxes.map((e) => e.getBoundingClientRect().right));
  const letters = [...page.querySelectorAll("svg text")].filter((e) => e.getClientRects().length);
  const least = Math.min(...letters.map((e) => e.getBoundingClientRect().height));
  document.title = [root.scrollWidth, root.clientWidth, Math.ceil(right), seen("figure .wide"), seen("figure .narrow"),
    getComputedStyle(page.querySelector(".member")).display, least.toFixed(1)].join(" ");
};
document.body.append(frame);
</script>"""


def browse(tmp_path: Path, *options: str) -> str:
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    long = MadeUp("a-family-with-quite-a-long-name-of-its-own", "and-a-long-guide", "flow", "exact", 99.0, 3.0)
    folder = tmp_path_factory.mktemp("report")
    write_report(study(families=[*FAMILIES, long]), folder)
    return folder / "index.html"


@pytest.mark.parametrize("width", [1200, 380])
def test_nothing_sticks_out_at_any_width(page: Path, tmp_path: Path, width: int) -> None:
    source = json.dumps(page.read_text()).replace("</", "<\\/")
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.replace("WIDTH", str(width)).replace("SOURCE", source))
    title = re.search(r"<title>(.*?)</title>", browse(tmp_path, "--dump-dom", f"file://{probe}"))
    assert title is not None
    scroll, client, right, wide, narrow, member, letters = title[1].split()
    assert int(client) == width
    assert int(scroll) <= width
    assert int(right) <= width
    phone = width < 500
    assert (wide, narrow) == (("false", "true") if phone else ("true", "false"))
    assert member == ("block" if phone else "table-row")
    assert float(letters) > 9


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
