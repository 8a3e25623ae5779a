"""The command line. Torch is imported inside the commands, so that ``zoo --help`` answers at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.errors import RunError, ZooError

if TYPE_CHECKING:
    from zoo.data import Dataset
    from zoo.runs import DataSpec, Run, RunConfig
    from zoo.suite import Suite

app = typer.Typer(
    help="A probabilistic-programming model zoo: declare a Pyro pair; train, measure and compare it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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
Precision = Annotated[str | None, typer.Option(help="float32, or bf16 autocast while training.")]
Particles = Annotated[int, typer.Option(min=1, help="Particles of the importance-weighted bound.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


@contextmanager
def _answering() -> Iterator[None]:
    """A person's mistake (a file that cannot be written, say) is one sentence and exit code 2; a failed run 1; an
    interrupt 130."""
    try:
        yield
    except RunError as error:
        _stop(str(error), 1)
    except ZooError as error:
        _stop(str(error), 2)
    except OSError as error:
        _stop(f"{error.filename or 'a file'} cannot be read or written: {error.strerror or error}", 2)
    except KeyboardInterrupt:
        _stop("stopped; the same command goes on from here", 130)


def _stop(message: str, code: int) -> None:
    typer.echo(f"zoo: {message}", err=True)
    raise typer.Exit(code)


@app.callback()
def _zoo(context: typer.Context, with_: With = None) -> None:
    if with_:  # before the command as well as after it: zoo --with mine.py list
        given = {"with_": [str(path) for path in with_]}
        context.default_map = dict.fromkeys(context.command.list_commands(context), given)  # type: ignore[attr-defined]


@app.command("list")
def list_(with_: With = None, as_json: Json = False) -> None:
    """The families, guides, evaluations, data sets and suites there are."""
    with _answering():
        from zoo.data import data_names
        from zoo.outside import load_families
        from zoo.registry import evaluations, families, guides
        from zoo.suite import load_suite, suite_names

        load_families(with_ or [])
        shelves: dict[str, list[dict[str, Any]]] = {
            "families": [
                {"name": f.name, "group": f.group, "takes": list(f.supports), "guide": f.guide, "about": _first(f.doc)}
                for f in families
            ],
            "guides": [{"name": g.name, "about": _first(g.doc)} for g in guides],
            "evaluations": [{"name": e.name, "about": _first(e.doc)} for e in evaluations],
            "data": [{"name": name, "about": about} for name, about in data_names()],
            "suites": [{"name": name, "about": load_suite(name).about} for name in suite_names()],
        }
        if as_json:
            _print_json(shelves)
            return
        for shelf, entries in shelves.items():
            typer.echo(f"{shelf}:")
            for entry in entries:
                group = f"[{entry['group']}] " if entry.get("group") else ""
                typer.echo(f"  {entry['name']:<14} {group}{entry.get('about', '')}")


@app.command()
def show(name: Name, with_: With = None, event: EventText = None, as_json: Json = False) -> None:
    """One family: its docstring, paper, parameters and what it can do, read off its programs."""
    with _answering():
        from zoo.describe import describe, text

        [found] = _names([name], with_)
        about = describe(found, _event(event))
        if as_json:
            _print_json(about)
        else:
            typer.echo(text(about))


@app.command()
def check(
    name: Name, with_: With = None, event: EventText = None, sets: Set = None, seed: Seed = 0, as_json: Json = False
) -> None:
    """Prove the contract on a pair: one line a law."""
    with _answering():
        from zoo.building import parse_settings
        from zoo.check import check as prove

        findings = [
            finding
            for found in _names([name], with_)
            for finding in prove(found, _event(event), parse_settings(sets or []), seed)
        ]
        if as_json:
            _print_json([asdict(finding) for finding in findings])
        else:
            for finding in findings:
                mark = {True: "ok  ", False: "FAIL", None: "-   "}[finding.ok]
                typer.echo(f"{mark} {finding.law}" + (f": {finding.detail}" if finding.detail else ""))
        if any(finding.ok is False for finding in findings):
            raise typer.Exit(1)


@app.command()
def train(
    name: Name,
    with_: With = None,
    data: Data = "digits",
    split: Split = None,
    data_seed: DataSeed = 0,
    data_dir: DataDir = None,
    event: EventText = None,
    seed: Seed = 0,
    device: Device = "auto",
    sets: Set = None,
    settings: Train = None,
    precision: Precision = None,
    runs: Runs = Path("runs"),
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files into the run.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one family with one seed; a killed run goes on where it was, a finished one is left alone."""
    with _answering():
        from zoo.display import Watcher
        from zoo.progress import Keeper

        spec = _spec(data, split, data_seed, event)
        dataset = spec.load(data_dir)
        run, config = _run(name, with_, spec, dataset, seed, sets, settings, precision, runs)
        keepers: list[Keeper] = [Watcher(config.recipe.steps, quiet or as_json)]
        if tensorboard:
            from zoo.tensorboard import TensorBoard

            keepers.append(TensorBoard(run.folder / "tensorboard"))
        run.train(config, dataset, device, keepers)
        status = run.status
        if as_json:
            _print_json({"folder": str(run.folder), **status})
        elif not quiet:
            best = f", best validation {status['best_score']} at step {status['best_step']}"
            typer.echo(
                f"{status['status']}{' (' + status['reason'] + ')' if status['reason'] else ''}{best}: {run.folder}"
            )
        if status["status"] == "diverged":
            raise typer.Exit(1)


@app.command()
def evaluate(
    name: Name,
    evaluation: Annotated[list[str] | None, typer.Option("--evaluation", "-e", help="Which; all if not told.")] = None,
    with_: With = None,
    data: Data = "digits",
    split: Split = None,
    data_seed: DataSeed = 0,
    data_dir: DataDir = None,
    event: EventText = None,
    seed: Seed = 0,
    device: Device = "auto",
    sets: Set = None,
    settings: Train = None,
    precision: Precision = None,
    particles: Particles = 512,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Ask the evaluations of one trained family (trains it first if it is not)."""
    with _answering():
        from zoo.display import Watcher
        from zoo.evaluating import Settings
        from zoo.measure import ask, ask_together, rows
        from zoo.registry import evaluations, load_shelves

        load_shelves()
        asked = [evaluations[each] for each in evaluation or []] or list(evaluations)
        spec = _spec(data, split, data_seed, event)
        dataset = spec.load(data_dir)
        run, config = _run(name, with_, spec, dataset, seed, sets, settings, precision, runs)
        run.train(config, dataset, device, [Watcher(config.recipe.steps, quiet or as_json)])
        chosen = Settings(particles=particles)
        table: list[dict[str, Any]] = []
        for each in asked:
            scores = (
                ask(run, dataset, each.name, chosen, device)
                if each.over == "run"
                else ask_together([run], dataset, each.name, chosen)
            )
            where = {"family": config.family, "guide": config.guide, "dataset": dataset.name, "seed": seed}
            group = run.pair().group
            table += rows(scores, suite="", group=group, evaluation=each.name, **where)
        _print_json(table) if as_json else _print_scores(table)
        if any(row["status"] == "failed" for row in table):
            raise typer.Exit(1)


@app.command()
def compare(
    names: Annotated[list[str] | None, typer.Argument(help="A suite (table1), a suite's TOML, or families.")] = None,
    with_: With = None,
    data: Annotated[str | None, typer.Option(help="Data instead of the suite's: a name, a file or a folder.")] = None,
    split: Split = None,
    data_seed: DataSeed = 0,
    data_dir: DataDir = None,
    event: EventText = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds instead of the suite's; may be repeated.")] = None,
    device: Device = "auto",
    sets: Set = None,
    settings: Train = None,
    precision: Precision = None,
    particles: Annotated[int | None, typer.Option(min=1, help="Particles instead of the suite's.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One seed, short budgets; not to be quoted.")] = False,
    name: Annotated[str, typer.Option(help="Name of the report of a comparison of families.")] = "own",
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; as many as cores if 0.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads of each run.")] = 1,
    runs: Runs = Path("runs"),
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train, measure and report: a suite, or the families named."""
    with _answering():
        from zoo.compare import compare as run_suite
        from zoo.display import Display
        from zoo.plan import Options
        from zoo.report.writing import write_report

        suite = _suite(names or ["table1"], with_, data, name)
        suite = suite.quickened() if quick else suite
        changes = {"seeds": seed, "particles": particles, "data": [data] if data else None}
        suite = suite.model_copy(update={key: value for key, value in changes.items() if value})
        options = Options(
            runs=runs,
            device=device,
            workers=workers,
            threads=threads,
            data_dir=data_dir,
            files=tuple(_files(names or [], with_)),
            data=_spec(suite.data[0], split, data_seed, event),
            recipe=_recipe(settings, precision),
            hyper=_settings(sets),
            quick=quick,
            command="zoo " + " ".join(sys.argv[1:]),
        )
        study = run_suite(suite, options, Display(quiet))
        paths = write_report(study, reports / suite.name)
        _print_json([str(path) for path in paths]) if as_json else typer.echo(paths[0])
        failed = sorted({row["reason"] for row in study.scores if row["status"] == "failed"})
        if failed:
            _stop(f"{len(failed)} failure(s), each a row of the report; first: {failed[0]}", 1)


@app.command()
def report(
    suite: Annotated[str, typer.Argument(help="The suite whose stored scores are drawn again.")] = "table1",
    reports: Reports = Path("reports"),
    as_json: Json = False,
) -> None:
    """Redraw a report from its stored scores; nothing is trained."""
    with _answering():
        from zoo.report.study import Study
        from zoo.report.writing import write_report

        paths = write_report(Study.load(reports / suite), reports / suite)
        _print_json([str(path) for path in paths]) if as_json else typer.echo(paths[0])


@app.command()
def sample(
    name: Name,
    out: Annotated[Path, typer.Option(help="A picture (.png) or numbers (.npy).")] = Path("samples.png"),
    n: Annotated[int, typer.Option("-n", min=1, help="How many samples.")] = 64,
    with_: With = None,
    data: Data = "digits",
    split: Split = None,
    data_seed: DataSeed = 0,
    data_dir: DataDir = None,
    event: EventText = None,
    seed: Seed = 0,
    device: Device = "auto",
    sets: Set = None,
    settings: Train = None,
    precision: Precision = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Draw samples of a family (trains it first if it is not)."""
    with _answering():
        from zoo.devices import pick_device
        from zoo.display import Watcher
        from zoo.gallery import check_place, save_samples
        from zoo.seeding import seeded
        from zoo.traces import sample as draw

        spec = _spec(data, split, data_seed, event)
        dataset = spec.load(data_dir)
        check_place(out, dataset.event)
        run, config = _run(name, with_, spec, dataset, seed, sets, settings, precision, runs)
        run.train(config, dataset, device, [Watcher(config.recipe.steps, quiet)])
        pair = run.pair().to(pick_device(device))
        with seeded(seed):
            drawn = draw(pair, n).reshape(n, *dataset.event.shape).cpu()
        save_samples(out, drawn, dataset.event)
        if not quiet:
            typer.echo(out)


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each contender has a turn in every one.")] = 7,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads.")] = 2,
    only: Annotated[list[str] | None, typer.Option(help="A row alone; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One small row, few rounds; not to be quoted.")] = False,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure the speed of training and sampling beside Pyro, torch by hand and NumPyro, in turn."""
    with _answering():
        from zoo.bench.measure import bench as measure
        from zoo.bench.measure import table, write_csv
        from zoo.bench.rows import rows

        chosen = rows(only or [], quick)
        rounds, turn = (min(rounds, 3), 0.1) if quick else (rounds, 0.5)

        def watch(news: str) -> None:
            if not quiet:
                typer.echo(news, err=True)

        timings = measure(chosen, rounds, threads, turn, watch)
        write_csv(timings, reports / "bench" / "bench.csv")
        _print_json([asdict(timing) for timing in timings]) if as_json else typer.echo(table(timings))
        if not as_json and not quiet:
            typer.echo(reports / "bench" / "bench.csv")


@app.command()
def new(name: str, folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path(".")) -> None:
    """Write a commented starting file for a family of your own; it passes zoo check as it is."""
    with _answering():
        from zoo.files import write_text
        from zoo.registry import families, load_shelves
        from zoo.template import starting_file

        path = folder / f"{name}.py"
        if path.exists():
            raise ZooError(f"{path} is there already; choose another name or remove it")
        load_shelves()
        if name in families:
            raise ZooError(f"there is a family {name!r} already; choose another name")
        write_text(path, starting_file(name))
        typer.echo(f"{path}\nnext: zoo check {path}, then zoo train {path}")


def _names(names: Sequence[str], with_: list[Path] | None) -> list[str]:
    """Names of families; a Python file stands for the families it holds."""
    from zoo.outside import load_families

    load_families(with_ or [])
    found: list[str] = []
    for name in names:
        found += load_families([Path(name)]) if name.endswith(".py") else [name]
    return found


def _files(names: Sequence[str], with_: list[Path] | None) -> list[Path]:
    return [*(with_ or []), *(Path(name) for name in names if name.endswith(".py"))]


def _suite(names: Sequence[str], with_: list[Path] | None, data: str | None, own: str) -> Suite:
    from zoo.suite import load_suite, own_suite, suite_names

    if len(names) == 1 and (names[0] in suite_names() or names[0].endswith(".toml")):
        return load_suite(names[0])
    from zoo.building import find

    families = _names(names, with_)
    try:
        for name in families:
            find(name)
    except ZooError as error:
        if len(names) == 1:
            raise ZooError(f"{error}; suites: {', '.join(suite_names())}") from None
        raise
    return own_suite(own, families, data or "digits")


def _run(
    name: str,
    with_: list[Path] | None,
    spec: DataSpec,
    dataset: Dataset,
    seed: int,
    sets: list[str] | None,
    settings: list[str] | None,
    precision: str | None,
    runs: Path,
) -> tuple[Run, RunConfig]:
    from zoo.runs import Run, configure

    found = _names([name], with_)
    if len(found) != 1:
        raise ZooError(f"{name} holds {len(found)} families ({', '.join(found)}); name one and give the file by --with")
    config = configure(
        found[0],
        spec,
        dataset,
        seed=seed,
        hyper=_settings(sets),
        recipe=_recipe(settings, precision),
    )
    return Run.of(config, runs), config


def _recipe(settings: list[str] | None, precision: str | None) -> dict[str, Any]:
    return _settings(settings) | ({"precision": precision} if precision else {})


def _settings(texts: list[str] | None) -> dict[str, Any]:
    from zoo.building import parse_settings

    return parse_settings(texts or [])


def _spec(data: str, split: str | None, seed: int, event: str | None) -> DataSpec:
    from zoo.runs import DataSpec

    return DataSpec(name=data, seed=seed, split=_split(split), event=event)


def _split(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        raise ZooError(f"a split is three shares such as 0.8,0.1,0.1; got {text!r}") from None
    return train, validation, test


def _event(text: str | None) -> Any:
    from zoo.event import Event

    return Event.parse(text) if text else None


def _first(doc: str) -> str:
    return doc.partition("\n")[0]


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def _print_scores(table: list[dict[str, Any]]) -> None:
    for row in table:
        typer.echo(f"{row['evaluation']:<12}{row['metric']:<22}{_value(row)}")


def _value(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    error = f" ± {row['stderr']:.2g}" if row["stderr"] is not None else ""
    kind = f"  ({row['kind']})" if row["kind"] else ""
    return f"{row['value']:.5g}{error} {row['unit']}{kind}"
