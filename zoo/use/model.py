"""A trained model in use: what a person asks of it, in arrays as they have them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from zoo.contract.check import outside_support, require_support
from zoo.data import Dataset
from zoo.data.atoms import require_density
from zoo.data.files import path_and_settings, table_columns
from zoo.data.units import Units
from zoo.errors import ZooError
from zoo.event import Event
from zoo.metrics.bounds import bounds, log_probs, most_particles
from zoo.metrics.labels import with_likely_labels
from zoo.metrics.memory import in_chunks
from zoo.pairs.pair import Pair
from zoo.pairs.records import counted, density
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities
from zoo.runs.laws import UNCHECKED
from zoo.runs.lookup import dataset_of
from zoo.runs.run import Run
from zoo.scores import Kind
from zoo.seeding import SEEDS, seeded
from zoo.use import arrays
from zoo.use.answers import Encoding, Imputed, LogProb
from zoo.use.batches import Array, Batch, Form, form_of, read_batch, read_mask, read_missing
from zoo.use.imputing import impute, missing_log_prob
from zoo.use.latents import Latents

NOISES = 16
"""Draws of the noise of values on grids, over which their log-probabilities are averaged."""
DRAWS = 64
"""Draws of the guide for each datum by default."""


class TrainedModel:
    """A trained pair that answers in the arrays it is asked in: numpy or torch, on any device, in batches.

    Data have shape ``(n, *event.shape)`` or ``(n, event.size)``; those of a record are given and returned by field
    name. Work is cut into chunks that fit in memory. What the pair has no answer to raises a `ZooError` that says why.

    Args:
        pair: trained; it is switched to evaluation mode.
        data: what it was trained on, which may be left out where there are no real entries: real data are given and
            returned in the units of these, and `zoo.score` compares new data with their validation split.
        run: the run that it is from, if any (see `load`).
        data_dir: where to look for the files of MNIST.

    Raises:
        ZooError: real data whose units are not known, or that have no density (see `zoo.data.atoms.require_density`).

    Example:
        >>> import numpy as np, zoo
        >>> data = zoo.load_data("moons")
        >>> model = TrainedModel(zoo.build("ppca", data.event, {"latent": 1}), data)
        >>> found = model.log_prob(np.zeros((3, 2)))
        >>> found.value.shape, found.kind, model.encode(np.zeros((3, 2))).mean.shape
        ((3,), 'exact', (3, 1))
    """

    def __init__(
        self, pair: Pair, data: Dataset | None = None, run: Run | None = None, data_dir: Path | None = None
    ) -> None:
        self.pair, self.run, self._data, self._data_dir = pair.train(False), run, data, data_dir
        unknown = run is None and data is None and not pair.in_own_units
        if unknown and any(field.levels is None for field in pair.event.parts):
            raise ZooError(
                f"{pair.label} is of real data, {pair.event}, whose units are those of its training data: give them, "
                "zoo.TrainedModel(pair, data)"
            )
        if run is None and data is not None:
            require_density(pair, data.given_to(pair))
            require_support(pair, data.given_to(pair))

    def __repr__(self) -> str:
        return f"TrainedModel({self.pair.label}, {self.event}{f', {self.run.folder}' if self.run else ''})"

    @property
    def event(self) -> Event:
        """What one datum is."""
        return self.pair.event

    @cached_property
    def data(self) -> Dataset:
        """What it was trained on.

        Raises:
            ZooError: unknown, or it has changed.
        """
        if self._data is None and self.run is None:
            raise ZooError(f"{self!r} does not know its data; give them: zoo.TrainedModel(pair, data)")
        data = dataset_of(self.run, self._data_dir) if self._data is None and self.run else self._data
        assert data is not None
        return data.given_to(self.pair)

    @cached_property
    def units(self) -> Units | None:
        """Of real data, where the pair is given these standardised; ``None`` if it is given them as they are."""
        if self.run is None:
            return self._data.given_to(self.pair).units if self._data else None
        return self.run.config.data_units

    @property
    def unchecked(self) -> bool:
        """Its run was not checked against the laws without which a number is wrong."""
        return self.run is not None and self.run.config.unchecked

    @property
    def remark(self) -> str:
        """What is to be said with its numbers, such as that they cannot be relied on."""
        unchecked = UNCHECKED if self.unchecked else ""
        dequantised = self.units.remark if self.units and self.units.dequantised else ""
        return "; ".join(filter(None, (unchecked, dequantised)))

    @cached_property
    def columns(self) -> Sequence[str]:
        """Of a table, the column of each entry of a datum; empty for other data."""
        if self.run is None:
            return self._data.columns if self._data else ()
        return self.run.config.columns or table_columns(path_and_settings(self.run.config.data.name)[0])

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """The names of the levels that it was trained on, by field or column."""
        return self.run.config.names if self.run else self._data.names if self._data else {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings with which a file of its data is read, such as the encoding of a recording."""
        return path_and_settings(self.run.config.data.name)[1] if self.run else {}

    def log_prob(self, x: Any, particles: int = 512, seed: int = 0, mask: Any = None) -> LogProb:
        """log p(x) of each datum: exact where the pair has it, else the importance-weighted lower bound.

        With a ``mask``, log p of the entries that it marks given all others: exact where `impute` is, an estimate with
        latents.

        Args:
            x: data.
            particles: draws of the guide for each datum, for a bound; with a mask, draws of z given the others.
            seed: of these draws.
            mask: True where an entry is scored given the others; all by default.

        Raises:
            ZooError: an implicit model, or data that do not fit.
        """
        if particles < 1:
            raise ZooError(f"a bound takes one particle or more, got {particles}")
        batch, form = self._in(x)
        if mask is not None:
            masked = read_mask(self.event, mask, batch)
            with seeded(seed), self.pair.evaluating():
                value, stderr, kind = missing_log_prob(self.pair, batch, masked, particles)
            value = value - self._log_scales(batch, masked)
            if self.units and self.units.dequantised:
                kind = "estimate"
            return LogProb(form.array(value), form.array(stderr), kind, "p(masked | others)", self.remark)
        value, stderr, kind = self.packed_log_prob(batch, particles, seed)
        return LogProb(form.array(value), form.array(stderr), kind, density(self.pair, batch), self.remark)

    def packed(self, x: Any) -> Tensor:
        """Data as the pair takes them: a tensor of shape ``(n, *event.shape)``, records packed."""
        return self._in(x)[0]

    def packed_log_prob(self, x: Tensor, particles: int = 512, seed: int = 0) -> tuple[Tensor, Tensor, Kind]:
        """`log_prob` of data as the pair takes them: value and error in their own units, shape ``(n,)``, and kind.

        Values on grids are averaged over `NOISES` draws of their noise.
        """
        likelihood = capabilities(self.pair, x).likelihood
        if likelihood == "none":
            raise ZooError(f"{self.pair.label} is an implicit model: it observes nothing, so it has no log-probability")
        if likelihood == "unnormalised":
            raise ZooError(
                f"{self.pair.label} has log-probabilities up to a constant only, which `zoo evaluate -e likelihood` "
                "estimates; differences between data are those of zoo.log_weights(pair.relative, x)"
            )
        if not (self.units and self.units.dequantised):
            return self._log_prob_of(x, particles, seed)
        noise, grid = torch.Generator().manual_seed(seed), self.units.restore(x)
        values = torch.stack(
            [
                self._log_prob_of(self._with_noise(grid, noise), max(1, particles // NOISES), (seed + place) % SEEDS)[0]
                for place in range(NOISES)
            ]
        )
        value = values.logsumexp(0) - math.log(NOISES)
        stderr = (values - value).exp().std(0) / math.sqrt(NOISES)
        return value, stderr.nan_to_num(0.0), "lower bound"

    def _log_prob_of(self, x: Tensor, particles: int, seed: int) -> tuple[Tensor, Tensor, Kind]:
        """`packed_log_prob` of data with the noise that they have."""
        outside = outside_support(self.pair, x)
        if capabilities(self.pair, x).likelihood == "exact":
            value = (log_probs(self.pair, x, seed=seed) - self._log_scales(x)).masked_fill(outside, -torch.inf)
            return value, torch.zeros_like(value), "exact"
        found = bounds(self.pair, x, most_particles(self.pair, particles), seed=seed)
        value = (found.importance - self._log_scales(x)).masked_fill(outside, -torch.inf)
        return value, found.stderr.masked_fill(outside, 0.0), "lower bound"

    def _log_scales(self, x: Tensor, entries: Tensor | None = None) -> Tensor:
        """The log-density of data as the pair takes them, less that in their own units: shape ``(n,)``, in nats."""
        if self.units is None:
            return torch.zeros(len(x), dtype=torch.float64)
        found = counted(self.pair, x.cpu())
        found = found if entries is None else found & entries.flatten(1).cpu()
        return self.units.log_scales(x, found)

    def sample(
        self,
        n: int,
        given: Mapping[str, Any] | None = None,
        z: Any = None,
        seed: int | None = None,
        sampler: str = "",
        passes: int = 0,
    ) -> Batch:
        """Draw ``n`` data.

        Args:
            n: number of data.
            given: the fields that a record's other fields depend on, each of shape ``(n, *field.shape)``.
            z: latents, shape ``(n, d)`` or by site, instead of draws of the prior.
            seed: of the draws; by default torch's own stream goes on.
            sampler: one of the pair's own, such as ``"ddim"``, instead of running its model (see `zoo.sample`).
            passes: network passes of the sampler.

        Raises:
            ZooError: a model without latents was given some, fields are missing, or there is no such sampler.
        """
        if n < 1:
            raise ZooError(f"a sample has one datum or more, got n={n}")
        latents, form = None, Form(self.pair.device, self.event.shape)
        if given:
            form = form_of(next(iter(given.values())), self.event.shape)
        if z is not None:
            codes, form = self._vectors(z)
            if len(codes) != n:
                raise ZooError(f"n = {n} samples need {n} latents, got {len(codes)}")
            if self._latents.flow:
                raise ZooError(f"{self.pair.label} is a flow: its data are a function of z; take decode(z)")
            latents = self._latents.split(codes)
        fields = {name: self._given(name, torch.as_tensor(value)) for name, value in (given or {}).items()}
        with nullcontext() if seed is None else seeded(seed):
            drawn = sample(self.pair, n, given=fields, latents=latents, sampler=sampler, passes=passes)
            return self._out(drawn, form)

    def encode(self, x: Any, draws: int = DRAWS, seed: int = 0) -> Encoding:
        """The latents of each datum: mean, deviation and draws of its approximate posterior.

        Args:
            x: data.
            draws: for each datum.
            seed: of the draws.

        Raises:
            ZooError: the pair has no latents, or is implicit.
        """
        batch, form = self._in(x)
        z = self._encode(batch, draws, seed)
        deviation = z.std(0, correction=0) if len(z) > 1 else torch.zeros_like(z[0])
        return Encoding(form.array(z.mean(0)), form.array(deviation), form.array(z))

    def latents(self, x: Any, draws: int = DRAWS, seed: int = 0) -> dict[str, Array]:
        """The posterior mean of each latent site: name -> shape ``(n, *shape)``. See `encode`."""
        batch, form = self._in(x)
        mean = self._encode(batch, draws, seed).mean(0)
        return {name: form.array(value) for name, value in self._latents.split(mean).items()}

    def decode(self, z: Any, given: Mapping[str, Any] | None = None) -> Batch:
        """Expected data given latents: of levels, numbers within their range.

        Args:
            z: latents, shape ``(n, d)`` or by site.
            given: of a record, the fields that are given and the label, each of shape ``(n, *field.shape)``.

        Raises:
            ZooError: the pair has no latents or no mean; `sample` with ``z`` draws data. Or fields are missing.
        """
        codes, form = self._vectors(z)
        event, fields = self.event, {name: torch.as_tensor(value) for name, value in (given or {}).items()}
        needed = {field.name for field in event.fields if field.role != "observed" and field.name in self.pair.takes}
        if set(fields) != needed:
            wanted, got = (", ".join(sorted(names)) or "nothing" for names in (needed, fields))
            raise ZooError(f"expected data of {self.pair.label} depend on z and {wanted}; got given={{...}} with {got}")
        x = event.zeros(len(codes))
        if event.fields:
            x = event.pack({**event.unpack(x), **{name: self._given(name, value) for name, value in fields.items()}})
        return self._out(self._decode(codes, x), form, expected=True)

    def reconstruct(self, x: Any, draws: int = DRAWS, seed: int = 0) -> Batch:
        """`decode` of the posterior mean of each datum; a label that is missing is the most probable one."""
        batch, form = self._in(x)
        batch = with_likely_labels(self.pair, batch, DRAWS, seed)
        return self._out(self._decode(self._encode(batch, draws, seed).mean(0), batch), form, expected=True)

    def interpolate(self, a: Any, b: Any, steps: int = 8, draws: int = DRAWS, seed: int = 0) -> Batch:
        """`decode` along the straight line between the posterior means of ``a`` and ``b``, ends included.

        Args:
            a: n data.
            b: n data, of a record with the labels and given fields of ``a``.
            steps: points on the line.
            draws: see `encode`.
            seed: see `encode`.

        Returns:
            Shape ``(steps, n, *event.shape)``.
        """
        (first, form), (last, _) = self._in(a), self._in(b)
        if first.shape != last.shape or steps < 2:
            raise ZooError(f"a and b are as many data, and steps 2 or more; got {len(first)}, {len(last)} and {steps}")
        first, last = (with_likely_labels(self.pair, batch, DRAWS, seed) for batch in (first, last))
        for field in self.event.fields:
            ours, theirs = (self.event.unpack(batch)[field.name] for batch in (first, last))
            if field.role != "observed" and not torch.equal(ours.nan_to_num(), theirs.nan_to_num()):  # type: ignore[union-attr]
                raise ZooError(f"z does not determine {field.name}: a and b need the same; they differ")
        start, end = (self._encode(batch, draws, seed).mean(0) for batch in (first, last))
        line = torch.stack([start + (end - start) * share for share in torch.linspace(0, 1, steps).tolist()])
        decoded = self._decode(line.flatten(0, 1), first.repeat(steps, *(1 for _ in self.event.shape)))
        return self._out(decoded.reshape(steps, *first.shape), form, expected=True)

    def impute(self, x: Any, mask: Any = None, draws: int = 16, particles: int = 64, seed: int = 0) -> Imputed:
        """Draw missing entries from their distribution given the others.

        The label of a record, if it is missing, is drawn given the completed datum; ``mean`` has the most probable one.

        Exact where the pair's conditionals are derivable: independent entries, a Gaussian marginal (ppca), and an
        autoregressive model where what is missing comes last. Otherwise importance-resampled (see
        `zoo.use.imputing`): the effective sample size says how many of the ``particles`` count.

        Args:
            x: data; a missing entry may be NaN.
            mask: True where an entry is missing, in the shape of ``x``; of a record by field, and fields that are left
                out are known. By default where it is NaN.
            draws: for each datum.
            particles: candidates that are weighted: for each datum, or for each draw of latents.
            seed: of the draws.

        Raises:
            ZooError: no conditional of the pair can be derived.
        """
        own, form = read_batch(self.event, x, missing=True)
        missing = read_missing(self.event, own, mask)
        batch = self.standardised(own.masked_fill(missing, 0.0))
        with seeded(seed), self.pair.evaluating():
            found = impute(self.pair, batch, missing.to(batch.device), draws, particles)
        kind: Literal["exact", "importance-resampled"] = "exact" if found.exact else "importance-resampled"
        missing, known = missing.cpu(), own.cpu().double()
        drawn, mean = (
            torch.where(missing, self._restored(part, expected).cpu().double(), known).to(own.dtype)
            for part, expected in ((found.draws, False), (found.mean, True))
        )
        return Imputed(form.batch(self.event, drawn), form.batch(self.event, mean), kind, form.array(found.ess))

    def compress(self, x: Any) -> bytes:
        """Data as the bytes of a ``.zoo`` file, losslessly; decoded again to prove them.

        Raises:
            ZooError: the pair has no lossless code, or ``x`` are no such data.
        """
        values = x if isinstance(x, Mapping) else {"": x}
        found = {
            name: np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
            for name, value in values.items()
        }
        return arrays.compress(self.pair, found, lambda stage, done: None, self.run is not None, self.units)[0]

    def decompress(self, file: bytes, given: Mapping[str, Any] | None = None) -> Batch:
        """The array that `compress` was given, or the fields of a record by name, as numpy.

        Args:
            file: what `compress` returned.
            given: the fields that a record is given, which are not in the file.

        Raises:
            ZooError: a field that is needed is not given.
            RunError: the file is damaged, or another model made it.
        """
        context = {name: np.asarray(value) for name, value in (given or {}).items()}
        found = arrays.restore(self.pair, file, context, lambda done: None, self.units)
        return found if self.event.fields else found[""]

    @cached_property
    def _latents(self) -> Latents:
        return Latents(self.pair)

    def _in(self, x: Any, missing: bool = False) -> tuple[Tensor, Form]:
        """A user's data as the pair's, and the form they came in: the only place where data go in."""
        batch, form = read_batch(self.event, x, missing)
        return self.standardised(batch), form

    def standardised(self, x: Tensor) -> Tensor:
        """Packed data in their own units as the pair takes them: float32, on its device."""
        if self.units is not None:
            return self._with_noise(x, torch.Generator().manual_seed(0))
        return x.to(self.pair.device, torch.float32)

    def _with_noise(self, x: Tensor, noise: torch.Generator) -> Tensor:
        """The same of data that have units, whose values on grids get noise."""
        assert self.units is not None
        z = self.event.without_padding(self.units.standardise(x, noise))
        return z.to(self.pair.device, torch.float32)

    def _given(self, name: str, value: Tensor) -> Tensor:
        """A field as the pair takes it; one that there is not is left for `zoo.sample` to refuse."""
        names = [field.name for field in self.event.parts for _ in range(field.size)]
        places = [place for place, each in enumerate(names) if each == name]
        if self.units is None or not places:
            return value.float()
        return self.units.of_entries(places).standardise(value.reshape(len(value), -1)).reshape(value.shape)

    def _out(self, x: Tensor, form: Form, expected: bool = False) -> Batch:
        """The pair's data as the user's: the only place where data come out; ``expected`` ones lie on no grid."""
        return form.batch(self.event, self._restored(x, expected))

    def _restored(self, x: Tensor, expected: bool = False) -> Tensor:
        """Data as the pair takes them, shape ``(..., *event.shape)``, in their own units."""
        if self.units is None:
            return x
        own = self.units.restore(x, on_grid=not expected).reshape(-1, *self.event.shape)
        return self.event.without_padding(own).reshape(x.shape)

    def _vectors(self, z: Any) -> tuple[Tensor, Form]:
        """Latents as vectors ``(n, d)``, and the form they came in."""
        values = dict(z) if isinstance(z, Mapping) else {"": z}
        form = form_of(next(iter(values.values()), None), self.event.shape)
        tensors = {name: torch.as_tensor(value).to(self.pair.device, torch.float32) for name, value in values.items()}
        for name, tensor in tensors.items():
            if not (tensor.numel() and tensor.isfinite().all()):
                raise ZooError(
                    f"latents {name + ' ' if name else ''}are one vector or more of finite numbers, got shape "
                    f"{tuple(tensor.shape)}{'' if tensor.isfinite().all() else ', not all of it finite'}"
                )
        return self._latents.join(tensors if isinstance(z, Mapping) else tensors[""]), form

    def _encode(self, x: Tensor, draws: int, seed: int) -> Tensor:
        """Draws of the latents: shape ``(draws, n, d)``."""
        code = self._latents
        if code.flow:
            draws = 1
        elif draws < 1:
            raise ZooError(f"a posterior mean takes one draw or more, got {draws}")
        with seeded(seed):
            drawn = self._chunked(x, lambda part: torch.stack([code.draw(part) for _ in range(draws)], 1))
        return drawn.transpose(0, 1)

    def _decode(self, z: Tensor, x: Tensor) -> Tensor:
        size = z.shape[1]

        def work(part: Tensor) -> Tensor:
            return self._latents.decode(part[:, :size], part[:, size:].reshape(-1, *self.event.shape))

        with seeded(0):
            return self._chunked(torch.cat([z, x.to(z).flatten(1)], 1), work)

    def _chunked(self, x: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
        """``work`` on chunks of rows that fit in memory."""
        with self.pair.evaluating():
            return in_chunks(x, work)
