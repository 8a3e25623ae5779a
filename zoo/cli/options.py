"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="A family (vae), a family with a guide (vae+iaf), or a Python file.")]
With = Annotated[list[Path] | None, typer.Option("--with", help="Python files with families of your own.")]
Data = Annotated[str, typer.Option(help="A data set of the zoo, or your file (.npz, .npy, .csv) or folder of PNGs.")]
Split = Annotated[str | None, typer.Option(help="Shares of train, validation and test of a file: 0.8,0.1,0.1.")]
DataSeed = Annotated[int, typer.Option(help="Seed of the split of a file, and of the toys.")]
DataDir = Annotated[Path | None, typer.Option(help="Where the files of MNIST lie (or set ZOO_DATA).")]
EventText = Annotated[str | None, typer.Option("--event", help="What a datum is: 64:binary, 8x8:17, 2:real.")]
Seed = Annotated[int, typer.Option(help="Seed of initialisation, noise and data order.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
Reports = Annotated[Path, typer.Option(help="Folder of the reports.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Hyper-parameter: name=value; a guide's: guide.name=value.")
]
Train = Annotated[
    list[str] | None, typer.Option("--train", help="Training setting: steps=500, lr=1e-3 (see zoo show).")
]
Precision = Annotated[str | None, typer.Option(help="float32, or bf16: matrix products in bfloat16 while training.")]
Particles = Annotated[int, typer.Option(min=1, help="Particles of the importance-weighted bound.")]
Memory = Annotated[str, typer.Option(help="Most that a chunk of an evaluation may take: 512MiB, 2GiB, or bytes.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
