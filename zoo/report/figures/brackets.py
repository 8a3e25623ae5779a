"""What is known of each likelihood, from below and from above."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.report import text
from zoo.report.figures.svg import Rows, Scale, axis_below, colour, drawing, label, line, mark, of_family, padded, tag
from zoo.report.tables import Member
from zoo.report.verdicts import Pooled

BOUNDS = {"elbo_excess": "", "bound_excess": "lower bound", "exact_excess": "exact"}
"""Metric of a certificate -> its marker; the ELBO is a stroke."""


def brackets(lines: Sequence[Member], width: float) -> str:
    """ELBO, bound of particles and exact value of each member less its bound by annealing, and the certified width.

    Empty if no member has a certificate.
    """
    found = [
        (member, {name: score for name in ("within", *BOUNDS) if (score := _score(member, name)).state == "ok"})
        for member in lines
        if _score(member, "bound_excess").state == "ok"
    ]
    if not found:
        return ""
    rows, right = Rows([member.label for member, _ in found], width, 30.0), width - 92
    ends = [end for _, scores in found for name, score in scores.items() for end in _ends(name, score)]
    x = Scale(*padded(min(0.0, *ends), max(0.0, *ends), 0.05), rows.left, right)
    parts = [axis_below(x, rows.bottom, width), line(x(0.0), 20.0, x(0.0), rows.bottom, "floor")]
    parts += [label(x(0.0), 12, "annealing", "quiet", "middle"), label(width, 12, "within", "quiet", "end")]
    for row, (member, scores) in enumerate(found):
        y, own = rows.y(row), colour(member.group)
        shown = [rows.name(row), line(rows.left, y, right, y, "grid")]
        for name, score in scores.items():
            low, high = sorted(map(x, _ends(name, score)))
            if name == "within":
                shown.append(tag("rect", x=low, y=y - 6, width=high - low, height=12.0, class_=f"{own} bar pale"))
                words = text.plus_minus(score.number, score.stderr)
                shown.append(label(width, y + 4, words, "ink number", "end"))
                continue
            shown.append(line(low, y, high, y, f"{own} error"))
            at = x(score.number)
            kind = BOUNDS[name]
            shown.append(mark(kind, at, y, own) if kind else line(at, y - 6, at, y + 6, f"{own} error"))
        parts.append(of_family(member.label, *shown))
    described = "; ".join(
        f"{member.label} {', '.join(f'{name} {text.number(score.number)}' for name, score in scores.items())}"
        for member, scores in found
    )
    title = "Bounds and exact values less the bound by annealing, nats per datum"
    return drawing(width, rows.bottom + 40, title, described.replace("_", " "), *parts)


def _score(member: Member, metric: str) -> Pooled:
    return member.pool("certificate", metric)


def _ends(name: str, score: Pooled) -> tuple[float, float]:
    """Where a mark with its error begins and ends: of a certified width, from 0 down."""
    error = score.stderr or 0.0
    return (-max(score.number, 0.0), 0.0) if name == "within" else (score.number - error, score.number + error)
