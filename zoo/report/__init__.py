"""The report of a comparison: verdicts, tables and figures, drawn from stored scores only.

A table or figure is a function of a `Study`; nothing here trains, evaluates or reads a run.
"""
