"""Publish a trained run: its file, its card, and its line in the registry's index."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import filelock
import torch
from torch import Tensor

from zoo.data import Dataset
from zoo.errors import ZooError
from zoo.files import folder_name, read_json, read_tensors, write_json, write_tensors, write_text
from zoo.metrics.bounds import log_likelihoods
from zoo.pairs.registry import families
from zoo.pairs.traces import capabilities
from zoo.runs.evaluation import Settings
from zoo.runs.lookup import dataset_of
from zoo.runs.published import CARD, EXAMPLE, FILE, FORMAT, INDEX, ModelRegistry, unpacked
from zoo.runs.run import Run
from zoo.runs.stored_scores import evaluate_run
from zoo.scores import Score

EVALUATION = "likelihood"
UNCHANGED = 0.01
"""Nats per validation datum by which bfloat16 weights may change a likelihood to be published as such."""
VALIDATED, EXAMPLES = 500, 16
"""Validation data that the weights are compared on, and those that the file holds."""
LICENSE = "apache-2.0"


def publish(run: Run, registry: Path, name: str = "", particles: int = 512, data_dir: Path | None = None) -> Path:
    """Write a trained run to a registry of models, with scores of just the weights that are written.

    Weights are stored as bfloat16 where the mean log-likelihood of validation data changes by at most `UNCHANGED` nats.

    Args:
        run: finished, of a family that is installed with the zoo or by a package.
        registry: a folder, made if it is not there; serve it or upload it to a repository as it is.
        name: of the model, by default the family's and the data's.
        particles: draws of the guide for each datum, for a bound.
        data_dir: where to look for the files of the data.

    Returns:
        The folder of the model.

    Raises:
        ZooError: the run is not finished, unchecked, or of a family in a file; or the name is not plain, or is that of
            another run.
        RunError: its files or the registry's are damaged.
    """
    config, status = run.config, run.status
    if status["status"] != "finished" or config.unchecked or config.files:
        files = f"its family is defined in {', '.join(config.files)}, which a reader of the model does not have"
        reason = files if config.files else "it is unchecked" if config.unchecked else f"it is {status['status']}"
        raise ZooError(f"{run.folder} cannot be published: {reason}")
    name = name or f"{folder_name(config.name).removesuffix('+normal')}-{folder_name(Path(config.data.name).name)}"
    if folder_name(name) != name or name.startswith("."):
        raise ZooError(f"a model's name has letters, digits and -+._, got {name!r}")
    data = dataset_of(run, data_dir)
    folder = registry / name
    note = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "provenance": read_json(run.folder / "config.json")["provenance"],
        "status": status,
        "history": (run.folder / "history.csv").read_text(),
        "scores": {},
    }
    if (folder / FILE).exists() and read_tensors(folder / FILE)[1]["config"] != note["config"]:
        raise ZooError(f"{folder} holds another run; publish this one by another --name, or delete that folder")
    weights, change = _weights(run, data)
    example = data.given_to(run.pair()).validation[:EXAMPLES]
    small = torch.equal(example, example.to(torch.uint8).float())
    tensors = {**weights, f"{EXAMPLE}.x": example.to(torch.uint8) if small else example}
    with tempfile.TemporaryDirectory() as there:
        path = Path(there) / FILE
        write_tensors(path, tensors, note)
        stored = unpacked(path, Path(there))
        scores = evaluate_run(stored, data, EVALUATION, Settings(particles=particles, data_dir=data_dir))
        note["scores"] = {EVALUATION: read_json(stored.folder / "scores" / f"{EVALUATION}.json")}
    registry.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(registry / ".lock"):
        models = ModelRegistry(str(registry)).models() if (registry / INDEX).exists() else {}
        write_tensors(folder / FILE, tensors, note)
        write_text(folder / CARD, card(name, run, scores, data.description, change))
        nats = next((score for score in scores if score.metric == "nats" and score.value is not None), None)
        models[name] = {
            "sha256": hashlib.sha256((folder / FILE).read_bytes()).hexdigest(),
            "family": config.name,
            "data": config.data.name,
            "event": config.event,
            "nats": nats and nats.value,
            "stderr": nats and nats.stderr,
            "kind": nats.kind if nats else "",
        }
        write_json(registry / INDEX, {"format": FORMAT, "models": models})
    return folder


def _weights(run: Run, data: Dataset) -> tuple[Mapping[str, Tensor], float | None]:
    """The weights to store, and by how much their rounding to bfloat16 changes the nats of validation data.

    The change is ``None`` if they are not rounded.
    """
    pair = run.pair()
    state = {name: tensor.clone() for name, tensor in pair.state().items()}
    if capabilities(pair).likelihood in ("none", "unnormalised"):
        return state, None
    x = data.given_to(pair).validation[:VALIDATED]
    before, _ = log_likelihoods(pair, x, particles=1)
    rounded = {name: tensor.bfloat16() if tensor.dtype == torch.float32 else tensor for name, tensor in state.items()}
    pair.load({name: tensor.to(state[name].dtype) for name, tensor in rounded.items()})
    after, _ = log_likelihoods(pair, x, particles=1)
    change = float((before - after).mean())
    return (rounded, change) if abs(change) <= UNCHANGED else (state, None)


def card(name: str, run: Run, scores: list[Score], source: str, change: float | None) -> str:
    """The card of a model: the front matter of Hugging Face, with its scores, and what a reader needs to use it.

    Args:
        name: of the model.
        run: its run.
        scores: of its likelihood.
        source: what the data are.
        change: nats by which bfloat16 weights changed the validation score; ``None`` for float32.
    """
    config = run.config
    family = families[config.family.partition(":")[0]]
    measured = [score for score in scores if score.value is not None and score.metric in ("nats", "bits_per_dim")]
    front = {
        "library_name": "pyro-zoo",
        "license": LICENSE,
        "tags": ["pyro", "deep-generative-model", family.group or "record", family.name],
        "datasets": [config.data.name],
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "density-estimation", "name": "Density estimation"},
                        "dataset": {"type": config.data.name, "name": config.data.name, "split": "test"},
                        "metrics": [
                            {
                                "type": score.metric,
                                "name": f"negative log-likelihood, {score.unit} ({score.kind})",
                                "value": score.value,
                            }
                            for score in measured
                        ],
                    }
                ],
            }
        ],
    }
    rows = "\n".join(
        f"| {score.metric} | {score.value:.5g}{f' ± {score.stderr:.2g}' if score.stderr else ''} | {score.unit} | "
        f"{score.kind or '-'} | {score.n or '-'} | {score.reason} |"
        for score in scores
        if score.value is not None
    )
    made = read_json(run.folder / "config.json")["provenance"]
    stored = "float32" if change is None else f"bfloat16, which changes the validation nats by {change:+.2g}"
    settings = json.dumps({"hyper": config.hyper, "recipe": config.recipe.model_dump(mode="json")}, indent=1)
    # JSON is YAML, and needs no library to write.
    return f"""---
{json.dumps(front, indent=1)}
---

# {name}

{family.doc.partition(chr(10))[0]} {family.paper and f"({family.paper}.)"}

- **Family.** `{config.name}`, event `{config.event}`, seed {config.seed}; weights are {stored}.
- **Data.** {source}
- **Trained with.** pyro-zoo {made["pyro-zoo"]}, torch {made["torch"]}, on {made["processor"]}, {made["date"]}.

## Scores

Of the test split, by the weights as they are stored; a `lower bound` is one on log p, so the nats are an upper bound.

| metric | value | unit | kind | data | remark |
|---|---|---|---|---|---|
{rows or "| no likelihood | - | - | - | - | an implicit model |"}

## Use

```python
import zoo

model = zoo.load("{name}")
model.sample(16)
```

`zoo sample {name}`, `zoo evaluate {name}`, `zoo score {name} --data FILE`, and, where the model is a lossless code,
`zoo compress {name} FILE`. A model of another registry is named with its address: `FOLDER/{name}`,
`https://HOST/FOLDER/{name}` or `hf://OWNER/REPOSITORY/{name}`.

## Settings

```json
{settings}
```
"""
