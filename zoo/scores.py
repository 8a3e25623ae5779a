"""Scores: what evaluations answer, as tidy rows that everything in a report is drawn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["exact", "lower bound", "estimate", ""]
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
    """What the columns ``family`` and ``guide`` come to: ``vae:latent=2`` and ``iaf`` to ``vae+iaf:latent=2``."""
    name, colon, settings = family.partition(":")
    return f"{name}+{guide}{colon}{settings}" if guide else family


@dataclass(frozen=True)
class Score:
    """One number with its error and its kind, or the reason why there is none.

    ``value`` and ``stderr`` are in ``unit``; ``n`` counts what the value is a mean over. For a negative log-likelihood
    ``kind`` tells of the log-likelihood behind it: ``lower bound`` means that log p is at least minus the value.
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
        """The metric does not apply, and why."""
        return cls(metric, status="skipped", reason=reason)

    @classmethod
    def failed(cls, metric: str, reason: str) -> Score:
        """The metric applies and could not be had, and why."""
        return cls(metric, status="failed", reason=reason)

    def row(self, **where: Any) -> dict[str, Any]:
        """A tidy row: this score with the columns that say whose it is."""
        row = asdict(self) | where
        return {column: row[column] for column in COLUMNS}
