"""``table1.tex``: the measured table, to be put into a document by ``\\input``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.pairs.declarations import Column
from zoo.report import tables
from zoo.report.tables import Member
from zoo.report.text import behind, latex
from zoo.report.verdicts import columns

if TYPE_CHECKING:
    from zoo.report.study import Study

HEAD = r"""% Tables for \input{table1}, in a document with
%   \documentclass{article}
%   \usepackage[T1]{fontenc}
%   \usepackage{array, booktabs, textcomp}
"""
FAMILY = 0.16
"""The share of the line that the families' column takes; the others have the rest, in proportion to their widths."""
CAPTION = (
    r"Measured verdicts, with the numbers behind them, on \textsf{%s}. In italics the verdicts of the literature; "
    r"$\dagger$ marks where a measured one differs."
)


def render(study: Study) -> str:
    """A table for each data set, and one of the optional columns that are answered."""
    found = list[str]()
    for dataset in tables.datasets(study):
        lines = tables.members(study, dataset)
        choices = tables.leading(lines), tables.answered(lines, columns(optional=True))
        found += [_table(study, dataset, lines, chosen) for chosen in choices if chosen]
    return HEAD + "\n\n".join(found) + "\n"


def _table(study: Study, dataset: str, lines: Sequence[Member], shown: Sequence[Column]) -> str:
    quick = r" \textbf{A quick run, not to be quoted.}" if study.quick else ""
    unmentioned = latex(f" {sentence}" if (sentence := tables.unmentioned(lines)) else "")
    shares = [(1 - FAMILY) * column.width / sum(each.width for each in shown) for column in shown]
    widths = "".join(_paragraph(share) for share in (FAMILY, *shares))
    rows = []
    for group, title, of in tables.by_group(lines):
        literature = (rf"\textit{{{latex(column.literature.get(group, '')) or '--'}}}" for column in shown)
        rows += [r"\midrule", _row(rf"\textbf{{{latex(title)}}}", *literature)]
        rows += [_row(rf"\quad {latex(line.label)}", *(_cell(line, column) for column in shown)) for line in of]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{0pt}",
            rf"\caption{{{CAPTION % latex(dataset)}{unmentioned}{quick}}}",
            rf"\begin{{tabular}}{{{widths}}}",
            r"\toprule",
            _row("Family", *(latex(column.title) for column in shown)),
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _paragraph(share: float) -> str:
    """A ragged column of this share of the line, with a gap at its end."""
    return rf">{{\raggedright\arraybackslash}}p{{{share - 0.01:.3f}\linewidth}}@{{\hspace{{0.01\linewidth}}}}"


def _cell(line: Member, column: Column) -> str:
    verdict = line.verdicts[column.name]
    mark = r"$^\dagger$" if line.agrees(column) is False else ""
    number = behind(verdict)
    return f"{latex(verdict.word)}{mark}" + (f" ({latex(number)})" if number else "")


def _row(*cells: str) -> str:
    return " & ".join(cells) + r" \\"
