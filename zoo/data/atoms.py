"""Real data without a density: values on a grid, values that repeat, and columns that depend on each other.

A density can grow without end at a value that repeats, and along a direction in which data do not vary; what such a
density gives is no score of data. Values on a grid get uniform noise of its step, which makes scores lower bounds; the
rest is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.units import Units, places, present
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.pair import Pair

MOST_VALUES = 10_000
"""Values of a column that are looked at."""
FINEST = 1e-5
"""Steps of a grid below this share of the deviation are taken for none: no model resolves as many values."""
FINEST_OF_ROUNDING = 1e-3
"""The same for steps that rounding to float32 explains."""
OFF_GRID = 0.05
"""How far from a grid's point, in steps, a value on it may be."""
LEAST_COUNT, LEAST_SHARE = 5, 0.01
"""A value that holds as many data, and as large a share of them, is an atom."""
LEAST_PAIRS, LEAST_RATE = 10, 1e-3
"""Values repeat where as many pairs of data are equal, and as large a share of all pairs; float16 has less."""
DEPENDENT = 1e-6
"""Columns depend linearly where what is left of a combination, all being standardised, is below this and rounding."""
MOST_COLUMNS = 2048
"""With more columns linear dependence is not looked for."""
FAR, LARGEST = 5.0, 10.0
"""Deviations of a mean from zero, and deviations or their inverse, up to which data are as good as standardised."""
MOST_NAMED = 5

Floats = NDArray[np.float64]


def units_of(event: Event, train: Tensor, held_out: Tensor, where: str, name: Callable[[int], str]) -> Units | None:
    """The units of real data, with the grids of entries that lie on one.

    Args:
        event: what a datum is.
        train: shape ``(n, *event.shape)``, float64, in the data's own units.
        held_out: other data, which confirm that columns depend on each other, and lie on the same grids.
        where: the data, for messages.
        name: of the entry of that place, for messages.

    Returns:
        ``None`` if no entry is real.

    Raises:
        ZooError: a column that is scored has no density: it is constant, repeats values that lie on no grid, or depends
            linearly on others.
    """
    place = places(event)
    if not (place >= 0).any():
        return None
    flat, held = train.flatten(1), present(event, train)
    of_field = torch.cat([torch.full((field.size,), index) for index, field in enumerate(event.parts)])
    columns = {
        int(column): (place == column).nonzero()[:, 0]
        for column in place.unique()
        if column >= 0 and event.parts[int(of_field[place == column][0])].role != "given"
    }
    step, origin = torch.zeros(2, event.size, dtype=torch.float64)
    atoms = dict[int, str]()
    for entries in columns.values():
        first = int(entries[0])
        values = flat[:, entries][held[:, entries]].numpy()
        if not len(values):
            raise ZooError(f"{where}: {name(first)} has no value in the train split; drop it")
        if values.min() == values.max():
            raise ZooError(
                f"{where}: {name(first)} is constant ({values[0]:g}) in the train split, so its density is unbounded; "
                "drop it"
            )
        few = values[:: -(-len(values) // MOST_VALUES)]
        rest = held_out.flatten(1)[:, entries][present(event, held_out)[:, entries]].numpy()
        if grid := _common_grid(few, np.concatenate([values, rest])):
            step[entries], origin[entries] = grid[0], grid[1]
        elif reason := repeats(few):
            atoms[first] = reason
    if atoms:
        first, reason = next(iter(atoms.items()))
        others = f" (and {len(atoms) - 1} more)" if len(atoms) > 1 else ""
        raise ZooError(
            f"{where}: {name(first)}{others} {reason}, on no common grid, so a density of it is unbounded; drop it, or "
            "write it as levels 0, 1, 2, ... and make it a field of its own"
        )
    of_arrays = [int(entries[0]) for entries in columns.values() if len(entries) == 1]
    _refuse_dependence(
        flat[:, of_arrays].numpy(),
        held_out.flatten(1)[:, of_arrays].numpy(),
        step[of_arrays],
        where,
        [name(each) for each in of_arrays] if len(of_arrays) <= MOST_COLUMNS else [],
    )
    on_grids = [int(entries[0]) for entries in columns.values() if step[entries[0]] > 0]
    named = [f"{name(each)} at {step[each]:.6g}" for each in on_grids]
    remark = f"dequantised at steps of grids: {shortened(named)}" if named else ""
    return Units.of(event, train, step, origin, remark)


def grid_of(values: Floats) -> tuple[float, float] | None:
    """The step of the coarsest grid that values lie on, and one of its points; ``None`` for values on none.

    Rounding of floats, to 64 or 32 bits, makes no grid of its own unless that is coarse.

    Example:
        >>> step, origin = grid_of(np.array([0.1, 0.4, 0.2, 0.9]))
        >>> round(step, 9), origin
        (0.1, 0.1)
        >>> grid_of(np.random.default_rng(0).normal(size=100).astype(np.float32).astype(float))
    """
    distinct, deviation = np.unique(values), float(values.std())
    if len(distinct) < 2 or len(distinct) == len(values) == 2:
        return None
    largest = float(np.abs(distinct).max())
    exact, single = 4 * float(np.spacing(largest)), float(np.spacing(np.float32(largest)))
    rounded = bool((distinct.astype(np.float32) == distinct).all())
    step = _step(distinct, exact, FINEST * deviation)
    if step and (not rounded or step >= min(8 * single, FINEST_OF_ROUNDING * deviation)):
        return step, float(distinct[0])
    step = _step(distinct, single, max(8 * single, FINEST * deviation)) if rounded else 0.0
    return (step, float(distinct[0])) if step else None


def _common_grid(few: Floats, every: Floats) -> tuple[float, float] | None:
    """`grid_of` every value, by a few of them where that will do: these may lie on a coarser grid by chance."""
    found = grid_of(few)
    if found is None:
        return None
    steps = (every - found[1]) / found[0]
    return found if (np.abs(steps - np.rint(steps)) < OFF_GRID).all() else grid_of(every)


def _step(distinct: Floats, tolerance: float, least: float) -> float:
    """The greatest common divisor of the distances of sorted values, all up to ``tolerance``; 0 if below ``least``.

    Euclid's algorithm. The step is first known by the two nearest values, and ever better by values further away.
    """
    nearest = int(np.diff(distinct).argmin())
    distances = np.sort(np.abs(distinct - distinct[nearest]))[1:]
    step, error = float(distances[0]), 2 * tolerance
    while step >= max(least, 4 * error):
        within = distances[: np.searchsorted(distances, step * step / (4 * error), side="right")]
        if not len(within):
            return 0.0
        times = np.rint(within / step)
        rest = np.abs(within - step * times)
        if (left := rest[rest > 2 * tolerance + times * error]).size:
            step, error = float(left.min()), 4 * tolerance
        elif len(within) == len(distances):
            return float(distances[-1] / times[-1])
        elif 2 * tolerance / times[-1] >= error:
            return 0.0
        else:
            step, error = float(within[-1] / times[-1]), 2 * tolerance / float(times[-1])
    return 0.0


def repeats(values: Floats) -> str:
    """How values repeat more than rounding explains, as what follows a column's name; empty if they do not."""
    distinct, counts = np.unique(values, return_counts=True)
    n, most = len(values), int(counts.argmax())
    pairs = float((counts * (counts - 1.0)).sum()) / 2
    if counts[most] >= max(LEAST_COUNT, LEAST_SHARE * n):
        return f"has the value {distinct[most]:g} in {counts[most]} of {n} data"
    if pairs >= max(LEAST_PAIRS, LEAST_RATE * n * (n - 1) / 2):
        return f"has {len(distinct)} different values in {n} data"
    return ""


def _refuse_dependence(train: Floats, held_out: Floats, step: Tensor, where: str, names: Sequence[str]) -> None:
    """Refuse columns that are linear functions of others, unless all that depend on each other lie on grids."""
    train, held_out = (rows[np.isfinite(rows).all(1)] for rows in (train, held_out))
    n, d = train.shape
    if not names or d < 2 or n <= d:
        return
    mean, scale = train.mean(0), train.std(0)
    z, others = (train - mean) / scale, (held_out - mean) / scale
    values, vectors = np.linalg.eigh(z.T @ z / n)
    single = np.spacing(np.abs(train).max(0).astype(np.float32)).astype(np.float64) / scale
    rounded = (train.astype(np.float32) == train).all(0)
    involved = np.zeros(d, bool)
    for vector in vectors.T[values < 1e-4]:
        allowed = DEPENDENT + float(np.sqrt(((vector * single * rounded) ** 2).sum()))
        if np.abs(z @ vector).max() <= 10 * allowed and np.abs(others @ vector).max(initial=0) <= 10 * allowed:
            involved |= np.abs(vector) > 1e-3
    if (involved & (step.numpy() == 0)).any():
        listed = shortened([name for name, each in zip(names, involved, strict=True) if each])
        raise ZooError(
            f"{where}: {listed} depend linearly on each other in the train split, so their density is unbounded; drop "
            "those that are functions of the others"
        )


def in_units(
    event: Event,
    splits: Mapping[str, Tensor],
    where: str,
    name: Callable[[int], str],
    seed: int,
    quantiles: Sequence[int] = (),
) -> tuple[Units | None, dict[str, Tensor]]:
    """The units of data, and their splits as a pair is given them, float32.

    Args:
        event: what a datum is.
        splits: ``train``, ``validation`` and ``test`` in the data's own units.
        where, name: see `units_of`.
        seed: of the noise on grids.
        quantiles: entries that are transformed to quantiles (see `zoo.data.quantiles`).

    Raises:
        ZooError: see `units_of`; an entry to transform that is not real, or too few train data.
    """
    splits = {word: split.double() for word, split in splits.items()}
    held_out = torch.cat([splits["validation"], splits["test"]])
    units = units_of(event, splits["train"], held_out, where, name)
    if levels := [entry for entry in quantiles if places(event)[entry] < 0]:
        raise ZooError(f"{where}: {name(levels[0])} has levels, and only real numbers are transformed to quantiles")
    if units is None:
        return None, {word: split.float() for word, split in splits.items()}
    generator = torch.Generator().manual_seed(seed)
    if quantiles:
        units = units.with_quantiles(splits["train"].flatten(1), quantiles, torch.Generator().manual_seed(seed))
    return units, {word: event.without_padding(units.standardise(split, generator)) for word, split in splits.items()}


def standardised(data: Dataset, seed: int = 0) -> Dataset:
    """A data set whose pairs are given its real entries standardised, and whose scores are in its own units.

    Args:
        data: in its own units.
        seed: of the noise on grids.

    Raises:
        ZooError: a column has no density (see `units_of`).

    Example:
        >>> import zoo
        >>> masses = 1e-3 * torch.randn(300, 2) + 0.5
        >>> data = zoo.Dataset("masses", zoo.Event(2, "real"), masses[:200], masses[200:250], masses[250:], "Drawn.")
        >>> given = standardised(data)
        >>> bool(given.train.std() > 0.5), torch.allclose(given.restore(given.test).float(), data.test)
        (True, True)
    """
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    where = f"data set {data.name!r}"
    units, given = in_units(data.event, splits, where, lambda entry: f"the entry {entry} of a datum", seed)
    if units is None:
        return data
    own = data.train, data.validation, data.test
    return replace(data, train=given["train"], validation=given["validation"], test=given["test"], units=units, own=own)


def require_density(pair: Pair, data: Dataset) -> None:
    """Refuse real data that have no density, or that a family of the zoo would fit badly.

    Args:
        pair: that is to score them.
        data: as the pair is given them (`zoo.data.Dataset.given_to`).

    Raises:
        ZooError: a column lies on a grid, of the data or of float32; for a family that is built for any event, it is
            far from zero, or of another size than 1; see also `units_of`.
    """
    where, held_out = f"data set {data.name!r}", torch.cat([data.validation, data.test])
    standardised = data.units is not None and not pair.in_own_units
    if standardised or data.registered or all(field.levels for field in data.event.parts):
        return
    units = units_of(data.event, data.train.double(), held_out.double(), where, "the entry {} of a datum".format)
    assert units is not None  # some entry is real
    odd = (units.mean.abs() > FAR * units.scale) | (units.scale > LARGEST) | (units.scale < 1 / LARGEST)
    wrong = (units.step > 0) | (odd & (not pair.in_own_units))
    if not wrong.any():
        return
    entry = int(wrong.int().argmax())
    mean, scale, step = (float(each[entry]) for each in (units.mean, units.scale, units.step))
    largest = data.train.flatten(1)[:, entry].abs().max().numpy()
    found = f"lies on a grid of step {step:.6g}" if step else f"has the mean {mean:.4g} and the deviation {scale:.4g}"
    if pair.in_own_units and step <= 8 * float(np.spacing(largest)):
        raise ZooError(
            f"{where}: the entry {entry} of a datum {found}, which is what float32 leaves of its numbers up to "
            f"{largest:.4g}, and {pair.label} takes them as they are; subtract an offset from them"
        )
    takes = "a density" if pair.in_own_units else "numbers near 0 with a deviation near 1 and a density"
    raise ZooError(
        f"{where}: the entry {entry} of a datum {found}, and {pair.label} takes {takes}; give it "
        "zoo.standardised(data), whose scores are in the data's own units"
    )


def shortened(words: Sequence[str]) -> str:
    """The first words, and how many more there are."""
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return ", ".join(words[:MOST_NAMED]) + more
