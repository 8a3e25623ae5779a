"""The units of real data: a pair is given each real entry standardised, and what is reported is in the data's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zoo.data.quantiles import Quantiles
from zoo.event import Event

NUMBERS = ("mean", "scale", "step", "origin")


@dataclass(frozen=True, eq=False)
class Units:
    """What the entries of a datum are measured in, by the train data.

        x = mean + scale z        z is what a pair is given

    or x = q(z) with a monotone spline q through the column's quantiles. A density of x is that of z over the product of
    the slopes, so log p(x) = log p(z) - sum of log dx/dz.

    Args:
        mean, scale: of each entry, 0 and 1 where an entry is not real. Entries of a sequence share those of all steps.
        step: of a grid that all values of an entry lie on; z has uniform noise of that width in it. 0 where they lie on
            none.
        origin: a value of the entry on that grid.
        remark: which entries have a step, in words.
        quantiles: entry -> the spline that stands for its mean and scale, which are 0 and 1.

    Tensors have shape ``(event.size,)``, float64, on the CPU.

    Example:
        >>> units = Units.of(Event(1, "real"), torch.tensor([[10.0], [30.0]]).double())
        >>> z = units.standardise(torch.tensor([[40.0]]).double())
        >>> z, units.restore(z)
        (tensor([[2.]]), tensor([[40.]], dtype=torch.float64))
    """

    mean: Tensor
    scale: Tensor
    step: Tensor
    origin: Tensor
    remark: str = ""
    quantiles: Mapping[int, Quantiles] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls, event: Event, train: Tensor, step: Tensor | None = None, origin: Tensor | None = None, remark: str = ""
    ) -> Units:
        """The units of data by their mean and deviation; entries that do not vary keep the scale 1.

        Args:
            event: what a datum is.
            train: shape ``(n, *event.shape)``, float64; NaN where a label is missing.
            step, origin, remark: see `Units`.
        """
        place = places(event)
        none = torch.zeros(event.size, dtype=torch.float64)
        step, origin = none if step is None else step, none if origin is None else origin
        real = place >= 0
        held = present(event, train)[:, real]
        values, group = train.flatten(1)[:, real].where(held, 0.0), place[real]
        sums = torch.zeros(int(place.max()) + 1, 3, dtype=torch.float64)
        sums[:, 0].index_add_(0, group, held.sum(0).double())
        sums[:, 1].index_add_(0, group, values.sum(0))
        count = sums[:, 0].clamp(min=1)
        mean = sums[:, 1] / count
        sums[:, 2].index_add_(0, group, ((values - mean[group]) ** 2).where(held, 0.0).sum(0))
        noise = torch.zeros_like(mean).index_copy(0, group, step[real] ** 2 / 12)
        scale = (sums[:, 2] / count + noise).sqrt()
        scale = scale.where(scale > 0, 1.0)
        return cls(
            none.index_put((real.nonzero()[:, 0],), mean[group]),
            (none + 1).index_put((real.nonzero()[:, 0],), scale[group]),
            step,
            origin,
            remark,
        )

    def with_quantiles(self, train: Tensor, entries: Sequence[int], generator: torch.Generator) -> Units:
        """The same units but for ``entries``, which get the quantiles of the train data ``(n, event.size)``, float64.

        Raises:
            ZooError: too few train data.
        """
        noisy = train + self.step * (torch.rand(train.shape, generator=generator, dtype=torch.float64) - 0.5)
        found = {entry: Quantiles.of(noisy[~noisy[:, entry].isnan(), entry]) for entry in entries}
        places = torch.tensor(list(entries), dtype=torch.long)
        mean, scale = self.mean.index_fill(0, places, 0.0), self.scale.index_fill(0, places, 1.0)
        return replace(self, mean=mean, scale=scale, quantiles=found)

    def log_slopes(self, z: Tensor) -> Tensor:
        """log dx/dz of each entry of data as a pair is given them: shape ``(n, event.size)``, float64, on the CPU."""
        flat = z.cpu().double().reshape(len(z), -1)
        found = self.scale.log().expand(flat.shape)
        if self.quantiles:
            found = found.clone()
        for entry, spline in self.quantiles.items():
            found[:, entry] = spline.forward(flat[:, entry])[1]
        return found

    def log_scales(self, z: Tensor, entries: Tensor) -> Tensor:
        """What a log-density is less in the data's own units, by the entries that it is of.

        Args:
            z: data as a pair is given them, ``n`` of them.
            entries: which entries each datum's is of, shape ``(n, event.size)``, bool.

        Returns:
            In nats, shape ``(n,)``, float64, on the CPU.
        """
        return self.log_slopes(z).where(entries.cpu(), 0.0).sum(1)

    def standardise(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What a pair is given for data ``x`` in their own units: ``(n, *shape)``, float32.

        Entries on a grid get noise from ``generator``, or from torch's global stream.
        """
        flat = x.cpu().double().reshape(len(x), -1)
        if self.dequantised:
            noise = torch.rand(flat.shape, generator=generator, dtype=torch.float64)
            flat = flat + self.step * (noise - 0.5)
        z = (flat - self.mean) / self.scale
        for entry, spline in self.quantiles.items():
            z[:, entry] = spline.inverse(flat[:, entry])
        return z.float().reshape(x.shape)

    def restore(self, z: Tensor, on_grid: bool = True) -> Tensor:
        """Data in their own units, float64, on their grids unless they are means: the inverse of `standardise`.

        ``z`` may have any shape of which the last dimensions are a datum.
        """
        flat = z.cpu().double().reshape(-1, len(self.mean))
        x = self.mean + self.scale * flat
        for entry, spline in self.quantiles.items():
            x[:, entry] = spline.forward(flat[:, entry])[0]
        step = self.step.where(self.step > 0, 1.0)
        grid = self.origin + step * ((x - self.origin) / step).round()
        return (grid.where(self.step > 0, x) if on_grid else x).reshape(z.shape)

    @property
    def plain(self) -> Units:
        """These units for a pair that is given data in their own: only the noise on grids is left."""
        none = torch.zeros_like(self.mean)
        return Units(none, none + 1, self.step, self.origin, self.remark)

    @property
    def dequantised(self) -> bool:
        """Whether some entries lie on a grid, so that what a density of them gives is a lower bound."""
        return bool((self.step > 0).any())

    def of_entries(self, entries: Sequence[int]) -> Units:
        """The units of data that have these entries only, in this order."""
        places = list(entries)
        quantiles = {new: self.quantiles[old] for new, old in enumerate(places) if old in self.quantiles}
        mean, scale, step, origin = (each[places] for each in (self.mean, self.scale, self.step, self.origin))
        return Units(mean, scale, step, origin, self.remark, quantiles)

    def to_json(self) -> dict[str, Any]:
        """Lists of numbers, which `from_json` takes."""
        values: dict[str, Any] = {name: getattr(self, name).tolist() for name in NUMBERS} | {"remark": self.remark}
        if self.quantiles:
            splines = self.quantiles.items()
            values["quantiles"] = {str(entry): {"z": q.z.tolist(), "x": q.x.tolist()} for entry, q in splines}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Units:
        """The inverse of `to_json`."""
        numbers = {name: torch.tensor(values[name], dtype=torch.float64) for name in NUMBERS}
        quantiles = {
            int(entry): Quantiles(*(torch.tensor(knots[axis], dtype=torch.float64) for axis in ("z", "x")))
            for entry, knots in values.get("quantiles", {}).items()
        }
        return cls(**numbers, remark=str(values["remark"]), quantiles=quantiles)


def places(event: Event) -> Tensor:
    """The column that each entry of a datum belongs to, counted from 0 on; -1 for one that is not real.

    A column is one entry, or one for all steps of a sequence. Shape ``(event.size,)``.
    """
    found, first = [], 0
    for field in event.parts:
        steps = field.shape[0] if field.length else 1
        own = torch.arange(first, first + field.size // steps).repeat(steps)
        if field.levels is None:
            first += field.size // steps
        found.append(own if field.levels is None else torch.full_like(own, -1))
    return torch.cat(found)


def present(event: Event, batch: Tensor) -> Tensor:
    """Which entries of a batch are data, neither missing nor padding: shape ``(n, event.size)``, bool."""
    padding = event.padding(batch)
    absent = batch.flatten(1).isnan()
    return ~(absent if padding is None else absent | padding)


def incomplete(event: Event, x: Tensor) -> Tensor:
    """Which data lack a value that is no label: shape ``(n,)``, bool, on the CPU."""
    labels = torch.cat([torch.full((field.size,), field.role == "label") for field in event.parts])
    return x.cpu().flatten(1)[:, ~labels].isnan().any(1)
