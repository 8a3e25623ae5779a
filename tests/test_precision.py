"""bf16 is for training's matrix products: every pair can be trained with it, and no score is computed in it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from members import members, small
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.data import load_data
from zoo.data.dataset import Dataset
from zoo.engine.engine import compile
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import HasPlayers
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.training.loop import fit

SETTINGS = Settings(particles=20)


EVENT = {"binary": Event((2, 3), "binary"), "levels": Event((2, 3), 5), "real": Event(3, "real")}


class Types(TorchDispatchMode):
    """Notes the data types of the results of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out: Any = func(*args, **(kwargs or {}))
        self.seen |= {
            each.dtype for each in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(each, Tensor)
        }
        return out


@pytest.fixture(scope="module")
def data() -> Dataset:
    whole = load_data("digits")
    return Dataset(whole.name, whole.event, whole.train[:60], whole.validation[:20], whole.test[:20], whole.source)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["vae", "pixelcnn", "realnvp"])
def test_bf16_never_enters_what_is_reported(name: str, data: Dataset) -> None:
    pair = build(name, data.event, {}, 0)
    with Types() as training:
        progress = fit(pair, data, {"precision": "bf16", "steps": 2, "checkpoints": 1}, device="cpu")
    assert torch.bfloat16 in training.seen, "it is used at all"
    assert {tensor.dtype for tensor in pair.parameters()} == {torch.float32}
    with Types() as evaluation:
        scores = evaluate("likelihood", [TrainedRun(pair, data, 0, progress.history)], SETTINGS)
    assert torch.float32 in evaluation.seen
    assert evaluation.seen.isdisjoint({torch.bfloat16, torch.float16})
    assert next(score for score in scores if score.metric == "nats").status == "ok"


@pytest.mark.parametrize(("name", "support"), dict(members()).items())
def test_every_pair_takes_a_step_in_bf16(name: str, support: str) -> None:
    event = EVENT[support]
    pair = build(name, event, small(name)).train(True)
    if isinstance(pair.extras, HasPlayers) or not pair.parameters():
        pytest.skip("the engine does not train it")
    x = torch.ones(12, *event.shape)
    losses = []
    for precision in ("float32", "bf16"):
        torch.manual_seed(0)
        losses.append(float(compile(pair, mode="eager", precision=precision)(x)))  # type: ignore[arg-type]
    assert losses[1] == pytest.approx(losses[0], rel=0.05, abs=0.05)
    assert {each.grad.dtype for each in pair.parameters() if each.grad is not None} == {torch.float32}
