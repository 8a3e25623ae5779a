"""``report.md``: the tables of a report for GitHub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.pairs.declarations import Column
from zoo.report import tables
from zoo.report.neighbours import neighbours
from zoo.report.numbers import LEGEND, numbers
from zoo.report.paired import paired
from zoo.report.tables import Member
from zoo.report.text import behind, markdown, remarks
from zoo.report.uses import uses
from zoo.report.verdicts import columns

if TYPE_CHECKING:
    from zoo.report.study import Study

QUICK = "A quick run: few seeds and short budgets. It shows that everything works, and is not to be quoted."


def render(study: Study) -> str:
    """The whole report as GitHub's Markdown."""
    parts = [f"# Generative models, measured: {markdown(study.suite)}"]
    if study.quick:
        parts.append(f"> **{QUICK}**")
    for dataset in tables.datasets(study):
        parts += _dataset(study, dataset)
    parts += ["## Failures", _failures(study)]
    parts += ["## Rules", "\n".join(f"- **{markdown(column.title)}:** {markdown(column.rule)}" for column in columns())]
    parts += ["## Provenance", "\n".join(f"- {markdown(name)}: {markdown(fact)}" for name, fact in tables.facts(study))]
    return "\n\n".join(parts) + "\n"


def _dataset(study: Study, dataset: str) -> list[str]:
    lines = tables.members(study, dataset)
    parts = [f"## {markdown(dataset)}"]
    if sentence := tables.source(study, dataset):
        parts.append(markdown(sentence))
    words = f"In italics the literature's verdicts; ≠ marks where a measured one differs. {LEGEND}"
    words = " ".join(filter(None, [words, markdown(tables.unmentioned(lines)), markdown(tables.left_out(lines))]))
    parts += [words, _verdicts(lines, tables.leading(lines))]
    if more := tables.answered(lines, columns(optional=True)):
        parts += ["### More columns", _verdicts(lines, more)]
    likelihood, *others = numbers(lines).values()
    for table in (likelihood, *paired(study, dataset), *others, *uses(lines), neighbours(study, lines)):
        if not table.lines:
            continue
        rows = [[label, *cells] for label, cells in table.lines]
        body = _table(["family", *map(markdown, table.headers)], [[markdown(cell) for cell in row] for row in rows])
        parts += [f"### {markdown(table.title)}", markdown(table.note), body]
    return parts


def _verdicts(lines: Sequence[Member], shown: Sequence[Column]) -> str:
    rows = []
    for group, title, of in tables.by_group(lines):
        literature = [markdown(column.literature.get(group, "")) for column in shown]
        rows.append([f"**{markdown(title)}**", *(f"*{word}*" if word else "" for word in literature)])
        rows += [[markdown(line.label), *(_cell(line, column) for column in shown)] for line in of]
    return _table(["family", *(markdown(column.title) for column in shown)], rows)


def _cell(line: Member, column: Column) -> str:
    verdict = line.verdicts[column.name]
    mark = f" ≠ *{markdown(column.literature[line.group])}*" if line.agrees(column) is False else ""
    parts = [markdown(part) for part in (behind(verdict), *remarks(verdict)) if part]
    return "<br>".join([f"**{markdown(verdict.word)}**{mark}", *parts])


def _failures(study: Study) -> str:
    failed = tables.unanswered(study, "failed")
    if not failed:
        return "Nothing failed."
    return _table(["family", "where", "what", "why"], [[markdown(cell) for cell in row] for row in failed])


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
