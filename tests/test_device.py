"""Objectives, training and evaluations on a second device, which this machine pretends to have.

The contract's law sweeps over families, guides and priors: their programs, their samplers and a step of training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from members import members, small
from torch import Tensor

from zoo.contract.case import Case
from zoo.contract.pretend import NAME, register_device, second_device
from zoo.data import Dataset
from zoo.engine import compile, objectives
from zoo.engine.objectives import Objective
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import HasPlayers
from zoo.pairs.registry import evaluations
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.seeding import seeded
from zoo.training.loop import fit

EVENTS = {"binary": Event((4, 4), "binary"), "levels": Event((4, 4), 5), "real": Event((4, 4), "real")}
OBJECTIVES: dict[str, Objective] = {
    "elbo": objectives.elbo(),
    "analytic": objectives.mean_field_elbo(),
    "free bits": objectives.free_bits(0.5),
    "iwae": objectives.importance_weighted(2),
    "dreg": objectives.doubly_reparameterised(2),
}
MEMBERS = members()
FEW = [("ppca", "real"), ("vae", "binary"), ("realnvp", "levels"), ("ddpm", "levels"), ("vae+iaf", "levels")]
REST = [pytest.param(*member, marks=pytest.mark.slow) for member in MEMBERS if member not in FEW]


def case(name: str, support: str) -> Case:
    event = EVENTS[support]
    return Case(lambda seed: build(name, event, small(name), seed), event, 0)


# --- the device -------------------------------------------------------------------------------------------------------

MIXED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "a sum": lambda here, there: here + there,
    "a product of matrices": lambda here, there: there @ here.T,
    "a choice": lambda here, there: torch.where(here > 0, here, there),
    "rows by index_select": lambda here, there: here.index_select(0, there[0].long()),
    "values that are put at indices": lambda here, there: here.index_put((torch.tensor([0, 1]),), there),
    "indices of the device": lambda here, there: there[here[0].long()],
    "random numbers of the CPU": lambda here, there: torch.randn(2, device=here.device, generator=torch.Generator()),
}
ALLOWED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "a number": lambda here, there: here + torch.tensor(2.0),
    "a copy": lambda here, there: there.to(here.device) + here,
    "a copy in place": lambda here, there: here.copy_(there),
    "indices on the CPU": lambda here, there: here[torch.tensor([0, 1])],
    "a tensor of a number": lambda here, there: here + torch.tensor([1.0, 2.0], device=here.device),
    "a list": lambda here, there: torch.tensor(here.tolist(), device=here.device),
}


@pytest.mark.parametrize("what", MIXED)
def test_tensors_of_two_devices_do_not_mix(what: str) -> None:
    with second_device() as device, pytest.raises(RuntimeError, match="Expected"):
        MIXED[what](torch.zeros(2, 2, device=device), torch.zeros(2, 2))


@pytest.mark.parametrize("what", ALLOWED)
def test_what_a_gpu_takes_is_taken(what: str) -> None:
    with second_device() as device:
        assert ALLOWED[what](torch.zeros(2, 2, device=device), torch.zeros(2, 2)).device == device


def test_numbers_and_gradients_are_those_of_the_cpu() -> None:
    def run(device: torch.device | str) -> tuple[float, list[Tensor]]:
        with seeded(0):
            net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LSTM(4, 5, batch_first=True))
            before = list(net.parameters())
            outputs, _ = net.to(device)(torch.randn(2, 6, 3, device=device))
        loss = outputs.square().sum()
        loss.backward()
        assert all(a is b for a, b in zip(before, net.parameters(), strict=True))  # moved in place, as to a GPU
        return float(loss.detach()), [
            parameter.grad.cpu() for parameter in net.parameters() if parameter.grad is not None
        ]

    here = run("cpu")
    with second_device() as device:
        there = run(device)
    assert there[0] == pytest.approx(here[0], rel=1e-5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(here[1], there[1], strict=True))


def test_the_process_goes_on_as_before() -> None:
    register_device()
    with torch.random.fork_rng():
        torch.manual_seed(0)
    assert not torch.accelerator.is_available()
    weight = torch.ones(2, requires_grad=True)
    weight.square().sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [2.0, 2.0]


# --- a step, and training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("name", "support"), [*FEW, *REST])
def test_an_objective_gives_the_same_loss_on_another_device(name: str, support: str, objective: str) -> None:
    tested = case(name, support)
    if isinstance(tested.pair.extras, HasPlayers):
        pytest.skip("it has losses of its own, which the contract's law runs")
    if objective == "dreg" and not tested.pair.structure.sampled:
        pytest.skip("it weighs draws of a guide, and this one draws none")

    def loss(device: torch.device | str) -> float:
        pair = tested.fresh(device).train(True)
        with seeded(1):
            value = float(compile(pair, OBJECTIVES[objective], mode="eager")(x.to(device)))
        gradients = [each.grad for each in pair.parameters() if each.grad is not None]
        assert {each.device for each in gradients} <= {torch.device(device)}
        return value

    x = tested.x(7)
    try:
        expected = loss("cpu")
    except NotImplementedError as error:
        pytest.skip(f"no KL in closed form: {error}")
    with second_device() as device:
        assert loss(device) == pytest.approx(expected, rel=1e-4)


# --- evaluations ------------------------------------------------------------------------------------------------------

ASKED = {"likelihood": "ppca", "stability": "ppca", "sampling": "vae", "lossy": "vae", "lossless": "vae"}
"""Of the suite ``table1``, each of a family that it measures."""
NOT_THERE = {"passes"}
"""Counted by the addresses of tensors, which those of this device do not have; a GPU's have."""


@pytest.mark.thorough
@pytest.mark.parametrize("name", ASKED)
def test_an_evaluation_measures_a_run_that_was_trained_on_another_device(name: str) -> None:
    event = EVENTS["levels"]
    x = torch.randint(5, (60, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    data = Dataset("made up", event, x[:30], x[30:45], x[45:], "made up")
    with second_device() as device:
        pair = build(ASKED[name], event, small(ASKED[name]))
        progress = fit(pair, data, {"steps": 4, "batch": 10, "checkpoints": 2, "engine": "eager"}, device=NAME)
        assert pair.device == device
        run = TrainedRun(pair, data.to(device), 0, progress.history)
        scores = evaluate(name, [run] * (1 + (evaluations[name].over == "seeds")), Settings(particles=4, samples=10))
    failed = [score for score in scores if score.status == "failed" and score.metric not in NOT_THERE]
    assert failed == []
    assert any(score.status == "ok" for score in scores)
