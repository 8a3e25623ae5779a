"""Arrays on disk to coded files and back, with the runs that the files belong to."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.codec.container import Header, as_arrays, check_data, decode, encode, unpack, weights_digest
from zoo.codec.forms import ArrayForm, same_bytes
from zoo.codec.lossless import Watch, why_not
from zoo.contract.check import ground_laws
from zoo.data.files import path_and_settings, read_rows, table_of
from zoo.data.units import Units, incomplete
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.files import read_tensors, write_bytes, write_text
from zoo.pairs.pair import Pair
from zoo.pairs.records import dimensions
from zoo.runs.config import RunConfig
from zoo.runs.published import published_runs
from zoo.runs.run import Run, find_runs

Arrays = Mapping[str, NDArray[Any]]
"""One array under the name ``""``, or the fields of a record by name."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npy`` or ``.npz`` file.

    Raises:
        ZooError: another kind of file, or a damaged one.
    """
    if path.suffix not in (".npy", ".npz"):
        raise ZooError(
            f"data to compress are one array in a .npy file (numpy.save), or the fields of a record by name in an .npz "
            f"file (numpy.savez); got {path.name!r}"
        )
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ZooError(f"{path} is no complete {path.suffix} file of plain numbers ({error})") from error


def is_table(path: Path) -> bool:
    """Whether a file of that name is a table."""
    return path.suffix.lower() in (".csv", ".parquet")


def read_table(path: Path, config: RunConfig) -> tuple[dict[str, NDArray[Any]], str]:
    """A table as arrays of the data of a run, and how far its numbers are from the grid that they are rounded to.

    Raises:
        ZooError: see `zoo.data.files.read_rows`; a value is missing.
    """
    event, settings = Event.parse(config.event), path_and_settings(config.data.name)[1]
    x, _, note = read_rows(path, event, config.columns, config.names, settings)
    if rows := int(incomplete(event, torch.from_numpy(x)).sum()):
        raise ZooError(f"{path}: {rows} rows lack a value, which is no level; leave them out")
    values = event.unpack(torch.from_numpy(x)) if event.fields else {"": torch.from_numpy(x)}
    return {name: value.numpy() for name, value in values.items() if value is not None}, note


def write_table(path: Path, arrays: Arrays, config: RunConfig) -> None:
    """Write decoded arrays as the table that `read_table` read.

    Raises:
        ZooError: the run was not trained on a table.
    """
    event = Event.parse(config.event)
    if not config.columns or path.suffix != ".csv":
        raise ZooError(f"{config.name} was trained on {config.data.name}, no table; write its data to a .npy or .npz")
    x = event.pack({name: torch.from_numpy(array) for name, array in arrays.items()}) if event.fields else arrays[""]
    write_text(path, table_of(torch.as_tensor(x), config.columns, config.names).to_csv(index=False))


def compress(
    pair: Pair,
    arrays: Arrays,
    watch: Callable[[str, int], None],
    unchecked: bool = False,
    units: Units | None = None,
) -> tuple[bytes, int, int]:
    """Arrays as a coded file, decoded again to prove it.

    Args:
        pair: the trained pair.
        arrays: n data of the pair's event, flat or in its shape; a label may be left out.
        watch: called with the stage (compressing, proving) and the number of data done.
        unchecked: do not check the ground laws.
        units: of real fields, where the pair is given these standardised.

    Returns:
        The file, the number of data, and how many numbers it codes: no padding, and no label that is missing.

    Raises:
        ZooError: the arrays contain no such data, or the pair has no lossless code.
        ContractError: the pair breaks a ground law.
        RunError: the file does not decode to the same bytes.
    """
    event = pair.event
    coded = [field for field in event.parts if field.role != "given"]
    if any(field.levels is None for field in coded) and (reason := why_not(pair)):
        raise ZooError(f"{pair.label} has no lossless code: {reason}")
    own = _of_fields(event, arrays)
    forms = _forms(event, own, set(own))
    x = event.pack(_standardised(event, units, _values(event, own, forms)))
    check_data(pair, x)
    if not (size := int(dimensions(pair, x).sum())):
        raise ZooError(f"there is nothing to code: every sequence of these data of {event} has length 0")
    kept = {field.name: forms[field.name] for field in coded if field.name in forms}
    _require_same(event, as_arrays(event, kept, x), own)
    if not unchecked:
        ground_laws(pair, x)
    file = encode(pair, x, arrays=kept, watch=lambda done: watch("compressing", done))
    back = _decoded(pair, file, own, lambda done: watch("proving", done), units)
    if not all(same_bytes(back[name], own[name]) for name in kept):
        raise RunError(f"{pair.label} does not decode to the data that were encoded; nothing was written")
    return file, len(x), size


def decompress(file: bytes, runs: Path, given: Arrays, watch: Watch) -> dict[str, NDArray[Any]]:
    """The arrays in a coded file, decoded with the run under ``runs`` that encoded it.

    Args:
        file: the coded file.
        runs: folder of the runs.
        given: the fields that the file's record is given; other arrays are left alone.
        watch: called with the number of data done so far.

    Returns:
        The fields of the record, those that are given too, or one array under the name ``""``.

    Raises:
        ZooError: a field that is needed is not given.
        RunError: the file is damaged, there is no such run, or this machine cannot decode it.
    """
    run = run_of(unpack(file)[0], runs)
    return restore(run.pair(), file, given, watch, run.config.data_units)


def restore(
    pair: Pair, file: bytes, given: Arrays, watch: Watch, units: Units | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays in a coded file, decoded with the pair and in the units that encoded it (see `decompress`)."""
    event = pair.event
    needed = [field.name for field in event.fields if field.role == "given"]
    if given and not needed:
        raise ZooError(f"the file is of {event}, which is given nothing: leave out --given")
    if missing := [name for name in needed if name not in given]:
        raise ZooError(
            f"the file is of {event}: to decode it, name the file with {', '.join(missing)} by --given FILE.npz"
        )
    back = _decoded(pair, file, given, watch, units)
    return back if event.fields else {"": back["x"]}


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays as ``.npy`` or, by name, as ``.npz``, as numpy does; completely or not at all."""
    buffer = io.BytesIO()
    if path.suffix == ".npy":
        np.save(buffer, arrays[""], allow_pickle=False)
    else:
        with zipfile.ZipFile(buffer, "w") as archive:  # numpy.savez takes no array of the name "file"
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                    np.lib.format.write_array(part, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _of_fields(event: Event, arrays: Arrays) -> Arrays:
    """The arrays by the names of fields: data of one array are called ``x``."""
    names = {field.name for field in event.parts}
    if not event.fields and set(arrays) == {""}:
        return {"x": arrays[""]}
    if not event.fields:
        raise ZooError(f"data of {event} are one array in a .npy file, got {', '.join(arrays)}")
    if "" in arrays:
        raise ZooError(f"data of {event} are arrays by name in an .npz file (numpy.savez), got one array")
    if strange := sorted(set(arrays) - names):
        raise ZooError(f"{', '.join(strange)} would be lost, as a datum is {event}: leave it out of the file")
    return arrays


def _forms(event: Event, arrays: Arrays, names: Collection[str]) -> dict[str, ArrayForm]:
    """The forms of the arrays of those names."""
    fields = [field for field in event.parts if field.name in names]
    what = {field.name: f"field {field.name!r}" if event.fields else "the array" for field in fields}
    return {field.name: ArrayForm.of(what[field.name], arrays[field.name], field) for field in fields}


def _values(event: Event, arrays: Arrays, forms: Mapping[str, ArrayForm]) -> dict[str, torch.Tensor]:
    """What arrays of these forms hold."""
    fields = [field for field in event.parts if field.name in forms]
    return {each.name: torch.from_numpy(forms[each.name].values(arrays[each.name], each)) for each in fields}


def _require_same(event: Event, back: Arrays, arrays: Arrays) -> None:
    """Refuse arrays of which something is lost when they become data of the event."""
    for name in (name for name in back if not same_bytes(back[name], arrays[name])):
        what = f"field {name!r}" if event.fields else "the array"
        if np.array_equal(back[name], arrays[name], equal_nan=back[name].dtype.kind == "f"):
            raise ZooError(
                f"{what} has NaNs, or zeros beyond a length, of other bits than numpy writes: save them again"
            )
        raise ZooError(f"{what} has numbers that are no levels of {event}, or lie beyond the length of a sequence")


def _standardised(event: Event, units: Units | None, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Values by field as a pair is given them: those of real fields that it is given, standardised."""
    names = [field.name for field in event.parts for _ in range(field.size)]
    real = [field for field in event.fields if field.name in values and field.levels is None]
    found = dict(values)
    for field in real if units else ():
        entries = [entry for entry, name in enumerate(names) if name == field.name]
        assert units is not None
        noise = torch.Generator().manual_seed(0)  # of entries on a grid, the same to encode and to decode
        found[field.name] = units.of_entries(entries).standardise(values[field.name], noise)
    return found


def _decoded(pair: Pair, file: bytes, given: Arrays, watch: Watch, units: Units | None) -> dict[str, NDArray[Any]]:
    """The arrays in a file, and those that its record is given."""
    event, (header, _) = pair.event, unpack(file)
    needed = [field.name for field in event.fields if field.role == "given"]
    context = _standardised(event, units, _values(event, given, _forms(event, given, needed)))
    found = as_arrays(event, header.arrays, decode(pair, file, given=context, watch=watch))
    found |= {name: given[name] for name in needed}
    return {field.name: found[field.name] for field in event.parts if field.name in found}


def run_of(header: Header, runs: Path) -> Run:
    """The run under ``runs``, or the published model, that a coded file belongs to.

    Raises:
        RunError: there is none.
    """
    for run in [*find_runs(runs, header.family), *published_runs(header.family)]:
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
