"""my_column: say in one sentence what it asks of a family.

Next: zoo compare ppca --quick --with my_column.py
"""

from collections.abc import Sequence

import zoo
from zoo.report.verdicts import Pooled, Row, Verdict

LARGEST_ACCURACY = 0.75


@zoo.column(
    "my-column",  # lower-case letters, digits and hyphens
    title="My column",
    evaluation="sampling",
    metric="c2st",
    rule=f"real if a classifier that separates samples from data is right in at most {LARGEST_ACCURACY:.0%} of cases "
    "(mean over seeds); artificial otherwise.",
    literature={"implicit": "real", "prescribed": "artificial"},
)
def my_column(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Can a classifier tell samples from data?"""
    return score.verdict("real" if score.number <= LARGEST_ACCURACY else "artificial", "accuracy")
