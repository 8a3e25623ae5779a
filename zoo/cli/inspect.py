"""Commands that inspect, or start a file: list, show, check, new."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.app import answering, app, print_json
from zoo.cli.options import DataDir, EventText, Json, Name, Roles, Seed, Set, With
from zoo.cli.parse import event_of, names_of, roles_of, stored_run
from zoo.errors import ZooError


@app.command("list")
def list_(with_: With = None, as_json: Json = False) -> None:
    """List the families, guides, priors, evaluations, acquisitions, data sets, published models and suites."""
    with answering():
        from zoo.experiments.suite import load_suite, suite_names
        from zoo.pairs.plugins import load_families
        from zoo.pairs.registry import acquisitions, columns, datasets, evaluations, families, guides, priors
        from zoo.runs.published import registries

        load_families(with_ or [])
        shelves: dict[str, list[dict[str, Any]]] = {
            "families": [
                {
                    "name": f.name,
                    "group": f.group,
                    "takes": list(f.supports),
                    "guide": f.guide or None,
                    "about": _first(f.doc),
                }
                for f in families
            ],
            "guides": [{"name": g.name, "about": _first(g.doc)} for g in guides],
            "priors": [{"name": p.name, "about": _first(p.doc)} for p in priors],
            "evaluations": [{"name": e.name, "about": _first(e.doc)} for e in evaluations],
            "columns": [{"name": c.name, "about": _first(c.doc)} for c in columns],
            "acquisitions": [{"name": a.name, "about": _first(a.doc)} for a in acquisitions],
            "data": [{"name": d.name, "about": d.about} for d in datasets],
            "models": [
                {"name": name, "about": _of_model(entry)}
                for registry in registries()
                for name, entry in registry.models().items()
            ],
            "suites": [{"name": name, "about": load_suite(name).about} for name in suite_names()],
        }
        if as_json:
            print_json(shelves)
            return
        for shelf, entries in shelves.items():
            typer.echo(f"{shelf}:")
            width = max((len(entry["name"]) for entry in entries), default=0)
            for entry in entries:
                group = f"[{entry['group']}] " if entry.get("group") else ""
                typer.echo(f"  {entry['name']:<{width}}  {group}{entry.get('about', '')}")


@app.command()
def show(name: Name, with_: With = None, event: EventText = None, as_json: Json = False) -> None:
    """Show one family: its docstring, paper, parameters, and its capabilities, which are read off its programs."""
    with answering():
        from zoo.cli.describe import describe, text

        run = stored_run(name, with_)
        [found] = [run.config.name] if run else names_of([name], with_)
        about = describe(found, event_of(event or (run.config.event if run else None)))
        if as_json:
            print_json(about)
        else:
            typer.echo(text(about))


@app.command()
def check(
    name: Name,
    with_: With = None,
    event: EventText = None,
    data: Annotated[
        str | None, typer.Option(help="Check on these data instead of random ones: a name or a file.")
    ] = None,
    roles: Roles = None,
    data_dir: DataDir = None,
    sets: Set = None,
    seed: Seed = 0,
    device: Annotated[
        str, typer.Option(help="cpu for a program that makes its tensors there; by default it should run on any.")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Check a pair against the contract, on random data or on yours: one line for each law."""
    with answering():
        from zoo.contract.check import check as prove
        from zoo.data import load_data
        from zoo.devices import pick_device
        from zoo.pairs.build import parse_settings

        pick_device(device)
        run, hyper = stored_run(name, with_), parse_settings(sets or [])
        names = [run.config.name] if run else names_of([name], with_)
        if run:
            event, hyper = event or run.config.event, run.config.hyper | hyper
        dataset = None
        if data:
            dataset = load_data(data, data_dir=data_dir, event=event_of(event), roles=roles_of(roles or []))
        elif roles or data_dir:
            raise ZooError("--field and --data-dir are of data: name them by --data")
        findings = [
            finding for found in names for finding in prove(found, event_of(event), hyper, seed, device, dataset)
        ]
        if as_json:
            print_json([asdict(finding) for finding in findings])
        else:
            for finding in findings:
                mark = {True: "ok  ", False: "FAIL", None: "-   "}[finding.ok]
                typer.echo(f"{mark} {finding.law}" + (f": {finding.detail}" if finding.detail else ""))
        if any(finding.ok is False for finding in findings):
            raise typer.Exit(1)


@app.command()
def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[KIND]", help="family (default), guide, prior, evaluation, column, acquisition, dataset."
        ),
    ],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The name it is registered by.")] = None,
    folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path("."),
) -> None:
    """Write a commented starting file of your own, such as a family, a guide or a data set; it works."""
    with answering():
        from zoo.cli.template import kinds, starting_file
        from zoo.files import write_text
        from zoo.pairs.registry import REGISTRIES, load_shelves

        if name is None and kind in kinds():
            raise ZooError(f"a {kind} needs a name: zoo new {kind} NAME")
        kind, name = ("family", kind) if name is None else (kind, name)
        path = folder / f"{name}.py"
        if path.exists():
            raise ZooError(f"{path} is there already; choose another name or remove it")
        load_shelves()
        if any(registry.word.replace(" ", "") == kind and name in registry for registry in REGISTRIES):
            raise ZooError(f"there is a {kind} {name!r} already; choose another name")
        text = starting_file(name, kind)
        write_text(path, text)
        hint = text.partition("Next: ")[2].partition("\n")[0]
        typer.echo(f"{path}\nnext: {hint.replace(path.name, str(path))}")


def _of_model(entry: dict[str, Any]) -> str:
    nats = "" if entry["nats"] is None else f", {entry['nats']:.5g} ± {entry['stderr']:.2g} nats ({entry['kind']})"
    return f"{entry['family']} on {entry['data']}{nats}"


def _first(doc: str) -> str:
    return doc.partition("\n")[0]
