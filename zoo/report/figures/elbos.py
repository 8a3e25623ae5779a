"""The ELBO: its gap to the likelihood, and its two parts."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.report import text
from zoo.report.figures.svg import Rows, Scale, axis_below, colour, drawing, label, line, mark, of_family, padded, tag
from zoo.report.tables import Member


def elbo_gaps(lines: Sequence[Member], width: float) -> str:
    """From each ELBO (a stroke) to the likelihood (a marker), and the gap; empty for fewer than two members."""
    found = [(member, elbo, nats) for member, elbo, nats in _scored(lines, "elbo", "nats") if elbo >= nats]
    if len(found) < 2:
        return ""
    rows, right = Rows([member.label for member, *_ in found], width, 22.0), width - 84
    x = Scale(*padded(min(nats for *_, nats in found), max(elbo for _, elbo, _ in found), 0.05), rows.left, right)
    parts = [axis_below(x, rows.bottom, width), label(width, 12, "gap", "quiet", "end")]
    for row, (member, elbo, nats) in enumerate(found):
        y, kind = rows.y(row), member.pool("likelihood", "nats").kind
        shown = [rows.name(row), line(rows.left, y, right, y, "grid")]
        shown += [line(x(nats), y, x(elbo), y, f"{colour(member.group)} seed")]
        shown += [line(x(elbo), y - 6, x(elbo), y + 6, f"{colour(member.group)} error")]
        shown += [mark(kind, x(nats), y, colour(member.group))]
        shown += [label(width, y + 4, f"{elbo - nats:.2f}", "ink number", "end")]
        parts.append(of_family(member.label, *shown))
    description = "; ".join(f"{m.label} {text.number(elbo)}, {text.number(nats)}" for m, elbo, nats in found)
    return drawing(width, rows.bottom + 40, "The negative ELBO and the bound, nats per datum", description, *parts)


def elbo_parts(lines: Sequence[Member], width: float) -> str:
    """The Kullback-Leibler part (full) and the reconstruction (pale) of each ELBO; empty for fewer than two members."""
    found = _scored(lines, "kl", "reconstruction")
    if len(found) < 2:
        return ""
    rows, right = Rows([member.label for member, *_ in found], width, 22.0), width - 84
    ends = [end for _, kl, rest in found for end in (kl, kl + rest)]
    x = Scale(min(0.0, *ends), 1.02 * max(0.0, *ends) or 1.0, rows.left, right)
    parts = [axis_below(x, rows.bottom, width), label(width, 12, "KL", "quiet", "end")]
    for row, (member, kl, rest) in enumerate(found):
        y, own = rows.y(row), colour(member.group)
        bars = _bar(x(0.0), x(kl), y, f"{own} bar"), _bar(x(kl), x(kl + rest), y, f"{own} bar pale")
        value = label(width, y + 4, f"{kl:.2f}".replace("-", "−"), "ink number", "end")
        parts.append(of_family(member.label, rows.name(row), *bars, value))
    description = "; ".join(f"{m.label} {text.number(kl)} and {text.number(rest)}" for m, kl, rest in found)
    return drawing(width, rows.bottom + 40, "The negative ELBO in two parts, nats per datum", description, *parts)


def _scored(lines: Sequence[Member], first: str, second: str) -> list[tuple[Member, float, float]]:
    """Two metrics of the members with a KL part, by their ELBO, the best first."""
    found = []
    for member in lines:
        kl, elbo, one, other = (member.pool("likelihood", name).value for name in ("kl", "elbo", first, second))
        if kl is not None and elbo is not None and one is not None and other is not None:
            found.append((elbo, member, one, other))
    return [(member, one, other) for _, member, one, other in sorted(found, key=lambda item: item[0])]


def _bar(start: float, end: float, y: float, class_: str) -> str:
    return tag("rect", x=min(start, end), y=y - 6, width=abs(end - start), height=12.0, class_=class_)
