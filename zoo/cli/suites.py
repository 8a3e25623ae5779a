"""Commands that compare: compare, report, bench."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.app import answering, app, print_json, stop
from zoo.cli.options import (
    CommonOptions,
    Device,
    ExecutorName,
    ExecutorOptions,
    Figures,
    Json,
    Memory,
    Quiet,
    Reports,
    With,
    unfold,
)
from zoo.cli.parse import bytes_of, suite_of

if TYPE_CHECKING:
    from zoo.report.study import Study


@app.command()
@unfold
def compare(
    options: CommonOptions,
    names: Annotated[list[str] | None, typer.Argument(help="A suite (table1), a suite's TOML, or families.")] = None,
    data: Annotated[str | None, typer.Option(help="Data instead of the suite's: a name, a file or a folder.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds instead of the suite's; may be repeated.")] = None,
    device: Device = "auto",
    particles: Annotated[int | None, typer.Option(min=1, help="Particles instead of the suite's.")] = None,
    memory: Memory = "1GiB",
    quick: Annotated[bool, typer.Option("--quick", help="One seed, short budgets; not to be quoted.")] = False,
    evaluation: Annotated[
        list[str] | None, typer.Option("-e", "--evaluation", help="Instead of the suite's; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the report instead of the suite's, or 'own'.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; as many as cores if 0.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads of each run.")] = 1,
    executor: ExecutorName = "local",
    executor_option: ExecutorOptions = None,
    reports: Reports = Path("reports"),
    figures: Figures = None,
    as_json: Json = False,
) -> None:
    """Train, measure and report a suite, or the families named."""
    with answering():
        from zoo.experiments.compare import compare as run_suite
        from zoo.experiments.display import Display
        from zoo.experiments.executors.executor import read_options
        from zoo.experiments.plan import Options
        from zoo.report.export import formats_of
        from zoo.report.writing import write_report

        formats = formats_of(figures) if figures is not None else ()
        names = names or ["table1"]
        suite = suite_of(names, options.with_, data, name)
        suite = suite.quickened() if quick else suite
        changed = [options.named(each) for each in ([data] if data else suite.data)]
        changes = {"seeds": seed, "particles": particles, "data": changed if data or changed != suite.data else None}
        changes |= {"evaluations": evaluation}
        suite = suite.changed(once={}) if evaluation else suite
        suite = suite.changed(**{key: value for key, value in changes.items() if value})
        plan = Options(
            runs=options.runs,
            device=device,
            workers=workers,
            threads=threads,
            data_dir=options.data_dir,
            files=(*(options.with_ or []), *(Path(each) for each in names if each.endswith(".py"))),
            data=options.spec(suite.data[0]),
            recipe=options.recipe,
            hyper=options.hyper,
            memory=bytes_of(memory),
            quick=quick,
            unchecked=options.unchecked,
            command="zoo " + " ".join(sys.argv[1:]),
            folder=reports / suite.name,
            executor=executor,
            executor_options=read_options(executor_option or []),
        )
        study = run_suite(suite, plan, Display(options.quiet))
        answer(study, write_report(study, reports / suite.name, formats), as_json)


def answer(study: Study, paths: Sequence[Path], as_json: bool) -> None:
    """Name the files of a report; a failure in it ends the command with code 1."""
    print_json([str(path) for path in paths]) if as_json else typer.echo(paths[0])
    failed = sorted({row["reason"] for row in study.scores if row["status"] == "failed"})
    if failed:
        stop(f"{len(failed)} failure(s), each a row of the report; first: {failed[0]}", 1)


@app.command()
def report(
    suite: Annotated[str, typer.Argument(help="The suite whose stored scores are reported again.")] = "table1",
    with_: With = None,
    reports: Reports = Path("reports"),
    figures: Figures = None,
    as_json: Json = False,
) -> None:
    """Write a report again from its stored scores; nothing is trained."""
    with answering():
        from zoo.pairs.plugins import load_families
        from zoo.report.export import formats_of
        from zoo.report.study import Study
        from zoo.report.writing import write_report

        formats = formats_of(figures) if figures is not None else ()
        load_families(with_ or [])
        paths = write_report(Study.load(reports / suite), reports / suite, formats)
        print_json([str(path) for path in paths]) if as_json else typer.echo(paths[0])


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each contender is timed once in every one.")] = 7,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads.")] = 2,
    only: Annotated[list[str] | None, typer.Option(help="Only this row; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; memory is measured on the CPU alone.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="One small row, few rounds; not to be quoted.")] = False,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Time training, sampling, flows and memory against Pyro, torch, NumPyro and libraries of flows."""
    with answering():
        from zoo import engine
        from zoo.bench.measure import bench as measure
        from zoo.bench.page import write_bench
        from zoo.bench.rows import rows
        from zoo.bench.table import table
        from zoo.devices import pick_device

        chosen = rows(only or [], quick)
        rounds, turn = (min(rounds, 3), 0.1) if quick else (rounds, 0.5)

        def watch(news: str) -> None:
            if not quiet:
                typer.echo(news, err=True)

        where = pick_device(device)
        engine.calibration(threads)
        timings = measure(chosen, rounds, threads, turn, watch, where)
        paths = write_bench(timings, reports / "bench")
        print_json([asdict(timing) for timing in timings]) if as_json else typer.echo(table(timings))
        if not as_json and not quiet:
            for path in paths:
                typer.echo(path)
