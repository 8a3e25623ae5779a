"""Codes of events whose parts depend on the parts before them: entry by entry, or block by block.

The rules here are those of autoregressive and integer-transformed distributions, of Markov chains and diffusions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from pyro.distributions import Normal
from torch import Tensor

from zoo.codec.grids import Grid
from zoo.codec.rules.finite import Mapped
from zoo.codec.rules.registry import Code, code, codes
from zoo.codec.stack import Stack
from zoo.distributions.autoregressive import Autoregressive
from zoo.distributions.diffusion import DenoisingChain, NoisyPath
from zoo.distributions.integer_transformed import Blocks, IntegerTransformed
from zoo.distributions.markov import MarkovNormal


class Entrywise:
    """An autoregressive event entry by entry: both directions run the same stream, so they see the same numbers."""

    def __init__(self, fn: Autoregressive) -> None:
        self.fn, self.n = fn, fn.batch_shape.numel()

    def push(self, stack: Stack, value: Tensor) -> None:
        entries = value.reshape(self.n, -1).unbind(1)
        stream = self.fn.stream(self.n)
        tables = [next(stream).softmax(-1), *(stream.send(entry).softmax(-1) for entry in entries[:-1])]
        for entry, table in reversed(list(zip(entries, tables, strict=True))):
            stack.push(entry, table)

    def pop(self, stack: Stack) -> Tensor:
        stream = self.fn.stream(self.n)
        entries = [stack.pop(next(stream).softmax(-1))]
        while len(entries) < self.fn.event.size:
            entries.append(stack.pop(stream.send(entries[-1]).softmax(-1)))
        return torch.stack(entries, 1).reshape(self.fn.batch_shape + self.fn.event_shape)


class Blockwise:
    """Vectors of shape ``(n, sum(sizes))``: block i under the distribution ``block(i, entries before it)``."""

    def __init__(self, n: int, sizes: Sequence[int], block: Callable[[int, Tensor], Any], grid: Grid | None) -> None:
        self.n, self.sizes, self.block, self.grid = n, list(sizes), block, grid

    def push(self, stack: Stack, value: Tensor) -> None:
        starts = accumulate(self.sizes[:-1], initial=0)
        blocks = [code(self.block(i, value[:, :start]), self.grid) for i, start in enumerate(starts)]
        for block, part in reversed(list(zip(blocks, value.split(self.sizes, 1), strict=True))):
            block.push(stack, part)

    def pop(self, stack: Stack) -> Tensor:
        value = torch.zeros(self.n, 0, dtype=torch.float64)
        for i in range(len(self.sizes)):
            value = torch.cat([value, code(self.block(i, value), self.grid).pop(stack)], 1)
        return value


class Stepwise:
    """The steps of a Markov chain, each given the one before it; those beyond a sequence's length take no bits."""

    def __init__(self, fn: MarkovNormal, grid: Grid | None) -> None:
        self.fn, self.grid = fn, grid

    def push(self, stack: Stack, value: Tensor) -> None:
        steps = value.unbind(-2)
        before = (self.fn.start.expand_as(steps[0]), *steps[:-1])
        coded = [self.step(t, each) for t, each in enumerate(before)]
        for step, each in reversed(list(zip(coded, steps, strict=True))):
            step.push(stack, each)

    def pop(self, stack: Stack) -> Tensor:
        before, steps = self.fn.start.expand(*self.fn.batch_shape, -1), list[Tensor]()
        for t in range(self.fn.event_shape[0]):
            before = self.step(t, before).pop(stack)
            steps.append(before)
        return torch.stack(steps, -2)

    def step(self, t: int, before: Tensor) -> Code:
        """The code of step ``t``, given the one ``before`` it."""
        normal = Normal(*self.fn.move(before, self.fn.context[..., t, :]))
        return code(normal.mask(self.fn.within[..., t, None]), self.grid)


@codes(Autoregressive)
def _autoregressive(fn: Autoregressive, grid: Grid | None) -> Code:
    return Entrywise(fn)


@codes(MarkovNormal)
def _markov_normal(fn: MarkovNormal, grid: Grid | None) -> Code:
    return Stepwise(fn, grid)


@codes(NoisyPath)
def _noisy_path(fn: NoisyPath, grid: Grid | None) -> Code:
    return Mapped(_path(fn, grid), lambda z: z.flatten(1), lambda z: z.reshape(fn.shape()))


@codes(DenoisingChain)
def _denoising_chain(fn: DenoisingChain, grid: Grid | None) -> Code:
    return Mapped(_path(fn, grid), lambda z: z.flip(1).flatten(1), lambda z: z.reshape(fn.shape()).flip(1))


def _path(fn: NoisyPath | DenoisingChain, grid: Grid | None) -> Code:
    """The points of a path in the order in which they are drawn, each given the one before it."""
    count, size = fn.event_shape

    def block(i: int, before: Tensor) -> Any:
        mean, variance = fn.point(i, before[:, -size:])
        return Normal(mean, variance.sqrt().expand_as(mean)).to_event(1)

    return Blockwise(fn.batch_shape.numel(), [size] * count, block, grid)


@codes(IntegerTransformed)
def _integer_transformed(fn: IntegerTransformed, grid: Grid | None) -> Code:
    return Mapped(code(fn.base.expand(fn.batch_shape), grid), fn.bijection, fn.bijection.inv)


@codes(Blocks)
def _blocks(fn: Blocks, grid: Grid | None) -> Code:
    return Blockwise(fn.batch_shape.numel(), fn.sizes, fn.block, grid)
