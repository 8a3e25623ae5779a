"""Commands on one family: train, evaluate, sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.app import answering, app, print_json
from zoo.cli.options import (
    Against,
    Background,
    Device,
    ExecutorName,
    ExecutorOptions,
    Json,
    Memory,
    Name,
    Particles,
    RunOptions,
    unfold,
)
from zoo.cli.parse import Prepared, bytes_of


@app.command()
@unfold
def train(
    name: Name,
    options: RunOptions,
    device: Device = "auto",
    tracker: Annotated[
        list[str] | None, typer.Option("--tracker", help="tensorboard, mlflow or wandb. May be repeated.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="As --tracker tensorboard.")] = False,
    executor: ExecutorName = "local",
    executor_option: ExecutorOptions = None,
    as_json: Json = False,
) -> None:
    """Train one family with one seed; a killed run resumes where it was, a finished one is left alone."""
    with answering():
        from zoo.experiments.executors.executor import executor_of, read_options

        prepared = Prepared.of(name, options)
        run, quiet = prepared.run, options.quiet or as_json
        trackers = list(dict.fromkeys([*(tracker or []), *["tensorboard"] * tensorboard]))
        own = read_options(executor_option or [])
        elsewhere = executor_of(executor, own, workers=1, device=device, folder=run.folder / "jobs")
        if executor == "local":
            from zoo.runs.trackers import Tracker

            prepared.train(device, quiet, *[Tracker(each, run, prepared.config) for each in trackers])
        else:
            from zoo.experiments.display import Display
            from zoo.experiments.elsewhere import train_elsewhere

            train_elsewhere(
                elsewhere,
                run,
                prepared.config,
                device=device,
                data_dir=options.data_dir,
                trackers=trackers,
                display=Display(quiet),
            )
        status = run.status
        if as_json:
            print_json({"folder": str(run.folder), **status})
        elif not options.quiet:
            if status["remark"]:
                typer.echo(f"engine: {status['remark']}", err=True)
            reason = f" ({status['reason']})" if status["reason"] else ""
            best = f"best validation {float(status['best_score']):.5g} at step {status['best_step']}"
            part = f" ({status['scored']}, the best weights all)" if status.get("scored") else ""
            typer.echo(f"{status['status']}{reason}, {best}{part}: {run.folder}")
        if status["status"] == "diverged":
            raise typer.Exit(1)


@app.command()
@unfold
def evaluate(
    name: Name,
    options: RunOptions,
    evaluation: Annotated[
        list[str] | None, typer.Option("--evaluation", "-e", help="Which to ask; by default all. May be repeated.")
    ] = None,
    device: Device = "auto",
    particles: Particles = 512,
    memory: Memory = "1GiB",
    against: Against = None,
    background: Background = 0.0,
    figure: Annotated[
        bool, typer.Option("--figure", help="Also the bound by particles, k-hat and ESS, or by step of a diffusion.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Evaluate one family, which is trained first if needed."""
    with answering():
        from zoo.pairs.registry import evaluations
        from zoo.runs.evaluation import Settings
        from zoo.runs.stored_scores import evaluate_run, evaluate_seeds

        prepared = Prepared.of(name, options)
        run, config, dataset = prepared.run, prepared.config, prepared.dataset
        asked = [evaluations[each] for each in dict.fromkeys(evaluation or [])] or list(evaluations)
        settings = Settings(
            particles=particles,
            memory=bytes_of(memory),
            against=tuple(against or ()),
            background=background,
            data_dir=options.data_dir,
        )
        prepared.train(device, options.quiet or as_json)
        where = {"family": config.family, "guide": config.guide, "dataset": dataset.name, "seed": config.seed}
        group = run.pair().group
        table: list[dict[str, Any]] = []
        for each in asked:
            if each.over == "run":
                scores = evaluate_run(run, dataset, each.name, settings, device)
            else:
                scores = evaluate_seeds([run], dataset, each.name, settings)
            table += [score.row(suite="", group=group, evaluation=each.name, **where) for score in scores]
        if as_json:
            print_json(table)
        else:
            for row in table:
                typer.echo(f"{row['evaluation']:<11} {row['metric']:<21} {_value(row)}")
        if figure:
            from zoo.pairs.pair import HasSteps
            from zoo.runs.convergence import write_convergence
            from zoo.runs.steps import write_steps

            write = write_steps if isinstance(run.pair().extras, HasSteps) else write_convergence
            for path in write(run, dataset, settings, device):
                typer.echo(path, err=True)
        if any(row["status"] == "failed" for row in table):
            raise typer.Exit(1)


@app.command()
@unfold
def sample(
    name: Name,
    options: RunOptions,
    out: Annotated[
        Path, typer.Option(help="A .png, .npy, .npz of fields, .csv of a table, .txt of text or .wav of sound.")
    ] = Path("samples.png"),
    n: Annotated[int, typer.Option("-n", min=1, help="Number of samples.")] = 64,
    sampler: Annotated[str, typer.Option(help="A faster sampler of a diffusion: ddim, dpm-solver.")] = "",
    passes: Annotated[int, typer.Option(help="Network passes of the sampler.")] = 0,
    seconds: Annotated[float, typer.Option(help="Of each sample of sound; by default a window.")] = 0.0,
    device: Device = "auto",
) -> None:
    """Draw samples of a family, which is trained first if needed, given what the test data are given, if anything."""
    with answering():
        from zoo.cli.samples import check_place, save_samples, save_sound
        from zoo.devices import pick_device
        from zoo.errors import ZooError
        from zoo.pairs.continuing import PAST, Parts, continued
        from zoo.pairs.sampling import contexts
        from zoo.pairs.sampling import sample as draw
        from zoo.seeding import seeded

        prepared = Prepared.of(name, options, example=True)
        rate = prepared.dataset.rate
        check_place(out, prepared.dataset.event, prepared.dataset.columns, prepared.dataset.names, rate)
        if seconds and out.suffix != ".wav":
            raise ZooError(f"seconds are of sound, which is written to a .wav; got {out.name!r}")
        prepared.train(device, options.quiet)
        prepared.run.require_finished()
        pair = prepared.run.pair().to(pick_device(device))
        data = prepared.dataset.given_to(pair)
        with seeded(prepared.config.seed):
            if out.suffix == ".wav":
                given = contexts(pair.event, data.test[:: max(1, len(data.test) // n)], n)  # of many utterances
                entries = round(seconds * rate) or Parts(pair.event).window
                save_sound(out, continued(pair, given.pop(PAST), entries, given).cpu(), rate)
            else:
                given = contexts(pair.event, data.test, n)
                drawn = draw(pair, n, given=given, sampler=sampler, passes=passes).reshape(n, *data.event.shape)
                save_samples(out, data.restore(drawn.cpu()), data.event, data.columns, data.names)
        if not options.quiet:
            typer.echo(out)


def _value(row: dict[str, Any]) -> str:
    from zoo.runs.laws import UNCHECKED

    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    error = f" ± {row['stderr']:.2g}" if row["stderr"] is not None else ""
    remark = row["reason"].removeprefix(UNCHECKED).removeprefix("; ")
    kind = "" if row["kind"] and remark.startswith(row["kind"]) else row["kind"]
    said = "; ".join(filter(None, (kind, remark)))
    unchecked = "  unchecked" if row["reason"].startswith(UNCHECKED) else ""
    return f"{row['value']:.5g}{error} {row['unit']}{f'  ({said})' if said else ''}{unchecked}"
