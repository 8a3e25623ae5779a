"""The command for an agent that learns in its own dream: world."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.app import answering, app, print_json, print_table
from zoo.cli.options import Json, Quiet, Seed


@app.command()
def world(
    quick: Annotated[bool, typer.Option("--quick", help="Small models and few episodes, in minutes.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of episodes, models, controllers and the page.")] = Path(
        "runs/world"
    ),
    skill: Annotated[int, typer.Option(help="Doom's difficulty, 1 to 5; 4 is the scenario's own.")] = 4,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train an agent in its own dream of DoomTakeCover, and measure it in the real one; a stopped run resumes."""
    with answering():
        import torch

        from zoo.experiments.display import Watcher
        from zoo.pairs.registry import load_shelves
        from zoo.provenance import provenance
        from zoo.worlds.controller import require_cma
        from zoo.worlds.doom import TakeCover, note
        from zoo.worlds.experiment import Experiment
        from zoo.worlds.page import table, write_page
        from zoo.worlds.plan import take_cover

        load_shelves()
        require_cma()

        def watch(news: str) -> None:
            if not quiet:
                typer.echo(news, err=True)

        plan = take_cover(quick, seed)
        folder = out / "quick" if quick else out
        experiment = Experiment(
            plan, lambda: TakeCover(skill), note(skill), folder, watch, lambda steps: Watcher(steps, quiet)
        )
        outcome = experiment.run()
        facts = {"command": "zoo " + " ".join(sys.argv[1:]), "plan": plan.model_dump_json(), **note(skill)}
        paths = write_page(experiment, outcome, facts | provenance(torch.device("cpu")))
        if as_json:
            print_json(asdict(outcome))
            return
        print_table(table(outcome))
        if not quiet:
            for path in paths:
                typer.echo(path)
