"""The application: what all commands share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from zoo.cli.options import With
from zoo.errors import RunError, ZooError

app = typer.Typer(
    help="A probabilistic-programming model zoo: declare a Pyro pair; train, measure and compare it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _zoo(context: typer.Context, with_: With = None) -> None:
    if with_:  # before the command as well as after it: zoo --with mine.py list
        given = {"with_": [str(path) for path in with_]}
        context.default_map = dict.fromkeys(context.command.list_commands(context), given)  # type: ignore[attr-defined]
        context.default_map["data"] = {"fetch": given}


@contextmanager
def answering() -> Iterator[None]:
    """The user's mistake, such as a file that cannot be written, is one sentence and exit code 2; a failed run 1; an
    interrupt 130."""
    try:
        yield
    except RunError as error:
        stop(str(error), 1)
    except ZooError as error:
        stop(str(error), 2)
    except OSError as error:
        stop(f"{error.filename or 'a file'} cannot be read or written: {error.strerror or error}", 2)
    except KeyboardInterrupt:
        stop("stopped; the same command resumes from here", 130)


def stop(message: str, code: int) -> None:
    typer.echo(f"zoo: {message}", err=True)
    raise typer.Exit(code)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of cells, the first of them the headings, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False))
