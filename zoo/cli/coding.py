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
    values: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="One array (.npy), a datum a row; the fields of a record by name (.npz); or a table (.csv) of words, "
            "levels or, for a model trained with --quantise, numbers; or a recording (.wav).",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")],
    options: RunOptions,
    as_json: Json = False,
) -> None:
    """Compress data losslessly by a family's run, which is trained first if needed, and check that they come back.

    Fields of a record that are given are not in the file: zoo decompress needs them too.
    """
    with answering():
        from zoo.files import write_bytes
        from zoo.use.arrays import compress as code
        from zoo.use.arrays import is_table, read_arrays, read_table
        from zoo.use.recordings import compress_recording, is_recording

        arrays, note = ({}, "") if is_table(values) or is_recording(values) else (read_arrays(values), "")
        quiet = options.quiet or as_json
        run = named_run(name, options)
        if run is None or not run.done:
            prepared = Prepared.of(name, options)
            prepared.train("auto", quiet)
            run = prepared.run
        run.require_finished()
        if is_table(values):
            arrays, note = read_table(values, run.config)
        if is_recording(values):
            with _progress(None, quiet) as watch:
                file, size = compress_recording(run.pair(), values, watch, run.config.unchecked)
            count, note = 1, "of the samples rounded to 256 mu-law levels"
        else:
            total = max((len(array) for array in arrays.values() if array.ndim), default=0)
            with _progress(total, quiet) as watch:
                file, count, size = code(run.pair(), arrays, watch, run.config.unchecked, run.config.data_units)
        write_bytes(out, file)
        bits = 8 * len(file) / size
        if as_json:
            print_json(
                {"file": str(out), "bytes": len(file), "bits_per_dim": bits, "run": str(run.folder), "note": note}
            )
        elif not quiet:
            said = f"{out}: {count} data in {len(file)} bytes, {bits:.4g} bits per dimension, by {run.folder}"
            typer.echo("; ".join(filter(None, (said, note))))


@app.command()
def decompress(
    file: Annotated[Path, typer.Argument(metavar="FILE.ZOO", help="What zoo compress wrote.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="The file to write: .npy, .npz for a record, .csv for a table, .wav for a recording."
        ),
    ],
    given: Annotated[
        Path | None,
        typer.Option("--given", metavar="FILE.NPZ", help="The fields that are given; the file compressed will do."),
    ] = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Restore the data that were compressed, by the run whose weights compressed them."""
    with answering():
        from zoo.codec.container import unpack
        from zoo.errors import ZooError
        from zoo.event import Event
        from zoo.use.arrays import decompress as code
        from zoo.use.arrays import is_table, read_arrays, run_of, write_arrays, write_table
        from zoo.use.recordings import decompress_recording, is_recording

        if is_recording(out):
            from zoo.files import write_bytes

            content = file.read_bytes()
            entries = unpack(content)[0].entries
            with _progress(entries or None, quiet) as watch:
                write_bytes(out, decompress_recording(content, runs, lambda done: watch("decompressing", done)))
            if not quiet:
                typer.echo(f"{out}: {entries} samples")
            return
        if out.suffix not in (".npy", ".npz", ".csv"):
            raise ZooError(
                "data are written to a .npy file, a record to an .npz, a table to a .csv, a recording to a .wav; got "
                f"{out.name!r}"
            )
        content = file.read_bytes()
        header, _ = unpack(content)
        if header.entries:
            raise ZooError(f"the file holds one recording, which is written to a .wav; got {out.name!r}")
        kind = ".npz" if Event.parse(header.event).fields else ".npy"
        if out.suffix not in (kind, ".csv"):
            raise ZooError(f"the file is of {header.event}, which is written to a {kind} file; got {out.name!r}")
        with _progress(header.count, quiet) as watch:
            context = read_arrays(given) if given else {}
            arrays = code(content, runs, context, lambda done: watch("decompressing", done))
        if is_table(out):
            write_table(out, arrays, run_of(header, runs).config)
        else:
            write_arrays(out, arrays)
        if not quiet:
            said = (f"{name} {array.shape[1:]} {array.dtype}".strip() for name, array in arrays.items())
            typer.echo(f"{out}: {header.count} data of {', '.join(said)}")


@contextmanager
def _progress(total: int | None, quiet: bool) -> Iterator[Callable[[str, int], None]]:
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
