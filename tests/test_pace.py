"""Which engine pays hangs on work and steps alone."""

from __future__ import annotations

import torch

from zoo.pace import Work, pays, work_of


def test_operations_and_the_numbers_of_their_results_are_counted() -> None:
    x = torch.ones(3, 4)
    work = work_of(lambda: torch.add(x, x).sum())
    assert (work.operations, work.numbers) == (2, 13)


def test_it_pays_for_many_steps_or_many_runs_and_not_for_few() -> None:
    work = Work(operations=250, numbers=5_000_000)
    assert not pays(work, 100)
    assert pays(work, 100_000)
    assert not pays(work, 5000)
    assert pays(work, 5000, runs=5)


def test_a_larger_graph_costs_more_to_compile() -> None:
    steps = 8000
    assert pays(Work(250, 5_000_000), steps)
    assert not pays(Work(5000, 5_000_000), 1000)
