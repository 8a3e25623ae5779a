"""Standard codes: their sizes are those of their own libraries, and they decode to the input."""

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


def draw(event: Event, n: int) -> torch.Tensor:
    assert event.levels is not None
    generator = torch.Generator().manual_seed(0)
    return torch.randint(event.levels, (n, *event.shape), generator=generator).float()


def test_sizes_of_digits_are_those_of_the_libraries() -> None:
    sizes = standard_codes(DIGITS.event, DIGITS.test)
    raw = DIGITS.test.numpy().astype(np.uint8).tobytes()
    assert sizes["zlib"] == len(zlib.compress(raw, 9))
    assert sizes["bz2"] == len(bz2.compress(raw, 9))
    assert sizes["lzma"] == len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
    assert 8 * sizes["bz2"] / len(raw) == pytest.approx(2.77, abs=0.01)
    assert 8 * sizes["lzma"] / len(raw) == pytest.approx(2.78, abs=0.01)
    assert sizes["png_tiled"] < sizes["png"]
    assert sizes["webp_tiled"] < sizes["webp"]


@pytest.mark.parametrize(
    "event",
    [Event((4, 6), 17), Event((4, 4), "binary"), Event((3, 4, 5), 256), Event((3, 4, 4), "binary"), Event(9, 5)],
    ids=str,
)
def test_images_of_every_kind_are_coded(event: Event) -> None:
    sizes = standard_codes(event, draw(event, 7))
    assert set(sizes) == {"zlib", "bz2", "lzma", "png", "png_tiled", "webp", "webp_tiled"}
    assert min(sizes.values()) > 0


def test_other_shapes_are_only_packed() -> None:
    for event in (Event((4, 4), 1000), Event((2, 2, 2), 5), Event((2, 2, 2, 2), 5)):
        assert set(standard_codes(event, draw(event, 5))) == {"zlib", "bz2", "lzma"}


def test_binary_data_may_be_packed_in_bits() -> None:
    x = draw(Event(64, "binary"), 500)
    sizes = standard_codes(Event(64, "binary"), x)
    assert sizes["zlib"] <= 500 * 64 / 8 + 20  # of random bits no code can do better than a bit each
    assert sizes["zlib"] < len(zlib.compress(x.numpy().astype(np.uint8).tobytes(), 9))


def test_real_data_have_no_levels() -> None:
    with pytest.raises(ZooError, match="levels"):
        standard_codes(Event(2, "real"), torch.zeros(3, 2))


def test_a_lossy_code_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(baselines.FORMATS, "webp", {"format": "WEBP", "lossless": False, "quality": 1})
    with pytest.raises(ZooError, match="webp did not give back"):
        standard_codes(DIGITS.event, DIGITS.test[:20])
    monkeypatch.setitem(baselines.PACKERS, "zlib", (lambda raw: zlib.compress(raw[1:]), zlib.decompress))
    with pytest.raises(ZooError, match="zlib did not give back"):
        standard_codes(DIGITS.event, DIGITS.test[:20])


@pytest.mark.parametrize("count", [1, 2, 7, 30])
@pytest.mark.parametrize("shape", [(4, 4), (2, 9), (9, 2), (3, 5, 3)])
def test_tiling_is_invertible(count: int, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    sheet = tiled(images)
    assert (untiled(sheet, count, *shape[:2]) == images).all()
    assert sheet.size < 2 * images.size + shape[0] * shape[1] * 30


def test_images_too_large_for_a_sheet_are_refused() -> None:
    with pytest.raises(ZooError, match="do not fit"):
        tiled(np.zeros((1, 1, 20000), np.uint8))


def test_a_flat_square_is_an_image() -> None:
    flat = as_images(Event(64, 17), np.zeros((2, 64), np.uint8))
    line = as_images(Event(10, 17), np.zeros((2, 10), np.uint8))
    assert flat is not None
    assert flat.shape == (2, 8, 8)
    assert line is not None
    assert line.shape == (2, 1, 10)
