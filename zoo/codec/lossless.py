"""Lossless coding by a pair: bits-back (Townsend et al. 2019, arXiv:1901.04866).

To encode, the guide pops the latents and the model, replayed on them, pushes the data and the latents. To decode, the
model pops latents and data and the guide pushes the latents back. Without latents this is plain entropy coding.

Both sides must compute the same probabilities: they use float64 on the CPU, one thread and the same batches.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from zoo.codec.grids import Grid, fit_grid, is_half_line
from zoo.codec.handlers import Pop, Push, naming
from zoo.codec.rules import code
from zoo.codec.stack import Stack, Words
from zoo.distributions.autoregressive import Autoregressive
from zoo.errors import RunError, ZooError
from zoo.pairs.pair import Pair
from zoo.pairs.sites import latent_sites, random_sites
from zoo.pairs.traces import Capabilities, capabilities, traced

Watch = Callable[[int], None]
"""A callback with the number of data done so far."""
SAMPLE = 64
"""Data that a plan is made from."""
MARGIN = 0.9
"""Share of the bits on the stack that the next batch may need."""
MIN_GROWTH, MAX_GROWTH = 0.05, 8.0
"""Of batches whose latents are popped."""


@dataclass(frozen=True)
class Plan:
    """How ``count`` data are split into batches, and the grid of their latents.

    The latents of a batch are popped before its data are pushed, so a batch needs the bits of those before it: the
    first is one datum, each other ``growth`` times all before it (1 to ``batch`` data). With ``growth`` 0 nothing is
    popped and all batches are of ``batch`` data.
    """

    count: int
    batch: int
    growth: float
    exponent: int

    @property
    def grid(self) -> Grid:
        """Of the latents."""
        return Grid(self.exponent)

    @property
    def sizes(self) -> list[int]:
        """The batches, in the order of encoding."""
        sizes: list[int] = []
        done = 0
        while done < self.count:
            wanted = max(1, int(self.growth * done)) if self.growth else self.batch
            sizes.append(min(wanted, self.batch, self.count - done))
            done += sizes[-1]
        return sizes


def plan(pair: Pair, x: Tensor, batch: int = 512) -> Plan:
    """A plan for coding data ``x``, measured on a subsample; call it inside `precisely`."""
    subsample = x[:: max(1, len(x) // SAMPLE)][:SAMPLE].double()
    grid = fit_grid(pair, subsample)
    stack = Stack(seeded=True)
    push_batch(pair, stack, subsample, grid)
    growth = min(max(MARGIN * stack.bits / stack.needed, MIN_GROWTH), MAX_GROWTH) if stack.needed else 0.0
    return Plan(len(x), batch, round(growth, 2), grid.exponent)


def push_data(pair: Pair, x: Tensor, plan: Plan, watch: Watch = lambda done: None) -> Words:
    """The bits of ``x``, shape ``(n, *event.shape)``; call it inside `precisely`."""
    stack, done = Stack(seeded=plan.growth > 0), 0
    for size in plan.sizes:
        push_batch(pair, stack, x[done : done + size], plan.grid)
        done += size
        watch(done)
    return stack.words()


def pop_data(pair: Pair, words: Words, plan: Plan, watch: Watch = lambda done: None) -> tuple[Tensor, Stack]:
    """The data, shape ``(n, *event.shape)``, float64, and the stack that is left: only seed bits, if all is well.

    Call it inside `precisely`.

    Raises:
        RunError: there are fewer bits than the plan's data need.
    """
    stack, parts = Stack(words), list[Tensor]()
    for size in reversed(plan.sizes):
        if plan.growth and stack.bits == 0:
            raise RunError("the bits end before all data are decoded: the file was changed")
        parts.append(pop_batch(pair, stack, size, plan.grid))
        watch(sum(map(len, parts)))
    return torch.cat(parts[::-1]), stack


def push_batch(pair: Pair, stack: Stack, x: Tensor, grid: Grid) -> None:
    """Encode one batch."""
    x = x.double().clone(memory_format=torch.contiguous_format)
    with poutine.trace() as latents, Pop(stack, grid):
        pair.guide(x)
    with Push(stack, grid):
        poutine.replay(pair.model, trace=latents.trace)(x)


def pop_batch(pair: Pair, stack: Stack, n: int, grid: Grid) -> Tensor:
    """Decode one batch of ``n`` data: shape ``(n, *event.shape)``."""
    blank = torch.zeros(n, *pair.event.shape, dtype=torch.float64)
    with poutine.trace() as drawn, Pop(stack, grid):
        poutine.uncondition(pair.model)(blank)
    x = pair.layout.assemble(drawn.trace, blank)
    with Push(stack, grid):
        poutine.replay(pair.guide, trace=drawn.trace)(x)
    return x


def probe(pair: Pair, grid: Grid) -> int:
    """A checksum of the probabilities that this machine computes: equal where files of these weights decode.

    Two data are decoded from seed bits; the checksum is that of the data and the stack. Call it inside `precisely`.
    """
    stack = Stack(seeded=True)
    x = pop_batch(pair, stack, 2, grid)
    return zlib.crc32(x.numpy().tobytes() + stack.words().tobytes())


def why_not(pair: Pair) -> str:
    """Why ``pair`` has no lossless code; empty if it has one."""
    can = capabilities(pair)
    if can.likelihood == "none":
        return "an implicit model: it observes nothing, so there is no distribution to code under"
    if pair.event.fields:
        return "a record of fields: codes are of data of one array"
    if pair.event.levels is None or not can.discrete:
        return "real data under a density: a density is no probability, and a real number has infinitely many digits"
    if can.dequantising:
        return (
            "its density is over real numbers, which the data become by dequantisation: the noise would need a code of "
            "its own (local bits-back coding)"
        )
    if can.shared:
        return f"all data share {', '.join(can.shared)}, of which there is a distribution: decoding needs one value"
    if can.enumerated:
        return f"{', '.join(can.enumerated)} is summed, and a sum has no code; sample it in the guide (bits-back)"
    return _mismatch(pair, can)


def passes(pair: Pair, plan: Plan) -> int:
    """How many network passes encoding (or decoding) takes, one after the other."""
    x = torch.zeros(2, *pair.event.shape, device=pair.device)
    with pair.evaluating():
        model_trace, guide_trace = traced(pair, x)
    return sum(map(_passes, (model_trace, guide_trace))) * len(plan.sizes)


@contextmanager
def precisely(pair: Pair) -> Iterator[None]:
    """Inside, ``pair`` is in evaluation mode and computes in float64 on the CPU with one thread; restored on exit."""
    device, threads, kind = pair.device, torch.get_num_threads(), torch.get_default_dtype()
    pair.to("cpu")
    tensors = [t for module in pair.modules.values() for t in (*module.parameters(), *module.buffers())]
    tensors += pair.store["params"].values()
    before = [(tensor, tensor.data) for tensor in tensors if tensor.is_floating_point()]
    try:
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        for tensor, _ in before:
            tensor.data = tensor.data.double()
        with pair.evaluating():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(kind)
        for tensor, data in before:
            tensor.data = data
        pair.to(device)


def _passes(trace: Any) -> int:
    """None for a program without sites, else one, or one per entry of an event coded entry by entry."""
    kinds = [site["fn"] for _, site in random_sites(trace)]
    return sum(fn.event.size for fn in kinds if isinstance(fn, Autoregressive)) or min(len(kinds), 1)


def _mismatch(pair: Pair, can: Capabilities) -> str:
    x = torch.zeros(2, *pair.event.shape, device=pair.device)
    with pair.evaluating():
        model_trace, guide_trace = traced(pair, x)
    unmatched = sorted(latent_sites(model_trace) ^ (set(can.latents) - set(can.unguided)))
    if unmatched:
        return f"site {unmatched[0]!r} is in only one of model and guide"
    nodes = model_trace.nodes
    for name, site in random_sites(guide_trace):
        if is_half_line(site["fn"].support) != is_half_line(nodes[name]["fn"].support):
            return f"{name!r} is positive in one program and any real number in the other: they have no grid in common"
    try:
        for _, site in (*random_sites(guide_trace), *random_sites(model_trace)):
            with naming(site):
                code(site["fn"], Grid(0))
    except ZooError as error:
        return str(error)
    return ""
