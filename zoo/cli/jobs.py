"""Commands on the jobs of a suite: status, gather, cancel."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.app import answering, app, print_json, print_table
from zoo.cli.options import Figures, Json, Reports

SuiteName = Annotated[str, typer.Argument(help="A suite that zoo compare was given, or the folder of its report.")]


@app.command()
def status(suite: SuiteName = "table1", reports: Reports = Path("reports"), as_json: Json = False) -> None:
    """Say how far each run of a suite has come: finished, running, waiting or failed."""
    with answering():
        from zoo.experiments.status import WORDS, states

        found = states(_folder(suite, reports))
        if as_json:
            print_json({name: {"state": state.word, "detail": state.detail} for name, state in found.items()})
            return
        print_table([("run", "state", ""), *((name, state.word, state.detail) for name, state in found.items())])
        counts = Counter[str](state.word for state in found.values())
        typer.echo(f"{len(found)} runs: " + ", ".join(f"{counts[word]} {word}" for word in WORDS))


@app.command()
def gather(
    suite: SuiteName = "table1", reports: Reports = Path("reports"), figures: Figures = None, as_json: Json = False
) -> None:
    """Write the report of a suite from what there is; nothing is trained or measured."""
    with answering():
        from zoo.cli.suites import answer
        from zoo.experiments.compare import gather as study_of
        from zoo.report.export import formats_of
        from zoo.report.writing import write_report

        formats = formats_of(figures) if figures is not None else ()
        folder = _folder(suite, reports)
        study = study_of(folder)
        answer(study, write_report(study, folder, formats), as_json)


@app.command()
def cancel(suite: SuiteName = "table1", reports: Reports = Path("reports")) -> None:
    """Stop the jobs of a suite that run or wait; zoo compare goes on from where they are."""
    with answering():
        from zoo.experiments.folder import JOBS, read_plan
        from zoo.experiments.folder import cancel as mark

        folder = _folder(suite, reports)
        stored = read_plan(folder)
        mark(folder)
        typer.echo(f"{stored.suite.name} is cancelled: training stops within seconds, an evaluation when it is done")
        if stored.options.executor == "submitit":
            from zoo.experiments.executors.submitit import cancel_queued

            typer.echo(f"jobs and arrays of jobs cancelled on SLURM: {cancel_queued(folder / JOBS)}")


def _folder(suite: str, reports: Path) -> Path:
    """The folder of a suite's report, which ``suite`` is or names."""
    return Path(suite) if (Path(suite) / "jobs").is_dir() else reports / suite
