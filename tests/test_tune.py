"""Tuning: trials are ordinary runs, chosen by validation alone, and the same again from what is on disk."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from command import zoo
from members import default
from torch import Tensor, nn

from zoo.cli.describe import example_event
from zoo.data import Dataset
from zoo.errors import ZooError
from zoo.event import Event
from zoo.experiments.tune import Trial, default_space, objective, read_space, tune, with_settings, written
from zoo.pairs.registry import families, family, load_shelves
from zoo.runs.config import DataSpec, RunConfig, configure
from zoo.runs.run import Run

load_shelves()
FAMILIES = [entry.name for entry in families]
RATES = "train.lr=0.0001..1.0:log"
SHORT = {"steps": 24, "batch": 20, "checkpoints": 6, "schedule": "constant"}
TRIALS = 12


@dataclass(frozen=True, eq=False)
class Mortal(Dataset):
    """Data that interrupt training when the batches of a lifetime are used up."""

    lifetime: Iterator[int] = field(default_factory=itertools.count)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if next(self.lifetime, None) is None:
            raise KeyboardInterrupt
        return super().batch(indices, generator)


class Small(nn.Module):
    """Independent coins without latents, whose likelihood is exact; ``broken`` ones cannot be made."""

    def __init__(self, event: Event, *, width: int = 4, broken: bool = False) -> None:
        super().__init__()
        if broken:
            raise ValueError("broken")
        self.logits = nn.Parameter(torch.linspace(-2, 2, width * event.size).reshape(width, *event.shape))

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            coins = dist.Bernoulli(logits=self.logits.mean(0).expand(x.shape))
            return pyro.sample("x", coins.to_event(2), obs=x)


def register() -> None:
    family("small", supports=("binary",), recipe=SHORT | {"lr": 0.01})(Small)


@pytest.fixture(autouse=True)
def registered(scoped_registries: None) -> None:
    register()


def splits(**changed: Tensor) -> dict[str, Any]:
    """The arguments of a data set of coins, some of its splits changed."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(80, 2, 2, generator=generator) < 0.3).float()
    own = {"train": x[:40], "validation": x[40:60], "test": x[60:]}
    return {"name": "coins", "event": Event((2, 2), "binary"), "source": "made up"} | own | changed


COINS = Dataset(**splits())


def configured(name: str, data: Dataset = COINS, seed: int = 0, **recipe: object) -> RunConfig:
    return configure(name, DataSpec(name=data.name), data, seed=seed, recipe=recipe)


def study(runs: Path, trials: int = TRIALS, data: Dataset = COINS, seed: int = 0) -> list[Trial]:
    config = configured("small", data, seed)
    return list(tune(config, data, read_space([RATES], config), trials, runs, "cpu"))


def facts(trials: list[Trial]) -> list[tuple[object, ...]]:
    """All of each trial that may not depend on where or how often it was trained."""
    return [(each.number, dict(each.settings), each.status, each.score, each.step) for each in trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """A study that nothing interrupted; some of its trials were pruned."""
    with families.scoped():
        register()
        found = study(tmp_path_factory.mktemp("whole"))
    assert {each.status for each in found} == {"finished", "pruned"}
    return found


@pytest.mark.thorough
def test_the_test_split_changes_no_trial(whole: list[Trial], tmp_path: Path) -> None:
    other = Dataset(**splits(test=1 - COINS.test))
    assert facts(study(tmp_path, data=other)) == facts(whole)


def test_the_validation_split_decides(whole: list[Trial], tmp_path: Path) -> None:
    other = Dataset(**splits(validation=1 - COINS.validation))
    assert [each.score for each in study(tmp_path, 2, other)] != [each.score for each in whole[:2]]


def test_trials_differ_and_depend_on_the_seed(whole: list[Trial], tmp_path: Path) -> None:
    others = study(tmp_path, 3, seed=1)
    assert others[0].settings == whole[0].settings
    assert len({each.settings["train.lr"] for each in [*whole, *others]}) == TRIALS + 2


@pytest.mark.thorough
def test_more_trials_go_on_from_those_on_disk(whole: list[Trial], tmp_path: Path) -> None:
    before = {each.run: (each.run.folder / "weights.safetensors").stat().st_mtime_ns for each in study(tmp_path, 4)}
    assert facts(study(tmp_path)) == facts(whole)
    assert {run: (run.folder / "weights.safetensors").stat().st_mtime_ns for run in before} == before


@pytest.mark.thorough
@pytest.mark.parametrize("lifetime", [10, 200])
def test_an_interrupted_study_ends_with_the_same_trials(lifetime: int, whole: list[Trial], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path, data=Mortal(**splits(), lifetime=iter(range(lifetime))))
    assert facts(study(tmp_path)) == facts(whole)


@pytest.mark.thorough
def test_a_pruned_run_can_be_finished_and_its_trial_stays(whole: list[Trial], tmp_path: Path) -> None:
    shutil.copytree(whole[0].run.folder.parents[2], tmp_path, dirs_exist_ok=True)
    for each in (each for each in whole if each.status == "pruned"):
        run = Run.of(each.config, tmp_path)
        assert not run.done
        assert 0 < each.step < each.config.recipe.steps
        run.train(each.config, COINS, "cpu")
        assert run.status["status"] == "finished"
    assert facts(study(tmp_path)) == facts(whole)


def test_a_trial_is_pruned_by_the_median_of_the_finished_ones(whole: list[Trial]) -> None:
    for each in (each for each in whole if each.status == "pruned"):
        place = [row["step"] for row in whole[0].run.history].index(each.step)
        before = [one.run.history[place]["validation"] for one in whole[: each.number] if one.status == "finished"]
        assert each.score is not None
        assert each.score > torch.tensor(before).quantile(0.5).item()


@pytest.mark.parametrize(
    ("name", "said"), [("small", "nats per datum"), ("ppca", "nats per datum by the ELBO"), ("gan", "MMD²")]
)
def test_the_score_is_what_training_keeps_its_best_weights_by(name: str, said: str, tmp_path: Path) -> None:
    config = configured(name, steps=6)
    space = read_space(["train.lr=0.001,0.1"], config)
    assert said in objective(config, space)
    for trial in tune(config, COINS, space, 2, tmp_path, "cpu"):
        assert trial.score == trial.run.status["best_score"] == min(row["validation"] for row in trial.run.history)


def test_the_first_trial_is_the_run_that_is_not_tuned(tmp_path: Path) -> None:
    config = configured("ppca", steps=4)
    [first] = tune(config, COINS, default_space(config), 1, tmp_path, "cpu")
    assert first.config == config


def test_a_trial_that_fails_or_diverges_is_a_row_and_never_the_best(tmp_path: Path) -> None:
    config = configured("small")
    space = read_space(["broken=False,True", "train.lr=0.01,1e30"], config)
    found = list(tune(config, COINS, space, 12, tmp_path, "cpu"))
    assert {each.status for each in found} >= {"finished", "failed", "diverged"}
    for each in found:
        assert ("broken" in each.reason) == (each.settings["broken"] is True) == (each.status == "failed")
        assert (each.status == "finished") == (each.settings == found[0].settings)


@pytest.mark.thorough
def test_scores_with_and_without_a_likelihood_are_not_compared(tmp_path: Path) -> None:
    @family("either", supports=("binary",), recipe={"steps": 2})
    def either(event: Event, *, implicit: bool = False) -> Any:
        return families["gan"].make(event, hidden=8) if implicit else Small(event)

    config = configured("either")
    for values in ("False,True", "True,False"):
        found = list(tune(config, COINS, read_space([f"implicit={values}"], config), 6, tmp_path, "cpu"))
        statuses = {str(each.settings["implicit"]): each.status for each in found}
        assert [statuses[value] for value in values.split(",")] == ["finished", "failed"], found


@pytest.mark.parametrize("over", ["train.objective=elbo,iwae", "train.particles=1,8"])
def test_trials_with_different_bounds_are_refused(over: str, tmp_path: Path) -> None:
    config = configured("ppca", steps=6)
    config = config.model_copy(update={"recipe": config.recipe.updated({"objective": "iwae", "particles": 4})})
    assert "by the bound of 4 particles" in objective(config, read_space(["train.lr=0.001,0.1"], config))
    with pytest.raises(ZooError, match="have no common scale; fix objective and particles"):
        next(iter(tune(config, COINS, read_space([over], config), 2, tmp_path, "cpu")))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_default_space_holds_what_the_family_can_be_made_with(name: str) -> None:
    """From end to end, but for the steps in time: each is a pass of the same network."""
    event = example_event(families[name])
    rows = event.without_padding(torch.ones(6, *event.shape))
    data, kept = Dataset("ones", event, rows, rows, rows, "made up"), default(name)
    config = configure(name, DataSpec(name=data.name), data, hyper=kept)
    if not config.recipe.steps:
        with pytest.raises(ZooError, match="say what to vary by --over"):
            default_space(config)
        return
    space = default_space(config, list(kept))
    for each in (space, _turned(space)):
        objective(config, each)


def _turned(space: Any) -> dict[str, Any]:
    """The space with the highest value of each range in the place of its lowest."""
    import optuna

    kinds = {True: optuna.distributions.IntDistribution, False: optuna.distributions.FloatDistribution}
    return {name: kinds[type(each.high) is int](each.high, each.high) for name, each in space.items()}


def test_given_settings_keep_their_value() -> None:
    config = configured("vae:latent=2")
    space = written(default_space(config, ["hidden", "train.lr"]))
    assert space == {"layers": "1..4:log", "statistics": "1..4:log"}


def test_settings_equal_to_their_defaults_are_left_out() -> None:
    config = configured("vae")
    settings = {"latent": 16, "hidden": 64, "guide.layers": 2, "train.lr": 0.5}
    made = with_settings(config, settings)
    assert made.hyper == {"guide.layers": 2, "hidden": 64}
    assert made.recipe == config.recipe.updated({"lr": 0.5})
    assert with_settings(made, {"hidden": 512}).hyper == {"guide.layers": 2}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("latent=2..64:log", "2..64:log"),
        ("dropout=0..1", "0.0..1.0"),
        ("train.lr=1e-4..1e-2:log", "0.0001..0.01:log"),
        ("train.clip=1..9", "1..9"),
        ("hidden=64,128", "64,128"),
        ("likelihood=categorical,auto", "categorical,auto"),
        ("guide.dropout=.1...5", "0.1..0.5"),
    ],
)
def test_a_range_is_of_its_settings_kind(text: str, values: str) -> None:
    assert list(written(read_space([text], configured("vae"))).values()) == [values]


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (["latent"], "written name=low..high"),
        (["latent=2..4", "latent=2,4"], "varied twice"),
        (["hidden=2..4"], "has a value of its own"),
        (["latent=4"], "two or more different values"),
        (["latent=4,4"], "two or more different values"),
        (["latent=8..4"], "the lower one first"),
        (["latent=1..many"], "two numbers"),
        (["latent=1..inf"], "two numbers"),
        (["dropout=0..0.5:log"], "positive numbers"),
        (["latent=1.5..4"], "latent is a whole number, 16 by default"),
        (["likelihood=1..2"], "list its values"),
        (["wide=1..2"], "has no hyper-parameter 'wide'; it has: net, latent"),
        (["guide.wide=1..2"], "guide 'normal' has no hyper-parameter 'wide'"),
        (["train.rate=1..2"], "'rate'.*settings: steps"),
        (["train.average=0.5..1.5"], "less than 1"),
        (["train.optimiser=adam,lbfgs"], "'optimiser'.*'lbfgs'"),
    ],
)
def test_a_space_that_cannot_be_is_refused_before_a_trial(over: list[str], message: str) -> None:
    config = configured("vae")
    with pytest.raises(ZooError, match=message):
        objective(config, read_space(over, config, ["hidden"]))


DATA = """
import torch, zoo
@zoo.dataset("rows")
def rows(seed, *, shift: float = 0.0):
    x = torch.randn(90, 4, generator=torch.Generator().manual_seed(seed)) + shift
    return zoo.Dataset("rows", zoo.Event(4, "real"), *x.split(30), "drawn")
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "words",
    [
        ["mine.py", "--data", "digits-binary", "--over", "hidden=8..16", "--event", "64:binary"],
        ["vae+iaf:latent=2", "--set", "hidden=8", "--set", "guide.hidden=8", "--over", "guide.steps=1,2"],
        ["ppca", "--data", "rows:shift=2.5", "--with", "rows.py", "--data-seed", 3, "--over", "latent=1..3"],
        ["ppca", "--data", "table.csv", "--split", "0.5,0.3,0.2", "--runs", "else", "--seed", 4],
        ["ssvae", "--data", "digits-binary:labels=all", "--field", "y=label", "--over", "hidden=8,9"],
        ["gan", "--set", "hidden=8", "--train", "batch=9", "--unchecked"],
    ],
)
def test_the_command_it_prints_is_that_of_the_best_run(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    zoo("new", "mine")
    Path("rows.py").write_text(DATA)
    generator = torch.Generator().manual_seed(0)
    lines = [",".join(f"{value:.6f}" for value in row) for row in torch.randn(60, 3, generator=generator).tolist()]
    Path("table.csv").write_text("\n".join(["a,b,c", *lines]))
    more = [] if "table.csv" in words else ["--over", "train.lr=1e-3..1e-2:log"]
    said = json.loads(zoo("tune", *words, *more, "--trials", 3, "--train", "steps=3", "--json").stdout)
    best = said["trials"][said["best"]]
    assert best["score"] == min(each["score"] for each in said["trials"] if each["status"] == "finished")
    weights = Path(best["folder"]) / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    trained = json.loads(zoo(*shlex.split(said["command"])[1:], "--json").stdout)
    assert (trained["folder"], trained["best_score"]) == (best["folder"], best["score"])
    assert weights.stat().st_mtime_ns == before
    assert len(list(Path(best["folder"]).parent.iterdir())) == len({each["folder"] for each in said["trials"]})


@pytest.mark.thorough
def test_trials_are_lines_and_the_last_line_is_the_command(tmp_path: Path) -> None:
    words = ["tune", "ppca", "--data", "digits-binary", "--train", "steps=2", "--trials", 2, "--runs", tmp_path]
    lines = zoo(*words).stdout.splitlines()
    assert lines[0] == "ppca on digits-binary: the least validation nats per datum by the ELBO"
    assert lines[1].startswith("over latent=8..32:log train.lr=0.004..0.1:log (by default")
    assert [line.split()[0] for line in lines[2:4]] == ["0", "1"]
    assert lines[5].startswith("zoo train ppca --data digits-binary ")
    assert zoo(*words, "--quiet").stdout.splitlines() == lines[4:]


@pytest.mark.thorough
def test_no_finished_trial_is_a_failure(tmp_path: Path) -> None:
    words = ["--over", "train.lr=1e30,1e31", "--train", "steps=40", "--runs", tmp_path, "--trials", 2]
    result = zoo("tune", "ppca", "--data", "digits-binary", *words, code=1)
    assert "none of 2 trials finished; the first: loss" in result.stderr


def test_without_optuna_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "pip install 'pyro-zoo[tune]'" in zoo("tune", "ppca", "--train", "steps=1", code=2).stderr
