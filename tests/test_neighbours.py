"""Nearest training data: distances as in closed form, and copies of training data are seen."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from make_believe import study
from PIL import Image

from zoo import Dataset, Event, load_data
from zoo.experiments.neighbours import held_out, neighbours
from zoo.metrics import neighbours as metric
from zoo.metrics.neighbours import nearest, ratio_of_means
from zoo.report import tables
from zoo.report.neighbours import neighbours as table
from zoo.report.pictures import neighbours as shown
from zoo.report.study import Study
from zoo.report.writing import write_report


def test_distances_are_those_of_every_two_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    points, among = torch.randn(40, 7, generator=generator), torch.randn(60, 7, generator=generator)
    every = (points[:, None].double() - among[None].double()).norm(dim=2)
    for chunk in (1, 4 * 60 * 7, 2**26):
        monkeypatch.setattr(metric, "CHUNK", chunk)
        places, distances = nearest(points, among)
        assert torch.equal(places, every.argmin(1))
        assert torch.allclose(distances, every.amin(1), rtol=1e-12)


def test_a_copy_is_at_distance_zero_far_from_the_origin() -> None:
    among = 1e4 + torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    places, distances = nearest(among[[7, 3]], among)
    assert places.tolist() == [7, 3]
    assert distances.tolist() == [0.0, 0.0]


def test_the_error_of_a_ratio_is_that_of_repeated_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    above = 2 + 0.3 * torch.randn(2000, 30, generator=generator)
    below = 4 + 0.8 * torch.randn(2000, 50, generator=generator)
    errors = [ratio_of_means(a, b).stderr or 0.0 for a, b in zip(above[:200], below[:200], strict=True)]
    assert np.mean(errors) == pytest.approx(float((above.mean(1) / below.mean(1)).std()), rel=0.05)


def test_samples_like_new_data_have_ratio_one_and_copies_zero() -> None:
    data = load_data("digits")
    of_test = held_out(data, 1000)
    assert len(of_test) == len(data.test)
    near, like_new = neighbours(data, data.validation, of_test) or pytest.fail("finite")
    assert like_new["ratio"] == pytest.approx(1.0, abs=4 * like_new["stderr"])
    assert near.shape == data.validation.shape
    near, copied = neighbours(data, data.train[:24], of_test) or pytest.fail("finite")
    assert torch.equal(near, data.train[:24])
    assert (copied["ratio"], copied["n"]) == (0.0, 24)
    assert neighbours(data, data.train[:2] * torch.nan, of_test) is None


def test_distances_of_records_are_of_the_main_field() -> None:
    event = Event.parse("x=2:real,y=:3@label")
    x, y = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([0.0, 2.0])
    rows = event.pack({"x": x, "y": y})
    data = Dataset("rows", event, rows, rows, event.pack({"x": x[:1], "y": y[1:]}), "made up")
    assert held_out(data, 1000).tolist() == [0.0]


def measured(seeds: int = 1) -> Study:
    made = study(seeds=seeds)
    near = {"nearest": made.pictures["digits"]["real"][:24], "ratio": 0.25, "stderr": 0.03, "n": 24}
    made.pictures["digits"]["neighbours"] = {"ppca": near, "gan": near | {"ratio": None, "stderr": None}}
    return made


@pytest.mark.thorough
def test_the_ratio_stands_in_the_report_and_on_the_page(tmp_path: Path) -> None:
    made = measured()
    assert dict(table(made, tables.members(made, "digits")).lines) == {
        "ppca": ("0.25 ± 0.03", "24"),
        "gan": ("·", "24"),
    }
    write_report(made, tmp_path)
    assert "| ppca | 0.25 ± 0.03 | 24 |" in (tmp_path / "report.md").read_text()
    page = (tmp_path / "index.html").read_text()
    assert "Nearest training data" in page
    assert "samples and nearest data: ppca" in page
    del made.pictures["digits"]["neighbours"]
    write_report(made, tmp_path)
    assert "Nearest training data" not in (tmp_path / "index.html").read_text()


def test_each_row_of_samples_stands_over_its_nearest_data() -> None:
    samples, near = np.zeros((20, 8, 8)), np.full((20, 8, 8), 16.0)
    picture = {"event": "8x8:17", "real": near.tolist(), "samples": {"a": samples.tolist()}}
    [found] = shown(picture | {"neighbours": {"a": {"nearest": near.tolist()}}}, {"a": "flow"})
    [source] = re.findall(r"base64,([^\"]+)", str(found.html))
    with Image.open(io.BytesIO(base64.b64decode(source))) as image:
        rows = np.asarray(image.convert("L"))[4::9, 4]
    assert (rows < 128).tolist() == [False, True, False, True], "white samples, black neighbours; of 20, the first 16"


def test_points_in_the_plane_have_a_ratio_and_no_picture() -> None:
    picture = {"event": "2:real", "real": [[0.0, 1.0]], "samples": {"a": [[0.0, 1.0]]}}
    assert shown(picture | {"neighbours": {"a": {"nearest": [], "ratio": 1.0}}}, {"a": "flow"}) == []
