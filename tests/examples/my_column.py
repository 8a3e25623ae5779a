"""A column of the measured table: do samples pass for data?"""

from collections.abc import Sequence

import zoo
from zoo.report.verdicts import Pooled, Row, Verdict

LARGEST_ACCURACY = 0.75


@zoo.column(
    "realism",
    title="Realism",
    evaluation="sampling",
    metric="c2st",
    rule=f"real if a classifier that separates samples from data is right in at most {LARGEST_ACCURACY:.0%} of cases "
    "(mean over seeds); artificial otherwise.",
    literature={"implicit": "real", "prescribed": "artificial"},
)
def realism(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Can a classifier tell samples from data?"""
    return score.verdict("real" if score.number <= LARGEST_ACCURACY else "artificial", "accuracy")
