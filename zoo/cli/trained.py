"""Commands on trained models: runs, score, export, publish."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.app import answering, app, print_json
from zoo.cli.options import DataDir, Device, Json, Particles, Quiet, Runs, With

if TYPE_CHECKING:
    import pandas as pd

POLL_SECONDS = 1.0
"""Between two looks at a file that is followed."""


@app.command("runs")
def runs_(runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """List the runs with their data, family, status and test nats, as far as they were evaluated."""
    with answering():
        from zoo.runs.lookup import described
        from zoo.runs.run import find_runs

        rows = [described(run) for run in find_runs(runs)]
        if as_json:
            print_json(rows)
            return
        for row in rows:
            if row["nats"] is None:
                nats = "nats not measured"
            else:
                error = "" if row["stderr"] is None else f" ± {row['stderr']:.2g}"
                nats = f"{row['nats']:.5g}{error} nats, {row['kind']}"
            steps = "" if row["step"] is None else f" {row['step']}/{row['steps']} steps"
            said = f"{row['status']}: {row['reason']}" if row["status"] in ("damaged", "failed") else nats
            typer.echo(f"{row['folder']}  {row['data']}  {row['family']}  {row['status']}{steps}  {said}")
        if not rows:
            typer.echo(f"no runs in {runs}; train one by zoo train")


@app.command()
def score(
    model: Annotated[
        str, typer.Argument(help="A run's folder, a file in it, a family that has one run, or a published model.")
    ],
    data: Annotated[str, typer.Option(help="The rows to score: a file or folder as for zoo train.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The .csv to write; by default printed.")] = None,
    rate: Annotated[float | None, typer.Option(help="False-alarm rate of the flags; 0.01 if data allow it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with rows that are added to a .csv.")] = False,
    particles: Particles = 512,
    device: Device = "auto",
    with_: With = None,
    data_dir: DataDir = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Score each row of new data by a trained model: log p(x), how typical and how novel it is, and a flag."""
    with answering():
        from zoo.errors import ZooError
        from zoo.pairs.plugins import load_families
        from zoo.use import scoring
        from zoo.use.load import load

        source = Path(data).expanduser()
        if out and out.suffix != ".csv":
            raise ZooError(f"scores are written to a .csv, got {out.name!r}")
        if follow and source.suffix.lower() != ".csv":
            raise ZooError(f"only a .csv is followed, got {source.name!r}")
        load_families(with_ or [])
        trained = load(model, runs=runs, device=device, data_dir=data_dir)
        scorer = scoring.Scorer(trained, rate, particles)
        if not follow:
            rows = scoring.read(trained, source)
            scoring.require_complete(trained, rows)
            found = scorer.score(rows)
            _write(found, out, first=True)
            if out and not quiet:
                typer.echo(_summary(found, out))
            return
        first = True
        try:
            for found in scoring.follow(trained, source, scorer, _wait):
                _write(found, out, first)
                first = False
                if out and not quiet:
                    for row in found[found["flag"]].itertuples():
                        typer.echo(f"row {row.Index}: p-value {row.p_value:.2g}, log-probability {row.log_prob:.5g}")
        except KeyboardInterrupt:  # how following ends
            return


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="A run's folder, a file in it, a family that has one run, or a published model.")
    ],
    arviz: Annotated[Path, typer.Option(help="The .nc to write, which arviz.from_netcdf reads.")],
    data: Annotated[int, typer.Option(min=1, help="Number of test data.")] = 10,
    draws: Annotated[int, typer.Option(min=1, help="Draws of the guide for each of them.")] = 512,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    device: Device = "auto",
    with_: With = None,
    data_dir: DataDir = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Export draws of a trained model's guide, their importance weights and log-likelihoods for ArviZ."""
    with answering():
        from zoo.metrics.bounds import LARGEST_KHAT
        from zoo.pairs.plugins import load_families
        from zoo.use.inference_data import require_netcdf, to_arviz, write_netcdf
        from zoo.use.load import load

        require_netcdf(arviz)
        load_families(with_ or [])
        found = to_arviz(load(model, runs=runs, device=device, data_dir=data_dir), data=data, draws=draws, seed=seed)
        write_netcdf(found, arviz)
        if not quiet:
            n = found.observed_data.sizes["datum"]
            typer.echo(f"{arviz}: {n} test data; {', '.join(found.groups())}")
            typer.echo(found.log_likelihood.attrs["draws"])
            if "sample_stats" in found:
                loose = int((found.sample_stats["khat"] > LARGEST_KHAT).sum())
                typer.echo(f"k-hat above {LARGEST_KHAT}: {loose} of {n} data")


@app.command()
def publish(
    run: Annotated[str, typer.Argument(help="A run's folder, or a file in it.")],
    to: Annotated[Path, typer.Option(help="The registry: a folder, which is made.")],
    name: Annotated[str, typer.Option(help="Name of the model; by default of the family and the data.")] = "",
    particles: Particles = 512,
    with_: With = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Publish a trained run with its scores and a card: one file that zoo.load and all commands take by its name."""
    with answering():
        from zoo.pairs.plugins import load_families
        from zoo.runs.lookup import find_run
        from zoo.runs.publishing import publish as write

        load_families(with_ or [])
        folder = write(find_run(run), to, name, particles, data_dir)
        if not quiet:
            typer.echo(f"{folder}: zoo.load({str(folder)!r})")


def _wait() -> bool:
    time.sleep(POLL_SECONDS)
    return True


def _write(scores: pd.DataFrame, out: Path | None, first: bool) -> None:
    """Write scores, or add them to those that were written before."""
    from zoo.files import write_text

    text = scores.to_csv(index_label="row", header=first)
    if out is None:
        typer.echo(text, nl=False)
    elif first:
        write_text(out, text)
    else:
        with out.open("a") as file:
            file.write(text)


def _summary(scores: pd.DataFrame, out: Path) -> str:
    said, flagged = scores.attrs, int(scores["flag"].sum())
    return (
        f"{out}: {len(scores)} rows, log {said['of']} {scores['kind'].iloc[0]}; {flagged} flagged at the false-alarm "
        f"rate {said['rate']:.2g} ({said['rate'] * len(scores):.3g} expected of rows like those for validation)"
    )
