"""The stack of bits and the grid of real numbers: what goes on comes off, at the rate of its table."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo import Event, Pair, ZooError
from zoo.codec.grids import BINS_PER_DEVIATION, MAX_EXPONENT, Grid, fit_grid
from zoo.codec.lossless import Plan
from zoo.codec.stack import MIN_PROBABILITY, Stack, normalised, seed_words
from zoo.errors import RunError


@given(st.integers(1, 500), st.integers(2, 40), st.integers(0, 2**31))
def test_symbols_come_back_last_first_at_their_rate(m: int, levels: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    tables = torch.rand(m, levels, dtype=torch.float64, generator=rng) + 1e-3
    symbols = torch.multinomial(tables, 1, generator=rng).squeeze(1).double()
    stack, half = Stack(), m // 2
    stack.push(symbols[:half], tables[:half])
    stack.push(symbols[half:], tables[half:])
    ideal = -float((tables / tables.sum(1, keepdim=True)).gather(1, symbols.long()[:, None]).log2().sum())
    assert stack.bits == pytest.approx(ideal, rel=1e-3, abs=64)
    again = Stack(stack.words())
    assert torch.equal(again.pop(tables[half:]), symbols[half:])
    assert torch.equal(again.pop(tables[:half]), symbols[:half])
    assert len(again.words()) == 0


@given(st.integers(1, 4000), st.integers(2, 40), st.integers(0, 2**31))
def test_popping_and_pushing_restores_the_seed_bits_read(m: int, levels: int, seed: int) -> None:
    tables = torch.rand(m, levels, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 1e-3
    stack = Stack(seeded=True)
    popped = stack.pop(tables)
    assert 0 <= stack.needed + stack.bits <= 128  # the coder's state is neither popped nor counted
    stack.push(popped, tables)
    assert 32 * len(stack.words()) <= stack.needed + 64
    assert stack.is_seed()
    stack.push(popped[:1] * 0, tables[:1])
    assert not stack.is_seed()


@given(st.integers(1, 300), st.integers(1, 300))
def test_what_is_pushed_upon_seed_bits_comes_back(pushed: int, popped: int) -> None:
    """Whatever is popped afterwards, fewer bits or more than were pushed."""
    stack, symbols = Stack(seeded=True), torch.arange(float(pushed)) % 5
    stack.push(symbols, torch.ones(pushed, 5))
    assert stack.needed == 0
    more = stack.pop(torch.ones(popped, 3))
    stack.push(more, torch.ones(popped, 3))
    again = Stack(stack.words())
    assert torch.equal(again.pop(torch.ones(popped, 3)), more)
    again.push(more, torch.ones(popped, 3))
    assert torch.equal(again.pop(torch.ones(pushed, 5)), symbols)
    assert again.is_seed()


def test_fewer_seed_words_are_the_top_of_more() -> None:
    assert np.array_equal(seed_words(50), seed_words(80)[-50:])
    assert seed_words(1)[-1] != 0


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (torch.tensor([[0.5, -0.1]]), "negative"),
        (torch.tensor([[0.5, math.nan]]), "NaN"),
        (torch.tensor([[0.5, math.inf]]), "sums to zero|negative"),
        (torch.zeros(1, 3), "sums to zero"),
        (torch.ones(3), "2 to"),
        (torch.ones(2, 1), "2 to"),
    ],
)
def test_bad_tables_are_refused(tables: Tensor, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        Stack(seeded=True).pop(tables)
    with pytest.raises(ZooError, match=message):
        Stack().push(torch.zeros(len(tables)), tables)


def test_tables_reach_the_coder_contiguous_with_a_smallest_mass() -> None:
    rows = normalised(torch.rand(4, 3).T.contiguous().T * torch.tensor([1.0, 0.0, 1.0]))
    assert rows.flags.c_contiguous
    assert rows.dtype == np.float64
    assert rows.min() == MIN_PROBABILITY


def test_a_symbol_that_is_no_level_is_refused() -> None:
    for symbol in (-1.0, 3.0, 0.5, math.nan):
        with pytest.raises(ZooError, match="from 0 to 2"):
            Stack().push(torch.tensor([symbol]), torch.ones(1, 3))


def test_words_that_no_stack_gives_are_refused() -> None:
    with pytest.raises(RunError, match="no coded bits"):
        Stack(np.array([1, 0], dtype=np.uint32))


@given(st.integers(0, MAX_EXPONENT), st.floats(-400, 400))
def test_a_grid_gives_back_its_centres(exponent: int, value: float) -> None:
    grid = Grid(exponent)
    index = grid.index(torch.tensor(value, dtype=torch.float64))
    centre = grid.centre(index)
    assert abs(float(centre) - value) <= grid.width / 2
    assert torch.equal(grid.index(centre), index)
    assert float(grid.edge(index)) == float(centre) - grid.width / 2
    assert 0 <= float(index) < grid.bins


@pytest.mark.parametrize("deviation", [2.0, 0.3, 0.01])
def test_the_grid_is_as_fine_as_the_posterior_asks(deviation: float) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0 * x, deviation).to_event(1))

    width = fit_grid(Pair(Event(6, "binary"), model, guide), torch.zeros(50, 6)).width
    assert deviation / BINS_PER_DEVIATION / 2.5 < width <= min(deviation / BINS_PER_DEVIATION * 1.05, 1)


@given(st.integers(1, 3000), st.integers(1, 600), st.sampled_from([0.0, 0.05, 0.62, 1.0, 8.0]))
def test_a_plan_covers_the_data(count: int, batch: int, growth: float) -> None:
    sizes = Plan(count, batch, growth, 3).sizes
    assert sum(sizes) == count
    assert all(0 < size <= batch for size in sizes)
    assert sizes[0] == 1 or growth == 0
    for done, size in zip(np.cumsum(sizes), sizes[1:], strict=False):
        assert growth == 0 or size <= max(1, growth * done)
