"""``index.html``: the report as one self-contained page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from zoo.report import figures, tables, text, use
from zoo.report.active import AGAINST, Answered, note_on
from zoo.report.active import figure as active_figure
from zoo.report.active import table as active_table
from zoo.report.figures.svg import numbered
from zoo.report.markdown import QUICK
from zoo.report.neighbours import neighbours
from zoo.report.numbers import LEGEND, Table, numbers, points
from zoo.report.paired import paired
from zoo.report.pictures import densities, latents, molecules, pictures, strips
from zoo.report.pictures import neighbours as neighbours_shown
from zoo.report.tables import Member
from zoo.report.uses import uses
from zoo.report.verdicts import UNMEASURED, columns

if TYPE_CHECKING:
    from zoo.report.study import Study

MOLECULES = "molecules"
"""The part of what evaluations keep that is shown among the pictures, on the first page."""
WIDE, NARROW = 880.0, 348.0
"""Widths in px of the figures for a large screen and for a phone."""


def render(study: Study, answered: Sequence[Answered] = ()) -> str:
    """The whole page: no network request, light and dark, readable on a phone and without its one script.

    With ``answered``, or anything else in use, it refers to the second page (see `render_use`).
    """
    chapters = [_chapter(study, dataset, f"data-{number}") for number, dataset in enumerate(tables.datasets(study), 1)]
    page = template("page.html.j2").render(
        study=study,
        quick=QUICK if study.quick else "",
        summary=summary(study),
        optional=columns(optional=True),
        rules=columns(),
        legend=LEGEND,
        group_of=_groups(study),
        chapters=chapters,
        used=used(study, answered),
        failed=tables.unanswered(study, "failed"),
        skipped=tables.unanswered(study, "skipped"),
        facts=tables.facts(study),
        date=study.provenance.get("date", ""),
        command=study.provenance.get("command", ""),
    )
    return numbered(page)


def render_use(study: Study, answered: Sequence[Answered] = ()) -> str:
    """The second page, of models in use, as the first one is; ``answered`` are the rounds of active learning, if any.

    Empty if there is nothing in use.
    """
    if not used(study, answered):
        return ""
    chapters = []
    for place, dataset in enumerate(tables.datasets(study), 1):
        lines = tables.members(study, dataset)
        if _in_use(study, dataset):
            drawn = use.shown(study, dataset, lines)
            where = {"name": dataset, "place": f"data-{place}"}
            chapters.append({**where, "tables": _use_tables(lines), "shown": drawn})
    active = None
    if answered:
        headers, body = active_table(answered, AGAINST)
        curves = Markup(active_figure(answered, AGAINST))
        active = {"figure": curves, "headers": headers, "lines": body, "note": note_on(answered)}
    page = template("use.html.j2").render(
        study=study,
        quick=QUICK if study.quick else "",
        group_of=_groups(study),
        chapters=chapters,
        active=active,
        date=study.provenance.get("date", ""),
    )
    return numbered(page)


def used(study: Study, answered: Sequence[Answered] = ()) -> bool:
    """Whether there is a second page."""
    return bool(answered) or any(_in_use(study, dataset) for dataset in tables.datasets(study))


def _in_use(study: Study, dataset: str) -> bool:
    parts = {part for kept in study.uses.get(dataset, {}).values() for part in kept}
    return bool(parts - {MOLECULES}) or bool(_use_tables(tables.members(study, dataset)))


def _kept(study: Study, dataset: str, part: str) -> dict[str, Any]:
    """What the evaluation called ``part`` has kept, by label."""
    return {label: kept[part] for label, kept in study.uses.get(dataset, {}).items() if part in kept}


def _use_tables(lines: Sequence[Member]) -> list[Table]:
    imputation = numbers(lines)["imputation"]
    return [*uses(lines), *([imputation] if imputation.lines else [])]


def _groups(study: Study) -> dict[str, str]:
    return {line.label: line.group for line in tables.all_members(study)}


def template(name: str) -> Template:
    """A page's template with what all pages share."""
    environment = Environment(
        loader=PackageLoader("zoo.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "behind": text.behind,
        "spread": text.spread,
        "sentences": text.reasons,
        "tone": tables.tone,
        "repeated": tables.repeated,
        "breakable": breakable,
        "unmeasured": UNMEASURED,
    }
    return environment.get_template(name)


def breakable(name: str) -> Markup:
    """A label that may break after a colon or a comma."""
    return Markup("<wbr>").join(re.split(r"(?<=[:,])", name))


def summary(study: Study) -> str:
    """One paragraph: what was compared, how many verdicts agree with the literature's, the best likelihood."""
    lines = tables.all_members(study)
    members = {line.label for line in lines if line.group != "floor"}
    groups = {line.group for line in lines if line.group not in ("", "floor")}
    compared, apart = tables.comparisons(lines), len(tables.disagreements(lines))
    sentences = [
        f"{_count(len(members), 'model')} of {_count(len(groups), 'group')} on {_and(tables.datasets(study))}, "
        f"{_count(tables.seeds(study), 'seed')} each."
    ]
    if compared:
        sentences.append(
            f"Of {_count(compared, 'verdict')} that have a counterpart in the literature's table, "
            f"{compared - apart} agree and {apart} {'differs' if apart == 1 else 'differ'}."
        )
    sentences += [tables.unmentioned(lines)]
    sentences += [_best(tables.members(study, dataset)) for dataset in tables.datasets(study)]
    return " ".join(filter(None, sentences))


def _best(lines: Sequence[Member]) -> str:
    """The lowest nats that are exact or a bound: an estimate by an unknown log Z may be too low."""
    scored = [(line, line.pool("likelihood", "nats")) for line in lines if line.group != "floor"]
    known = [(line, score) for line, score in scored if score.state == "ok" and score.kind != "estimate"]
    if not known:
        return ""
    line, score = min(known, key=lambda item: item[1].number)
    bound = "at most " if score.kind == "lower bound" else ""
    over = f" on {score.n} test data" if score.n else ""
    nats = text.plus_minus(score.number, score.stderr)
    return f"The best likelihood on {line.dataset} is {line.label}'s: {bound}{nats} nats per datum{over}."


def _chapter(study: Study, dataset: str, place: str) -> dict[str, Any]:
    """What the page shows of one data set, at ``place``."""
    lines = tables.members(study, dataset)
    shown = study.pictures.get(dataset)
    named = {line.label: line for line in lines}
    groups = {label: line.group for label, line in named.items()}
    curves = [row for row in study.curves if row["dataset"] == dataset]
    return {
        "name": dataset,
        "place": place,
        "places": {line.label: f"{place}-{number}" for number, line in enumerate(lines, 1)},
        "source": tables.source(study, dataset),
        "groups": tables.by_group(lines),
        "columns": tables.leading(lines),
        "left_out": tables.left_out(lines),
        "notes": tables.repeated(
            words for line in lines for verdict in line.verdicts.values() for words in text.reasons(verdict)
        ),
        "findings": tables.findings(lines),
        "ranking": _for_screens(figures.ranking, lines),
        "gaps": _for_screens(figures.elbo_gaps, lines),
        "parts": _for_screens(figures.elbo_parts, lines),
        "brackets": _for_screens(figures.brackets, lines),
        "numbers": numbers(lines),
        "used": _in_use(study, dataset),
        "learning": [
            (label, Markup(nats), Markup(discrepancy)) for label, nats, discrepancy in figures.learning(curves, lines)
        ],
        "pictures": molecules(_kept(study, dataset, MOLECULES), groups) or (pictures(shown, groups) if shown else []),
        "densities": densities(shown, groups) if shown else [],
        "latents": latents(shown, groups) if shown else [],
        "paired": paired(study, dataset),
        "neighbours": neighbours(study, lines),
        "neighbours_shown": neighbours_shown(shown, groups) if shown else [],
        "speed": [
            drawn
            for draw in (figures.speed_and_likelihood, figures.speed_and_quality, figures.passes_and_quality)
            if (drawn := _for_screens(draw, lines, 440))
        ],
        "fields": _for_screens(figures.bits_by_field, lines, 640),
        "rates": _for_screens(figures.rate_distortion, lines, 640),
        "strips": strips(shown, lambda label, grid: points(named[label], grid)) if shown else {},
    }


def _for_screens(
    draw: Callable[[Sequence[Member], float], str], lines: Sequence[Member], wide: float = WIDE
) -> Markup | None:
    """A figure for a large screen and for a phone; the style sheet shows one of them."""
    figure = Markup('<div class="wide">{}</div>\n<div class="narrow">{}</div>')
    drawn = draw(lines, wide)
    return figure.format(Markup(drawn), Markup(draw(lines, NARROW))) if drawn else None


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _and(words: Iterable[str]) -> str:
    *most, last = list(words) or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last
