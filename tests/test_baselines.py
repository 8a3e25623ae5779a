"""Standard codes: their sizes are what their own libraries say, and they decode to what they encoded."""

from __future__ import annotations

import bz2
import lzma
import zlib

import numpy as np
import pytest
import torch

from zoo import Event, ZooError, load_data
from zoo.codec import baselines
from zoo.codec.baselines import as_images, standard_codes, tiled, untiled

DIGITS = load_data("digits")
PACKED = {"zlib", "bz2", "lzma"}
IMAGES = {"png", "png_tiled", "webp", "webp_tiled"}


def draw(event: Event, n: int) -> torch.Tensor:
    assert event.levels is not None
    generator = torch.Generator().manual_seed(0)
    return torch.randint(event.levels, (n, *event.shape), generator=generator).float()


@pytest.mark.thorough
def test_sizes_of_digits_are_those_of_the_libraries() -> None:
    sizes = standard_codes(DIGITS.event, DIGITS.test)
    raw = DIGITS.test.numpy().astype(np.uint8).tobytes()
    assert sizes["zlib"] == len(zlib.compress(raw, 9))
    assert sizes["bz2"] == len(bz2.compress(raw, 9))
    assert sizes["lzma"] == len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
    assert sizes["png_tiled"] < sizes["png"]
    assert sizes["webp_tiled"] < sizes["webp"]


@pytest.mark.thorough
def test_every_event_has_its_codes() -> None:
    images = [
        Event((4, 6), 17),
        Event((4, 4), "binary"),
        Event((3, 4, 5), 256),
        Event((3, 4, 4), "binary"),
        Event(9, 5),
    ]
    others = [Event((4, 4), 1000), Event((2, 2, 2), 5), Event((2, 2, 2, 2), 5)]
    for event in (*images, *others):
        sizes = standard_codes(event, draw(event, 7))
        assert set(sizes) == (PACKED | IMAGES if event in images else PACKED)
        assert min(sizes.values()) > 0


@pytest.mark.thorough
def test_binary_data_may_be_packed_in_bits() -> None:
    x = draw(Event(64, "binary"), 500)
    sizes = standard_codes(Event(64, "binary"), x)
    assert sizes["zlib"] <= 500 * 64 / 8 + 20  # no code of random bits is shorter
    assert sizes["zlib"] < len(zlib.compress(x.numpy().astype(np.uint8).tobytes(), 9))


def test_real_data_have_no_levels() -> None:
    with pytest.raises(ZooError, match="levels"):
        standard_codes(Event(2, "real"), torch.zeros(3, 2))


def test_a_code_that_loses_data_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(baselines.FORMATS, "webp", {"format": "WEBP", "lossless": False, "quality": 1})
    with pytest.raises(ZooError, match="webp did not decode"):
        standard_codes(DIGITS.event, DIGITS.test[:20])
    monkeypatch.setitem(baselines.PACKERS, "zlib", (lambda raw: zlib.compress(raw[1:]), zlib.decompress))
    with pytest.raises(ZooError, match="zlib did not decode"):
        standard_codes(DIGITS.event, DIGITS.test[:20])


@pytest.mark.parametrize("count", [1, 2, 7, 30])
@pytest.mark.parametrize("shape", [(4, 4), (2, 9), (9, 2), (3, 5, 3)])
def test_tiles_come_apart_again(count: int, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    sheet = tiled(images)
    assert (untiled(sheet, count, *shape[:2]) == images).all()
    assert sheet.size < 2 * images.size + shape[0] * shape[1] * 30


def test_too_many_images_for_one_are_refused() -> None:
    with pytest.raises(ZooError, match="do not fit"):
        tiled(np.zeros((1, 1, 20000), np.uint8))


@pytest.mark.parametrize(("size", "shape"), [(64, (2, 8, 8)), (10, (2, 1, 10))])
def test_a_flat_datum_is_a_square_or_a_line(size: int, shape: tuple[int, ...]) -> None:
    images = as_images(Event(size, 17), np.zeros((2, size), np.uint8))
    assert images is not None
    assert images.shape == shape
