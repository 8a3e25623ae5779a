"""Arrays on disk to coded files and back, with the runs that the files belong to."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.codec.container import Header, as_array, decode, encode, unpack, weights_digest
from zoo.codec.lossless import Watch, why_not
from zoo.contract.check import ground_laws
from zoo.contract.values import fits
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.files import read_tensors, write_bytes
from zoo.pairs.pair import Pair
from zoo.runs.run import Run, find_runs

DTYPES = {"bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))}
DTYPES |= {"float16", "float32", "float64"}
"""Types of numbers that an array to compress may have."""


def read_array(path: Path) -> np.ndarray[Any, Any]:
    """The array of a ``.npy`` file.

    Raises:
        ZooError: another kind of file, a damaged one, or an array of something else than numbers.
    """
    if path.suffix != ".npy":
        raise ZooError(f"data to compress are an array in a .npy file, got {path.name!r}: write it by numpy.save")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ZooError(f"{path} is no complete .npy file ({error})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif" or not array.dtype.isnative:
        raise ZooError(f"{path} should contain one array of plain numbers")
    return array


def compress(
    pair: Pair, array: np.ndarray[Any, Any], watch: Callable[[str, int], None], unchecked: bool = False
) -> bytes:
    """An array as a coded file, decoded again to prove it.

    Args:
        pair: the trained pair.
        array: n data of the pair's event, flat or in its shape.
        watch: called with the stage (compressing, proving) and the number of data done.
        unchecked: do not check the ground laws.

    Raises:
        ZooError: the array contains no such data, or the pair has no lossless code.
        ContractError: the pair breaks a ground law.
        RunError: the file does not decode to the array.
    """
    event = pair.event
    if (event.fields or event.levels is None) and (reason := why_not(pair)):
        raise ZooError(f"{pair.label} has no lossless code: {reason}")
    if array.dtype.name not in DTYPES or array.shape[1:] not in (event.shape, (event.size,)) or not len(array):
        raise ZooError(
            f"data for {event} are numbers of shape (n, {', '.join(map(str, event.shape))}), got {array.shape}"
        )
    x = torch.from_numpy(np.ascontiguousarray(array).astype(np.float32)).reshape(-1, *event.shape)
    if not np.array_equal(x.numpy().reshape(array.shape).astype(array.dtype), array):
        raise ZooError(f"the data contain numbers that are no levels of {event}")
    if not unchecked and fits(event, x):  # else the code says what is wrong with the data
        ground_laws(pair, x)
    shape = None if array.shape[1:] == event.shape else list(array.shape[1:])
    file = encode(pair, x, dtype=array.dtype.name, shape=shape, watch=lambda done: watch("compressing", done))
    back = decode(pair, file, watch=lambda done: watch("proving", done))
    if not np.array_equal(as_array(unpack(file)[0], back), array):
        raise RunError(f"{pair.label} does not decode to the data that were encoded; nothing was written")
    return file


def decompress(file: bytes, runs: Path, watch: Watch) -> np.ndarray[Any, Any]:
    """The array in a coded file, decoded with the run under ``runs`` that encoded it.

    Raises:
        RunError: the file is damaged, there is no such run, or this machine cannot decode it.
    """
    return restore(_run_of(unpack(file)[0], runs).pair(), file, watch)


def restore(pair: Pair, file: bytes, watch: Watch) -> np.ndarray[Any, Any]:
    """The array in a coded file, decoded with the pair that encoded it (see `zoo.codec.container.decode`)."""
    return as_array(unpack(file)[0], decode(pair, file, watch=watch))


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write ``array`` as ``.npy``, completely or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _run_of(header: Header, runs: Path) -> Run:
    for run in find_runs(runs, header.family):
        try:
            weights, _ = read_tensors(run.folder / "weights.safetensors")
        except RunError:  # unfinished or damaged
            continue
        if weights_digest(weights) == header.weights and Event.parse(run.config.event) == Event.parse(header.event):
            return run
    raise RunError(
        f"no run of {header.family} under {runs} has the weights {header.weights} that the file was encoded with; "
        "name the folder of the runs by --runs"
    )
