"""``table1.tex``: the measured table as a document that compiles as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.pairs.declarations import Column
from zoo.report import tables
from zoo.report.tables import Member
from zoo.report.text import behind, latex
from zoo.report.verdicts import columns

if TYPE_CHECKING:
    from zoo.report.study import Study

HEAD = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{array}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\newcolumntype{L}[1]{>{\raggedright\arraybackslash}p{#1}}
\begin{document}
"""
WIDTH = 188
"""Of all columns of verdicts, in mm: what a landscape page leaves."""
CAPTION = (
    r"Measured verdicts, with the numbers behind them, on \textsf{%s}. In italics the verdicts of the literature; "
    r"$\dagger$ marks where a measured one differs."
)


def render(study: Study) -> str:
    """A LaTeX document with a table for each data set."""
    bodies = [_table(study, dataset) for dataset in tables.datasets(study)]
    return HEAD + "\n\\clearpage\n".join(bodies) + "\n\\end{document}\n"


def _table(study: Study, dataset: str) -> str:
    quick = r" \textbf{A quick run, not to be quoted.}" if study.quick else ""
    room = min(1.0, WIDTH / sum(column.width for column in columns()))
    widths = "".join(f"L{{{room * column.width:.0f}mm}}" for column in columns())
    rows = []
    for group, title, of in tables.by_group(tables.members(study, dataset)):
        literature = (rf"\textit{{{latex(column.literature.get(group, '')) or '--'}}}" for column in columns())
        rows += [r"\midrule", _row(rf"\textbf{{{latex(title)}}}", *literature)]
        rows += [_row(rf"\quad {latex(line.label)}", *(_cell(line, column) for column in columns())) for line in of]
    return "\n".join(
        [
            r"\begin{table}[p]",
            r"\centering\small",
            rf"\caption{{{CAPTION % latex(dataset)}{quick}}}",
            rf"\begin{{tabular}}{{l{widths}}}",
            r"\toprule",
            _row("Family", *(latex(column.title) for column in columns())),
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _cell(line: Member, column: Column) -> str:
    verdict = line.verdicts[column.name]
    mark = r"$^\dagger$" if line.agrees(column) is False else ""
    number = behind(verdict)
    return f"{latex(verdict.word)}{mark}" + (f" ({latex(number)})" if number else "")


def _row(*cells: str) -> str:
    return " & ".join(cells) + r" \\"
