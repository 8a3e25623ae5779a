"""Trained models in use: what they answer is what their run's evaluation says, or a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from members import members, small
from torch import Tensor

import zoo
from zoo.contract.values import fits
from zoo.errors import RunError, ZooError
from zoo.pairs.records import cut
from zoo.runs.config import DataSpec, configure
from zoo.runs.evaluation import Settings, evaluate
from zoo.runs.run import Run
from zoo.runs.stored_scores import trained_run
from zoo.use.answers import Encoding, Imputed

PARTICLES = 16
SWEPT = [(name, support) for name, support in members() if "+" not in name and support != "binary"]
EVENTS = {"levels": zoo.Event((4, 4), 5), "real": zoo.Event(3, "real")}


def numbers(support: str, n: int = 120) -> np.ndarray[Any, Any]:
    """Made-up data with some dependence between entries."""
    event, generator = EVENTS[support], np.random.default_rng(0)
    shared = generator.normal(size=(n, *[1] * len(event.shape)))
    values = shared + generator.normal(size=(n, *event.shape))
    if event.levels is None:
        return values * [1.0, 2.0, 0.5] + [0.0, 3.0, -1.0]
    return np.clip(np.rint(values + 2), 0, 4).astype(np.int64)


def train(name: str, data: str, runs: Path, hyper: dict[str, Any] | None = None, **recipe: Any) -> Run:
    """A run of a few steps."""
    spec = DataSpec(name=data)
    dataset = spec.load()
    recipe = {"steps": 2, "batch": 20, "checkpoints": 1, "engine": "eager"} | recipe
    config = configure(name, spec, dataset, hyper=small(name) if hyper is None else hyper, recipe=recipe)
    run = Run.of(config, runs)
    run.train(config, dataset, "cpu")
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of both supports, ``levels.npy`` and ``real.npy``."""
    folder = tmp_path_factory.mktemp("use")
    for support in EVENTS:
        np.save(folder / f"{support}.npy", numbers(support))
    return folder


def tensors(answer: Any) -> list[Tensor]:
    """The arrays of an answer."""
    if isinstance(answer, dict):
        return [each for value in answer.values() for each in tensors(value)]
    if isinstance(answer, Encoding | Imputed):
        return [each for value in vars(answer).values() if not isinstance(value, str) for each in tensors(value)]
    return [torch.as_tensor(answer)]


@pytest.mark.parametrize(("name", "support"), SWEPT)
def test_a_loaded_model_answers_as_its_run_or_refuses(name: str, support: str, folder: Path) -> None:
    recipe = {"steps": 0} if name in ("independent", "uniform") else {}
    run = train(name, str(folder / f"{support}.npy"), folder / "runs", **recipe)
    model = zoo.load(run.folder, device="cpu")
    data = trained_run(run, model.data, "cpu")
    x = model.data.test.numpy()
    n, shape = len(x), model.event.shape
    nats = evaluate("likelihood", [data], Settings(particles=PARTICLES))[0]
    if nats.status == "ok":
        found = model.log_prob(model.data.test, PARTICLES)
        assert (float(-found.value.mean()), found.kind) == (nats.value, nats.kind)
        assert ((found.stderr == 0) == (found.kind == "exact")).all()
    else:
        with pytest.raises(ZooError, match="implicit"):
            model.log_prob(x)
    mask = np.zeros(x.shape, bool)
    mask[:, -1] = True
    answers: dict[str, tuple[Callable[[], Any], tuple[int, ...], bool]] = {
        "sample": (lambda: model.sample(3), (3, *shape), True),
        "encode": (lambda: model.encode(x, 3).mean, (n,), False),
        "decode": (lambda: model.decode(model.encode(x, 2).mean), (n, *shape), False),
        "sample from latents": (lambda: model.sample(n, z=model.encode(x, 2).mean), (n, *shape), True),
        "reconstruct": (lambda: model.reconstruct(x, 2), (n, *shape), False),
        "interpolate": (lambda: model.interpolate(x, x, steps=2, draws=2), (2, n, *shape), False),
        "impute": (lambda: model.impute(x, mask, draws=2, particles=4).draws, (2, n, *shape), True),
        "compress": (lambda: model.decompress(model.compress(x)), (n, *shape), True),
    }
    for what, (ask, wanted, in_support) in answers.items():
        try:
            answer = torch.as_tensor(ask())
        except ZooError as error:
            assert model.pair.label in str(error) or "discrete" in str(error), (what, str(error))
            continue
        assert tuple(answer.shape[: len(wanted)]) == wanted, what
        assert answer.isfinite().all(), what
        if in_support:
            assert fits(model.event, answer.reshape(-1, *shape).float()), what
        if what == "compress":
            assert np.array_equal(answer, x)
