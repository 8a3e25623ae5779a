"""Published models: written once, loaded anywhere, refused if anything was changed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from command import zoo as command
from safetensors import safe_open

import zoo
from zoo.files import read_json, read_tensors, write_json, write_tensors
from zoo.metrics.bounds import log_likelihoods, log_probs
from zoo.runs.evaluation import Settings
from zoo.runs.lookup import dataset_of, find_run
from zoo.runs.published import FILE, FORMAT, INDEX, SHIPPED, ModelRegistry, example_of, published_run
from zoo.runs.publishing import publish
from zoo.runs.stored_scores import evaluate_run

NAME = "vae-digits"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of one model; the folder above it has the runs."""
    home = tmp_path_factory.mktemp("registry")
    for family in ("vae", "gan"):
        command("train", family, "--train", "steps=2", "--quiet", "--runs", home / "runs", "--set", "hidden=8")
    publish(find_run(home / "runs/digits/vae+normal"), home / "models", particles=4)
    return home / "models"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine: an empty cache and another folder."""
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.chdir(tmp_path)


@contextmanager
def served(handler: type[SimpleHTTPRequestHandler], folder: Path) -> Iterator[str]:
    """The address of a server of a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class LikeHub(Quiet):
    """The part of Hugging Face's interface that a download takes."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/someone/models/resolve/main"))

    def end_headers(self) -> None:
        if self.path.startswith("/someone/models/resolve/main/"):
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
        super().end_headers()


@pytest.mark.thorough
def test_scores_are_those_of_the_weights_that_were_written(registry: Path) -> None:
    run = published_run(f"{registry}/{NAME}")
    assert run is not None
    entry, stored = ModelRegistry(str(registry)).models()[NAME], read_json(run.folder / "scores" / "likelihood.json")
    (run.folder / "scores" / "likelihood.json").unlink()
    again = evaluate_run(run, dataset_of(run), "likelihood", Settings(particles=4))
    nats = next(score.value for score in again if score.metric == "nats")
    assert nats == pytest.approx(entry["nats"], abs=1e-4)
    assert nats == pytest.approx(next(row["value"] for row in stored["scores"] if row["metric"] == "nats"), abs=1e-4)


def test_weights_are_rounded_only_where_that_changes_no_score(registry: Path) -> None:
    own, published = find_run(registry.parent / "runs/digits/vae+normal"), zoo.load(f"{registry}/{NAME}")
    with safe_open(registry / NAME / FILE, framework="pt") as file:
        stored = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118 (it is no dict)
    rounded = torch.bfloat16 in stored
    for name, tensor in own.pair().state().items():
        expected = tensor.bfloat16().float() if rounded and tensor.dtype == torch.float32 else tensor
        assert torch.equal(published.pair.state()[name], expected)


@pytest.mark.thorough
def test_a_model_loads_from_a_server(registry: Path) -> None:
    with served(Quiet, registry) as address:
        model = zoo.load(f"{address}/{NAME}")
    assert torch.equal(model.sample(2, seed=0), zoo.load(f"{registry}/{NAME}").sample(2, seed=0))


@pytest.mark.thorough
def test_a_model_loads_from_a_repository(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    with served(LikeHub, registry) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert zoo.load(f"hf://someone/models/{NAME}").event == zoo.Event((8, 8), 17)
        with pytest.raises(zoo.ZooError, match="has no model 'nothing'"):
            zoo.load("hf://someone/models/nothing")


@pytest.mark.thorough
def test_every_command_takes_a_model_by_its_name(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_REGISTRY", str(registry))
    np.save("some.npy", zoo.load_data("digits").test[:5].numpy().astype("uint8"))
    command("sample", NAME, "--out", "drawn.npy", "-n", 3, "--quiet")
    assert np.load("drawn.npy").shape == (3, 8, 8)
    command("compress", NAME, "some.npy", "-o", "some.zoo", "--quiet")
    command("decompress", "some.zoo", "-o", "back.npy", "--quiet")
    assert np.array_equal(np.load("back.npy"), np.load("some.npy"))
    assert len(command("score", NAME, "--data", "some.npy").stdout.splitlines()) == 6
    assert NAME in command("list").stdout
    assert not Path("runs").exists()


def test_the_name_of_a_family_is_looked_up_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_REGISTRY", "http://127.0.0.1:9")
    assert published_run("vae+iaf") is None
    with pytest.raises(zoo.ZooError, match=r"127\.0\.0\.1:9/index\.json cannot be read"):
        published_run("vae-digits")


def test_the_beginning_of_a_name_is_enough_for_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(*names: str) -> str | None:
        """The name of the model that ``vae-some`` is, where a registry has these."""
        write_json(Path("other", INDEX), {"format": FORMAT, "models": {name: {} for name in names}})
        asked: list[str] = []
        monkeypatch.setattr(ModelRegistry, "run", lambda self, name: asked.append(name))
        published_run("vae-some")
        return asked[0] if asked else None

    monkeypatch.setenv("ZOO_REGISTRY", "other")
    assert model("vae-some-data") == "vae-some-data"
    assert model("vae-some", "vae-some-data") == "vae-some"  # the whole name of one
    assert model("vae-something") is None  # the beginning ends at a hyphen
    with pytest.raises(zoo.ZooError, match=r"vae-some-\.\.\.: vae-some-data, vae-some-other"):
        model("vae-some-data", "vae-some-other")


def test_a_whole_name_comes_before_a_beginning_in_any_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(Path("other", INDEX), {"format": FORMAT, "models": {"ppca-digits-mine": {}}})
    monkeypatch.setenv("ZOO_REGISTRY", "other")
    asked: list[str] = []
    monkeypatch.setattr(ModelRegistry, "run", lambda self, name: asked.append(f"{self.address}: {name}"))
    published_run("ppca-digits")
    assert asked == [f"{SHIPPED}: ppca-digits"]


def test_a_sample_needs_no_data(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: object, **kwargs: object) -> None:
        raise zoo.ZooError("the data are on another machine")

    monkeypatch.setattr("zoo.runs.config.load_data", gone)
    command("sample", f"{registry}/{NAME}", "--out", "drawn.npy", "--quiet")
    assert zoo.load(f"{registry}/{NAME}").sample(2).shape == (2, 8, 8)


def _copied(registry: Path, to: Path) -> Path:
    for path in (registry / INDEX, registry / NAME / FILE):
        target = to / path.relative_to(registry)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return to


def test_tampered_files_are_refused(registry: Path, tmp_path: Path) -> None:
    other = _copied(registry, tmp_path / "other")
    weights = bytearray((other / NAME / FILE).read_bytes())
    weights[-1] ^= 1
    (other / NAME / FILE).write_bytes(weights)
    with pytest.raises(zoo.ZooError, match="not the file that was published"):
        zoo.load(f"{other}/{NAME}")
    (other / INDEX).write_text((other / INDEX).read_text().replace('"kind"', '"KIND"'))
    with pytest.raises(zoo.ZooError, match="changed after it was written"):
        zoo.load(f"{other}/{NAME}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("format", "install a later one"),
        ("event", "8x8:17, and .* 4:real"),
        ("files", r"files of its own, mine\.py"),
        ("sha256", "no SHA-256 of vae-digits"),
    ],
)
def test_what_the_index_says_is_checked(registry: Path, tmp_path: Path, change: str, message: str) -> None:
    other = _copied(registry, tmp_path / "other")
    tensors, note = read_tensors(other / NAME / FILE)
    if change == "format":
        note["format"] = FORMAT + 1
    if change == "files":
        note["config"]["files"] = {"mine.py": "0"}
    write_tensors(other / NAME / FILE, tensors, note)
    entry = read_json(other / INDEX)["models"][NAME]
    entry["sha256"] = hashlib.sha256((other / NAME / FILE).read_bytes()).hexdigest()
    entry["event"] = "4:real" if change == "event" else entry["event"]
    entry["sha256"] = "../elsewhere" if change == "sha256" else entry["sha256"]
    write_json(other / INDEX, {"format": FORMAT, "models": {NAME: entry}})
    with pytest.raises(zoo.ZooError, match=message):
        zoo.load(f"{other}/{NAME}")


def test_a_card_says_what_the_scores_are(registry: Path) -> None:
    _, front, text = (registry / NAME / "README.md").read_text().split("---\n", 2)
    metrics = json.loads(front)["model-index"][0]["results"][0]["metrics"]
    assert {each["type"] for each in metrics} == {"nats", "bits_per_dim"}
    assert all("lower bound" in each["name"] for each in metrics)
    assert "447" in text
    assert "vae" in text


def test_an_implicit_model_has_no_nats(registry: Path, tmp_path: Path) -> None:
    publish(find_run(registry.parent / "runs/digits/gan"), tmp_path / "models")
    entry = ModelRegistry(str(tmp_path / "models")).models()["gan-digits"]
    assert entry["nats"] is None
    assert zoo.load("models/gan-digits").sample(2).shape == (2, 8, 8)


@pytest.mark.thorough
def test_what_nobody_could_check_is_not_published(registry: Path, tmp_path: Path) -> None:
    run = find_run(registry.parent / "runs/digits/vae+normal")
    with pytest.raises(zoo.ZooError, match="letters, digits"):
        publish(run, tmp_path / "models", "../escaped")
    with pytest.raises(zoo.ZooError, match=r"vae-digits holds another run; publish this one by another --name"):
        publish(find_run(registry.parent / "runs/digits/gan"), registry, NAME)
    publish(run, registry, NAME, particles=4)  # again
    command("train", "vae", "--train", "steps=1", "--quiet", "--unchecked", "--set", "hidden=8")
    with pytest.raises(zoo.ZooError, match="it is unchecked"):
        publish(find_run("runs/digits/vae+normal"), tmp_path / "models")
    Path("mine.py").write_text(Path(zoo.__file__).with_name("cli").joinpath("templates/my_family.py").read_text())
    command("train", "mine.py", "--train", "steps=1", "--quiet", "--runs", "own")
    with pytest.raises(zoo.ZooError, match=r"defined in .*mine\.py"):
        publish(find_run("own/digits/my_family"), tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.thorough
@pytest.mark.skipif(not (SHIPPED / INDEX).exists(), reason="no model is shipped")
def test_shipped_models_are_whole_and_small() -> None:
    for name, entry in ModelRegistry(str(SHIPPED)).models().items():
        assert (SHIPPED / name / FILE).stat().st_size < 1_000_000
        run = ModelRegistry(str(SHIPPED)).run(name)
        assert run.config.name == entry["family"]
        pair, example = run.pair(), example_of(run)  # its weights fit the family as it is now
        assert example is not None
        if entry["kind"] in ("exact", "lower bound"):
            assert log_likelihoods(pair, example.given_to(pair).test, particles=1)[0].isfinite().all()
        if entry["kind"] == "exact" and entry["data"] == "digits":  # other data are not at hand everywhere
            nats = -log_probs(pair, dataset_of(run).given_to(pair).test).mean()
            assert float(nats) == pytest.approx(entry["nats"], abs=1e-4)
