"""Lossy coding by the latents of a pair: its guide finds them, a grid rounds them, its model makes data of them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from pyro import poutine
from torch import Tensor

from zoo.codec.quantised import Symbols, pack, rounded, unpack
from zoo.codec.rates import Floats
from zoo.distributions import DiscretisedNormal
from zoo.errors import ZooError
from zoo.event import Event
from zoo.files import cached_tensors, checksum
from zoo.pairs.pair import Pair
from zoo.pairs.sites import random_sites
from zoo.pairs.traces import Capabilities, capabilities
from zoo.seeding import seeded

WIDTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Grids of the latents, in units of the guide's own scales."""
DRAWS = 64
"""Draws of the guide per datum that its location and scale are read from."""
SEARCH = 20
"""Steps of the encoder's search for latents that are worth their bytes."""
REACH = 0.4
"""Learning rate of the search, in units of the guide's scale."""
CHUNK = 1000
"""Data that the model makes at a time."""
HEAD = struct.Struct("<I?")
"""How many data there are, and whether the distribution of their latents is told or is the prior."""


def no_bottleneck(pair: Pair) -> str:
    """Why ``pair`` is no lossy codec; empty if it is one."""
    can = capabilities(pair)
    if not can.observed:
        return "an implicit model: no guide finds the latents of a datum"
    if not _latents(can):
        return "no latents: there is nothing but the datum itself to quantise"
    if not can.lossy(pair.event):
        size = sum(map(math.prod, _latents(can).values()))
        return f"no bottleneck: {size} latent numbers for a datum of {pair.event.size}"
    if pair.event.levels is not None and not can.dequantising and _output(pair, can).event_shape:
        return "its entries hang together given the latents: their mean is not had one by one"
    return ""


def _output(pair: Pair, can: Capabilities) -> Any:
    """The distribution of single entries of the datum, if they are independent."""
    x = torch.zeros(2, *pair.event.shape, device=pair.device)
    with pair.evaluating(), seeded(0):
        return _entries(poutine.trace(pair.model).get_trace(x).nodes[can.output]["fn"])


def codes(codec: LossyCodec, x: Tensor, seed: int = 0, path: Path | None = None) -> dict[float, bytes]:
    """The code of ``x`` on each of the grids `WIDTHS`; kept at ``path``, as the search takes seconds.

    Raises:
        ZooError: see `LossyCodec.compress`.
    """

    def made() -> dict[str, Tensor]:
        found = codec.infer(x, seed)
        return {f"{width:g}": _as_tensor(codec.compress(x, found, width)) for width in WIDTHS}

    kept = cached_tensors(
        path, checksum({**codec.pair.state(), "x": x}, f"seed {seed} {(WIDTHS, DRAWS, SEARCH)}"), made
    )
    return {width: kept[f"{width:g}"].numpy().tobytes() for width in WIDTHS}


@dataclass(frozen=True)
class Inferred:
    """Where the guide puts the latents of each datum, side by side in a vector of d numbers.

    ``location`` is their mean, shape ``(n, d)``; ``scale`` the guide's deviation from it, as the root mean square over
    data, shape ``(d,)``: how exactly each latent has to be known.
    """

    location: Floats
    scale: Floats


class LossyCodec:
    """A pair with a bottleneck as a lossy code.

        encode: z = the guide's mean, moved to where the model's mean is nearer to x for the same bytes;
                symbols = round((z - mean) / step), each under a normal variable rounded to the integers
        decode: z = mean + step * symbols; x = the mean of the model's likelihood given z

    The steps are ``width`` times the guide's own scales, so that every latent is told about as exactly as it matters
    (for a linear model this is reverse water-filling). Weights are known to both sides; all else is in the bytes. The
    symbols depend on no network, so that their decoding is exact on any machine.

    Raises:
        ZooError: a pair without a bottleneck, with the reason.
    """

    def __init__(self, pair: Pair) -> None:
        if reason := no_bottleneck(pair):
            raise ZooError(f"{pair.label} is no lossy codec: {reason}")
        self.pair, self.can = pair, capabilities(pair)
        self.shapes = _latents(self.can)
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.prior = self._prior()

    def infer(self, x: Tensor, seed: int = 0) -> Inferred:
        """The latents of ``x``, ``(n, *event.shape)``, from `DRAWS` draws of the guide, whatever it draws from."""
        total, square = np.zeros(()), np.zeros(())
        with self.pair.evaluating(), seeded(seed):
            for _ in range(DRAWS):
                sites = poutine.trace(self.pair.guide).get_trace(x).nodes
                z = torch.cat([sites[name]["value"].reshape(len(x), -1) for name in self.shapes], 1)
                total, square = total + z.cpu().double().numpy(), square + z.cpu().double().numpy() ** 2
        location = total / DRAWS
        variance = np.maximum(square / DRAWS - location**2, 0).mean(0) * DRAWS / (DRAWS - 1)
        return Inferred(location, np.sqrt(variance))

    def searched(self, x: Tensor, latents: Inferred, width: float) -> Inferred:
        """The latents, moved to minimise |x - E(x | z)|² - s² width² / 6 · log p(z), by `SEARCH` steps of Adam.

        Half the weight of the log-density is what a nat is worth on a grid of that width: each latent's rounding costs
        s² width² / 12 in squared error, where s² is the mean squared error without any rounding.
        """
        error = ((self.reconstruct(latents.location) - x.cpu().double().numpy()) ** 2).mean()
        rows = [slice(start, start + CHUNK) for start in range(0, len(x), CHUNK)]
        scale = torch.from_numpy(latents.scale).to(x)
        with self.pair.evaluating(), seeded(0):
            moved = [
                self._moved(x[part], torch.from_numpy(latents.location[part]).to(x), scale, error * width**2 / 6)
                for part in rows
            ]
        return Inferred(torch.cat(moved).cpu().double().numpy(), latents.scale)

    def compress(self, x: Tensor, found: Inferred, width: float) -> bytes:
        """The code of ``x``, whose latents `infer` ``found``, on a grid of that width; proven by decoding it.

        Raises:
            ZooError: the bytes do not decode to the latents that went in.
        """
        latents = self.searched(x, found, width)
        code = self.encode(latents, width)
        if (np.abs(self.decode(code) - latents.location) > (0.5 + 1e-6) * self.steps(latents, width)).any():
            raise ZooError(f"at width {width:g} the bytes did not decode to the latents that went in")
        return code

    def steps(self, latents: Inferred, width: float) -> Floats:
        """The grid's steps, ``(d,)``: ``width`` times the latents' scales, as a byte each tells them."""
        return _fine(_coarse(width * latents.scale))

    def encode(self, latents: Inferred, width: float) -> bytes:
        """The latents on a grid with steps of ``width`` times their scales.

        Each is coded by the prior where that is a normal, or by a mean and a deviation that are fitted and written
        before: whichever takes fewer bytes. What `decode` gives lies within half a step of them.
        """
        steps = _coarse(width * latents.scale).tobytes()
        tellings = [_fitted(latents.location)] + ([] if self.prior is None else [b""])
        return min((self._encode(latents.location, steps, told) for told in tellings), key=len)

    def decode(self, code: bytes) -> Floats:
        """The latents in what `encode` made, shape ``(n, d)``, in float64.

        Raises:
            ZooError: bytes that `encode` did not make for this model.
        """
        n, grid, start = self._read_head(code)
        return grid.values(unpack(code[start:], n, grid.deviation / grid.step))

    def reconstruct(self, z: Floats) -> Floats:
        """The mean of the model's likelihood, the data of least expected squared error, given latents ``(n, d)``.

        Shape ``(n, *event.shape)``, within the range of the levels.

        Raises:
            ZooError: a likelihood whose mean over levels cannot be had entry by entry.
        """
        with self.pair.evaluating(), seeded(0):
            parts = [self._mean(self._trace(torch.from_numpy(part))) for part in _chunks(z)]
        mean = torch.cat(parts).cpu().double().numpy()
        return mean if self.pair.event.levels is None else np.clip(mean, 0, self.pair.event.levels - 1)

    def _encode(self, z: Floats, steps: bytes, told: bytes) -> bytes:
        head = HEAD.pack(len(z), bool(told)) + steps + told
        _, grid, _ = self._read_head(head)  # what the decoder will read, to the last bit
        return head + pack(grid.symbols(z), grid.deviation / grid.step)

    def _read_head(self, code: bytes) -> tuple[int, _Grid, int]:
        """The number of data, the grid, and where the symbols begin."""
        size, whole = sum(self.sizes), len(code) >= HEAD.size
        n, told = HEAD.unpack_from(code) if whole else (0, False)
        start = HEAD.size + size * (4 if told else 1)
        if not whole or len(code) < start or (self.prior is None and not told):
            raise ZooError(f"this is no lossy code of {self.pair.label}: its head is cut or belongs to another model")
        numbers = np.frombuffer(code, np.uint8, start - HEAD.size, HEAD.size)
        step, rest = _fine(numbers[:size]), numbers[size:]
        if told:
            return n, _Grid(rest[: 2 * size].view("<f2").astype(float), _fine(rest[2 * size :]), step), start
        assert self.prior is not None
        return n, _Grid(*self.prior, step), start

    def _prior(self) -> tuple[Floats, Floats] | None:
        """Mean and deviation of each latent, ``(d,)``, where all are drawn from normals that depend on nothing."""
        x = torch.zeros(2, *self.pair.event.shape, device=self.pair.device)
        with self.pair.evaluating(), seeded(0):
            sites = dict(random_sites(poutine.trace(poutine.uncondition(self.pair.model)).get_trace(x)))
        bases = [_entries(sites[name]["fn"]) for name in self.shapes]
        if not all(isinstance(base, dist.Normal) for base in bases):
            return None
        moments = [
            torch.cat([part.reshape(2, -1) for part in parts], 1) for parts in zip(*map(_moments, bases), strict=True)
        ]
        if any((moment[0] != moment[1]).any() for moment in moments):
            return None  # two draws of what comes before lead to two distributions
        mean, deviation = (moment[0].cpu().double().numpy() for moment in moments)
        return mean, deviation

    def _moved(self, x: Tensor, location: Tensor, scale: Tensor, price: float) -> Tensor:
        """``location`` after the search; a nat of prior is worth ``price`` in squared error."""
        shift = torch.zeros_like(location, requires_grad=True)
        adam = torch.optim.Adam([shift], lr=REACH)
        for _ in range(SEARCH):
            with torch.enable_grad():
                trace = self._trace(location + scale * shift)
                cost = ((self._mean(trace) - x) ** 2).sum()
                for name in self.shapes:
                    cost = cost - price * trace.nodes[name]["fn"].log_prob(trace.nodes[name]["value"]).sum()
            (shift.grad,) = torch.autograd.grad(cost, [shift])
            adam.step()
        return location + scale * shift.detach()

    def _trace(self, z: Tensor) -> Any:
        """The model's trace where the latents are ``z``, shape ``(n, d)``."""
        x = torch.zeros(len(z), *self.pair.event.shape, device=self.pair.device)
        parts = z.to(x).split(self.sizes, 1)
        given = {name: part.reshape(-1, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        return poutine.trace(poutine.condition(self.pair.model, given)).get_trace(x)

    def _mean(self, trace: Any) -> Tensor:
        """The likelihood's mean in a trace, shape ``(n, *event.shape)``."""
        event = self.pair.event
        if self.can.dequantising:  # x is the floor of a density, which lies half a level below where that is smooth
            return _expected(Event(event.shape, "real"), trace.nodes[self.can.dequantising[0]]["fn"]) - 0.5
        return _expected(event, trace.nodes[self.can.output]["fn"])


@dataclass(frozen=True)
class _Grid:
    """A normal distribution of each latent and its step, ``(d,)`` each: z = mean + step times the symbol."""

    mean: Floats
    deviation: Floats
    step: Floats

    def symbols(self, z: Floats) -> Symbols:
        return rounded((z - self.mean) / self.step)

    def values(self, symbols: Symbols) -> Floats:
        return self.mean + self.step * symbols


def _latents(can: Capabilities) -> Mapping[str, tuple[int, ...]]:
    """The latents that tell more than how the datum was dequantised, with their event shapes."""
    return {name: shape for name, shape in can.latents.items() if name not in can.dequantising}


def _fitted(z: Floats) -> bytes:
    """Mean (two bytes) and deviation (one) of each column, so coarse that they cost little and fit well enough."""
    mean = np.clip(z.mean(0), -6e4, 6e4).astype("<f2")
    return mean.tobytes() + _coarse(np.sqrt(((z - mean) ** 2).mean(0))).tobytes()


def _coarse(values: Floats) -> NDArray[np.uint8]:
    """Positive numbers from 2^-16 to 2^15 as a byte each, within 4.5 %."""
    return np.clip(128 + np.rint(8 * np.log2(np.maximum(values, 2.0**-16))), 0, 255).astype(np.uint8)


def _fine(codes: NDArray[np.uint8]) -> Floats:
    return np.exp2((codes.astype(float) - 128) / 8)


def _expected(event: Event, likelihood: Any) -> Tensor:
    """The mean of a distribution of data, shape ``(n, *event.shape)``; over levels by adding them up."""
    if event.levels is None:
        return likelihood.mean
    entries = _entries(likelihood)
    if entries.event_shape:
        raise ZooError(f"{type(entries).__name__} has no mean over levels entry by entry: its entries hang together")
    if isinstance(entries, (dist.Bernoulli, DiscretisedNormal)):
        return entries.mean.reshape(-1, *event.shape)
    levels = torch.arange(event.levels, dtype=torch.get_default_dtype())
    if isinstance(entries, dist.Categorical):
        return (entries.probs @ levels.to(entries.probs)).reshape(-1, *event.shape)
    means = (level * entries.log_prob(level.expand(entries.batch_shape)).exp() for level in levels)
    return sum(means, torch.zeros(())).reshape(-1, *event.shape)


def _entries(fn: Any) -> Any:
    """The distribution of single entries beneath ``to_event``."""
    while isinstance(fn, torch.distributions.Independent):
        fn = fn.base_dist
    return fn


def _moments(normal: Any) -> tuple[Tensor, Tensor]:
    return normal.loc.expand(normal.batch_shape), normal.scale.expand(normal.batch_shape)


def _as_tensor(code: bytes) -> Tensor:
    return torch.frombuffer(bytearray(code), dtype=torch.uint8)


def _chunks(z: Floats) -> Iterator[Floats]:
    yield from np.split(z, range(CHUNK, len(z), CHUNK))
