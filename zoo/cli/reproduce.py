"""The command that tries published numbers: reproduce."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.app import answering, app, print_json, print_table, stop
from zoo.cli.options import (
    DataDir,
    Device,
    ExecutorName,
    ExecutorOptions,
    Json,
    Memory,
    Quiet,
    Reports,
    Runs,
    With,
)
from zoo.cli.parse import bytes_of


@app.command()
def reproduce(
    names: Annotated[list[str] | None, typer.Argument(help="Rows; without any, those that have no number.")] = None,
    rows: Annotated[Path | None, typer.Option(help="A TOML of rows instead of the zoo's.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Write the page from the records, and run nothing.")] = False,
    docs: Annotated[Path, typer.Option(help="Folder of reproduced.md and of its records.")] = Path("docs"),
    device: Device = "auto",
    memory: Memory = "1GiB",
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; as many as cores if 0.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads of each run.")] = 1,
    executor: ExecutorName = "local",
    executor_option: ExecutorOptions = None,
    data_dir: DataDir = None,
    with_: With = None,
    runs: Runs = Path("runs"),
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run rows of published tables, and write what was obtained against what is published."""
    with answering():
        from zoo.experiments import reproduce as tried
        from zoo.experiments.claims import chosen, load_claims
        from zoo.experiments.display import Display
        from zoo.experiments.executors.executor import read_options
        from zoo.experiments.plan import Options
        from zoo.report.reproduced import HEADERS, lines, write_reproduced
        from zoo.report.reproduction import judge

        known = load_claims(rows)
        asked = list(chosen(known, names or []))
        if not names:
            asked = [attempt.name for attempt in tried.attempts(known, docs) if tried.missing(attempt)]
        options = Options(
            runs=runs,
            device=device,
            workers=workers,
            threads=threads,
            data_dir=data_dir,
            files=tuple(with_ or ()),
            memory=bytes_of(memory),
            executor=executor,
            executor_options=read_options(executor_option or []),
        )
        for name in [] if page else asked:
            command = f"zoo reproduce {name}" + (f" --rows {rows}" if rows else "")
            obtained = tried.reproduce(name, known[name], replace(options, command=command), Display(quiet))
            tried.write_record(docs, obtained)
        found = tried.attempts(known, docs)
        paths = write_reproduced(found, docs, reports / "reproduced")
        if as_json:
            print_json([dict(zip(HEADERS, line.cells, strict=True)) for line in lines(found)])
        else:
            print_table([HEADERS, *(line.cells for line in lines(found) if line.name in asked or page)])
            for path in [] if quiet else paths:
                typer.echo(path)
        failed = [attempt.name for attempt in found if attempt.name in asked and judge(attempt).word == "failed"]
        if failed and not page:
            stop(f"{len(failed)} row(s) failed, each with its reason on the page; first: {failed[0]}", 1)
