"""How each distribution is coded: a table from its type to a rule, open for more.

A rule makes a `Code` of a distribution and the grid of real latents. A new one::

    @codes(MyDistribution)
    def my_code(fn: MyDistribution, grid: Grid | None) -> Code:
        return FiniteCode(fn.my_probabilities())  # or whatever pushes and pops

A distribution without a rule of its own is coded by its masses if it is over integers, and by its ``cdf`` on the grid
if it is real, both of one dimension.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, distributions
from torch.distributions import constraints

from zoo.codec.grids import BASE, Grid
from zoo.codec.stack import Stack
from zoo.distributions import Floor
from zoo.distributions.autoregressive import Autoregressive
from zoo.distributions.integer_transformed import Blocks, IntegerTransformed
from zoo.errors import ZooError


class Code(Protocol):
    """A distribution as a codec of its values, of the shape that its draws have."""

    def push(self, stack: Stack, value: Tensor) -> None:
        """Put ``value`` onto the stack."""

    def pop(self, stack: Stack) -> Tensor:
        """Take a value from the stack: a draw, if the bits there are random."""


Rule = Callable[[Any, Grid | None], Code]


def code(fn: Any, grid: Grid | None = None) -> Code:
    """The code of distribution ``fn``, whose real latents lie on ``grid``.

    Raises:
        ZooError: there is no rule for it, and neither its masses nor its ``cdf`` can be used.
    """
    return _rule(fn, grid)


@functools.singledispatch
def _rule(fn: Any, grid: Grid | None) -> Code:
    """What is coded without a rule of its own."""
    support = fn.support
    if isinstance(support, constraints.integer_interval):
        return _by_masses(fn, torch.as_tensor(support.lower_bound), torch.as_tensor(support.upper_bound))
    if support.is_discrete and not fn.event_shape:
        return Windowed(fn, fn.mean.double().round())
    if fn.event_shape:
        raise ZooError("there is no coding rule for it: write one with @zoo.codec.codes(ITS_TYPE)")
    return Binned(fn, _latent(grid))


def codes(kind: type) -> Callable[[Rule], Rule]:
    """Register the decorated rule for distributions of type ``kind`` and of its subclasses."""
    return _rule.register(kind)


class FiniteCode:
    """A finite distribution, by its masses: shape ``(*shape, levels)``; values of shape ``shape`` in 0 ... levels-1."""

    def __init__(self, masses: Tensor) -> None:
        self.masses = masses

    def push(self, stack: Stack, value: Tensor) -> None:
        stack.push(value.expand(self.masses.shape[:-1]).reshape(-1), self.masses.flatten(0, -2))

    def pop(self, stack: Stack) -> Tensor:
        return stack.pop(self.masses.flatten(0, -2)).reshape(self.masses.shape[:-1])


class Shifted:
    """Another code's values plus ``offset``."""

    def __init__(self, code: Code, offset: int) -> None:
        self.code, self.offset = code, offset

    def push(self, stack: Stack, value: Tensor) -> None:
        self.code.push(stack, value - self.offset)

    def pop(self, stack: Stack) -> Tensor:
        return self.code.pop(stack) + self.offset


class Windowed:
    """A distribution over integers without end: the masses near ``centre``, and an escape for all that lies farther.

    ``centre`` is of the distribution's batch shape. What escapes is written plainly, in 32 bits.
    """

    def __init__(self, fn: Any, centre: Tensor) -> None:
        values = centre + torch.arange(-WINDOW, WINDOW + 1.0, dtype=torch.float64).reshape(-1, *[1] * centre.dim())
        masses = fn.log_prob(values).exp().where(fn.support.check(values), 0.0).movedim(0, -1)
        escape = (1 - masses.sum(-1, keepdim=True)).clamp(min=0)
        self.near, self.centre = FiniteCode(torch.cat([masses, escape], -1)), centre

    def push(self, stack: Stack, value: Tensor) -> None:
        away = (value - self.centre).expand(self.centre.shape)
        far = away.abs() > WINDOW
        plain = away[far] + 2**31
        if bool((plain < 0).any()) or bool((plain >= 2**32).any()):
            raise ZooError("it escapes by more than 32 bits")
        for byte in range(4):
            stack.push((plain / 256**byte).floor() % 256, torch.ones(len(plain), 256))
        self.near.push(stack, torch.where(far, 2.0 * WINDOW + 1, away + WINDOW))

    def pop(self, stack: Stack) -> Tensor:
        symbol = self.near.pop(stack)
        away, far = symbol - WINDOW, symbol == 2 * WINDOW + 1
        table = torch.ones(int(far.sum()), 256)
        away[far] = sum(256**byte * stack.pop(table) for byte in reversed(range(4))) - 2**31
        return self.centre + away


WINDOW = 128
"""How far from its centre `Windowed` has masses of its own."""


class Mapped:
    """Another code's values under a bijection: ``forth`` takes a value of this one to one of that, ``back`` back."""

    def __init__(self, code: Code, forth: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> None:
        self.code, self.forth, self.back = code, forth, back

    def push(self, stack: Stack, value: Tensor) -> None:
        self.code.push(stack, self.forth(value))

    def pop(self, stack: Stack) -> Tensor:
        return self.back(self.code.pop(stack))


class InBlocks:
    """Vectors of shape ``(n, sum(sizes))``, block by block: block i is coded under ``block(i, those before it)``."""

    def __init__(self, n: int, sizes: Sequence[int], block: Callable[[int, Tensor], Any], grid: Grid | None) -> None:
        self.n, self.sizes, self.block, self.grid = n, sizes, block, grid

    def push(self, stack: Stack, value: Tensor) -> None:
        starts = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        blocks = [code(self.block(i, value[:, :start]), self.grid) for i, start in enumerate(starts)]
        for block, part in reversed(list(zip(blocks, value.split(list(self.sizes), 1), strict=True))):
            block.push(stack, part)

    def pop(self, stack: Stack) -> Tensor:
        value = torch.zeros(self.n, 0, dtype=torch.float64)
        for i in range(len(self.sizes)):
            value = torch.cat([value, code(self.block(i, value), self.grid).pop(stack)], 1)
        return value


class Binned:
    """A real distribution of one dimension, by its ``cdf`` on a grid: the digits of a bin's number, coarsest first."""

    def __init__(self, fn: Any, grid: Grid) -> None:
        self.fn, self.grid = fn, grid

    def push(self, stack: Stack, value: Tensor) -> None:
        index = self.grid.index(value.expand(self.fn.batch_shape))
        steps, start = self.steps(), torch.zeros_like(index)
        coded = []
        for step in steps:
            digit = ((index - start) / step).floor()
            coded.append((digit, self.table(start, step)))
            start = start + digit * step
        for digit, table in reversed(coded):
            stack.push(digit.reshape(-1), table)

    def pop(self, stack: Stack) -> Tensor:
        start = torch.zeros(self.fn.batch_shape, dtype=torch.float64)
        for step in self.steps():
            start = start + step * stack.pop(self.table(start, step)).reshape(start.shape)
        return self.grid.centre(start)

    def steps(self) -> list[int]:
        """How many bins a digit counts by, the coarsest digit first."""
        return [BASE**digit for digit in reversed(range(self.grid.digits))]

    def table(self, start: Tensor, step: int) -> Tensor:
        """The masses of the `BASE` cells of ``step`` bins from bin ``start`` on: ``(start.numel(), BASE)``."""
        index = start + step * torch.arange(BASE + 1, dtype=torch.float64).reshape(-1, *[1] * start.dim())
        below = self.fn.cdf(self.grid.edge(index)).double()
        below = torch.where(index <= 0, 0.0, torch.where(index >= self.grid.bins, 1.0, below))
        masses = below.diff(dim=0).clamp(min=0) + FAR  # far in a tail the cdf no longer tells bins apart
        return masses.reshape(BASE, -1).T


FAR = 1e-30
"""What a cell has at least, for cells where the ``cdf`` is flat in floating point."""


class CholeskyNormal:
    """A normal vector with covariance ``L L'``, entry by entry, each given those before it.

    Shapes: ``loc`` is ``(*batch, d)``, ``L`` is lower triangular, ``(*batch, d, d)``.
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor, grid: Grid) -> None:
        self.loc, self.L, self.grid = loc, scale_tril, grid

    def push(self, stack: Stack, value: Tensor) -> None:
        noise, entries = torch.zeros_like(value), []
        for i in range(value.shape[-1]):
            given = self.given(noise, i)
            entries.append(Binned(given, self.grid))
            noise[..., i] = (value[..., i] - given.mean) / given.stddev
        for i, entry in reversed(list(enumerate(entries))):
            entry.push(stack, value[..., i])

    def pop(self, stack: Stack) -> Tensor:
        value, noise = torch.zeros_like(self.loc), torch.zeros_like(self.loc)
        for i in range(value.shape[-1]):
            given = self.given(noise, i)
            value[..., i] = Binned(given, self.grid).pop(stack)
            noise[..., i] = (value[..., i] - given.mean) / given.stddev
        return value

    def given(self, noise: Tensor, i: int) -> Any:
        """Entry ``i`` given the standardised ones before it."""
        return distributions.Normal(self.loc[..., i] + (self.L[..., i, :i] * noise[..., :i]).sum(-1), self.L[..., i, i])


class LocalBitsBack:
    """z = T(u), u under a factorised normal, through its base noise: local bits-back coding (Ho et al. 2019, eq. 8).

    A bin of z has no mass that could be computed, but z blurred by N(0, s² I) is a hierarchy of two known steps. To pop
    z: pop e ~ N(0, I), pop z ~ N(T(e), s² I), and push e back under what is known of it by then,
    N(T⁻¹(z), (J'J / s² + I)⁻¹), J the Jacobian of T there. All three are pushed and popped exactly, whatever T is; that
    the last is an approximation costs bits, fewer the smaller s, which is `BLUR` bins.

    Args:
        T: the transform from standard normal e, shape ``(n, d)``, to z.
        like: a tensor of that shape.
    """

    def __init__(self, T: Any, like: Tensor, grid: Grid) -> None:
        self.T, self.like, self.grid = T, like, grid

    def push(self, stack: Stack, value: Tensor) -> None:
        noise = self.back(value).pop(stack)
        self.forth(noise).push(stack, value)
        self.base().push(stack, noise)

    def pop(self, stack: Stack) -> Tensor:
        noise = self.base().pop(stack)
        value = self.forth(noise).pop(stack)
        self.back(value).push(stack, noise)
        return value

    def base(self) -> Binned:
        zero = torch.zeros_like(self.like)
        return Binned(distributions.Normal(zero, torch.ones_like(zero)), self.grid)

    def forth(self, noise: Tensor) -> Binned:
        return Binned(distributions.Normal(self.T(noise).nan_to_num(), BLUR * self.grid.width), self.grid)

    def back(self, value: Tensor) -> CholeskyNormal:
        noise = self.T.inv(value.clone()).detach()  # a transform knows the tensor again that it made itself
        J, one = jacobian(self.T, noise), torch.eye(noise.shape[1], dtype=noise.dtype)
        variance = (BLUR**2 + 1 / 12) * self.grid.width**2  # of the blur, and of a place within its bin
        covariance, singular = torch.linalg.inv_ex(J.mT @ J / variance + one)
        loc = noise - (covariance @ noise.unsqueeze(-1)).squeeze(-1)
        L, indefinite = torch.linalg.cholesky_ex((covariance + covariance.mT) / 2)
        good = (singular == 0) & (indefinite == 0) & (L.flatten(1) + loc.repeat(1, len(one))).isfinite().all(1)
        return CholeskyNormal(loc.where(good[:, None], 0.0), L.where(good[:, None, None], one), self.grid)


BLUR = 2.0
"""Deviation of the blur of `LocalBitsBack`, in bins."""


def jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """dy_i / dx_j of each datum's function from ``(n, d)`` to ``(n, d)``: shape ``(n, d, d)``."""
    with torch.enable_grad():
        x = at.detach().clone().requires_grad_()
        y = function(x)
        rows = [torch.autograd.grad(y[:, i].sum(), x, retain_graph=True)[0] for i in range(y.shape[1])]
    return torch.stack(rows, 1)


@codes(distributions.Independent)
def _independent(fn: Any, grid: Grid | None) -> Code:
    return code(fn.base_dist, grid)


@codes(distributions.Bernoulli)
def _bernoulli(fn: Any, grid: Grid | None) -> Code:
    return FiniteCode(torch.stack([1 - fn.probs, fn.probs], -1))


@codes(distributions.Categorical)
def _categorical(fn: Any, grid: Grid | None) -> Code:
    return FiniteCode(fn.probs)


@codes(distributions.MultivariateNormal)
@codes(distributions.LowRankMultivariateNormal)
def _multivariate_normal(fn: Any, grid: Grid | None) -> Code:
    L = torch.linalg.cholesky(fn.covariance_matrix)
    return CholeskyNormal(fn.loc.expand(fn.batch_shape + fn.event_shape), L, _latent(grid))


@codes(distributions.TransformedDistribution)
def _transformed(fn: Any, grid: Grid | None) -> Code:
    *steps, last = fn.transforms
    if isinstance(last, distributions.ReshapeTransform):
        inner = distributions.TransformedDistribution(fn.base_dist, steps) if steps else fn.base_dist
        return Viewed(code(inner, grid), fn.batch_shape + last.in_shape, fn.batch_shape + fn.event_shape)
    base = fn.base_dist.base_dist if isinstance(fn.base_dist, distributions.Independent) else fn.base_dist
    if not isinstance(base, distributions.Normal) or len(fn.batch_shape) != 1 or len(fn.event_shape) != 1:
        raise ZooError("flows are coded that have a factorised normal base and draw one vector a datum")
    standard = distributions.AffineTransform(base.loc, base.scale, event_dim=1)
    return LocalBitsBack(distributions.ComposeTransform([standard, *fn.transforms]), base.loc, _latent(grid))


@codes(Floor)
def _floor(fn: Floor, grid: Grid | None) -> Code:
    return KnownValue(fn.sample())


@codes(Autoregressive)
def _autoregressive(fn: Autoregressive, grid: Grid | None) -> Code:
    return Sequential(fn)


@codes(IntegerTransformed)
def _integer_transformed(fn: IntegerTransformed, grid: Grid | None) -> Code:
    return Mapped(code(fn.base.expand(fn.batch_shape), grid), fn.bijection, fn.bijection.inv)


@codes(Blocks)
def _blocks(fn: Blocks, grid: Grid | None) -> Code:
    return InBlocks(fn.batch_shape.numel(), fn.sizes, fn.block, grid)


class Viewed:
    """Another code's values in another shape."""

    def __init__(self, code: Code, inner: torch.Size, outer: torch.Size) -> None:
        self.code, self.inner, self.outer = code, inner, outer

    def push(self, stack: Stack, value: Tensor) -> None:
        self.code.push(stack, value.reshape(self.inner))

    def pop(self, stack: Stack) -> Tensor:
        return self.code.pop(stack).reshape(self.outer)


class KnownValue:
    """All mass on one value: it takes no bits."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def push(self, stack: Stack, value: Tensor) -> None:
        if not torch.equal(value.to(self.value.dtype), self.value):
            raise ZooError("a value that has no probability cannot be coded")

    def pop(self, stack: Stack) -> Tensor:
        return self.value


class Sequential:
    """An autoregressive event, entry by entry, through its stream: both ways see the same numbers in the same order."""

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


def _by_masses(fn: Any, lower: Tensor, upper: Tensor) -> Code:
    """The masses of all values from the least of ``lower`` to the greatest of ``upper``."""
    lowest, levels = int(lower.min()), int(upper.max() - lower.min()) + 1
    values = lowest + torch.arange(levels, dtype=torch.float64).reshape(-1, *[1] * len(fn.batch_shape))
    values = values.expand(levels, *fn.batch_shape)
    inside = (lower <= values) & (values <= upper)
    masses = fn.log_prob(values.clamp(lower, upper)).exp().where(inside, 0.0)
    return Shifted(FiniteCode(masses.movedim(0, -1)), lowest)


def _latent(grid: Grid | None) -> Grid:
    if grid is None:
        raise ZooError("it is real, and only latents are put on a grid: real data have no lossless code")
    return grid
