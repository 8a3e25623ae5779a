"""Scores: the answers of evaluations, as tidy rows from which a report is drawn."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["exact", "lower bound", "upper bound", "bracket", "estimate", ""]
Status = Literal["ok", "skipped", "failed"]

COLUMNS = (
    "suite",
    "family",
    "guide",
    "group",
    "dataset",
    "seed",
    "evaluation",
    "metric",
    "value",
    "unit",
    "stderr",
    "kind",
    "n",
    "status",
    "reason",
)


def label(family: str, guide: str) -> str:
    """The columns ``family`` and ``guide`` as one name: ``vae:latent=2`` and ``iaf`` give ``vae+iaf:latent=2``."""
    name, colon, settings = family.partition(":")
    return f"{name}+{guide}{colon}{settings}" if guide else family


@dataclass(frozen=True)
class Score:
    """One number with its error and its kind, or the reason why there is none.

    Args:
        metric: its name, unique within an evaluation.
        value: the number, in ``unit``.
        unit: such as ``nats`` or ``bits/dim``.
        stderr: the standard error of ``value``, in ``unit``.
        kind: ``exact``, ``lower bound``, ``upper bound``, ``estimate`` or empty. For a negative log-likelihood it
            describes the log-likelihood: ``lower bound`` means that log p is at least minus the value. ``bracket`` is
            the distance of an upper bound from a lower one.
        n: number of items that the value is a mean over.
        status: ``ok``, ``skipped`` (does not apply) or ``failed``.
        reason: why there is no value, or a remark on it.

    Example:
        >>> from zoo import Score
        >>> Score("nats", 81.2, "nats", 0.4, "exact", n=447).value
        81.2
        >>> Score.skipped("nats", "an implicit model has no likelihood").status
        'skipped'
    """

    metric: str
    value: float | None = None
    unit: str = ""
    stderr: float | None = None
    kind: Kind = ""
    n: int | None = None
    status: Status = "ok"
    reason: str = ""

    @classmethod
    def skipped(cls, metric: str, reason: str) -> Score:
        """A score of a metric that does not apply, with the reason."""
        return cls(metric, status="skipped", reason=reason)

    @classmethod
    def failed(cls, metric: str, reason: str) -> Score:
        """A score of a metric that applies but could not be measured, with the reason."""
        return cls(metric, status="failed", reason=reason)

    def row(self, **where: Any) -> dict[str, Any]:
        """A tidy row: this score with the columns of ``where`` (suite, family, ...)."""
        row = asdict(self) | where
        return {column: row[column] for column in COLUMNS}
