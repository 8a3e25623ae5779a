"""``bench/index.html``: the benchmark as one self-contained page in the style of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from zoo.bench.measure import Timing
from zoo.bench.rows import rows
from zoo.bench.table import Block, blocks, cell, notes, write_csv
from zoo.engine.cost import MODES
from zoo.files import write_text
from zoo.report.figures.svg import LETTER, Scale, drawing, label, line, numbered, tag

OWN = {*MODES, "zoo", "incremental"}
"""The contenders of this project."""
CHAPTERS = {
    "pyro": ("Training", "One step of stochastic variational inference with Adam, the batch resident."),
    "naive": ("Sampling entry by entry", "One batch of draws: a stream that remembers, against a whole pass an entry."),
    "zoo": ("Flows", "One batch of log-densities or draws of the same RealNVP, untrained, without gradients."),
    "eager": ("Memory", "The most resident memory of a process that does nothing but train, libraries included."),
}
"""Reference -> title and what a unit of work is."""
SENTENCES = {
    "pyro": "A step of this project's quickest engine takes {} of pyro.infer.SVI's time.",
    "naive": "Streams that remember take {} of the time of whole passes.",
    "zoo": "The quickest library of flows takes {} of this project's time.",
    "eager": "The hungriest engine takes {} of the plain one's memory.",
}
"""Reference -> the sentence that sums up the ratios."""
WIDTH, BAR, LEAST = 420.0, 19.0, 1.25
"""Of a figure in px, of a bar with its gap, and the smallest ratio that its axis ends at."""
FARTHEST = 4.0
"""Bars of larger ratios are cut."""


@dataclass(frozen=True)
class Card:
    """The figure of one row."""

    row: str
    about: str
    figure: Markup


@dataclass(frozen=True)
class Chapter:
    """What the page shows of one block."""

    title: str
    note: str
    block: Block
    cards: list[Card]
    notes: list[Timing]


def write_bench(timings: Sequence[Timing], folder: Path) -> list[Path]:
    """Write ``bench.csv`` and ``index.html``; returns their paths."""
    page = render(timings)
    write_csv(timings, folder / "bench.csv")
    write_text(folder / "index.html", page)
    return [folder / "bench.csv", folder / "index.html"]


def render(timings: Sequence[Timing]) -> str:
    """The whole page: no script, no request to anywhere, light and dark, readable on a phone."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("zoo.bench", "."), PackageLoader("zoo.report", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"cell": cell, "written": _written}
    page = environment.get_template("bench.html.j2").render(
        summary=summary(timings),
        chapters=[_chapter(block) for block in blocks(timings)],
        facts=_facts(timings),
    )
    return numbered(page)


def summary(timings: Sequence[Timing]) -> str:
    """One sentence per block: the range of its decisive ratio over the rows."""
    return " ".join(filter(None, map(_said, blocks(timings)))) or "Nothing was measured."


def bars(timings: Sequence[Timing], reference: str) -> str:
    """A bar for each contender that was measured, the quickest first, with a line from its least to its most."""
    base = next((timing.value for timing in timings if timing.contender == reference), None)
    measured = sorted(((t.value / base, t) for t in timings if t.value and base), key=lambda item: item[0])
    if not measured or not base:
        return ""
    left = max(len(timing.contender) for _, timing in measured) * LETTER + 10
    farthest = max(LEAST, min(FARTHEST, measured[-1][0]))
    x = Scale(0.0, farthest, left, WIDTH - 44)
    bottom = BAR * len(measured)
    parts = [line(x(1.0), 0, x(1.0), bottom, "floor")]
    for number, (ratio, timing) in enumerate(measured):
        parts += _bar(timing, ratio, base, x, BAR * (number + 0.5))
    described = "; ".join(f"{timing.contender} {ratio:.3g}" for ratio, timing in measured)
    return drawing(WIDTH, bottom + 4, f"Ratio to {reference}; less is better", described, *parts)


def _bar(timing: Timing, ratio: float, base: float, x: Scale, y: float) -> list[str]:
    end = x(min(ratio, x.high))
    ours = "g-autoregressive" if timing.contender in OWN else "g-floor"
    low, high = (x(min((each or 0.0) / base, x.high)) for each in (timing.least, timing.most))
    return [
        label(0, y + 4, timing.contender, "ink"),
        tag("rect", x=x.start, y=y - 6, width=max(end - x.start, 1.0), height=12.0, class_=f"{ours} full"),
        line(low, y, high, y, "axis"),
        label(WIDTH, y + 4, f"{ratio:.3g}", "ink", "end"),
    ]


def _chapter(block: Block) -> Chapter:
    about = {row.name: row.about for row in rows()}
    title, note = CHAPTERS[block.reference]
    cards = [
        Card(row, about.get(row, ""), Markup(bars(list(timings.values()), block.reference)))
        for row, timings in block.rows.items()
    ]
    return Chapter(title, note, block, cards, notes(block.timings))


def _said(block: Block) -> str:
    """The range over rows of the ratio that matters: this project's, or the others' where it is the reference."""
    ours, pick = block.reference != "zoo", max if block.unit == "MiB" else min
    ratios = []
    for timings in block.rows.values():
        found = [t.ratio for t in timings.values() if t.ratio and (t.contender in OWN) is ours]
        ratios += [pick(found)] if found else []
    ends = dict.fromkeys(f"{end:.2g}" for end in (min(ratios, default=0), max(ratios, default=0)))
    return SENTENCES[block.reference].format(" to ".join(ends)) if ratios else ""


def _facts(timings: Sequence[Timing]) -> dict[str, object]:
    if not timings:
        return {}
    first = timings[0]
    rounds = max(timing.rounds for timing in timings)
    return {"machine": first.machine, "torch threads": first.threads, "versions": first.versions, "rounds": rounds}


def _written(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
