"""A folder of images, or of a folder of images for each class."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.files.contents import Array, Contents
from zoo.errors import ZooError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
_OTHERS = (".gif", ".bmp", ".tif", ".tiff", ".webp", ".heic")
_MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""Pillow's mode -> that of the data, of the same pixels less their opacity."""
_WORDS = {"grey": "L", "rgb": "RGB"}
_DEPTH_BYTE = 24
"""Where a PNG says its bits per channel."""


def read_images(folder: Path, *, mode: str = "", size: int = 0, crop: int = 0, tile: int = 0) -> Contents:
    """The images of a folder by name, with 256 levels: grey ones ``(h, w)``, coloured ones ``(3, h, w)``.

    Where the folder has a folder for each class, the class is the label ``y``. Images are turned as their EXIF says.

    Args:
        folder: of ``.png`` and ``.jpg`` files.
        mode: ``grey`` or ``rgb``, to which all are converted; by default they are of one mode.
        size: the side of the square to which the middle of each image is scaled; by default they are of one size.
        crop: the side of the square that is cut from the middle of each image, unscaled.
        tile: the side of the squares that each image is cut into, from its upper left corner on; what is left at the
            right and below is left out. The tiles of an image stay in one split.
    """
    files = _files(folder)
    parts = [_parts(path, mode, size, crop, tile) for path in files]
    for path, images in zip(files, parts, strict=True):
        if images[0].shape != parts[0][0].shape:
            raise ZooError(
                f"the images of a folder are all of one size and mode: {path.name} is {_described(images[0])}, "
                f"{files[0].name} is {_described(parts[0][0])}; remove it, or convert all by {folder}:"
                f"{'size=32' if images[0].ndim == parts[0][0].ndim else 'mode=grey'}"
            )
    words = (("converted to", mode), ("scaled to side", size), ("cropped to side", crop), ("cut into tiles of", tile))
    note = ", ".join(f"{word} {value}" for word, value in words if value)
    pixels, counts = np.stack([image for images in parts for image in images]), [len(images) for images in parts]
    groups = np.repeat(np.arange(len(files)), counts) if tile else None
    if files[0].parent == folder:
        return Contents(folder, {"": pixels}, levels={"": 256}, note=note, groups=groups)
    y = np.repeat(np.array([path.parent.name for path in files]), counts)
    return Contents(folder, {"x": pixels, "y": y}, levels={"x": 256}, roles={"y": "label"}, note=note, groups=groups)


def each_image(folder: Path, *, mode: str = "", size: int = 0, crop: int = 0, tile: int = 0) -> Iterator[Array]:
    """The images of `read_images` one after the other, without their classes."""
    for path in _files(folder):
        yield from _parts(path, mode, size, crop, tile)


def _parts(path: Path, mode: str, size: int, crop: int, tile: int) -> list[Array]:
    """An image as it is, scaled or cropped, or its tiles."""
    if mode not in ("", *_WORDS):
        raise ZooError(f"the mode of images is grey or rgb, got {mode!r}")
    for word, value in (("size", size), ("crop", crop), ("tile", tile)):
        if not isinstance(value, int) or value < 0:
            raise ZooError(f"the {word} of images is a number of pixels, such as 32, got {value!r}")
    if sum(map(bool, (size, crop, tile))) > 1:
        raise ZooError("images are scaled (size=), cropped (crop=) or cut into tiles (tile=); give one of them")
    image, side = _read(path, mode, size), crop or tile
    height, width = image.shape[-2:]
    if min(height, width) < side:
        raise ZooError(f"{path} is {_described(image)}, smaller than {side}x{side}; remove it, or take a smaller side")
    if not tile:
        top, left = ((height - crop) // 2, (width - crop) // 2) if crop else (0, 0)
        return [image[..., top : top + crop, left : left + crop] if crop else image]
    corners = itertools.product(range(0, height - tile + 1, tile), range(0, width - tile + 1, tile))
    return [image[..., top : top + tile, left : left + tile] for top, left in corners]


def _files(folder: Path) -> list[Path]:
    """The images in a folder, or in its folders; not those that are hidden."""
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if others := [path for path in paths if path.suffix.lower() in _OTHERS]:
        raise ZooError(f"{others[0]} is no PNG or JPEG; convert it to PNG, or remove it")
    files = [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not files:
        raise ZooError(
            f"there are no images ({', '.join(SUFFIXES)}) in the folder {folder} or in folders of it, and no .wav in it"
        )
    depths = Counter(len(path.relative_to(folder).parts) for path in files)
    if len(depths) > 1 or max(depths) > 2:
        deepest = max(files, key=lambda path: len(path.parts))
        raise ZooError(
            f"the images of {folder} are in the folder itself or in a folder for each class, not both or deeper: move "
            f"or remove {deepest.relative_to(folder)}"
        )
    return files


def _read(path: Path, mode: str, size: int) -> Array:
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            _check(path, image)
            upright = ImageOps.exif_transpose(image)
            upright.info.pop("transparency", None)  # all pixels are opaque
            wanted = upright.convert(_MODES[image.mode]).convert(_WORDS.get(mode))
            pixels = np.asarray(ImageOps.fit(wanted, (size, size)) if size else wanted)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"cannot read {path} as an image: {error}") from error
    return pixels if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _check(path: Path, image: Image) -> None:
    """Refuse what Pillow would drop without a word: depth, transparency, frames."""
    with path.open("rb") as file:
        depth = file.read(_DEPTH_BYTE + 1)[_DEPTH_BYTE]
    if image.format == "PNG" and depth > 8:
        raise ZooError(
            f"{path} has {depth} bits a channel; save it with 8, or the pixels as .npy with --event 28x28:65536"
        )
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise ZooError(f"{path} is an animation of {image.n_frames} images; save each as a file of its own")  # type: ignore[attr-defined]
    if image.mode not in _MODES:
        raise ZooError(f"{path} is an image of mode {image.mode}; save it as 8-bit grey or RGB")
    opaque = image.mode in ("1", "L", "P", "RGB") and "transparency" not in image.info
    if not opaque and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise ZooError(f"{path} has transparent pixels; save it as 8-bit grey or RGB on a background")


def _described(image: Array) -> str:
    return f"{image.shape[-2]}x{image.shape[-1]} {'grey' if image.ndim == 2 else 'colour'}"
