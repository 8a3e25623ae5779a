"""What a person reads: a page, Markdown, CSV and LaTeX, drawn from stored scores only."""

from zoo.report.study import Study, write_report

__all__ = ["Study", "write_report"]
