"""Which reader a file or folder takes, and the settings that its reader is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo.data.files.arrays import read_numpy
from zoo.data.files.contents import Contents
from zoo.data.files.images import SUFFIXES as IMAGES
from zoo.data.files.images import read_images
from zoo.data.files.saved import SUFFIX as SAVED
from zoo.data.files.sounds import SUFFIX as SOUND
from zoo.data.files.sounds import read_sound
from zoo.data.files.tables import read_csv, read_parquet
from zoo.data.files.texts import read_text
from zoo.errors import ZooError
from zoo.pairs.build import parse_settings

READERS: Mapping[str, Callable[..., Contents]] = {
    ".npz": read_numpy,
    ".npy": read_numpy,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".txt": read_text,
    SOUND: read_sound,
}
SUFFIXES = (*READERS, SAVED)


def path_and_settings(spec: str) -> tuple[Path, dict[str, Any]]:
    """A path, and the settings behind its last colon; a file whose name has the colon is taken as it is.

    Example:
        >>> path_and_settings("scans/small:size=32,mode=grey")
        (PosixPath('scans/small'), {'size': 32, 'mode': 'grey'})
    """
    path, (head, _, tail) = Path(spec).expanduser(), spec.rpartition(":")
    if path.exists() or "=" not in tail:
        return path, {}
    return Path(head).expanduser(), parse_settings(tail.split(","))


def read(path: Path, settings: Mapping[str, Any]) -> Contents:
    """What a file or folder holds, read with the ``settings`` of its kind.

    Raises:
        ZooError: no such file, an unknown kind or setting, or a file that its reader refuses.
    """
    known = settings_of(path)
    for name in settings:
        if name not in known:
            raise ZooError(f"{path} is read without a setting {name!r}; it takes: {', '.join(known) or 'none'}")
    return _reader(path)(path, **settings)


def settings_of(path: Path) -> list[str]:
    """The settings that a file or folder is read with."""
    parameters = inspect.signature(_reader(path)).parameters
    return [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY]


def _reader(path: Path) -> Callable[..., Contents]:
    if path.is_dir():
        kinds = {each.suffix.lower() for each in path.iterdir()}
        if SOUND in kinds and kinds & set(IMAGES):
            raise ZooError(f"the folder {path} holds recordings as well as images; name a folder of one kind")
        return read_sound if SOUND in kinds else read_images
    if not path.is_file():
        raise ZooError(f"there is no file or folder {path}; check the path")
    if path.suffix.lower() in IMAGES:
        raise ZooError(f"{path} is one image, which is one datum; name a folder of images")
    if path.suffix.lower() == SAVED:
        raise ZooError(f"{path} is a whole data set, and this takes rows; name a file of rows, or evaluate a run of it")
    if path.suffix.lower() not in READERS:
        raise ZooError(
            f"{path} is of an unknown kind: expected {', '.join(READERS)} or a folder of images or recordings"
        )
    return READERS[path.suffix.lower()]
