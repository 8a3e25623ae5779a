"""A pair's parameters, wherever they live: named, saved, moved, and kept apart."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from forms import FORMS, NAMES, Both, Guide, Model, methods
from pyro.infer import config_enumerate
from torch import Tensor, nn

from zoo.errors import ContractError, RunError
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.traces import log_weights
from zoo.seeding import seeded

EVENT = Event(3, "real")


def made(form: Callable[[], Any], seed: int = 0) -> Pair:
    with seeded(seed):
        return Pair(EVENT, *form())


def outcome(pair: Pair) -> list[Tensor]:
    with seeded(0), pair.evaluating():
        return [log_weights(pair, torch.randn(5, 3)), sample(pair, 4)]


def equal(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_has_one_name(form: Callable[[], Any]) -> None:
    pair = made(form)
    assert set(pair.named_parameters()) == NAMES[form]
    assert len(pair.parameters()) == len(NAMES[form])
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in pair.parameters())
    buffers = {"Both.fixed", "Both.shift"} if form is methods else set()
    assert set(pair.state()) == NAMES[form] | buffers


@pytest.mark.parametrize("form", FORMS)
def test_loading_the_state_copies_the_pair(form: Callable[[], Any]) -> None:
    one, other = made(form, 0), made(form, 1)
    assert not equal(outcome(one), outcome(other))
    other.load({name: tensor.clone() for name, tensor in one.state().items()})
    assert equal(outcome(one), outcome(other))


@pytest.mark.parametrize("form", FORMS)
def test_pairs_share_no_parameters_and_leave_none_in_pyro(form: Callable[[], Any]) -> None:
    pyro.clear_param_store()
    one, other = made(form, 0), made(form, 1)
    before = outcome(one)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.3)
    outcome(other)
    assert equal(before, outcome(one))
    assert len(pyro.get_param_store()) == 0
    assert pyro.settings.get("module_local_params") is False


@pytest.mark.parametrize("form", FORMS)
def test_optimizer_steps_change_the_programs(form: Callable[[], Any]) -> None:
    pair = made(form)
    before = outcome(pair)
    x = torch.randn(6, 3)
    optimiser = torch.optim.SGD(pair.parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        (-log_weights(pair, x).mean()).backward()
        assert all(parameter.grad is not None for parameter in pair.parameters())
        optimiser.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, outcome(pair), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_a_pair_moves_to_another_device(form: Callable[[], Any]) -> None:
    """All of its tensors, and the moved ones are those that are trained."""
    pair = made(form).to("meta")
    assert pair.device.type == "meta"
    assert {tensor.device.type for tensor in pair.state().values()} == {"meta"}
    assert set(pair.named_parameters()) == NAMES[form]
    with pair.evaluating():
        assert log_weights(pair, torch.zeros(5, 3, device="meta")).device.type == "meta"
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in pair.parameters())


@pytest.mark.parametrize("form", FORMS)
def test_moving_to_the_same_device_changes_nothing(form: Callable[[], Any]) -> None:
    pair = made(form)
    before = outcome(pair)
    pair.to("cpu")
    assert equal(before, outcome(pair))
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.3)
    assert not equal(before, outcome(pair))


def test_unfit_weights_are_refused_and_nothing_is_copied() -> None:
    pair = made(methods)
    state = {name: tensor + 1 for name, tensor in pair.state().items()}
    missing = {name: tensor for name, tensor in state.items() if name != "Both.shift"}
    wide = state | {"Both.shift": torch.zeros(5)}
    before = outcome(pair)
    for wrong, name in ((missing, "Both.shift"), (wide, "Both.shift"), (state | {"odd": torch.zeros(1)}, "odd")):
        with pytest.raises(RunError, match=f"weights do not fit pair: '{name}' differs"):
            pair.load(wrong)
    assert equal(before, outcome(pair))


def test_evaluating_restores_every_mode() -> None:
    both = Both()
    pair = Pair(EVENT, both.model, both.guide)
    both.encoder.train(False)
    both.train(True)
    both.decoder.train(False)
    with suppress(KeyError), pair.evaluating():
        assert not any(part.training for part in both.modules())
        assert not torch.is_grad_enabled()
        raise KeyError
    assert [both.training, both.encoder.training, both.decoder.training] == [True, True, False]
    pair.train(True)
    assert both.decoder.training


def test_decorated_programs_keep_their_modules() -> None:
    """Pyro's handlers wrap a function or a method in another."""

    class Wrapped(Both):
        guide = config_enumerate(Both.guide)

    both = Wrapped()
    assert Pair(EVENT, both.model, both.guide).modules == {"Wrapped": both}
    encoder = nn.Linear(3, 2)

    @config_enumerate
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

    assert Pair(EVENT, both.model, guide).modules == {"Wrapped": both, "encoder": encoder}


def test_a_plain_object_may_hold_the_modules() -> None:
    class Plain:
        def __init__(self) -> None:
            self.both = Both()

        def model(self, x: Tensor) -> None:
            self.both.model(x)

        def guide(self, x: Tensor) -> None:
            self.both.guide(x)

    plain = Plain()
    pair = Pair(EVENT, plain.model, plain.guide)
    assert len(pair.parameters()) == 4
    assert pair.modules == {"both": plain.both}


def test_a_loose_parameter_in_a_pyro_module_is_refused() -> None:
    class Loose(Guide):
        def forward(self, x: Tensor) -> None:
            pyro.param("width", torch.ones(2))
            super().forward(x)

    with pytest.raises(ContractError, match=r"self\.width = PyroParam"):
        Pair(EVENT, Model(2, 3), Loose(3, 2))


def test_the_error_names_the_program_that_does_not_run() -> None:
    both = Both()

    def guide(x: Tensor) -> None:
        both.decoder(x)

    with pytest.raises(ContractError, match=r"the guide of mine does not run on a batch of shape \(2, 3\)"):
        Pair(EVENT, both.model, guide, family="mine")


def test_a_pair_without_parameters_is_on_the_cpu() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.zeros_like(x), 1.0).to_event(1), obs=x)

    pair = Pair(EVENT, model)
    assert (pair.device.type, pair.parameters(), pair.state(), pair.label) == ("cpu", [], {}, "pair")
