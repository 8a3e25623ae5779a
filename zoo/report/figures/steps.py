"""Where the nats of a diffusion are: the ELBO's terms by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zoo.report import text
from zoo.report.figures.svg import Scale, drawing, grid, label, polyline, room_for_ticks, tag, tick

WIDTH = 640.0


def steps(nats: Sequence[float], others: Mapping[str, float], width: float = WIDTH) -> str:
    """Nats against the step t, the area under which is the term ``diffusion``; the other terms and the total in words.

    Args:
        nats: of steps 1, 2, ....
        others: the ELBO's other terms by name, in nats.
        width: in px.
    """
    height, top, bottom, total = 340.0, 28.0, 290.0, sum(nats)
    y = Scale(min(0.0, *nats), 1.06 * max(*nats, 1e-9), bottom, top)
    x = Scale(0.0, float(len(nats)), max(46.0, room_for_ticks(y)), width - 12)
    corners = [(t + side, value) for t, value in enumerate(nats) for side in (0.0, 1.0)]
    area = " ".join(f"{x(t):.1f},{y(value):.1f}" for t, value in [(0.0, 0.0), *corners, (float(len(nats)), 0.0)])
    terms = {"diffusion": total, **others}
    words = f"{text.number(sum(terms.values()))} nats: " + ", ".join(f"{n} {text.number(v)}" for n, v in terms.items())
    parts = [
        label(0, 12, "nats of step t; the area is the term diffusion", "quiet"),
        grid(x, y, tick),
        tag("polygon", points=area, class_="g-diffusion bar pale"),
        polyline(corners, x, y, "g-diffusion curve"),
        label(x.start + 8, top + 4, words, "ink"),
        label(width - 12, height - 12, "step t (1: the least noise)", "quiet", "end"),
    ]
    return drawing(width, height, "The ELBO by step", words, *parts)
