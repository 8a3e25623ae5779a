"""Data sets by name, and data from a file or a folder, as a `Dataset` of three splits.

Each module registers its data sets. Everything read here is checked before it becomes a tensor; no other room reads
data files.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from zoo.data.dataset import Dataset
from zoo.data.files import SUFFIXES, load_file
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.registry import datasets, load_shelves

__all__ = ["Dataset", "load_data", "load_file"]


def load_data(
    spec: str = "digits",
    *,
    data_dir: Path | None = None,
    seed: int = 0,
    split: tuple[float, float, float] | None = None,
    event: Event | None = None,
) -> Dataset:
    """The data set of that name, or the user's file or folder (see `zoo.data.files.load_file`).

    A name wins over a file of the same name; write ``./digits`` for the file.

    Args:
        spec: a registered name or a path.
        data_dir: where to look for the files of ``mnist``.
        seed: draws the toys, and shuffles a file before it is split; digits and MNIST have fixed splits.
        split: shares of train, validation and test of a file that holds one array, by default 0.8, 0.1, 0.1.
        event: what a datum shall be: the shape of a registered data set, the shape and support of a file.

    Returns:
        Three splits of float32 tensors, each of shape ``(n, *event.shape)``.

    Raises:
        ZooError: an unknown name, an unreadable file, data that do not fit the event, or MNIST neither found nor
            fetched.

    Example:
        >>> data = load_data("digits", event=Event(64, 17))
        >>> data.train.shape, data.validation.shape, data.test.shape
        (torch.Size([1000, 64]), torch.Size([350, 64]), torch.Size([447, 64]))
    """
    if seed < 0:
        raise ZooError(f"the seed of the data is a whole number from 0 on, got {seed}")
    load_shelves()
    path = Path(spec).expanduser()
    if spec not in datasets and (path.exists() or path.suffix.lower() in SUFFIXES or len(path.parts) > 1):
        return load_file(path, split=split, seed=seed, event=event)
    try:
        source = datasets[spec]
    except ZooError as error:
        raise ZooError(f"{error}; or name a file ({', '.join(SUFFIXES)}) or a folder of PNGs") from None
    if split is not None:
        raise ZooError(f"{spec} has a fixed split of its own; leave the split out (it is for files)")
    data = source.load(data_dir, seed)
    if not isinstance(data, Dataset):
        raise ZooError(f"data set {spec!r}: its function should return a zoo.Dataset, got {type(data).__name__}")
    if data.name != spec:
        raise ZooError(f"data set {spec!r}: its Dataset should have that name, got {data.name!r}")
    data = replace(data, registered=True)
    return data if event is None else data.reshaped(event)
