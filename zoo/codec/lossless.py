"""Lossless coding by a pair: bits-back (Townsend et al. 2019, arXiv:1901.04866).

To encode, the guide pops the latents and the model, replayed on them, pushes the data and the latents. To decode, the
model pops latents and data and the guide pushes the latents back. Without latents this is plain entropy coding.

Both sides must compute the same probabilities: they use float64 on the CPU, one thread and the same batches.

The fields of a record that are given are no part of the code: the decoder needs them as well. Data without a label are
coded by the pair for such data (`zoo.pairs.pair.Pair.unlabelled`); which ones they are is a part of the code.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from zoo.codec.grids import Grid, fit_grid, space_of
from zoo.codec.handlers import Pop, Push, code_of, naming
from zoo.codec.paths import path_site, pop_path, push_path
from zoo.codec.posterior import Choice, sampling
from zoo.codec.stack import Stack, Words
from zoo.distributions.autoregressive import Autoregressive
from zoo.distributions.diffusion import DenoisingChain
from zoo.errors import ContractError, RunError, ZooError
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.pairs.records import cut, pair_for, scored
from zoo.pairs.sampling import contexts
from zoo.pairs.sites import latent_sites, layers, random_sites
from zoo.pairs.traces import capabilities, traced

Watch = Callable[[int], None]
"""A callback with the number of data done so far."""
SAMPLE = 64
"""Data that a plan is made from; as many without a label, if there are any."""
MARGIN = 0.9
"""Share of the bits on the stack that the next batch may need."""
MIN_GROWTH, MAX_GROWTH = 0.05, 8.0
"""Of batches whose latents are popped."""


@dataclass(frozen=True)
class Plan:
    """How ``count`` data are split into batches, and the grid of their latents.

    The latents of a batch are popped before its data are pushed, so a batch needs the bits of those before it: the
    first is one datum, each other ``growth`` times all before it (1 to ``batch`` data), counted in steps where the data
    are sequences. With ``growth`` 0 nothing is popped and all batches are of ``batch`` data.

    So many data are ``missing`` a label. Where some zeros are ``negative``, these are so many, of so many ``zeros``.
    """

    count: int
    batch: int
    growth: float
    exponent: int
    missing: int = 0
    zeros: int = 0
    negative: int = 0

    @property
    def grid(self) -> Grid:
        """Of the latents."""
        return Grid(self.exponent)

    def sizes(self, steps: Tensor) -> list[int]:
        """The batches, in the order of encoding; ``steps`` of each datum in that order, shape ``(count,)``."""
        sizes, total = list[int](), torch.cat([steps.new_zeros(1), steps]).double().cumsum(0)
        while (done := sum(sizes)) < self.count:
            most = total[done] * (1 + self.growth)
            wanted = int(torch.searchsorted(total, most, right=True)) - 1 - done if self.growth else self.batch
            sizes.append(min(max(wanted, 1), self.batch, self.count - done))
        return sizes

    @property
    def example(self) -> Tensor:
        """Whether each of two data misses its label: of both kinds, if there are both."""
        return torch.tensor([self.missing == self.count, self.missing > 0])


def plan(pair: Pair, x: Tensor, batch: int = 512) -> Plan:
    """A plan for coding data ``x``, measured on a subsample; call it inside `precisely`."""
    missing, signs = pair.event.missing(x), signs_of_zeros(pair, x)
    kinds = [each.nonzero().squeeze(1) for each in (~missing, missing)]
    rows = torch.cat([places[:: max(1, len(places) // SAMPLE)][:SAMPLE] for places in kinds])
    subsample = x[rows].double()
    grid = fit_grid(pair, subsample)
    stack = Stack(seeded=True)
    push_batch(pair, stack, subsample, grid)
    growth = min(max(MARGIN * stack.bits / stack.needed, MIN_GROWTH), MAX_GROWTH) if stack.needed else 0.0
    zeros = len(signs) if signs.any() else 0
    return Plan(len(x), batch, round(growth, 2), grid.exponent, int(missing.sum()), zeros, int(signs.sum()))


def push_data(pair: Pair, x: Tensor, plan: Plan, watch: Watch = lambda done: None) -> Words:
    """The bits of ``x``, shape ``(n, *event.shape)``; call it inside `precisely`."""
    stack, done = Stack(seeded=plan.growth > 0), 0
    steps = steps_of(pair.event, len(x), contexts(pair.event, x, len(x)))
    order = steps.argsort(stable=True)
    x = x[order]
    for size in plan.sizes(steps[order]):
        push_batch(pair, stack, x[done : done + size], plan.grid)
        done += size
        watch(done)
    push_flags(stack, signs_of_zeros(pair, x), plan.negative)
    push_flags(stack, pair.event.missing(x), plan.missing)
    return stack.words()


def pop_data(
    pair: Pair, words: Words, plan: Plan, given: Mapping[str, Tensor], watch: Watch = lambda done: None
) -> tuple[Tensor, Stack]:
    """The data and the stack that is left, which has only seed bits, if all is well; call it inside `precisely`.

    Args:
        pair: that encoded them.
        words: the bits.
        plan: by which they were encoded.
        given: the fields that the model is given, each of shape ``(n, *field.shape)``.
        watch: called with the number of data done so far.

    Returns:
        The data, shape ``(n, *event.shape)``, float64, and the stack.

    Raises:
        RunError: there are fewer bits than the plan's data need.
    """
    stack, parts, left = Stack(words), list[Tensor](), plan.count
    steps = steps_of(pair.event, plan.count, given)
    order = steps.argsort(stable=True)
    given = {name: value[order] for name, value in given.items()}
    missing = pop_flags(stack, plan.count, plan.missing)
    negative = pop_flags(stack, plan.zeros, plan.negative)
    for size in reversed(plan.sizes(steps[order])):
        if plan.growth and stack.bits == 0:
            raise RunError("the bits end before all data are decoded: the file was changed")
        rows = slice(left - size, left)
        known = blank(pair.event, missing[rows], {name: value[rows] for name, value in given.items()})
        parts.append(pop_batch(pair, stack, known, plan.grid))
        left -= size
        watch(plan.count - left)
    x = torch.cat(parts[::-1]) + 0.0  # a transform may give minus zero, which is none of the signs
    values = x[:, coded_entries(pair)]
    if int((values == 0).sum()) == plan.zeros:  # if not, the data's checksum will differ
        values[values == 0] = torch.where(negative, -0.0, 0.0)
        x[:, coded_entries(pair)] = values
    return x[order.argsort()], stack


def steps_of(event: Event, n: int, given: Mapping[str, Tensor]) -> Tensor:
    """The steps of each of ``n`` data, one where they are no sequences: shape ``(n,)``.

    Short sequences are coded first, because the latents of the first datum are popped from seed bits.
    """
    lengths = [given[field.length] for field in event.parts if field.length and field.role == "observed"]
    return torch.stack(lengths).sum(0) if lengths else torch.ones(n)


def coded_entries(pair: Pair) -> Tensor:
    """Which entries of a datum are coded: bool, shape ``event.shape``; those that the model scores."""
    names = {field.name for field in scored(pair)}
    flags = [torch.full((field.size,), field.name in names) for field in pair.event.parts]
    return torch.cat(flags).reshape(pair.event.shape)


def signs_of_zeros(pair: Pair, x: Tensor) -> Tensor:
    """Which of the zeros that are coded have a minus sign: bool, shape ``(m,)``."""
    values = x[:, coded_entries(pair)]
    return values[values == 0].signbit()


def push_flags(stack: Stack, flags: Tensor, count: int) -> None:
    """Push bools, shape ``(m,)``, of which ``count`` are true."""
    if 0 < count < len(flags):
        stack.push(flags.double(), torch.tensor([[len(flags) - count, count]]).expand(len(flags), 2))


def pop_flags(stack: Stack, m: int, count: int) -> Tensor:
    """Pop ``m`` bools, of which ``count`` are true."""
    if not 0 < count < m:
        return torch.full((m,), count > 0)
    return stack.pop(torch.tensor([[m - count, count]]).expand(m, 2)).bool()


def blank(event: Event, missing: Tensor, given: Mapping[str, Tensor]) -> Tensor:
    """What is known of data before they are decoded: zeros, but for fields that are given and labels that are missing.

    Args:
        event: of the data.
        missing: which of them have no label, shape ``(n,)``.
        given: fields, each of shape ``(n, *field.shape)``; by default zeros, and complete sequences.

    Returns:
        Shape ``(n, *event.shape)``.
    """
    values = {**event.unpack(event.zeros(len(missing))), **given}
    if event.label and (label := values[event.label.name]) is not None:
        label[missing] = torch.nan
    return event.pack(values)


def push_batch(pair: Pair, stack: Stack, x: Tensor, grid: Grid) -> None:
    """Encode one batch: the data with a label, then those without."""
    for _, part in cut(pair.event, x):
        own, values = sampling(pair_for(pair, part)), (part.double() + 0.0).contiguous()
        if name := path_site(own):
            push_path(own, stack, values, name)
            continue
        with poutine.trace() as latents, Pop(stack, grid):
            own.guide(values)
        with Push(stack, grid):
            poutine.replay(own.model, trace=latents.trace)(values)


def pop_batch(pair: Pair, stack: Stack, known: Tensor, grid: Grid) -> Tensor:
    """Decode one batch, of which this is ``known`` (see `blank`): shape ``(n, *event.shape)``, float64."""
    x = known.double() + 0.0
    for places, part in reversed(cut(pair.event, x)):
        own = pair_for(pair, part)
        if name := path_site(own):
            found = pop_path(own, stack, part, name)
        else:
            with poutine.trace() as drawn, Pop(stack, grid):
                poutine.uncondition(own.model)(part)
            found = own.layout.assemble(drawn.trace, part)
            with Push(stack, grid):
                poutine.replay(sampling(own).guide, trace=drawn.trace)(found)
        x[places] = found if own.event is pair.event else pair.event.pack(pair.event.unpack(found)).to(x)
    return x


def probe(pair: Pair, plan: Plan) -> int:
    """A checksum of the probabilities that this machine computes: equal where files of these weights decode.

    Two data are decoded from seed bits; the checksum is that of the data and the stack. Call it inside `precisely`.
    """
    stack = Stack(seeded=True)
    x = pop_batch(pair, stack, blank(pair.event, plan.example, {}), plan.grid)
    return zlib.crc32(x.numpy().tobytes() + stack.words().tobytes())


def why_not(pair: Pair, x: Tensor | None = None) -> str:
    """Why ``pair`` has no lossless code; empty if it has one.

    Args:
        pair: in any mode.
        x: the data in question, where it matters whether they all have a label, or none has.
    """
    can = capabilities(pair, x)
    if can.likelihood == "none":
        return "an implicit model: it observes nothing, so there is no distribution to code under"
    if pair.event.label and pair.event.label.name not in pair.takes:
        name = pair.event.label.name
        return f"its model does not take {name!r}, so that the code would lose it; give it the role given"
    if not can.discrete or any(field.levels is None for field in scored(pair)):
        return (
            "real data under a density: a density is no probability, and a real number has infinitely many digits (the "
            "columns of a table become levels by --quantise 64)"
        )
    if can.energies:
        return (
            f"{', '.join(can.energies)} has an energy, which gives no distribution of one entry after another to code "
            "under"
        )
    if can.dequantising:
        return (
            "its density is over real numbers, which the data become by dequantisation: the noise would need a code of "
            "its own (local bits-back coding)"
        )
    if can.shared:
        return f"all data share {', '.join(can.shared)}, of which there is a distribution: decoding needs one value"
    kinds = pair.event.missing(x) if x is not None else torch.tensor([False, True])[: 1 + bool(pair.event.label)]
    examples = (blank(pair.event, kind.repeat(2), {}).double() for kind in kinds.cpu().unique())
    with precisely(pair):
        return next(filter(None, (_mismatch(pair, example) for example in examples)), "")


def passes(pair: Pair, plan: Plan, given: Mapping[str, Tensor]) -> int:
    """How many network passes encoding (or decoding) takes, one after the other, where these fields are ``given``."""
    parts = cut(pair.event, blank(pair.event, plan.example, {}).to(pair.device))
    with pair.evaluating():
        traces = [trace for _, part in parts for trace in traced(sampling(pair_for(pair, part)), part)]
    steps = steps_of(pair.event, plan.count, given).sort().values
    return sum(map(_passes, traces)) * len(plan.sizes(steps))


@contextmanager
def precisely(pair: Pair) -> Iterator[None]:
    """Inside, ``pair`` is in evaluation mode and computes in float64 on the CPU with one thread; restored on exit.

    Networks that say ``single = True`` compute in float32: convolutions of float64 take several times as long.
    """
    device, threads, kind = pair.device, torch.get_num_threads(), torch.get_default_dtype()
    pair.to("cpu")
    modules = [each for module in pair.modules.values() for each in module.modules()]
    spared = [each.state_dict(keep_vars=True).values() for each in modules if getattr(each, "single", False)]
    single = {id(tensor) for tensors in spared for tensor in tensors}
    tensors = [t for module in pair.modules.values() for t in (*module.parameters(), *module.buffers())]
    tensors += pair.store["params"].values()
    before = [(tensor, tensor.data) for tensor in tensors if tensor.is_floating_point() and id(tensor) not in single]
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
    """None for a program without sites, else one, or one per entry of an event, or step of a path, coded one by one.

    A latent that is summed takes one more for its posterior.
    """
    kinds = [site["fn"] for _, site in random_sites(trace)]
    entries = sum(fn.event.size for fn in kinds if isinstance(fn, Autoregressive))
    entries += sum(fn.event_shape[0] - 1 for fn in kinds if isinstance(fn, DenoisingChain))
    entries = entries or min(len(kinds), 1)
    return entries + sum(isinstance(layer, Choice) for fn in kinds for layer in layers(fn))


def _mismatch(pair: Pair, example: Tensor) -> str:
    """Why model and guide do not code data such as these."""
    can, [(_, part)] = capabilities(pair, example), cut(pair.event, example)
    try:
        model_trace, guide_trace = traced(sampling(pair_for(pair, part)), part)
    except ContractError as error:
        return str(error)
    if auxiliary := pair_for(pair, part).structure.auxiliary:
        return f"the guide draws the auxiliary {', '.join(sorted(auxiliary))}, which the model does not give back"
    unmatched = sorted(latent_sites(model_trace) ^ ({*can.latents, *can.enumerated} - set(can.unguided)))
    if unmatched:
        return f"site {unmatched[0]!r} is in only one of model and guide"
    for name, site in random_sites(guide_trace):
        ours, theirs = space_of(site["fn"]), space_of(model_trace.nodes[name]["fn"])
        if ours != theirs:
            return f"{name!r} is {ours} in the guide and {theirs} in the model: they have no grid in common"
    try:
        for _, site in (*random_sites(guide_trace), *random_sites(model_trace)):
            with naming(site):
                code_of(site, Grid(0))
    except ZooError as error:
        return str(error)
    return ""
