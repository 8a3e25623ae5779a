"""Data sets by name, and data from a file or a folder, as a `Dataset` of three splits.

Each module registers its data sets. Everything read here is checked before it becomes a tensor; no other room reads
data files.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.data.atoms import standardised
from zoo.data.dataset import Dataset
from zoo.data.files import SUFFIXES, load_file, path_and_settings, save_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import parse_settings
from zoo.pairs.declarations import Source
from zoo.pairs.registry import datasets, load_shelves

__all__ = ["Dataset", "load_data", "load_file", "save_data", "standardised"]


def load_data(
    spec: str = "digits",
    *,
    data_dir: Path | str | None = None,
    seed: int = 0,
    split: tuple[float, float, float] | None = None,
    event: Event | None = None,
    roles: Mapping[str, str] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Dataset:
    """The data set of that name, or the user's file or folder (see `zoo.data.files.load_file`).

    Real entries of a person's own data are standardised (see `Dataset.given_to` and `Dataset.restore`).

    A name wins over a file of the same name; write ``./digits`` for the file.

    Args:
        spec: a registered name or a path, with settings behind a colon: ``digits:labels=100``, ``scans/:size=32``.
        data_dir: where to look for the files of ``mnist`` and ``fashion``.
        seed: draws the toys, and shuffles a file before it is split; digits and MNIST have fixed splits.
        split: shares of train, validation and test of a file that holds one array, by default 0.8, 0.1, 0.1.
        event: what a datum shall be: the shape of a registered data set, the shape and support of a file.
        roles: the roles of named fields: columns of a file, arrays of an ``.npz``, or fields of a registered record.
        names: field, or column of a file -> the words that are its levels, in this order; by default its own, sorted.

    Returns:
        Three splits of float32 tensors, each of shape ``(n, *event.shape)``.

    Raises:
        ZooError: an unknown name, an unreadable file, data that do not fit the event or have no density, or MNIST
            neither found nor fetched.

    Example:
        >>> data = load_data("digits", event=Event(64, 17))
        >>> data.train.shape, data.validation.shape, data.test.shape
        (torch.Size([1000, 64]), torch.Size([350, 64]), torch.Size([447, 64]))
    """
    if seed < 0:
        raise ZooError(f"the seed of the data is a whole number from 0 on, got {seed}")
    load_shelves()
    name, _, settings = spec.partition(":")
    if name not in datasets:
        path, own = path_and_settings(spec)
        if path.exists() or path.suffix.lower() in SUFFIXES or len(path.parts) > 1:
            data = load_file(path, settings=own, split=split, seed=seed, event=event, roles=roles, names=names)
            return replace(data, name=f"{data.name}:{spec.rpartition(':')[2]}") if own else data
    try:
        source = datasets[name]
    except ZooError as error:
        raise ZooError(f"{error}; or name a file ({', '.join(SUFFIXES)}) or a folder of images") from None
    if split is not None:
        raise ZooError(f"{name} has a fixed split of its own; leave the split out (it is for files)")
    folder = None if data_dir is None else Path(data_dir)
    data = _made(source, folder, seed, parse_settings(settings.split(",")) if settings else {})
    data = replace(data, name=spec, registered=True)
    if roles:
        data = data.reshaped(data.event.with_roles(roles))
    data = data if event is None else data.reshaped(event)
    # The zoo's own are in units that suit its families, and published scores are in these.
    of_zoo = source.make.__module__.partition(".")[0] == "zoo"
    return data if of_zoo or data.units else standardised(data, seed)


def _made(source: Source, data_dir: Path | None, seed: int, settings: Mapping[str, Any]) -> Dataset:
    """What the function of a registered data set returns, if that is a data set of its name."""
    try:
        data = source.load(data_dir, seed, settings)
    except ZooError:
        raise
    except Exception as error:  # a user's function may raise anything
        file = inspect.getsourcefile(inspect.unwrap(source.make))
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        place = f" at {Path(file).name}:{lines[-1]}" if file and lines else ""
        what = f"{type(error).__name__}{place}: {' '.join(str(error).split())}"
        raise ZooError(f"data set {source.name!r}: its function raised {what}") from error
    if not isinstance(data, Dataset):
        raise ZooError(f"data set {source.name!r}: its function should return a zoo.Dataset, got {type(data).__name__}")
    if data.name != source.name:
        raise ZooError(f"data set {source.name!r}: its Dataset should have that name, got {data.name!r}")
    return data
