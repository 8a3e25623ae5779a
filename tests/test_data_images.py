"""The user's own images: folders of PNGs and JPEGs, and what of them is refused rather than dropped."""

import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from splits import everything

from zoo.data import Dataset, load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import fitting_event
from zoo.pairs.registry import families
from zoo.runs.config import DataSpec

RNG = np.random.default_rng(0)
SPLIT = (0.5, 0.25, 0.25)


def rows(data: Dataset) -> list[list[float]]:
    return sorted(everything(data).flatten(1).tolist())


def folder_of(folder: Path, images: Any, suffix: str = "png", **options: Any) -> Path:
    """A folder of images made of arrays or of Pillow's images, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, each in enumerate(images):
        image = each if isinstance(each, Image.Image) else Image.fromarray(each)
        image.save(folder / f"{index:03}.{suffix}", **options)
    return folder


@pytest.mark.parametrize(("shape", "event"), [((6, 4, 5), (4, 5)), ((6, 4, 5, 3), (3, 4, 5))])
def test_folder_of_pngs(shape: tuple[int, ...], event: tuple[int, ...], tmp_path: Path) -> None:
    pixels = RNG.integers(9, size=shape, dtype=np.uint8)
    path = str(folder_of(tmp_path / "pictures", pixels))
    data = load_data(path, split=SPLIT)
    assert (data.name, data.event) == ("pictures", Event(event, 256))
    images = pixels if len(shape) == 3 else np.moveaxis(pixels, -1, 1)
    assert rows(data) == sorted(images.reshape(6, -1).astype(float).tolist())
    flat = Event(math.prod(event), 9)
    assert load_data(path, split=SPLIT, event=flat).event == flat


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_folder_of_jpegs_is_read_as_pillow_decodes_it(mode: str, tmp_path: Path) -> None:
    images = [Image.fromarray(RNG.integers(256, size=(8, 6, 3), dtype=np.uint8)).convert(mode) for _ in range(6)]
    path = folder_of(tmp_path / "photos", images, "jpg")
    decoded = [np.asarray(Image.open(each), float) for each in sorted(path.iterdir())]
    channels_first = [each if each.ndim == 2 else np.moveaxis(each, 2, 0) for each in decoded]
    data = load_data(str(path), split=SPLIT)
    assert data.event == Event((8, 6) if mode == "L" else (3, 8, 6), 256)
    assert rows(data) == sorted(each.flatten().tolist() for each in channels_first)


def test_palettes_and_opaque_alpha_keep_their_pixels(tmp_path: Path) -> None:
    coloured = RNG.integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    opaque = np.dstack([coloured, np.full((4, 4), 255, np.uint8)])
    palette = Image.fromarray(coloured).quantize(256)
    of_palette = np.asarray(palette.convert("RGB"))
    palette.info["transparency"] = bytes([255] * 256)  # a tRNS chunk in which nothing is transparent
    path = folder_of(tmp_path / "x", [coloured, opaque, palette, palette])
    expected = [np.moveaxis(each, 2, 0).flatten().tolist() for each in (coloured, coloured, of_palette, of_palette)]
    assert rows(load_data(str(path), split=SPLIT)) == sorted(expected)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_images_are_turned_as_their_exif_says(suffix: str, tmp_path: Path) -> None:
    pixels = np.zeros((16, 8), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter clockwise to see it upright
    path = folder_of(tmp_path / "x", [pixels] * 4, suffix, exif=exif)
    data = load_data(str(path), split=SPLIT)
    assert data.event == Event((8, 16), 256)
    assert torch.equal(data.train[0], torch.from_numpy(np.rot90(pixels, -1).astype(np.float32)))


def test_images_are_converted_where_that_is_asked_for(tmp_path: Path) -> None:
    images = [Image.new("L", (8, 6), 40), Image.new("RGB", (9, 9), (40, 40, 40))] * 3
    path = folder_of(tmp_path / "mixed", images)
    grey, coloured = (load_data(f"{path}:mode={mode},size=4", split=SPLIT) for mode in ("grey", "rgb"))
    assert (grey.event, coloured.event) == (Event((4, 4), 256), Event((3, 4, 4), 256))
    assert everything(grey).unique().tolist() == everything(coloured).unique().tolist() == [40]
    assert grey.name == "mixed:mode=grey,size=4"
    assert "converted to grey, scaled to side 4" in grey.source


def classes(folder: Path, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    for index, name in enumerate(names):
        folder_of(folder / name, np.stack([np.full((2, 3), 100 * index + n, np.uint8) for n in range(10)]))
    return folder


def test_folders_of_classes_keep_the_names_of_their_labels(tmp_path: Path) -> None:
    data = load_data(str(classes(tmp_path / "pets")))
    assert (str(data.event), data.names) == ("x=2x3:256,y=:binary@label", {"y": ("cat", "dog")})
    assert torch.equal(data.train[:, 0] // 100, data.train[:, -1])
    known = load_data(str(classes(tmp_path / "pets")), names={"y": ("dog", "cat", "cow")})
    assert torch.equal(known.train[:, 0] // 100, 1 - known.train[:, -1])
    assert known.event.fields[1].levels == 3
    with pytest.raises(ZooError, match="'y' has 'cat', which is none of those known: dog, cow"):
        load_data(str(tmp_path / "pets"), names={"y": ("dog", "cow")})


def test_labels_of_folders_may_be_left_out(tmp_path: Path) -> None:
    path = classes(tmp_path / "pets")
    every, none, some = (load_data(f"{path}{text}") for text in ("", ":labels=0", ":labels=6"))
    assert torch.equal(every.event.main_of(every.train), none.train)
    assert none.event == Event((2, 3), 256)
    assert int((~some.event.missing(some.train)).sum()) == 6
    assert torch.equal(some.test, every.test)
    assert load_data(f"{path}:labels=0", event=Event(6, 256)).train.shape == (16, 6)
    with pytest.raises(
        ZooError, match=r"write an event of these, not 6:256, or leave the labels out by .*pets:labels=0"
    ):
        load_data(str(path), event=Event(6, 256))
    with pytest.raises(ZooError, match=r"labels are left out by labels=0, as in digits:labels=0$"):
        fitting_event(families["uniform"], every.event)
    with pytest.raises(ZooError, match="has no label y by itself"):
        load_data(f"{path}/cat:labels=0")


def png(depth: int, colour: int, pixels: bytes) -> bytes:
    """A PNG of 2x1 pixels, of a bit depth and colour type that Pillow does not write."""
    header = struct.pack(">IIBBBBB", 2, 1, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + pixels)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def written(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "0.png").write_bytes(content)


def saved(*images: Image.Image, suffix: str = "png", **options: Any) -> Callable[[Path], object]:
    return lambda folder: folder_of(folder, images, suffix, **options)


def blank(mode: str, size: tuple[int, int] = (2, 2), **info: Any) -> Image.Image:
    image = Image.new(mode, size)
    image.info |= info
    return image


def cut_in_half(folder: Path) -> None:
    path = folder_of(folder, RNG.integers(256, size=(2, 30, 30), dtype=np.uint8)) / "001.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def images_and_folders(folder: Path) -> None:
    folder_of(folder / "cat" / "small", [blank("L")])
    folder_of(folder / "cat", [blank("L")])


BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "none": (lambda folder: None, "", r"there are no images \(.png, .jpg, .jpeg\) in the folder"),
    "cut in half": (cut_in_half, "", "cannot read .*001.png as an image"),
    "no image": (written(b"hello"), "", "cannot read .* as an image"),
    "sizes": (saved(blank("L"), blank("L", (2, 3))), "", "001.png is 3x2 grey, 000.png is 2x2 grey; .*:size=32"),
    "modes": (saved(blank("L"), blank("RGB")), "", "001.png is 2x2 colour, 000.png is 2x2 grey; .*:mode=grey"),
    "16-bit grey": (saved(blank("I;16")), "", "has 16 bits a channel"),
    "16-bit rgb": (written(png(16, 2, bytes(12))), "", "has 16 bits a channel"),
    "alpha": (saved(blank("RGBA")), "", "has transparent pixels"),
    "grey alpha": (saved(blank("LA")), "", "has transparent pixels"),
    "transparent colour": (saved(blank("RGB"), transparency=(0, 0, 0)), "", "has transparent pixels"),
    "transparent grey": (saved(blank("L"), transparency=0), "", "has transparent pixels"),
    "transparent palette": (saved(blank("P"), transparency=0), "", "has transparent pixels"),
    "animation": (saved(blank("L"), save_all=True, append_images=[Image.new("L", (2, 2), 9)]), "", "animation of 2"),
    "cmyk": (saved(blank("CMYK"), suffix="jpg"), "", "is an image of mode CMYK; save it as 8-bit grey or RGB"),
    "other kinds": (saved(blank("L"), suffix="gif"), "", "000.gif is no PNG or JPEG; convert it to PNG"),
    "images and folders": (images_and_folders, "", r"not both or deeper: move or remove cat/small/000.png"),
    "levels": (saved(*[Image.new("L", (2, 2), 255)] * 20), "", "levels 0 to 1, got 255"),
    "mode": (saved(blank("L")), "mode=red", "the mode of images is grey or rgb, got 'red'"),
    "size": (saved(blank("L")), "size=0.5", "the size of images is a number of pixels"),
    "setting": (saved(blank("L")), "window=3", "read without a setting 'window'; it takes: mode, size"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_images_are_refused_in_one_clear_sentence(case: str, tmp_path: Path) -> None:
    write, settings, words = BROKEN[case]
    write(tmp_path)
    event = Event(4, "binary") if case == "levels" else None
    with pytest.raises(ZooError, match=words) as caught:
        load_data(str(tmp_path) + (f":{settings}" if settings else ""), event=event)
    assert "\n" not in str(caught.value)


def test_a_folder_is_one_data_set_with_a_slash_or_without() -> None:
    assert DataSpec(name="pets/:size=8") == DataSpec(name="pets:size=8")
    assert DataSpec(name="pets/") == DataSpec(name="pets")


def test_one_image_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="is one image, which is one datum; name a folder of images"):
        load_data(str(folder_of(tmp_path, [blank("L")]) / "000.png"))


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    folder_of(tmp_path / ".thumbnails", [blank("L", (1, 1))])
    assert len(everything(load_data(str(folder_of(tmp_path, [blank("L")] * 10))))) == 10
