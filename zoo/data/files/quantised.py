"""Numbers of a table as levels: each the nearest point of an even grid, so that a model of levels can code them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from zoo.data.files.contents import Contents, Floats, Names
from zoo.data.files.dialect import is_number
from zoo.errors import ZooError

MOST_LEVELS = 65_536


def quantised(contents: Contents, levels: int, known: Names) -> Contents:
    """The contents of a table with the nearest of ``levels`` grid points for each number.

    The grid of a column spans its values: its points are the names of its levels, and values are off by at most half a
    step. Whole numbers that have a level each are not changed.

    Args:
        contents: of a table; only its columns that are no fields of their own are changed.
        levels: K; 0 changes nothing but the columns whose grid is ``known``.
        known: column -> names of levels, of which those that are numbers are the points of a grid.

    Raises:
        ZooError: a value that is beyond the known grid.
    """
    field = next((name for name in ("", "x") if name in contents.arrays), None)
    grids = {column: list(map(float, names)) for column, names in known.items() if all(map(is_number, names))}
    if not isinstance(levels, int) or not (levels == 0 or 2 <= levels <= MOST_LEVELS):
        raise ZooError(f"{contents.path}: quantise is a number of levels from 2 to {MOST_LEVELS}, got {levels!r}")
    if levels and (field is None or not contents.columns):
        raise ZooError(f"{contents.path} is no table, and quantise= is for the columns of one; leave it out")
    if field is None or not (levels or grids):
        return contents
    array, names, notes = contents.arrays[field], dict(contents.names), [contents.note]
    if array.dtype.kind not in "biuf" or array.ndim != 2 or array.shape[1] != len(contents.columns):
        return contents
    found = np.empty(array.shape)
    for place, column in enumerate(contents.columns):
        values = array[:, place].astype(np.float64)
        finite = values[np.isfinite(values)]
        if column not in grids and not (levels and len(finite)):
            return contents
        points = np.array(grids[column] if column in grids else _grid(finite, levels))
        step = (points[-1] - points[0]) / (len(points) - 1)
        found[:, place] = np.rint((values - points[0]) / step)
        contents.refuse(
            field,
            _at(array.shape, place, (found[:, place] < 0) | (found[:, place] >= len(points))),
            f"values of column {column!r} from {points[0]:g} to {points[-1]:g}, the grid that the model was trained on",
        )
        names[column] = tuple(map(_text(step), points))
        error = finite - points[np.rint((finite - points[0]) / step).astype(int)]
        if np.abs(error).max(initial=0) > 1e-6 * step:
            rms = float(np.sqrt((error**2).mean()))
            notes.append(f"{column} in steps of {step:.4g}, off by at most {np.abs(error).max():.2g} ({rms:.2g} RMS)")
    return replace(
        contents,
        arrays={**contents.arrays, field: found},
        levels={**contents.levels, field: max(len(names[column]) for column in contents.columns)},
        names=names,
        note="; ".join(filter(None, notes)),
    )


def _grid(values: Floats, levels: int) -> Sequence[float]:
    """The points of an even grid that spans the values, rounded to what tells them apart."""
    low, high = float(values.min()), float(values.max())
    if (values == np.rint(values)).all() and high - low < levels:
        return [low + level for level in range(max(2, int(high - low) + 1))]
    step = (high - low) / (levels - 1)
    return [float(_text(step)(low + step * level)) for level in range(levels)]


def _text(step: float) -> Callable[[float], str]:
    digits = 0 if step == round(step) else max(0, 2 - math.floor(math.log10(step)))
    return lambda point: f"{point:.{digits}f}"


def _at(shape: tuple[int, ...], column: int, wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found = np.zeros(shape, bool)
    found[:, column] = wrong
    return found
