from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import zoo

from zoo.cli.parse import bytes_of
from zoo.data import load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.experiments.suite import suite_names
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import REGISTRIES, acquisitions, datasets, families, guides, priors

SMALL = ["--data", "digits-binary", "--device", "cpu", "--train", "steps=4"]
SMALL += ["--set", "hidden=8", "--set", "guide.hidden=8"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_help_does_not_import_torch() -> None:
    script = (
        "import sys, zoo.__main__\nsys.argv = ['zoo', '--help']\n"
        "try: zoo.__main__.main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    commands = ("list", "show", "check", "train", "evaluate", "compare", "sample", "compress", "report", "new", "tune")
    assert all(command in out.stdout for command in commands)


def test_list_shows_everything_registered() -> None:
    listed = json.loads(zoo("list", "--json").stdout)
    names = {shelf: [each["name"] for each in entries] for shelf, entries in listed.items()}
    shelves = {"families": families, "guides": guides, "priors": priors, "data": datasets, "acquisitions": acquisitions}
    for shelf, registry in shelves.items():
        assert names[shelf] == [entry.name for entry in registry]
    assert names["suites"] == suite_names()
    text = zoo("list").stdout
    assert all(f"  {name} " in text for shelf in names.values() for name in shelf)


def test_show_gives_what_is_read_off_the_programs() -> None:
    shown = json.loads(zoo("show", "vae+iaf", "--json").stdout)
    assert (shown["likelihood"], shown["group"]) == ("bound", "prescribed")
    assert "guide.hidden" in shown["hyper"]
    assert json.loads(zoo("show", "ppca", "--event", "3:real", "--json").stdout)["likelihood"] == "exact (analytic)"
    assert "arXiv:1312.6114" in zoo("show", "vae").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "vea"], "did you mean vae"),
        (["train", "vae+plana"], "did you mean planar"),
        (["train", "gan+iaf"], "brings its own guide"),
        (["train", "vae", "--data", "digitz"], "did you mean digits"),
        (["train", "vae", "--set", "hiden=3"], "it has: net, latent"),
        (["train", "vae", "--set", "hidden"], "name=value"),
        (["train", "vae", "--train", "step=3"], "settings: steps"),
        (["train", "vae", "--device", "abacus"], "use auto, cpu"),
        (["train", "pixelcnn", "--data", "moons"], "families that fit"),
        (["train", "vae", "--event", "9x9:17"], "64"),
        (
            ["compare", "tabel1"],
            "suites: autoregressive, blobs, certificates, decisions, diffusion, domains, energy, everything, fashion, "
            "flows, graphs, labels, novelty",
        ),
        (["compare", "nowhere.toml"], "cannot be read"),
        (["report", "nothing"], "zoo compare"),
        (["check", "nowhere.py"], "not there"),
        (["train", "vae", "--seed", "-1"], "from 0 to 4294967295"),
        (["train", "vae", "--runs", "/dev/null/runs", "--quiet"], "/dev/null"),
        (["compare", "vae", "--name", "../up"], "should match"),
        (["train", "vae", "--data", "nowhere.npz"], "nowhere.npz"),
        (["evaluate", "uniform", "--memory", "512 parsecs"], "such as 512MiB, 2GiB or 1GB; got '512 parsecs'"),
        (["compare", "uniform", "--memory", "0"], "such as 512MiB"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(words: list[str], message: str) -> None:
    result = zoo(*words, code=2)
    assert result.stderr.startswith("zoo: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vae"], "there is a family 'vae' already"),
        (["dataset", "moons"], "there is a dataset 'moons' already"),
        (["guide"], "needs a name: zoo new guide NAME"),
        (["gide", "mine"], "writes one of acquisition, .*guide, .*; got 'gide'"),
        (["prior", "class"], "no keyword of Python, such as my_vae; got 'class'"),
        (["prior", "../up"], "consists of letters"),
        (["column", "my_column"], "lower-case letters, digits and hyphens"),
    ],
)
def test_new_refuses_a_name_or_a_kind(words: list[str], message: str) -> None:
    assert re.search(message, zoo("new", *words, code=2).stderr)


@pytest.mark.parametrize(("kind", "name"), [("dataset", "math"), ("evaluation", "torch"), ("family", "tensor")])
def test_new_hides_no_name_that_its_file_uses(kind: str, name: str) -> None:
    zoo("new", kind, name)
    load_families([Path(f"{name}.py")])
    assert name in {registry.word.replace(" ", ""): registry for registry in REGISTRIES}[kind]
    if kind == "dataset":
        assert load_data(name).event == Event(2, "real")
    assert "there already" in zoo("new", kind, name, code=2).stderr


@pytest.mark.thorough
def test_with_is_given_before_or_after_the_command() -> None:
    zoo("new", "mine")
    for words in (["--with", "mine.py", "list"], ["list", "--with", "mine.py"]):
        assert "mine " in zoo(*words).stdout
    zoo("--with", "mine.py", "train", "mine", "--train", "steps=1", "--quiet")
    [config] = Path("runs").rglob("config.json")
    assert [Path(path).name for path in json.loads(config.read_text())["config"]["files"]] == ["mine.py"]
    zoo("--with", "mine.py", "train", "independent", "--quiet")
    [other] = Path("runs").rglob("independent/*/config.json")
    assert json.loads(other.read_text())["config"]["files"] == {}


def test_check_of_a_broken_pair_exits_with_1() -> None:
    Path("broken.py").write_text(
        "import pyro, pyro.distributions as dist, torch\n"
        "import zoo\nevent = zoo.Event(4, 'binary')\n"
        "def model(x):\n    pyro.sample('x', dist.Bernoulli(torch.tensor(0.5)).expand(x.shape).to_event(2), obs=x)\n"
        "def guide(x): pass\n"
    )
    assert "FAIL" in zoo("check", "broken.py", code=1).stdout


@pytest.mark.thorough
def test_train_evaluate_and_sample_one_family() -> None:
    first = json.loads(zoo("train", "vae", *SMALL, "--json").stdout)
    again = json.loads(zoo("train", "vae+normal", *SMALL, "--json").stdout)
    assert first == again
    rows = json.loads(zoo("evaluate", "vae", *SMALL, "-e", "likelihood", "--particles", 8, "--quiet", "--json").stdout)
    nats = next(row for row in rows if row["metric"] == "nats")
    assert nats["kind"] == "lower bound"
    assert nats["group"] == "prescribed"
    zoo("sample", "vae", *SMALL, "-n", 9, "--out", "grid.png", "--quiet")
    assert Path("grid.png").read_bytes().startswith(b"\x89PNG")
    zoo("sample", "vae", *SMALL, "-n", 9, "--out", "x.npy", "--quiet")
    assert np.load("x.npy", allow_pickle=False).shape == (9, 8, 8)
    assert (
        ".png, .npy, .npz, .csv, .txt or .wav"
        in zoo("sample", "vae", *SMALL, "--out", "x.jpg", "--quiet", code=2).stderr
    )
    assert {path.parts[0] for path in Path().rglob("*.*")} <= {"runs", "grid.png", "x.npy"}


def test_a_diverged_run_is_a_result_and_exits_with_1() -> None:
    words = [word.replace("steps=4", "steps=40") for word in SMALL]
    result = zoo("train", "vae", *words, "--train", "lr=1e30", code=1)
    assert "diverged (loss became" in result.output
    assert "Traceback" not in result.output
    [status] = Path("runs").rglob("status.json")
    assert json.loads(status.read_text())["status"] == "diverged"
    said = zoo("sample", "vae", *words, "--train", "lr=1e30", "--out", "x.npy", code=1).stderr
    assert "is no trained model (diverged: loss became" in said
    assert not Path("x.npy").exists()


@pytest.mark.process
def test_compare_reports_and_a_failed_family_is_its_own_row() -> None:
    Path("crash.py").write_text(
        "import os, signal, pyro, pyro.distributions as dist, torch, zoo\n"
        "event = zoo.Event((8, 8), 'binary')\n"
        "m = torch.nn.ParameterList([torch.zeros(8, 8)])\n"
        "def model(x):\n"
        "    if len(x) > 900: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    with pyro.plate('data', len(x)):\n"
        "        pyro.sample('x', dist.Bernoulli(logits=m[0].expand(x.shape)).to_event(2), obs=x)\n"
    )
    words = ["compare", "crash.py", "independent", "--data", "digits-binary", "--seed", 0, "--particles", 4]
    result = zoo(*words, "--train", "batch=1000", "--train", "steps=0", "--quiet")
    assert Path("reports/own/index.html").exists()
    zoo("compare", "crash.py", "independent", "--data", "digits-binary", "--seed", 0, "--train", "batch=1000",
        "--train", "steps=2", "--quiet", code=1)  # fmt: skip
    rows = json.loads(Path("reports/own/scores.json").read_text())["scores"]
    failed = [row for row in rows if row["family"] == "crash"]
    assert {row["status"] for row in failed} == {"failed"}
    assert all("SIGKILL" in row["reason"] for row in failed)
    assert any(row["family"] == "independent" and row["status"] == "ok" for row in rows)
    page = Path("reports/own/index.html").read_bytes()
    zoo("report", "own")
    assert Path("reports/own/index.html").read_bytes() == page
    assert result.exit_code == 0


@pytest.mark.process
@pytest.mark.parametrize(
    "name", ["samples.safetensors", "weights.safetensors", "history.csv", "scores/likelihood.json"]
)
def test_a_damaged_run_is_its_own_row_of_a_comparison(name: str) -> None:
    words = ["compare", "uniform", "independent", "--data", "digits-binary", "--seed", 0, "--particles", 4, "--quiet"]
    zoo(*words)
    [place] = Path("runs").rglob(f"independent/*/{name}")
    place.write_bytes(place.read_bytes()[:-7])
    assert place.name in zoo(*words, code=1).stderr
    rows = json.loads(Path("reports/own/scores.json").read_text())["scores"]
    lost, kept = ({row["status"] for row in rows if row["family"] == name} for name in ("independent", "uniform"))
    assert lost == {"failed"}
    assert "ok" in kept
    assert "failed" not in kept
    assert place.name.split(".")[0] in Path("reports/own/report.md").read_text()


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 2**29), ("1.5 gib", 3 * 2**29), ("2GB", 2 * 10**9), ("4096", 4096), ("1B", 1)]
)
def test_memory_is_read_with_its_unit(text: str, size: int) -> None:
    assert bytes_of(text) == size


def test_memory_reaches_the_evaluation(tmp_path: Path) -> None:
    zoo("evaluate", "uniform", "-e", "likelihood", "--memory", "3MiB", "--runs", tmp_path, "--quiet")
    (stored,) = tmp_path.rglob("likelihood.json")
    assert json.loads(stored.read_text())["settings"]["memory"] == 3 * 2**20


@pytest.mark.parametrize(
    ("words", "data"),
    [
        ([], [["blobs"], ["digits"], ["digits:labels=all"]]),
        (["--data", "digits-binary"], 3 * [["digits-binary"]]),
    ],
)
def test_suites_that_are_included_keep_their_data(
    words: list[str], data: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[Any] = []

    def stop(suite: Any, *rest: Any) -> None:
        planned.append(suite)
        raise ZooError("enough")

    monkeypatch.setattr("zoo.experiments.compare.compare", stop)
    zoo("compare", "decisions", *words, code=2)
    [suite] = planned
    assert sorted([suite.data, *(each.data for each in suite.also)]) == data


def test_programs_of_ones_own_are_checked_with_the_trained_weights() -> None:
    """This one reads x once training has moved its gate beyond 1, far beyond the noise of the laws."""
    Path("late.py").write_text(
        "import pyro, pyro.distributions as dist, torch, zoo\n"
        "event = zoo.Event(2, 'real')\n"
        "gate = torch.nn.ParameterList([torch.zeros(2)])\n"
        "def model(x):\n"
        "    pyro.module('gate', gate)\n"
        "    seen = (gate[0] - 1).clamp(min=0) * (x.mean(0) - gate[0])\n"
        "    with pyro.plate('data', len(x)):\n"
        "        return pyro.sample('x', dist.Normal(gate[0] + seen, 1.0).to_event(1), obs=x)\n"
    )
    rows = np.random.default_rng(0).normal(5, 1, (200, 2))
    np.save("far.npy", rows)
    words = ["late.py", "--data", "far.npy", "--train", "steps=100", "--train", "lr=0.1", "--device", "cpu"]
    zoo("train", *words, "--quiet")
    said = zoo("evaluate", *words, "-e", "likelihood", code=2).stderr
    assert "depends on x" in said or "other data changed" in said
