"""Commands that code: compress, decompress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.app import answering, app, print_json
from zoo.cli.options import (
    Data,
    DataDir,
    DataSeed,
    EventText,
    Json,
    Precision,
    Quiet,
    Runs,
    Seed,
    Set,
    Split,
    Train,
    With,
)
from zoo.cli.parse import run_of, spec_of

if TYPE_CHECKING:
    from zoo.runs.run import Run


@app.command()
def compress(
    name: Annotated[str, typer.Argument(help="A family (vae, vae+iaf), a Python file, or a run's folder.")],
    array: Annotated[Path, typer.Argument(metavar="DATA.NPY", help="The array to compress, one datum a row.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")],
    with_: With = None,
    data: Data = "digits",
    split: Split = None,
    data_seed: DataSeed = 0,
    data_dir: DataDir = None,
    event: EventText = None,
    seed: Seed = 0,
    sets: Set = None,
    settings: Train = None,
    precision: Precision = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compress an array without loss by a family's run (trained first if it is not), and prove that it decodes."""
    with answering():
        from zoo.cli.arrays import compress as code
        from zoo.cli.arrays import read_array
        from zoo.files import write_bytes

        values = read_array(array)
        given = _given(name, with_)
        if given is None:
            from zoo.experiments.display import Watcher

            spec = spec_of(data, split, data_seed, event)
            dataset = spec.load(data_dir)
            given, config = run_of(name, with_, spec, dataset, seed, sets, settings, precision, runs)
            given.train(config, dataset, "auto", [Watcher(config.recipe.steps, quiet or as_json)])
        with _progress(len(values), quiet or as_json) as watch:
            file = code(given.pair(), values, watch)
        write_bytes(out, file)
        bits = 8 * len(file) / values.size
        if as_json:
            print_json({"file": str(out), "bytes": len(file), "bits_per_dim": bits, "run": str(given.folder)})
        elif not quiet:
            typer.echo(
                f"{out}: {len(values)} data in {len(file)} bytes, {bits:.4g} bits per dimension, by {given.folder}"
            )


@app.command()
def decompress(
    file: Annotated[Path, typer.Argument(metavar="FILE.ZOO", help="What zoo compress wrote.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .npy file to write.")],
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Give back the array that zoo compress was given, by the run with the weights that it was compressed with."""
    with answering():
        from zoo.cli.arrays import decompress as code
        from zoo.cli.arrays import write_array
        from zoo.codec.container import unpack
        from zoo.errors import ZooError

        if out.suffix != ".npy":
            raise ZooError(f"an array is written to a .npy file, got {out.name!r}")
        content = file.read_bytes()
        with _progress(unpack(content)[0].count, quiet) as watch:
            array = code(content, runs, lambda done: watch("decompressing", done))
        write_array(out, array)
        if not quiet:
            typer.echo(f"{out}: {len(array)} data of shape {array.shape[1:]}, {array.dtype}")


def _given(name: str, with_: list[Path] | None) -> Run | None:
    """The run whose folder was named, if one was."""
    from zoo.pairs.plugins import load_families
    from zoo.runs.run import Run

    if not (Path(name) / "config.json").is_file():
        return None
    load_families(with_ or [])
    return Run(Path(name))


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """A bar a stage on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, quiet=quiet)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def watch(word: str, done: int) -> None:
            if word not in tasks:
                tasks[word] = bars.add_task(word, total=total)
            bars.update(tasks[word], completed=done)

        yield watch
