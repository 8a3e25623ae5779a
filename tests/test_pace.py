"""Which engine pays hangs on work and steps alone."""

from __future__ import annotations

import torch

from zoo.engine.cost import Work, choose_engine, work_of


def test_operations_and_the_numbers_of_their_results_are_counted() -> None:
    x = torch.ones(3, 4)
    work = work_of(lambda: torch.add(x, x).sum())
    assert (work.operations, work.numbers) == (2, 13)


def test_multiplications_are_those_of_large_products_of_floats() -> None:
    a, b = torch.ones(128, 128), torch.ones(128, 64)
    assert work_of(lambda: a @ b).multiplications == 128 * 128 * 64
    assert work_of(lambda: torch.nn.functional.linear(a, a, a[0])).multiplications == 128**3
    assert work_of(lambda: a[:2] @ b).multiplications == 0
    assert work_of(lambda: a.double() @ b.double()).multiplications == 0


def test_views_make_no_numbers_and_convolutions_are_counted_forth_and_back() -> None:
    x, weight = torch.ones(2, 3, 8, 8), torch.ones(5, 3, 3, 3, requires_grad=True)
    assert work_of(lambda: x.permute(0, 2, 3, 1)).numbers == 0
    forth = 2 * 5 * 6 * 6 * (3 * 3 * 3)
    assert work_of(lambda: torch.conv2d(x, weight)).convolutions == forth
    assert work_of(lambda: torch.conv2d(x, weight).sum().backward()).convolutions == 3 * forth


def test_few_steps_are_plain_and_many_of_one_run_or_of_several_are_compiled() -> None:
    work = Work(operations=250, numbers=5_000_000)
    assert choose_engine(work, 100) == choose_engine(work, 5000) == "eager"
    assert choose_engine(work, 5000, runs=5) == choose_engine(work, 100_000) == "compiled"


def test_large_products_are_worth_recording_before_compiling_is() -> None:
    work = Work(operations=250, numbers=5_000_000, multiplications=200_000_000)
    assert [choose_engine(work, steps) for steps in (100, 1000, 100_000)] == ["eager", "traced", "compiled"]


def test_a_larger_graph_costs_more_to_compile() -> None:
    assert choose_engine(Work(250, 40_000_000), 2000) == "compiled"
    assert choose_engine(Work(3000, 40_000_000), 2000) == "eager"
    assert choose_engine(Work(3000, 40_000_000), 20_000) == "compiled"


def test_a_graph_of_many_small_operations_is_not_worth_recording_alone() -> None:
    assert choose_engine(Work(250, 10_000, 50_000_000), 2000) == "traced"
    assert choose_engine(Work(2000, 10_000, 50_000_000), 2000) == "eager"
