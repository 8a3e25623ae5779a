"""The command that asks for labels: active."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.app import answering, app, print_json, print_table
from zoo.cli.options import Data, DataDir, DataSeed, Json, Quiet, Reports, Roles, Runs, Split, Train, With


@app.command()
def active(
    data: Data = "digits",
    ask: Annotated[
        list[str] | None,
        typer.Option(help="Ways of asking: entropy,random,low-p:density=vae; by default all. May be repeated."),
    ] = None,
    start: Annotated[int, typer.Option(help="First labels, drawn at random.")] = 50,
    add: Annotated[int, typer.Option(help="Labels asked for in each round.")] = 25,
    rounds: Annotated[int, typer.Option(help="How often is asked.")] = 8,
    seeds: Annotated[int, typer.Option(help="Number of seeds: 0, 1, ...")] = 5,
    outliers: Annotated[float, typer.Option(help="Share of the pool that is shuffled and given random labels.")] = 0.0,
    classifier: Annotated[str, typer.Option(help="auto (a cnn for images), cnn or mlp.")] = "auto",
    against: Annotated[str, typer.Option(help="The way that the others are compared with.")] = "random",
    name: Annotated[str | None, typer.Option(help="Name of the report instead of active-DATA.")] = None,
    settings: Train = None,
    split: Split = None,
    data_seed: DataSeed = 0,
    data_dir: DataDir = None,
    roles: Roles = None,
    with_: With = None,
    runs: Runs = Path("runs"),
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Learn actively: ask for labels in several ways, and compare the classifiers that result."""
    with answering():
        import torch

        from zoo.cli.parse import roles_of, split_of
        from zoo.errors import ZooError
        from zoo.experiments.active import ActivePlan, data_with_labels
        from zoo.experiments.active import active as run_active
        from zoo.pairs.build import parse_settings
        from zoo.pairs.plugins import load_families
        from zoo.pairs.registry import acquisitions
        from zoo.provenance import provenance
        from zoo.report.active import table, write_active
        from zoo.training.classifier import SETTINGS, classifier_recipe

        load_families(with_ or [])
        if name and not re.fullmatch(r"\w[\w.+-]*", name):
            raise ZooError(f"the name of a report has letters, digits, ., + and -, got {name!r}")
        # A comma before name=value goes on with the settings of one way.
        names = [name for each in ask or [] for name in re.split(r",(?![^,:]*=)", each)]
        plan = ActivePlan(
            ask=names or [entry.name for entry in acquisitions],
            start=start,
            add=add,
            rounds=rounds,
            seeds=range(seeds),
            outliers=outliers,
            kind=classifier,
            recipe=classifier_recipe(parse_settings(settings or [])),
        )
        dataset = data_with_labels(
            data, data_dir=data_dir, seed=data_seed, split=split_of(split), roles=roles_of(roles or [])
        )

        def watch(news: str) -> None:
            if not quiet:
                typer.echo(news, err=True)

        rows = run_active(dataset, plan, runs / "active", watch)
        training = {name: plan.settings["recipe"][name] for name in SETTINGS}
        facts = {
            "data": dataset.description,
            **plan.settings,
            "recipe": ", ".join(f"{k}={v}" for k, v in training.items()),
        }
        facts |= {"command": "zoo " + " ".join(sys.argv[1:])} | provenance(torch.device("cpu"))
        name = name or f"active-{Path(dataset.name).name.partition(':')[0]}"
        paths = write_active(rows, against, facts, reports / name)
        if as_json:
            print_json([asdict(row) for row in rows])
            return
        headers, body = table(rows, against)
        print_table([headers, *body])
        if not quiet:
            for path in paths:
                typer.echo(path)
