"""Commands on one family: train, evaluate, sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.app import answering, app, print_json
from zoo.cli.options import (
    Data,
    DataDir,
    DataSeed,
    Device,
    EventText,
    Json,
    Memory,
    Name,
    Particles,
    Precision,
    Quiet,
    Runs,
    Seed,
    Set,
    Split,
    Train,
    With,
)
from zoo.cli.parse import bytes_of, run_of, spec_of


@app.command()
def train(
    name: Name,
    with_: With = None,
    data: Data = "digits",
    split: Split = None,
    data_seed: DataSeed = 0,
    data_dir: DataDir = None,
    event: EventText = None,
    seed: Seed = 0,
    device: Device = "auto",
    sets: Set = None,
    settings: Train = None,
    precision: Precision = None,
    runs: Runs = Path("runs"),
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files into the run.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one family with one seed; a killed run goes on where it was, a finished one is left alone."""
    with answering():
        from zoo.experiments.display import Watcher
        from zoo.training.callbacks import Callback

        spec = spec_of(data, split, data_seed, event)
        dataset = spec.load(data_dir)
        run, config = run_of(name, with_, spec, dataset, seed, sets, settings, precision, runs)
        callbacks: list[Callback] = [Watcher(config.recipe.steps, quiet or as_json)]
        if tensorboard:
            from zoo.cli.tensorboard import TensorBoard

            callbacks.append(TensorBoard(run.folder / "tensorboard"))
        run.train(config, dataset, device, callbacks)
        status = run.status
        if as_json:
            print_json({"folder": str(run.folder), **status})
        elif not quiet:
            best = f", best validation {status['best_score']} at step {status['best_step']}"
            if status["remark"]:
                typer.echo(f"engine: {status['remark']}", err=True)
            typer.echo(
                f"{status['status']}{' (' + status['reason'] + ')' if status['reason'] else ''}{best}: {run.folder}"
            )
        if status["status"] == "diverged":
            raise typer.Exit(1)


@app.command()
def evaluate(
    name: Name,
    evaluation: Annotated[list[str] | None, typer.Option("--evaluation", "-e", help="Which; all if not told.")] = None,
    with_: With = None,
    data: Data = "digits",
    split: Split = None,
    data_seed: DataSeed = 0,
    data_dir: DataDir = None,
    event: EventText = None,
    seed: Seed = 0,
    device: Device = "auto",
    sets: Set = None,
    settings: Train = None,
    precision: Precision = None,
    particles: Particles = 512,
    memory: Memory = "1GiB",
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Ask the evaluations of one trained family (trains it first if it is not)."""
    with answering():
        from zoo.experiments.display import Watcher
        from zoo.pairs.registry import evaluations, load_shelves
        from zoo.runs.evaluation import Settings
        from zoo.runs.stored_scores import evaluate_run, evaluate_seeds

        load_shelves()
        asked = [evaluations[each] for each in evaluation or []] or list(evaluations)
        spec = spec_of(data, split, data_seed, event)
        dataset = spec.load(data_dir)
        run, config = run_of(name, with_, spec, dataset, seed, sets, settings, precision, runs)
        run.train(config, dataset, device, [Watcher(config.recipe.steps, quiet or as_json)])
        chosen = Settings(particles=particles, memory=bytes_of(memory))
        table: list[dict[str, Any]] = []
        for each in asked:
            scores = (
                evaluate_run(run, dataset, each.name, chosen, device)
                if each.over == "run"
                else evaluate_seeds([run], dataset, each.name, chosen)
            )
            where = {"family": config.family, "guide": config.guide, "dataset": dataset.name, "seed": seed}
            group = run.pair().group
            table += [score.row(suite="", group=group, evaluation=each.name, **where) for score in scores]
        print_json(table) if as_json else _print_scores(table)
        if any(row["status"] == "failed" for row in table):
            raise typer.Exit(1)


@app.command()
def sample(
    name: Name,
    out: Annotated[Path, typer.Option(help="A picture (.png) or numbers (.npy).")] = Path("samples.png"),
    n: Annotated[int, typer.Option("-n", min=1, help="How many samples.")] = 64,
    with_: With = None,
    data: Data = "digits",
    split: Split = None,
    data_seed: DataSeed = 0,
    data_dir: DataDir = None,
    event: EventText = None,
    seed: Seed = 0,
    device: Device = "auto",
    sets: Set = None,
    settings: Train = None,
    precision: Precision = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Draw samples of a family (trains it first if it is not)."""
    with answering():
        from zoo.cli.samples import check_place, save_samples
        from zoo.devices import pick_device
        from zoo.experiments.display import Watcher
        from zoo.pairs.traces import sample as draw
        from zoo.seeding import seeded

        spec = spec_of(data, split, data_seed, event)
        dataset = spec.load(data_dir)
        check_place(out, dataset.event)
        run, config = run_of(name, with_, spec, dataset, seed, sets, settings, precision, runs)
        run.train(config, dataset, device, [Watcher(config.recipe.steps, quiet)])
        pair = run.pair().to(pick_device(device))
        with seeded(seed):
            drawn = draw(pair, n).reshape(n, *dataset.event.shape).cpu()
        save_samples(out, drawn, dataset.event)
        if not quiet:
            typer.echo(out)


def _print_scores(table: list[dict[str, Any]]) -> None:
    for row in table:
        typer.echo(f"{row['evaluation']:<12}{row['metric']:<22}{_value(row)}")


def _value(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    error = f" ± {row['stderr']:.2g}" if row["stderr"] is not None else ""
    kind = f"  ({row['kind']})" if row["kind"] else ""
    return f"{row['value']:.5g}{error} {row['unit']}{kind}"
