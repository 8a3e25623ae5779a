"""Where published files of images that a person has downloaded may lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import ZooError


def find_folder(data_dir: Path | None, names: Sequence[str], holds: str, title: str, address: str) -> Path:
    """The first folder that holds something, among those of ``names`` in ``data_dir``, ``$ZOO_DATA`` and the cache.

    Args:
        data_dir: the user's data folder.
        names: of folders in it, such as ``cifar10``; ``""`` is the data folder itself.
        holds: what is looked for there.
        title: of the data set, for the message.
        address: where its files come from, for the message.

    Raises:
        ZooError: it is in none of them.
    """
    import pooch

    if data_dir is not None and not data_dir.is_dir():
        raise ZooError(f"the data folder {data_dir} does not exist; name one that does, or leave it out")
    for root in (data_dir, os.environ.get("ZOO_DATA"), pooch.os_cache("zoo")):
        for name in names if root else ():
            if (Path(root or "") / name / holds).exists():
                return Path(root or "") / name
    raise ZooError(
        f"{title} is not on this machine: unpack {address} so that {holds} lies in the folder {names[0]} of a folder, "
        "and name that by --data-dir or $ZOO_DATA"
    )
