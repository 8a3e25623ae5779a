"""``table1.tex``: the measured table as a document that compiles as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.report import tables
from zoo.report import verdicts as rules
from zoo.report.tables import HEADERS, Member
from zoo.report.text import behind, latex

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
    rows = []
    for group, title, of in tables.by_group(tables.members(study, dataset)):
        said = (rf"\textit{{{rules.literature(group, column) or '--'}}}" for column in HEADERS)
        rows += [r"\midrule", _row(rf"\textbf{{{latex(title)}}}", *said)]
        rows += [_row(rf"\quad {latex(line.label)}", *(_cell(line, column) for column in HEADERS)) for line in of]
    return "\n".join(
        [
            r"\begin{table}[p]",
            r"\centering\small",
            rf"\caption{{{CAPTION % latex(dataset)}{quick}}}",
            r"\begin{tabular}{lL{42mm}L{40mm}L{42mm}L{32mm}L{32mm}}",
            r"\toprule",
            _row("Family", *HEADERS.values()),
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _cell(line: Member, column: str) -> str:
    verdict = line.verdicts[column]
    mark = r"$^\dagger$" if line.disagrees(column) else ""
    told = behind(verdict)
    return f"{verdict.word}{mark}" + (f" ({latex(told)})" if told else "")


def _row(*cells: str) -> str:
    return " & ".join(cells) + r" \\"
