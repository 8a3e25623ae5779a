"""Commands that look: list, show, check, new."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.app import answering, app, print_json
from zoo.cli.options import EventText, Json, Name, Seed, Set, With
from zoo.cli.parse import event_of, names_of
from zoo.errors import ZooError


@app.command("list")
def list_(with_: With = None, as_json: Json = False) -> None:
    """The families, guides, priors, evaluations, data sets and suites there are."""
    with answering():
        from zoo.experiments.suite import load_suite, suite_names
        from zoo.pairs.plugins import load_families
        from zoo.pairs.registry import datasets, evaluations, families, guides, priors

        load_families(with_ or [])
        shelves: dict[str, list[dict[str, Any]]] = {
            "families": [
                {"name": f.name, "group": f.group, "takes": list(f.supports), "guide": f.guide, "about": _first(f.doc)}
                for f in families
            ],
            "guides": [{"name": g.name, "about": _first(g.doc)} for g in guides],
            "priors": [{"name": p.name, "about": _first(p.doc)} for p in priors],
            "evaluations": [{"name": e.name, "about": _first(e.doc)} for e in evaluations],
            "data": [{"name": d.name, "about": d.about} for d in datasets],
            "suites": [{"name": name, "about": load_suite(name).about} for name in suite_names()],
        }
        if as_json:
            print_json(shelves)
            return
        for shelf, entries in shelves.items():
            typer.echo(f"{shelf}:")
            for entry in entries:
                group = f"[{entry['group']}] " if entry.get("group") else ""
                typer.echo(f"  {entry['name']:<14} {group}{entry.get('about', '')}")


@app.command()
def show(name: Name, with_: With = None, event: EventText = None, as_json: Json = False) -> None:
    """One family: its docstring, paper, parameters and what it can do, read off its programs."""
    with answering():
        from zoo.cli.describe import describe, text

        [found] = names_of([name], with_)
        about = describe(found, event_of(event))
        if as_json:
            print_json(about)
        else:
            typer.echo(text(about))


@app.command()
def check(
    name: Name, with_: With = None, event: EventText = None, sets: Set = None, seed: Seed = 0, as_json: Json = False
) -> None:
    """Prove the contract on a pair: one line a law."""
    with answering():
        from zoo.contract.check import check as prove
        from zoo.pairs.build import parse_settings

        findings = [
            finding
            for found in names_of([name], with_)
            for finding in prove(found, event_of(event), parse_settings(sets or []), seed)
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
def new(name: str, folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path(".")) -> None:
    """Write a commented starting file for a family of your own; it passes zoo check as it is."""
    with answering():
        from zoo.cli.template import starting_file
        from zoo.files import write_text
        from zoo.pairs.registry import families, load_shelves

        path = folder / f"{name}.py"
        if path.exists():
            raise ZooError(f"{path} is there already; choose another name or remove it")
        load_shelves()
        if name in families:
            raise ZooError(f"there is a family {name!r} already; choose another name")
        write_text(path, starting_file(name))
        typer.echo(f"{path}\nnext: zoo check {path}, then zoo train {path}")


def _first(doc: str) -> str:
    return doc.partition("\n")[0]
