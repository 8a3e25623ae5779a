"""The engine that ``auto`` takes depends on work, steps and the calibration of the machine, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zoo.engine.cost import Calibration, Work, fastest_mode, work_of

ONEDNN = Calibration("one where oneDNN wins", "2", 1, "onednn", 1e-11, 0.0, -5e-7, 3e-6, 1e-10, 1e-3, 8.0)
TORCH = replace(ONEDNN, processor="one where it loses", products="torch", product=0.0)
VAE = Work(operations=250, numbers=5_000_000, multiplications=200_000_000)


def test_operations_and_their_results_are_counted() -> None:
    x = torch.ones(3, 4)
    work = work_of(lambda: torch.add(x, x).sum())
    assert (work.operations, work.numbers) == (2, 13)
    assert work_of(lambda: x.t()).numbers == 0, "a view makes none"


def test_multiplications_are_those_of_large_float32_products() -> None:
    a, b = torch.ones(128, 128), torch.ones(128, 64)
    assert work_of(lambda: a @ b).multiplications == 128 * 128 * 64
    assert work_of(lambda: torch.nn.functional.linear(a, a, a[0])).multiplications == 128**3
    assert work_of(lambda: a[:2] @ b).multiplications == 0
    assert work_of(lambda: a.double() @ b.double()).multiplications == 0


@pytest.mark.parametrize("steps", [1, 10**4, 10**9])
def test_without_a_calibration_every_run_is_eager(steps: int) -> None:
    assert fastest_mode(VAE, steps, 1, None) == "eager"


def test_tracing_pays_where_onednn_wins_and_only_there() -> None:
    assert [fastest_mode(VAE, steps, 1, ONEDNN) for steps in (100, 1000, 10**5)] == ["eager", "traced", "compiled"]
    assert [fastest_mode(VAE, steps, 1, TORCH) for steps in (100, 1000, 10**5)] == ["eager", "eager", "compiled"]


def test_runs_share_the_cost_of_compiling() -> None:
    assert fastest_mode(VAE, 5000, 1, TORCH) == "eager"
    assert fastest_mode(VAE, 5000, 5, TORCH) == "compiled"


def test_a_larger_graph_needs_more_steps_to_pay_for_compiling() -> None:
    large = replace(VAE, operations=5000)
    assert fastest_mode(VAE, 10_000, 1, TORCH) == "compiled"
    assert fastest_mode(large, 2000, 1, TORCH) == "eager"
    assert fastest_mode(large, 20_000, 1, TORCH) == "compiled"


def test_without_a_compiler_nothing_is_compiled() -> None:
    assert fastest_mode(VAE, 10**9, 1, replace(TORCH, compiling=float("inf"))) == "eager"
