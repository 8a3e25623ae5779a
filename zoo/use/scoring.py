"""Rows of a table scored by a trained model: log p(x), how typical it is, and whether it is novel.

The p-value is conformal: the rank of a row's log p(x) among those of the validation split,

    p = (1 + #{validation rows with log p at most the row's}) / (n + 1),

which rows of the validation's distribution have at most ``a`` with probability at most ``a``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from zoo.data.files import read_rows
from zoo.data.units import incomplete
from zoo.errors import ZooError
from zoo.files import cached_tensors
from zoo.metrics.bounds import most_particles
from zoo.pairs.records import density
from zoo.use.columns import entry_log_probs
from zoo.use.load import load
from zoo.use.model import NOISES, TrainedModel

RATE = 0.01
"""False-alarm rate by default; where there are too few validation rows for it, the least that they allow."""
PREFIXES = {"": "log p({})", "earlier": "log p({} | earlier)", "rest": "log p({} | rest)"}
"""Columns of what each entry contributes, by what it is given (see `zoo.use.columns`)."""


def score(
    model: TrainedModel | str | Path,
    data: Any,
    *,
    rate: float | None = None,
    particles: int = 512,
    runs: str | Path = "runs",
) -> pd.DataFrame:
    """Score each row of new data, in these columns.

    - ``log_prob``: log p(x) in nats; ``kind``: ``exact`` or ``lower bound``; ``stderr``: its Monte Carlo error.
    - ``typicality``: how far -log p(x) is from its mean over the validation split, in nats; near 0 is typical.
    - ``p_value``: share of validation rows that are as improbable (see `zoo.use.scoring`).
    - ``flag``: ``p_value`` is at most the rate.
    - a row that lacks a value that is no label has none of these, and its ``kind`` says so.
    - of a table, what each column contributes where that is derivable: ``log p(a)`` of independent columns,
      ``log p(a | earlier)`` of an autoregressive model, ``log p(a | rest)`` of a Gaussian one.

    Args:
        model: a trained model, or what `zoo.load` takes.
        data: a file as `zoo.load_data` reads it, a data frame, or a batch as `TrainedModel` takes it. Columns are
            matched by name where both tables have names.
        rate: false-alarm rate of the flags: the share of rows like the validation split's that are flagged. By default
            0.01, or the least that the validation split allows.
        particles: draws of the guide for each row, where log p(x) is a bound.
        runs: the folder in which a name is looked up.

    Returns:
        A row for each datum, in their order; rows of a file are counted from 1. ``attrs`` has the ``rate``, the number
        of validation rows and what log p is ``of``.

    Raises:
        ZooError: an implicit model, data that do not fit, or a rate that the validation split is too small for.

    Example:
        >>> import zoo
        >>> data = zoo.load_data("moons")
        >>> pair = zoo.build("independent", data.event)
        >>> pair.extras.initialise(data.train)
        >>> found = score(zoo.TrainedModel(pair, data), [[0.0, 0.0], [50.0, 0.0]])
        >>> found["flag"].tolist(), list(found.columns[-2:])
        ([False, True], ['log p(1)', 'log p(2)'])

    Reference:
        Vovk et al. 2005, Algorithmic Learning in a Random World (conformal p-values); Nalisnick et al. 2019,
        arXiv:1906.02994 (typicality).
    """
    trained = model if isinstance(model, TrainedModel) else load(model, runs=runs)
    rows = read(trained, data)
    require_complete(trained, rows)
    return Scorer(trained, rate, particles).score(rows)


@dataclass(frozen=True)
class NewData:
    """A packed batch with the index of its rows and the names of its columns (none for images and records)."""

    x: Tensor
    index: pd.Index
    columns: Sequence[str]


class Scorer:
    """Scores rows by one model, whose validation split is scored once.

    Args:
        model: trained, with its data.
        rate: see `score`.
        particles: see `score`.

    Raises:
        ZooError: a rate that the validation split is too small for, or an implicit model.
    """

    def __init__(self, model: TrainedModel, rate: float | None, particles: int) -> None:
        self.model, self.particles = model, particles
        self.reference = _reference(model, particles)
        if not self.reference.isfinite().all():
            raise ZooError(f"rows of the validation split have no finite log-probability under {model.pair.label}")
        least = 1 / (len(self.reference) + 1)
        self.rate = max(RATE, least) if rate is None else rate
        if not least <= self.rate < 1:
            raise ZooError(
                f"{len(self.reference)} validation rows allow false-alarm rates from {least:.2g} to 1, got {rate:g}; "
                "choose another rate, or train with a larger validation split"
            )

    def score(self, rows: NewData) -> pd.DataFrame:
        """See the function `score`."""
        known = ~incomplete(self.model.event, rows.x)
        if known.all():
            return self._complete(rows)
        places = pd.RangeIndex(len(rows.x))  # the rows' own index may name several alike
        if known.any():
            frame = self._complete(NewData(rows.x[known], places[known.numpy()], rows.columns))
        else:  # their columns are those of any scores
            frame = self._complete(NewData(self.model.data.validation[:1], places[:1], rows.columns)).iloc[:0]
        every = frame.reindex(places).set_axis(rows.index)
        every["kind"], every["flag"] = every["kind"].fillna("not scored: lacks a value"), every["flag"].eq(True)
        every.attrs = frame.attrs
        return every

    def _complete(self, rows: NewData) -> pd.DataFrame:
        """The scores of rows that lack no value."""
        value, stderr, kind = self.model.packed_log_prob(rows.x, self.particles)
        if bad := int(value.isnan().sum()):
            raise ZooError(
                f"{bad} of {len(value)} rows have no log-probability under {self.model.pair.label}: it is NaN"
            )
        p_values = novelty(self.reference, value)
        frame = pd.DataFrame(
            {
                "log_prob": value.numpy(),
                "kind": f"{kind}, unchecked" if self.model.unchecked else kind,
                "stderr": stderr.numpy(),
                "typicality": (value - self.reference.mean()).abs().numpy(),
                "p_value": p_values.numpy(),
                "flag": (p_values <= self.rate).numpy(),
            },
            index=rows.index,
        )
        found = entry_log_probs(self.model.pair, rows.x) if rows.columns else None
        if found is not None:
            names = [PREFIXES[found[1]].format(column) for column in rows.columns]
            scales = self.model.units.log_slopes(rows.x) if self.model.units else torch.zeros(len(names))
            frame = frame.join(pd.DataFrame((found[0] - scales).numpy(), frame.index, names))
        frame.attrs = {"rate": self.rate, "validation": len(self.reference), "of": density(self.model.pair, rows.x)}
        return frame


def require_complete(model: TrainedModel, rows: NewData) -> None:
    """Refuse rows of which none can be scored.

    Raises:
        ZooError: each lacks a value.
    """
    if incomplete(model.event, rows.x).all():
        raise ZooError("every row lacks a value; fill them in by TrainedModel.impute, and score these")


def novelty(reference: Tensor, values: Tensor) -> Tensor:
    """Conformal p-values of log-probabilities ``(m,)`` among those of a reference ``(n,)``: shape ``(m,)``.

    Example:
        >>> novelty(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 9.0]))
        tensor([0.2500, 0.7500, 1.0000], dtype=torch.float64)
    """
    below = torch.searchsorted(reference.sort().values, values, right=True)
    return (1 + below).double() / (len(reference) + 1)


def read(model: TrainedModel, data: Any) -> NewData:
    """New data as rows for a model: those of a file are counted from 1, those of a data frame keep their index.

    Raises:
        ZooError: see `zoo.data.files.read_rows` and `TrainedModel`.
    """
    columns: Sequence[str] = ()
    if isinstance(data, (str, Path, pd.DataFrame)):
        data = Path(data).expanduser() if isinstance(data, str) else data
        array, columns, _ = read_rows(data, model.event, model.columns, model.names, model.settings)
        x = model.standardised(torch.from_numpy(array))
        index = data.index if isinstance(data, pd.DataFrame) else pd.RangeIndex(1, len(array) + 1, name="row")
    else:
        x = model.packed(data)
        index = pd.RangeIndex(len(x), name="row")
    if model.event.fields or len(model.event.shape) > 1:
        columns = ()
    else:
        columns = columns or [str(number) for number in range(1, model.event.size + 1)]
    return NewData(x, index, columns)


def follow(model: TrainedModel, path: Path, scorer: Scorer, wait: Callable[[], bool]) -> Iterator[pd.DataFrame]:
    """The scores of a growing ``.csv``: those of its rows, and then of rows that were added to it.

    A last line without its end is read when it has one. Rows are counted from 1 throughout.

    Args:
        model: trained.
        path: the file.
        scorer: of the model.
        wait: called when there are no new rows; false ends.

    Raises:
        ZooError: the file has become shorter, or a row that does not fit.
    """
    read_bytes, rows = 0, 0
    while True:
        whole = path.read_bytes()
        if len(whole) < read_bytes:
            raise ZooError(f"{path} has become shorter while it was followed; start again")
        complete = whole[: whole.rfind(b"\n") + 1]
        if len(complete) > read_bytes and complete.count(b"\n") > 1:  # one line may be the header
            found = _from_text(model, path, complete)
            fresh = NewData(found.x[rows:], found.index[rows:], found.columns)
            read_bytes, rows = len(complete), len(found.x)
            if len(fresh.x):
                yield scorer.score(fresh)
        elif not wait():
            return


def _from_text(model: TrainedModel, path: Path, text: bytes) -> NewData:
    """The rows of the complete lines of a file."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(text)
        return read(model, copy)


def _reference(model: TrainedModel, particles: int) -> Tensor:
    """log p of the validation split, ``(n,)``; kept in the run's folder."""

    def make() -> dict[str, Tensor]:
        return {"log_prob": model.packed_log_prob(model.data.validation, particles)[0]}

    if model.run is None:
        return make()["log_prob"]
    drawn = f" noises={NOISES}" if model.units and model.units.dequantised else ""
    note = f"{model.run.config.digest} particles={most_particles(model.pair, particles)}{drawn}"
    return cached_tensors(model.run.folder / "validation.safetensors", note, make)["log_prob"]
