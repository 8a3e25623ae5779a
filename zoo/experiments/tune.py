"""Tuning: trials of one family's settings, each an ordinary run, compared by their validation scores.

The settings of a trial depend only on the seed, on its number and on the scores of the trials before it, and a run that
is on disk is not trained again. So the runs are all that is stored: a study that was interrupted, or is given more
trials, repeats its earlier trials from disk and goes on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data import Dataset
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build, parse_value, read_name
from zoo.pairs.traces import Likelihood, capabilities
from zoo.runs.config import RunConfig
from zoo.runs.run import FOREVER, Run
from zoo.training.callbacks import Progress, StopTraining

Space = Mapping[str, Any]
"""Setting -> optuna's distribution; training settings are named ``train.NAME``."""
TRAIN = "train."
STARTUP = 5
"""Trials that are drawn at random, and that have to finish before one is pruned."""
WARMUP = 0.25
"""Share of its checkpoints before which a trial is not pruned."""
LR_FACTOR = 5
"""The learning rate is varied by this factor either way, if nothing else is asked for."""


@dataclass(frozen=True)
class Trial:
    """One trial: its settings, its run and what became of it."""

    number: int
    settings: Mapping[str, Any]
    config: RunConfig
    run: Run
    status: str
    """``finished``, ``pruned``, ``diverged`` or ``failed``."""
    score: float | None
    """The best validation score, up to the end or to where it was pruned."""
    step: int
    """Steps taken."""
    reason: str = ""


def tune(
    config: RunConfig, data: Dataset, space: Space, trials: int, runs: Path, device: str = "auto"
) -> Iterator[Trial]:
    """Train ``trials`` runs with settings from ``space`` and yield each as it ends; the test split is not used.

    The score of a trial is the one by which training keeps its best weights (`zoo.training.validation`). The first
    trial has the settings of ``config``, if the space holds them; later ones are drawn by a tree-structured Parzen
    estimator. A trial whose best score is worse than the median of the finished trials at the same checkpoint is
    pruned; its run is left as one that was interrupted.

    Args:
        config: the settings that are not varied, and the seed of the trials and of each run.
        data: the data set that ``config.data`` loads.
        space: see `read_space` and `default_space`.
        trials: how many.
        runs: folder of the runs.
        device: see `zoo.training.loop.fit`.

    Raises:
        ZooError: see `objective`, or optuna is not installed.

    Reference:
        Bergstra et al. 2011, Algorithms for hyper-parameter optimization, NeurIPS 24.
    """
    _require_one_scale(config, space)
    optuna, implicit = _optuna(), _likelihood(config, space) == "none"
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce the study
    pruner = optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=math.ceil(WARMUP * config.recipe.checkpoints))
    study = optuna.create_study(pruner=pruner)
    optuna.logging.set_verbosity(verbosity)
    own = {name: _current(config).get(name) for name in space}
    if all(_holds(space[name], value) for name, value in own.items()):
        study.enqueue_trial(own)
    for number in range(trials):
        seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        asked = study.ask(dict(space))
        trial = _trained(asked, with_settings(config, asked.params), data, runs, device, implicit)
        if trial.status == "finished":
            study.tell(asked, trial.score)
        else:  # a failure says nothing of the settings, a run that was pruned or diverged that they are bad
            states = optuna.trial.TrialState
            study.tell(asked, state=states.FAIL if trial.status == "failed" else states.PRUNED)
        yield trial


def _trained(asked: Any, config: RunConfig, data: Dataset, runs: Path, device: str, implicit: bool) -> Trial:
    """Train the run of a trial, or read it from disk."""
    run, pruning = Run.of(config, runs), Pruning(asked, config.recipe.steps, implicit)
    status, reason = "finished", ""
    try:
        if run.done:
            pruning.report(run.history, ended=True)
        run.train(config, data, device, [pruning], patience=FOREVER)
        status, reason = run.status["status"], run.status["reason"]
    except StopTraining:
        status, reason = "pruned", "worse than the median of the finished trials at this checkpoint"
    except ZooError as error:
        status, reason = "failed", str(error)
    rows = pruning.rows
    score = min((row["validation"] for row in rows if math.isfinite(row["validation"])), default=None)
    if status == "finished" and score is None:
        status, reason = "failed", "its validation score is not finite at any checkpoint"
    step = int(rows[-1]["step"]) if rows else 0
    return Trial(asked.number, asked.params, config, run, status, score, step, reason)


class Pruning:
    """A callback that reports validation scores to a trial of optuna, and stops training where it says so.

    Args:
        trial: of optuna.
        steps: those of the whole run.
        implicit: whether the scores of the study are MMD² rather than nats.
    """

    def __init__(self, trial: Any, steps: int, implicit: bool) -> None:
        self.trial, self.steps, self.implicit = trial, steps, implicit
        self.rows: list[dict[str, float]] = []
        """The rows of the run's history that were reported."""

    def on_progress(self, progress: Progress) -> None:
        """Nothing between checkpoints."""

    def on_checkpoint(self, progress: Progress) -> None:
        self.report(progress.history, ended=progress.status != "running" or progress.step == self.steps)

    def report(self, history: Sequence[dict[str, float]], ended: bool) -> None:
        """Report the rows that are new.

        Args:
            history: all rows of the run so far.
            ended: nothing is left to train after the last row, so it does not stop the run.

        Raises:
            StopTraining: the trial is pruned.
            ZooError: its scores cannot be compared with those of the study.
        """
        for number, row in enumerate(history[len(self.rows) :], len(self.rows)):
            self.rows.append(row)
            if not math.isfinite(row["validation"]):
                continue
            if (row["validation"] == row["discrepancy"]) != self.implicit:  # one number without a likelihood
                raise ZooError("only some settings of the space have a likelihood, so scores cannot be compared")
            self.trial.report(row["validation"], number)
            if self.trial.should_prune() and not (ended and number == len(history) - 1):
                raise StopTraining


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """``config`` with other settings; one that equals its default is left out, as of a run that was not tuned."""
    defaults = read_name(config.name).defaults
    recipe = {name.removeprefix(TRAIN): settings[name] for name in settings if name.startswith(TRAIN)}
    varied = {name: settings[name] for name in sorted(settings) if not name.startswith(TRAIN)}
    hyper = {
        name: value
        for name, value in (config.hyper | varied).items()
        if name not in varied or name not in defaults or value != defaults[name]
    }
    return config.model_copy(update={"hyper": hyper, "recipe": config.recipe.updated(recipe)})


def objective(config: RunConfig, space: Space) -> str:
    """What is minimised, in words.

    Raises:
        ZooError: the family does not have a setting of ``space``, or cannot be made with its first values; or its
            trials would be scored by different bounds.
    """
    _require_one_scale(config, space)
    weighed = config.recipe.weighed
    return {
        "exact": "validation nats per datum",
        "bound": f"validation nats per datum by {'the ELBO' if weighed == 1 else f'the bound of {weighed} particles'}",
        "unnormalised": "validation nats per datum, with log Z estimated by short annealing",
        "none": "validation MMD² of samples, as there is no likelihood",
    }[_likelihood(config, space)]


def _require_one_scale(config: RunConfig, space: Space) -> None:
    if f"{TRAIN}objective" in space or (config.recipe.objective != "elbo" and f"{TRAIN}particles" in space):
        raise ZooError(
            "trials are compared by the bound that they are trained by, and bounds of different numbers of importance "
            "weights have no common scale; fix objective and particles by --train"
        )


def _likelihood(config: RunConfig, space: Space) -> Likelihood:
    """The kind of likelihood with the first values of the space."""
    first = with_settings(config, {name: _ends(each)[0] for name, each in space.items()})
    return capabilities(build(first.name, Event.parse(first.event), first.hyper, first.seed)).likelihood


def read_space(texts: Sequence[str], config: RunConfig, given: Collection[str] = ()) -> Space:
    """The space that is written as ``latent=2..64:log``, ``hidden=64,128``, ``train.lr=1e-4..1e-2:log``.

    A range is of whole numbers if the setting's default is one, or if that is no number and both ends are whole.

    Args:
        texts: one for each setting.
        config: the settings that are not varied.
        given: names of settings that have a value already.

    Raises:
        ZooError: a text that is not written so, a setting that is given or varied twice, a training setting that is
            unknown or out of range, or optuna is not installed.

    Example:
        >>> from zoo.runs.config import DataSpec, configure
        >>> spec = DataSpec(name="digits")
        >>> config = configure("vae", spec, spec.load())
        >>> written(read_space(["latent=2..64:log", "train.lr=1e-4..1e-2:log", "hidden=64,128"], config))
        {'latent': '2..64:log', 'train.lr': '0.0001..0.01:log', 'hidden': '64,128'}
    """
    defaults, space = _current(config), dict[str, Any]()
    for text in texts:
        name, _, values = text.partition("=")
        if not (name and values):
            raise ZooError(f"what is varied is written name=low..high, name=low..high:log or name=a,b,c; got {text!r}")
        if name in space:
            raise ZooError(f"{name} is varied twice; give one range")
        if name in given:
            raise ZooError(f"{name} has a value of its own and is varied as well; leave one of them out")
        space[name] = _read(name, values, defaults.get(name))
        for end in _ends(space[name]):
            with_settings(config, {name: end})  # refuses what no recipe has
    return space


def default_space(config: RunConfig, given: Collection[str] = ()) -> Space:
    """The learning rate within a factor of `LR_FACTOR`, and each of the family's whole numbers from a half to twice.

    Settings in ``given``, and those in the family's name, keep their value.

    Raises:
        ZooError: there are none, or optuna is not installed.
    """
    optuna = _optuna()
    fixed = {*given, *read_name(config.name).hyper}
    space: dict[str, Any] = {}
    for name, value in _current(config).items():
        if name not in fixed and "." not in name and type(value) is int and value > 0:
            space[name] = optuna.distributions.IntDistribution(max(1, value // 2), 2 * value, log=True)
    if config.recipe.steps and TRAIN + "lr" not in fixed:
        low, high = (float(f"{lr:.3g}") for lr in (config.recipe.lr / LR_FACTOR, config.recipe.lr * LR_FACTOR))
        space[TRAIN + "lr"] = optuna.distributions.FloatDistribution(low, high, log=True)
    if not space:
        raise ZooError(f"{config.name} takes no steps and has no whole numbers to vary; say what to vary by --over")
    return space


def written(space: Space) -> dict[str, str]:
    """The values of each setting of ``space``, as `read_space` takes them."""
    return {
        name: ",".join(map(str, each.choices))
        if _is_choice(each)
        else f"{each.low}..{each.high}{':log' if each.log else ''}"
        for name, each in space.items()
    }


def _current(config: RunConfig) -> dict[str, Any]:
    """The value of every setting of ``config``: hyper-parameters, then training settings."""
    parsed = read_name(config.name)
    recipe = {TRAIN + name: value for name, value in config.recipe.model_dump().items()}
    return parsed.defaults | parsed.hyper | config.hyper | recipe


def _read(name: str, text: str, default: Any) -> Any:
    """The distribution written as ``text``, of a setting with that default."""
    distributions = _optuna().distributions
    if ".." not in text:
        choices = [parse_value(each) for each in text.split(",")]
        if len(choices) < 2 or len({*map(repr, choices)}) < len(choices):
            raise ZooError(f"{name} is varied over two or more different values, or a range low..high; got {text!r}")
        return distributions.CategoricalDistribution(choices)
    log = text.endswith(":log")
    ends = [parse_value(each) for each in text.removesuffix(":log").split("..", 1)]
    if not all(type(end) in (int, float) and math.isfinite(end) for end in ends) or ends[0] >= ends[1]:
        raise ZooError(f"a range is two numbers, the lower one first, such as {name}=1..8; got {text!r}")
    if log and ends[0] <= 0:
        raise ZooError(f"a range with :log is of positive numbers; got {name}={text}")
    whole = all(type(end) is int for end in ends)
    if type(default) is int and not whole:
        raise ZooError(f"{name} is a whole number, {default} by default; got the range {text}")
    if type(default) in (bool, str):
        raise ZooError(f"{name} is no number, {default} by default: list its values, {name}=a,b; got {text!r}")
    if whole and type(default) is not float:
        return distributions.IntDistribution(*ends, log=log)
    return distributions.FloatDistribution(*map(float, ends), log=log)


def _is_choice(distribution: Any) -> bool:
    return hasattr(distribution, "choices")


def _ends(distribution: Any) -> tuple[Any, ...]:
    """All choices, or the lowest and the highest number."""
    return tuple(distribution.choices) if _is_choice(distribution) else (distribution.low, distribution.high)


def _holds(distribution: Any, value: Any) -> bool:
    """Whether a distribution holds a value."""
    if _is_choice(distribution):
        return value in distribution.choices
    return type(value) in (int, float) and distribution.low <= value <= distribution.high


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ZooError("tuning needs optuna: pip install 'pyro-zoo[tune]'") from error
    return optuna
