"""What models are used for, in numbers: novelty, answers that may be withheld, calibration, attacks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zoo.report.numbers import NumberColumn, Table, estimate, percent, table
from zoo.report.tables import Member

REVERSED = 0.5
VICTIMS = {"plain": "a plain classifier", "own": "the model's own p(y | x)"}
"""What an attack fools: its word in the names of scores, and in the report."""
MEASURES = {"log_p": "log p(x)", "typicality": "typicality", "complexity": "complexity", "ratio": "background ratio"}


def uses(lines: Sequence[Member]) -> list[Table]:
    """A table for each use that was measured of some family."""
    tables = [_novelty(lines, *measure) for measure in MEASURES.items()]
    return [each for each in (*tables, _selective(lines), _calibration(lines), *_attacks(lines)) if each.lines]


def _novelty(lines: Sequence[Member], measure: str, words: str) -> Table:
    start = f"auroc_{measure}_"
    return table(
        f"Novelty by {words}",
        f"AUROC: the probability that a datum of another kind scores as more novel than a test datum by {words}; at "
        f"{REVERSED} the measure says nothing, and below it novel data look more familiar than test data do.",
        "novelty",
        _measured(lines, "novelty", start),
        *_columns(lines, "novelty", start),
    )


def _selective(lines: Sequence[Member]) -> Table:
    cases = [("alone", "test data"), ("shuffled", "10 % shuffled"), ("rotated", "10 % rotated")]
    columns: list[NumberColumn] = []
    for case, words in cases:
        columns.append((f"{words}: error by p(y | x)", f"error_90_posterior_{case}", percent))
        columns += [
            (f"saved {by}", f"error_90_{rule}_{case}_gain", percent)
            for rule, by in (("joint", "by p(x, y)"), ("gated", "by a threshold of p(x)"))
        ]
    return table(
        "Errors where 90 % are answered",
        "The tenth of least confidence is withheld: by the highest p(y | x) alone, by p(x, y), or by p(y | x) after "
        "data of a low p(x). Answers to data of another kind count as errors. Savings are paired.",
        "selective",
        _measured(lines, "selective", "error_90_"),
        *columns,
    )


def _calibration(lines: Sequence[Member]) -> Table:
    return table(
        "Calibration",
        "Of p(y | x) on test images, and on these turned by 90 degrees: expected calibration error, and -log p(y | x) "
        "in nats.",
        "calibration",
        _measured(lines, "calibration", "nll"),
        ("calibration error", "ece", estimate),
        ("rotated", "ece_rotated", estimate),
        ("-log p(y | x)", "nll", estimate),
        ("rotated", "nll_rotated", estimate),
    )


def _attacks(lines: Sequence[Member]) -> list[Table]:
    found = []
    for victim, of in VICTIMS.items():
        start = f"{victim}_auroc_"
        accuracy = _columns(lines, "attack", f"{victim}_accuracy_")
        found.append(
            table(
                f"Attacks on {of}",
                "Accuracy on clean and attacked test data (FGSM and PGD, by the largest change of an entry), and the "
                "AUROC of attacked against clean data: by log p(x), and by log p(x, y) where there is one.",
                "attack",
                _measured(lines, "attack", start),
                *((f"accuracy {name}", metric, percent) for name, metric, _ in accuracy),
                *_columns(lines, "attack", start),
            )
        )
    return found


def _columns(lines: Sequence[Member], evaluation: str, start: str) -> list[NumberColumn]:
    """A column for each metric that starts so, in the order of the scores."""
    names = [row["metric"] for line in lines for row in line.rows if row["evaluation"] == evaluation]
    return [
        (re.sub(r"^log_p_|_", " ", name.removeprefix(start)).strip(), name, estimate)
        for name in dict.fromkeys(names)
        if name.startswith(start)
    ]


def _measured(lines: Sequence[Member], evaluation: str, start: str) -> list[Member]:
    """The members with a value of a metric that starts so."""
    return [
        line
        for line in lines
        if any(
            row["evaluation"] == evaluation and row["metric"].startswith(start) and row["status"] == "ok"
            for row in line.rows
        )
    ]
