"""Data sets by name, and data from a file or a folder, as a `Dataset` of three splits.

Everything read here is checked before it becomes a tensor; nothing else of the zoo reads data files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zoo.data.dataset import Dataset
from zoo.data.digits import digits, digits_binary
from zoo.data.files import SUFFIXES, load_file
from zoo.data.mnist import binarised, mnist
from zoo.data.toys import moons, rings, rings_log_density
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.registry import Registry

__all__ = ["Dataset", "data_names", "load_data", "load_file", "rings_log_density"]


@dataclass(frozen=True)
class Source:
    """A data set of the zoo's own: ``load(data_dir, seed)`` gives it."""

    name: str
    about: str
    load: Callable[[Path | None, int], Dataset]


_named: Registry[Source] = Registry("data set", "data sets")
for _each in (
    Source("digits", "scikit-learn's handwritten digits, 8x8, 17 levels", lambda folder, seed: digits()),
    Source("digits-binary", "the digits in black and white by a threshold", lambda folder, seed: digits_binary()),
    Source("mnist", "handwritten digits, 28x28, 256 levels", lambda folder, seed: mnist(folder)),
    Source(
        "mnist-static",
        "MNIST in black and white, drawn once",
        lambda folder, seed: binarised(mnist(folder), dynamic=False),
    ),
    Source(
        "mnist-dynamic",
        "MNIST in black and white, drawn anew in each batch",
        lambda folder, seed: binarised(mnist(folder), dynamic=True),
    ),
    Source("moons", "two half circles in the plane, real, drawn with the seed", lambda folder, seed: moons(seed)),
    Source(
        "rings",
        "three rings in the plane, real, of known density, drawn with the seed",
        lambda folder, seed: rings(seed),
    ),
):
    _named.add(_each)


def data_names() -> list[tuple[str, str]]:
    """Name and one-line description of each data set of the zoo's own."""
    return [(each.name, each.about) for each in _named]


def load_data(
    spec: str = "digits",
    *,
    data_dir: Path | None = None,
    seed: int = 0,
    split: tuple[float, float, float] | None = None,
    event: Event | None = None,
) -> Dataset:
    """The data set of that name, or a person's own file or folder (see `zoo.data.files.load_file`).

    A name wins over a file of the same name; write ``./digits`` for the file.

    Args:
        data_dir: where to look for the files of ``mnist``.
        seed: draws the toys, and shuffles a file before it is split; the splits of the digits and of MNIST are fixed.
        split: shares of train, validation and test of a file that holds one array (0.8, 0.1, 0.1 if not told).
        event: what a datum shall be: the shape of a named data set, the shape and support of a file.

    Raises:
        ZooError: an unknown name, an unreadable file, data that break the event, or MNIST nowhere to be had.
    """
    if seed < 0:
        raise ZooError(f"the seed of the data is a whole number from 0 on, got {seed}")
    if spec not in _named and _tells_a_file(spec):
        return load_file(Path(spec).expanduser(), split=split, seed=seed, event=event)
    if split is not None and spec in _named:
        raise ZooError(f"{spec} has a fixed split of its own; leave the split out (it is for files)")
    data = _look_up(spec).load(data_dir, seed)
    return data if event is None else data.reshaped(event)


def _tells_a_file(spec: str) -> bool:
    path = Path(spec).expanduser()
    return path.exists() or path.suffix.lower() in SUFFIXES or len(path.parts) > 1


def _look_up(name: str) -> Source:
    try:
        return _named[name]
    except ZooError as error:
        raise ZooError(f"{error}; or name a file ({', '.join(SUFFIXES)}) or a folder of PNGs") from None
