"""The command that checks the measuring instruments: certify."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli.app import answering, app, print_json, stop
from zoo.cli.options import Json


@app.command()
def certify(
    temperatures: Annotated[int, typer.Option(min=1, help="Of the annealed chains; with one they are particles.")] = 30,
    quick: Annotated[bool, typer.Option("--quick", help="Few data and short chains.")] = False,
    as_json: Json = False,
) -> None:
    """Check the evaluators by pairs whose evidence is known: exact values, bounds of particles, annealed brackets."""
    with answering():
        from dataclasses import asdict

        from zoo.experiments.certify import certify as run

        budget = {"temperatures": temperatures}
        if quick:
            budget = {"data": 40, "particles": 16, "chains": 4, "temperatures": 6}
        rows = []
        if not as_json:
            typer.echo(f"{'closed form':<52} {'evaluator':<22} {'truth':>9} {'found':>9} {'error ± s.e.':>18}  holds")
        for row in run(**budget):
            rows.append(row)
            if not as_json:
                error = f"{row.found - row.truth:+.4f} ± {row.stderr:.4f}"
                holds = "yes" if row.holds else "NO"
                typer.echo(f"{row.name:<52} {row.method:<22} {row.truth:9.3f} {row.found:9.3f} {error:>18}  {holds}")
        if as_json:
            print_json([asdict(row) | {"errors": row.errors, "holds": row.holds} for row in rows])
        if wrong := [row for row in rows if not row.holds]:
            stop(f"{len(wrong)} of {len(rows)} values are off by more than noise, the first of {wrong[0].name}", 1)
