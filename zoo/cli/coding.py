"""Commands that code: compress, decompress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.app import answering, app, print_json
from zoo.cli.options import Json, Name, Quiet, RunOptions, Runs, unfold
from zoo.cli.parse import Prepared, named_run


@app.command()
@unfold
def compress(
    name: Name,
    array: Annotated[Path, typer.Argument(metavar="DATA.NPY", help="The array to compress, one datum a row.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")],
    options: RunOptions,
    as_json: Json = False,
) -> None:
    """Compress an array losslessly by a family's run, which is trained first if needed, and check that it decodes."""
    with answering():
        from zoo.files import write_bytes
        from zoo.use.arrays import compress as code
        from zoo.use.arrays import read_array

        values = read_array(array)
        quiet = options.quiet or as_json
        run = named_run(name, options)
        if run is None or not run.done:
            prepared = Prepared.of(name, options)
            prepared.train("auto", quiet)
            run = prepared.run
        with _progress(len(values), quiet) as watch:
            file = code(run.pair(), values, watch, run.config.unchecked)
        write_bytes(out, file)
        bits = 8 * len(file) / values.size
        if as_json:
            print_json({"file": str(out), "bytes": len(file), "bits_per_dim": bits, "run": str(run.folder)})
        elif not quiet:
            typer.echo(
                f"{out}: {len(values)} data in {len(file)} bytes, {bits:.4g} bits per dimension, by {run.folder}"
            )


@app.command()
def decompress(
    file: Annotated[Path, typer.Argument(metavar="FILE.ZOO", help="What zoo compress wrote.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .npy file to write.")],
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Restore the array that was compressed, by the run whose weights compressed it."""
    with answering():
        from zoo.codec.container import unpack
        from zoo.errors import ZooError
        from zoo.use.arrays import decompress as code
        from zoo.use.arrays import write_array

        if out.suffix != ".npy":
            raise ZooError(f"an array is written to a .npy file, got {out.name!r}")
        content = file.read_bytes()
        with _progress(unpack(content)[0].count, quiet) as watch:
            array = code(content, runs, lambda done: watch("decompressing", done))
        write_array(out, array)
        if not quiet:
            typer.echo(f"{out}: {len(array)} data of shape {array.shape[1:]}, {array.dtype}")


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """One progress bar for each stage on a terminal, nothing elsewhere."""
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
