"""A step without bookkeeping is the optimiser's own, to the bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Adamax, AdamW, Optimizer

from zoo.engine.stepping import Stepper

Make = Callable[[list[nn.Parameter]], Optimizer]
MAKERS: dict[str, Make] = {
    "adam": lambda p: Adam(p, lr=0.1, fused=True, weight_decay=0.1),
    "adamw": lambda p: AdamW(p, lr=0.1, fused=True, weight_decay=0.1, maximize=True),
    "two groups": lambda p: AdamW([{"params": p[:1], "lr": 0.3, "betas": (0.5, 0.9)}, {"params": p[1:]}], fused=True),
    "amsgrad": lambda p: Adam(p, fused=True, amsgrad=True),
    "not fused": lambda p: Adam(p),
    "adamax": Adamax,
    "sgd": lambda p: SGD(p, momentum=0.9),
}


def _parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in ((3, 4), (5,), ())]


def _gradients(parameters: list[nn.Parameter], step: int, missing: bool = False) -> None:
    torch.manual_seed(step)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    if missing:
        parameters[1].grad = None


def _trained(make: Make, own: bool, disturb: Callable[[Optimizer, int], Optimizer]) -> list[torch.Tensor]:
    parameters = _parameters()
    optimiser = make(parameters)
    stepper = Stepper(optimiser)
    for step in range(8):
        _gradients(parameters, step, missing=step == 4)
        disturb(optimiser, step)
        (optimiser if own else stepper).step()
    return [each.detach() for each in parameters]


def _reload(optimiser: Optimizer, step: int) -> Optimizer:
    for _ in range(step):  # more than once: what is dropped in between may come back at the same address
        optimiser.load_state_dict(optimiser.state_dict())
    return optimiser


def _schedule(optimiser: Optimizer, step: int) -> Optimizer:
    for group in optimiser.param_groups:
        group["lr"] = 0.1 / (1 + step)
    return optimiser


def _hook(optimiser: Optimizer, step: int) -> Optimizer:
    if step == 2:
        optimiser.register_step_pre_hook(lambda own, *_: own.param_groups[0].update(lr=1.0))
    return optimiser


@pytest.mark.parametrize("disturb", [_reload, _schedule, _hook])
@pytest.mark.parametrize("name", MAKERS)
def test_parameters_are_those_of_the_plain_steps(name: str, disturb: Callable[[Optimizer, int], Optimizer]) -> None:
    plain, quick = (_trained(MAKERS[name], own, disturb) for own in (True, False))
    for one, other, start in zip(plain, quick, _parameters(), strict=True):
        assert torch.equal(one, other)
        assert not torch.equal(one, start)


def test_fused_steps_go_past_torchs_own() -> None:
    """The first step is torch's, which makes the memories."""

    def counted() -> None:
        calls.append(1)
        own()

    parameters, calls = _parameters(), list[int]()
    optimiser = MAKERS["adamw"](parameters)
    own, optimiser.step = optimiser.step, counted  # type: ignore[method-assign]  # of this one
    stepper = Stepper(optimiser)
    for step in range(3):
        _gradients(parameters, step)
        stepper.step()
    assert len(calls) == 1
