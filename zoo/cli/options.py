"""The options that commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from zoo.runs.config import DataSpec

Name = Annotated[
    str,
    typer.Argument(
        help="A family (vae), a family with a guide (vae+iaf), a Python file, a run's folder, or a published model."
    ),
]
With = Annotated[list[Path] | None, typer.Option("--with", help="Your own Python files: families, guides, data sets.")]
Data = Annotated[
    str, typer.Option(help="A data set by name (digits, digits:labels=100), your file (.npz, .csv, ...) or folder.")
]
Split = Annotated[str | None, typer.Option(help="Shares of train, validation and test of a file: 0.8,0.1,0.1.")]
DataSeed = Annotated[int, typer.Option(help="Seed of the split of a file, and of the toys.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with the files of MNIST or Fashion-MNIST (or set ZOO_DATA).")
]
Columns = Annotated[
    str | None, typer.Option(help="Columns of a table: age,income; or --columns=-id,name for all others.")
]
Quantise = Annotated[int, typer.Option(help="Levels that the numbers of a table are rounded to, for lossless codes.")]
EventText = Annotated[
    str | None, typer.Option("--event", help="What a datum is: 64:binary, 8x8:17, 2:real; x=8x8:17,y=:10@label.")
]
Roles = Annotated[
    list[str] | None,
    typer.Option("--field", help="Role of a column or field: y=label, c=given, w=observed. May be repeated."),
]
Seed = Annotated[int, typer.Option(help="Seed of initialisation, noise and data order.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
Reports = Annotated[Path, typer.Option(help="Folder of the reports.")]
Figures = Annotated[str | None, typer.Option(help="Figures as files too: svg,pdf,png.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Hyper-parameter: name=value; of a guide: guide.name=value.")
]
Train = Annotated[
    list[str] | None, typer.Option("--train", help="Training setting: steps=500, lr=1e-3 (see zoo show).")
]
Precision = Annotated[str | None, typer.Option(help="float32, or bf16: matrix products in bfloat16 while training.")]
Particles = Annotated[int, typer.Option(min=1, help="Particles of the importance-weighted bound.")]
Against = Annotated[
    list[str] | None,
    typer.Option("--against", help="A data set that should look novel, or be withheld. May be repeated."),
]
Background = Annotated[
    float, typer.Option(help="Mutation rate of a background model, such as 0.3, which is trained for it.")
]
Memory = Annotated[str, typer.Option(help="Most memory for a chunk of an evaluation: 512MiB, 2GiB, or bytes.")]
Unchecked = Annotated[
    bool, typer.Option("--unchecked", help="Skip the laws without which a number is wrong; every score says so.")
]
ExecutorName = Annotated[str, typer.Option("--executor", help="Where jobs run: local, submitit (SLURM) or ray.")]
ExecutorOptions = Annotated[
    list[str] | None,
    typer.Option("--executor-option", help="key=value, such as slurm_partition=gpu, or a TOML file. May be repeated."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """The options of every command that trains."""

    with_: With = None
    split: Split = None
    data_seed: DataSeed = 0
    data_dir: DataDir = None
    columns: Columns = None
    quantise: Quantise = 0
    event: EventText = None
    roles: Roles = None
    sets: Set = None
    settings: Train = None
    precision: Precision = None
    runs: Runs = Path("runs")
    unchecked: Unchecked = False
    quiet: Quiet = False

    @property
    def hyper(self) -> dict[str, Any]:
        """Hyper-parameters by name."""
        from zoo.pairs.build import parse_settings

        return parse_settings(self.sets or [])

    @property
    def recipe(self) -> dict[str, Any]:
        """Training settings by name."""
        from zoo.pairs.build import parse_settings

        return parse_settings(self.settings or []) | ({"precision": self.precision} if self.precision else {})

    def named(self, data: str) -> str:
        """The name of data with the settings of a table."""
        from zoo.cli.parse import with_settings

        columns = "+".join(each.strip() for each in (self.columns or "").split(","))
        return with_settings(data, {"columns": columns, "quantise": str(self.quantise or "")})

    def spec(self, name: str) -> DataSpec:
        """Which data of that name, and how a file of them is split."""
        from zoo.cli.parse import roles_of, split_of
        from zoo.runs.config import DataSpec

        split, roles = split_of(self.split), roles_of(self.roles or [])
        return DataSpec(name=name, seed=self.data_seed, split=split, event=self.event, roles=roles)


@dataclass(frozen=True, kw_only=True)
class RunOptions(CommonOptions):
    """The options that decide a run, with `CommonOptions`."""

    data: Data = "digits"
    seed: Seed = 0

    def decisive(self) -> list[str]:
        """The options that were given and decide which run it is, as they are written."""
        words = {"settings": "train", "sets": "set", "roles": "field"}
        free = ("with_", "data_dir", "runs", "quiet")
        given = [
            each.name for each in fields(self) if each.name not in free and getattr(self, each.name) != each.default
        ]
        return [f"--{words.get(name, name).replace('_', '-')}" for name in given]


def unfold(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one parameter for each field of its dataclass ``options``, which is what typer reads."""
    hints = get_type_hints(command, include_extras=True)
    kind = hints.pop("options")
    hints |= get_type_hints(kind, include_extras=True)
    parameters = [each for each in inspect.signature(command).parameters.values() if each.name != "options"]
    parameters += [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default) for each in fields(kind)
    ]

    @functools.wraps(command)
    def unfolded(**given: Any) -> None:
        options = kind(**{each.name: given.pop(each.name) for each in fields(kind)})
        command(options=options, **given)

    signature = inspect.Signature([each.replace(annotation=hints[each.name]) for each in parameters])
    unfolded.__signature__ = signature  # type: ignore[attr-defined] # which inspect reads
    unfolded.__annotations__ = hints
    return unfolded
