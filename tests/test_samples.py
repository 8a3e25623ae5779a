from __future__ import annotations

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


def test_what_is_no_picture_says_so(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"write samples to a \.npy"):
        check_place(tmp_path / "x.png", Event(3, "real"))
