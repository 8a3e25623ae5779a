"""Bits a sample of sound against how far back a model sees."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.report import text
from zoo.report.figures.svg import (
    Scale,
    colour,
    drawing,
    end_labels,
    fitting,
    grid,
    label,
    mark,
    of_family,
    padded,
    polyline,
    room_for_ticks,
)
from zoo.report.tables import Member

SHOWN = {"bits": "all", "bits_sounding": "without silence"}
"""Metric -> what its curve is of."""
OF_PAIRS = "floor_order1"
"""The floor that sees one sample."""


def bits_by_field(lines: Sequence[Member], width: float) -> str:
    """Bits a sample against the receptive field (logarithmic), and the pairs of levels; empty without two fields.

    Of models with one field the curve goes through that of the most bits: a better one has more than its field.
    """
    found = [line for line in lines if line.pool("sound", "field").value and line.pool("sound", "bits").value]
    if len({line.pool("sound", "field").value for line in found}) < 2:
        return ""
    found.sort(key=lambda line: line.pool("sound", "field").number)
    curves = {
        words: [
            (line, line.pool("sound", "field").number, score.number)
            for line in found
            if (score := line.pool("sound", metric)).value is not None
        ]
        for metric, words in SHOWN.items()
    }
    floor = found[0].pool("sound", OF_PAIRS).value
    pairs = [] if floor is None else [(1.0, floor)]
    points = [*pairs, *((at, value) for own in curves.values() for _, at, value in own)]
    counts, values = zip(*points, strict=True)
    height, top, bottom, right = 320.0, 26.0, 272.0, width - 120
    y = Scale(*padded(min(values), max(values), 0.06), bottom, top)
    x = Scale(0.9 * min(counts), 1.1 * max(counts), max(46.0, room_for_ticks(y)), right, log=True)
    parts = [grid(x, y, text.count, sorted(set(counts))), label(0, 12, "bits a sample, fewer is better", "quiet")]
    parts.append(label(right, height - 8, fitting("samples before", " that are seen", right), "quiet", "end"))
    through = {words: list(dict(sorted((at, value) for _, at, value in own)).items()) for words, own in curves.items()}
    for words, own in curves.items():
        parts.append(polyline(through[words], x, y, f"{colour(found[0].group)} curve"))
        for line, at, value in own:
            kind = "" if words == SHOWN["bits"] else "exact"
            parts.append(of_family(line.label, mark(kind, x(at), y(value), colour(line.group))))
    parts += [mark("", x(at), y(value), "ink") for at, value in pairs]
    ends = [(words, "ink", curve[-1]) for words, curve in through.items() if curve]
    parts += end_labels(ends, x, y, width)
    described = "; ".join(
        f"{words}: {', '.join(f'{at:g} samples {value:.3g} bits' for _, at, value in own)}"
        for words, own in curves.items()
    )
    return drawing(width, height, "Bits a sample by receptive field", described, *parts)
