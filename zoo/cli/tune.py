"""The command that tunes a family."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from zoo.cli.app import answering, app, print_json, stop
from zoo.cli.options import Device, Json, Name, RunOptions, unfold
from zoo.cli.parse import Prepared

if TYPE_CHECKING:
    from zoo.experiments.tune import Trial
    from zoo.runs.config import RunConfig


@app.command()
@unfold
def tune(
    name: Name,
    options: RunOptions,
    over: Annotated[
        list[str] | None,
        typer.Option(help="What to vary: latent=2..64:log, hidden=64,128, train.lr=1e-4..1e-2:log. May be repeated."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Number of trials, of which each is a run.")] = 20,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Vary a family's settings and keep the best by validation; the same command goes on with a study."""
    with answering():
        from zoo.experiments import tune as tuning
        from zoo.experiments.calibrate import calibrate

        prepared = Prepared.of(name, options)
        config = prepared.config
        given = [*options.hyper, *(tuning.TRAIN + each for each in options.recipe)]
        space = tuning.read_space(over, config, given) if over else tuning.default_space(config, given)
        objective = tuning.objective(config, space)
        calibrate([config], Console(stderr=True, quiet=options.quiet or as_json))
        show = typer.echo if not (as_json or options.quiet) else lambda line: None
        show(f"{config.name} on {config.data.name}: the least {objective}")
        varied = " ".join(f"{key}={values}" for key, values in tuning.written(space).items())
        show(f"over {varied}{'' if over else ' (by default; choose by --over)'}")
        found: list[Trial] = []
        for trial in tuning.tune(config, prepared.dataset, space, trials, options.runs, device):
            found.append(trial)
            show(_line(trial))
        finished = [(trial.score, trial.number) for trial in found if trial.status == "finished"]
        best = found[min(finished)[1]] if finished else None
        command = _train_command(best.config, options.runs, options.data_dir) if best else None
        if as_json:
            said: dict[str, Any] = {"family": config.name, "data": config.data.name, "objective": objective}
            said |= {"space": tuning.written(space), "trials": [_row(each) for each in found]}
            print_json(said | {"best": best and best.number, "command": command})
        if best is None:
            stop(f"none of {trials} trials finished; the first: {found[0].reason}", 1)
        elif not as_json:
            typer.echo(f"best: trial {best.number}, {best.score:.5g}, {best.run.folder}\n{command}")


def _row(trial: Trial) -> dict[str, Any]:
    settings = {name: trial.settings[name] for name in sorted(trial.settings)}
    row = {"number": trial.number, "status": trial.status, "score": trial.score, "step": trial.step}
    return row | {"settings": settings, "folder": str(trial.run.folder), "reason": trial.reason}


def _line(trial: Trial) -> str:
    score = "" if trial.score is None else f"{trial.score:.5g}"
    values = (f"{name}={_short(trial.settings[name])}" for name in sorted(trial.settings))
    reason = f"  ({trial.reason})" if trial.status in ("diverged", "failed") else ""
    return f"{trial.number:>4}  {score:>9}  {trial.status:<8}  {trial.step:>6} steps  {' '.join(values)}{reason}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _train_command(config: RunConfig, runs: Path, data_dir: Path | None) -> str:
    """The command that trains the run of ``config``."""
    from zoo.pairs.build import find
    from zoo.runs.config import DataSpec
    from zoo.training.recipe import Recipe

    recipe, usual = config.recipe.model_dump(), Recipe.read(find(config.name)[0].recipe).model_dump()
    data, plain = config.data, DataSpec()
    options: list[tuple[str, Any]] = [("--with", file) for file in config.files]
    options += [("--data", data.name), ("--event", data.event), ("--data-dir", data_dir)]
    options += [("--split", data.split and ",".join(map(str, data.split)))]
    options += [("--data-seed", data.seed if data.seed != plain.seed else None)]
    options += [("--field", f"{key}={role}") for key, role in data.roles.items()]
    options += [("--set", f"{key}={value}") for key, value in config.hyper.items()]
    options += [("--train", f"{key}={value}") for key, value in recipe.items() if value != usual[key]]
    options += [("--seed", config.seed), ("--runs", runs if runs != Path("runs") else None)]
    words = [word for option, value in options if value is not None for word in (option, str(value))]
    return shlex.join(["zoo", "train", config.name, *words, *(["--unchecked"] if config.unchecked else [])])
