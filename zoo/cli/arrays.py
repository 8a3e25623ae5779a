"""Arrays on disk to coded files and back; the runs that coded files were made by."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.codec.container import Header, as_array, decode, encode, unpack, weights_digest
from zoo.codec.lossless import Watch
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.files import read_tensors, write_bytes
from zoo.pairs.pair import Pair
from zoo.runs.run import Run, find_runs


def read_array(path: Path) -> np.ndarray[Any, Any]:
    """The array of a ``.npy`` file.

    Raises:
        ZooError: another kind of file, or a damaged one.
    """
    if path.suffix != ".npy":
        raise ZooError(f"data to compress are an array in a .npy file, got {path.name!r}")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ZooError(f"{path} is not a whole .npy file ({error})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif" or not array.dtype.isnative:
        raise ZooError(f"{path} should hold one array of plain numbers")
    return array


def compress(pair: Pair, array: np.ndarray[Any, Any], watch: Callable[[str, int], None]) -> bytes:
    """The coded file of ``array``: ``n`` data of the pair's event, flat or in its shape; decoded again for proof.

    Raises:
        ZooError: the array does not hold such data, or the pair is no lossless code.
        RunError: the proof failed.
    """
    event = pair.event
    if array.dtype.name not in ARRAYS or array.shape[1:] not in (event.shape, (event.size,)) or not len(array):
        raise ZooError(
            f"data for {event} are numbers of shape (n, {', '.join(map(str, event.shape))}), got {array.shape}"
        )
    x = torch.from_numpy(np.ascontiguousarray(array).astype(np.float32)).reshape(-1, *event.shape)
    if not np.array_equal(x.numpy().reshape(array.shape).astype(array.dtype), array):
        raise ZooError(f"the data hold numbers that are no levels of {event}")
    shape = None if array.shape[1:] == event.shape else list(array.shape[1:])
    file = encode(pair, x, dtype=array.dtype.name, shape=shape, watch=lambda done: watch("compressing", done))
    back = decode(pair, file, watch=lambda done: watch("proving", done))
    if not np.array_equal(as_array(unpack(file)[0], back), array):
        raise RunError(f"{pair.label} does not give back what was put in; nothing was written")
    return file


def decompress(file: bytes, runs: Path, watch: Watch) -> np.ndarray[Any, Any]:
    """The array that a coded file holds, by the run under ``runs`` that it was made with.

    Raises:
        RunError: a damaged file, no such run, or a machine that cannot decode it.
    """
    header, _ = unpack(file)
    pair = _run_of(header, runs).pair()
    array: np.ndarray[Any, Any] = as_array(header, decode(pair, file, watch=watch))
    return array


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write ``array`` as ``.npy``, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


ARRAYS = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}) | {
    "float16",
    "float32",
    "float64",
}
"""Kinds of numbers that an array may hold."""


def _run_of(header: Header, runs: Path) -> Run:
    for run in find_runs(runs, header.family):
        try:
            weights, _ = read_tensors(run.folder / "weights.safetensors")
        except RunError:  # unfinished or damaged: not the one
            continue
        if weights_digest(weights) == header.weights and Event.parse(run.config.event) == Event.parse(header.event):
            return run
    raise RunError(
        f"no run of {header.family} under {runs} has the weights {header.weights} that the file was made with; "
        "say where they are by --runs"
    )
