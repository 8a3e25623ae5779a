"""The evaluators check themselves, and the check can fail."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from command import zoo

from zoo.experiments import certify as module
from zoo.experiments.certify import Certified, certify
from zoo.metrics.bounds import bounds, log_probs

BUDGET: dict[str, int] = {"data": 40, "particles": 16, "chains": 4, "temperatures": 6}
SMALL = {"data": 20, "particles": 8, "chains": 1, "temperatures": 1}


@pytest.mark.thorough
def test_every_evaluator_holds_on_every_closed_form() -> None:
    rows = list(certify(**BUDGET))
    assert [row for row in rows if not row.holds] == []
    assert len({row.name for row in rows}) == 10
    methods = {row.method for row in rows}
    assert methods == {"exact value", "bound of 16 particles", "annealed, from below", "annealed, from above"}
    for low, high in itertools.pairwise(rows):
        if high.method == "annealed, from above":
            assert low.found <= high.found + 3 * (low.stderr + high.stderr)
            assert high.found - low.found < 2


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "shift"), [("bounds", 3.0), ("log_probs", -0.01)])
def test_an_evaluator_that_is_off_is_found(name: str, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(*args: Any) -> Any:
        if name == "log_probs":
            return log_probs(*args) + shift
        found = bounds(*args)
        return replace(found, importance=found.importance + shift)

    monkeypatch.setattr(module, name, off)
    wrong = {row.method for row in certify(**SMALL) if not row.holds}
    assert wrong == {"exact value" if name == "log_probs" else "bound of 8 particles"}


@pytest.mark.parametrize(
    ("side", "found", "holds"),
    [(-1, -2.0, True), (-1, -0.5, False), (1, -0.5, True), (1, -2.0, False), (0, -1.05, True), (0, -2.0, False)],
)
def test_a_bound_is_wrong_on_one_side_only(side: int, found: float, holds: bool) -> None:
    assert Certified("made", "up", truth=-1.0, found=found, stderr=0.1, side=side).holds == holds


@pytest.mark.thorough
def test_the_command_prints_a_row_for_each() -> None:
    rows = json.loads(zoo("certify", "--quick", "--json").stdout)
    assert len(rows) == 26
    assert all(row["holds"] for row in rows)
    assert {"name", "method", "truth", "found", "stderr", "side", "errors", "holds"} == set(rows[0])
