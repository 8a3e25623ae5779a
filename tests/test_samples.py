"""Samples as pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.cli.samples import check_place, save_samples
from zoo.errors import ZooError
from zoo.event import Event


def test_colours_are_kept(tmp_path: Path) -> None:
    red = torch.tensor([255.0, 0.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    save_samples(tmp_path / "x.png", red, Event((3, 4, 4), 256))
    with Image.open(tmp_path / "x.png") as image:
        assert set(image.convert("RGB").get_flattened_data()) == {(255, 0, 0)}


def test_one_channel_is_grey(tmp_path: Path) -> None:
    for shape in ((1, 4, 4), (4, 4), (16,)):
        save_samples(tmp_path / "x.png", torch.ones(2, *shape), Event(shape, "binary"))
        with Image.open(tmp_path / "x.png") as image:
            pixels = np.asarray(image)
        assert pixels.ndim == 2
        assert pixels.max() == 255


def test_data_that_make_no_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"write samples to a \.npy"):
        check_place(tmp_path / "x.png", Event(3, "real"))


def test_points_are_drawn_where_they_lie(tmp_path: Path) -> None:
    points = torch.tensor([[0.0, 0.0], [0.0, 0.1], [8.0, 1.0], [math.nan, 0.0]])
    save_samples(tmp_path / "x.png", points, Event(2, "real"))
    with Image.open(tmp_path / "x.png") as image:
        red, _, blue = np.asarray(image.convert("RGB"), float).transpose(2, 0, 1)
    rows, columns = np.nonzero(blue - red > 60)
    width, height = np.ptp(columns), np.ptp(rows)
    assert height / width == pytest.approx(1 / 8, rel=0.15), "both axes have one scale"
    assert rows[columns.argmin()] > rows[columns.argmax()], "up is up"
    assert columns.max() < image.width - 40


def test_points_that_are_all_broken_make_an_empty_plot(tmp_path: Path) -> None:
    save_samples(tmp_path / "x.png", torch.full((3, 2), math.inf), Event(2, "real"))
    with Image.open(tmp_path / "x.png") as image:
        assert np.ptp(np.asarray(image), -1).max() == 0, "no coloured dot"
