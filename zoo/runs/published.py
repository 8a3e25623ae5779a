"""Published models: a trained run in one file, in a registry that anyone can load from.

A registry is a folder, the address of one that is served, or a repository of Hugging Face. It holds ``index.json``,
which has the SHA-256 of each model, and for each model ``NAME/model.safetensors`` and ``NAME/README.md``, its card. The
package ships a small one of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.data import Dataset
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.files import digest_of, folder_name, read_tensors, write_bytes, write_json, write_tensors, write_text
from zoo.pairs.registry import families, load_shelves
from zoo.runs.config import RunConfig
from zoo.runs.run import Run

FORMAT = 1
"""Of the files; a model of a later one is refused."""
INDEX, FILE, CARD = "index.json", "model.safetensors", "README.md"
EXAMPLE = "example.safetensors"
"""In the folder of a run that was published: some validation data."""
SHIPPED = Path(__file__).parent.parent / "weights"
"""The registry that the package ships."""
HUB = "hf://"
SECONDS = 60.0
"""How long to wait for a server."""


@dataclass(frozen=True)
class ModelRegistry:
    """A place of published models.

    Args:
        address: a folder, ``https://...`` or ``hf://OWNER/REPOSITORY``.
    """

    address: str

    def models(self) -> dict[str, dict[str, Any]]:
        """Name -> ``sha256`` of its file, ``family``, ``data``, ``event`` and ``nats`` with their kind.

        Raises:
            RunError: there is no index, or it is damaged.
        """
        path = f"{self.address}/{INDEX}"
        try:
            index = json.loads(self.read(INDEX))
        except ValueError as error:
            raise RunError(f"{path} is damaged ({error})") from error
        if not isinstance(index, dict) or index.pop("checksum", "") != digest_of(index):
            raise RunError(f"{path} was changed after it was written (checksum); publish its models again")
        if index["format"] > FORMAT:
            raise RunError(f"{path} is of format {index['format']} and this zoo reads {FORMAT}: install a later one")
        found: dict[str, dict[str, Any]] = index["models"]
        return found

    def read(self, name: str) -> bytes:
        """The content of a file of the registry.

        Raises:
            RunError: it is not there.
        """
        where = f"{self.address}/{name}"
        try:
            if self.address.startswith(HUB):
                return self._from_hub(name)
            if "://" in self.address:
                with urllib.request.urlopen(where, timeout=SECONDS) as answer:
                    content: bytes = answer.read()
                    return content
            return Path(where).expanduser().read_bytes()
        except (OSError, urllib.error.URLError) as error:
            raise RunError(f"{where} cannot be read: {error}") from error

    def _from_hub(self, name: str) -> bytes:
        try:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import HfHubHTTPError
        except ImportError:
            raise ZooError(f"{self.address} needs huggingface_hub: pip install 'pyro-zoo[hub]'") from None
        repository, endpoint = self.address.removeprefix(HUB), os.environ.get("HF_ENDPOINT")
        try:
            return Path(hf_hub_download(repository, name, endpoint=endpoint, cache_dir=_cache() / "hub")).read_bytes()
        except HfHubHTTPError as error:
            raise OSError(str(error).strip().splitlines()[0]) from error

    def run(self, name: str) -> Run:
        """The run of a model, unpacked into the cache.

        Raises:
            RunError: no such model, or one whose content is not what the index says.
        """
        models = self.models()
        if name not in models:
            raise RunError(f"{self.address} has no model {name!r}; it has {', '.join(sorted(models)) or 'none'}")
        entry = models[name]
        if not re.fullmatch("[0-9a-f]{64}", str(entry["sha256"])):
            raise RunError(f"{self.address}/{INDEX} has no SHA-256 of {name}; publish it again")
        root = _cache() / entry["sha256"][:16]
        kept = root / FILE
        if not kept.exists():
            content = self.read(f"{name}/{FILE}")
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise RunError(
                    f"{self.address}/{name}/{FILE} is not the file that was published (SHA-256); publish it again"
                )
            write_bytes(kept, content)
        run = unpacked(kept, root)
        if run.config.event != entry["event"]:
            raise RunError(f"{name} is of {run.config.event}, and {self.address} says {entry['event']}")
        return run


def unpacked(path: Path, runs: Path) -> Run:
    """The run in a published file, as a folder under ``runs``; one that is there already is left alone.

    Raises:
        RunError: the file is damaged, or of a later format.
    """
    tensors, note = read_tensors(path)
    if note["format"] > FORMAT:
        raise RunError(f"{path} is of format {note['format']} and this zoo reads {FORMAT}: install a later one")
    try:
        config = RunConfig(**note["config"])
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} has settings that this zoo does not know ({error})") from error
    if config.files:  # which would be run
        raise RunError(f"{path} is of a family in files of its own, {', '.join(config.files)}; such are not published")
    run = Run.of(config, runs)
    if run.folder.exists() and run.done:
        return run
    example = tensors.pop(f"{EXAMPLE}.x")
    write_json(run.folder / "config.json", {"config": note["config"], "provenance": note["provenance"]})
    weights = {name: each.float() if each.dtype == torch.bfloat16 else each for name, each in tensors.items()}
    write_tensors(run.folder / "weights.safetensors", weights, config.digest)
    write_tensors(run.folder / EXAMPLE, {"x": example.float()}, config.digest)
    write_text(run.folder / "history.csv", note["history"])
    for name, content in note["scores"].items():
        write_json(run.folder / "scores" / f"{folder_name(name)}.json", content)
    write_json(run.folder / "status.json", note["status"])  # last: only now is it done
    return run


def example_of(run: Run) -> Dataset | None:
    """Some validation data of a run that was published, in place of its data set; ``None`` for any other run."""
    path, config = run.folder / EXAMPLE, run.config
    if not path.exists():
        return None
    x = read_tensors(path)[0]["x"]
    about = f"{len(x)} validation data of {config.data.name}"
    return Dataset(
        config.data.name,
        Event.parse(config.event),
        x,
        x,
        x,
        about,
        names=config.names,
        columns=config.columns,
        units=config.data_units,
        rate=config.rate,
    )


def published_run(text: str) -> Run | None:
    """The run of a published model, by its name or by the address of its registry and its name.

    A name alone that is no family's is looked up in ``$ZOO_REGISTRY``, if that is set, and among the models that the
    package ships. Its beginning up to a hyphen is enough where one model alone has it: ``pixelcnn-mnist`` for
    ``pixelcnn-mnist-dynamic``.

    Args:
        text: ``pixelcnn-digits``, ``FOLDER/pixelcnn-digits``, ``https://HOST/FOLDER/pixelcnn-digits`` or
            ``hf://OWNER/REPOSITORY/pixelcnn-digits``.

    Returns:
        The run; ``None`` if ``text`` is neither the name nor the place of a published model.

    Raises:
        RunError: its registry or its file is damaged or cannot be read, or several models have this beginning.
    """
    place, _, name = text.rstrip("/").rpartition("/")
    if place and ("://" in place or (Path(text).expanduser() / FILE).is_file()):
        return ModelRegistry(place).run(name)
    if place or not re.fullmatch(r"[\w.+-]+", text) or Path(text).exists():
        return None
    load_shelves()
    if text.partition("+")[0] in families:
        return None
    models = {name: registry for registry in reversed([*registries()]) for name in registry.models()}
    names = [text] if text in models else sorted(name for name in models if name.startswith(f"{text}-"))
    if len(names) > 1:
        raise RunError(f"several models are called {text}-...: {', '.join(names)}; name one of them")
    return models[names[0]].run(names[0]) if names else None


def registries() -> Iterator[ModelRegistry]:
    """Where a name alone is looked up."""
    if given := os.environ.get("ZOO_REGISTRY"):
        yield ModelRegistry(given.rstrip("/"))
    if (SHIPPED / INDEX).is_file():
        yield ModelRegistry(str(SHIPPED))


def published_runs(family: str) -> Iterator[Run]:
    """The runs of the published models of a family and guide, where a name alone is looked up."""
    for registry in registries():
        for name, entry in registry.models().items():
            if entry["family"] == family:
                yield registry.run(name)


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("zoo")) / "models"
