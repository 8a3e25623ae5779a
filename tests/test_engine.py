"""The recorded step is Pyro's own, for the same noise; and what cannot be recorded is never wrong."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from draws import data
from forms import functions
from members import family_of, in_turn, members, small
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from zoo.engine.cost import Mode
from zoo.engine.engine import compile
from zoo.engine.objectives import Objective, elbo, importance_weighted, mean_field_elbo
from zoo.engine.private import COMPILER
from zoo.engine.svi import CompiledSVI
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import HasElbo, HasInitialise, HasPlayers, Pair
from zoo.pairs.traces import tempered

PLAIN_AND_RECORDED: tuple[Mode, ...] = ("eager", "traced")
EVENT = {"binary": Event((2, 3), "binary"), "levels": Event((2, 3), 5), "real": Event(3, "real")}


def ready(name: str, event: Event, dtype: torch.dtype) -> Pair:
    pair = build(name, event, small(name))
    if isinstance(pair.extras, (HasPlayers, HasElbo)):
        pytest.skip("it has an objective of its own")
    if isinstance(pair.extras, HasInitialise):
        with torch.no_grad():
            pair.extras.initialise(data(event, 60).float())
    for module in pair.modules.values():
        module.to(dtype)
    if not pair.parameters():
        pytest.skip("it has no parameters")
    return pair.train(True)


def gradients(pair: Pair) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in pair.named_parameters().items()}
    return {name: torch.zeros(()) if grad is None else grad.clone() for name, grad in found.items()}


def pyro_step(pair: Pair, x: Tensor, loss: Any, beta: float = 1.0) -> tuple[float, dict[str, Tensor]]:
    for parameter in pair.parameters():
        parameter.grad = None
    with pyro.validation_enabled(False), tempered(beta):
        value = loss.differentiable_loss(pair.model, pair.guide, x) / len(x)
    value.backward()
    return float(value.detach()), gradients(pair)


def agree(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    largest = max(float(grad.abs().max()) for grad in theirs.values())
    for name, grad in theirs.items():
        assert torch.allclose(ours[name].reshape(grad.shape), grad, rtol=tolerance, atol=tolerance * largest), name


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "support"), in_turn(members(), family_of))
def test_the_recorded_gradient_is_pyros_own(name: str, support: str) -> None:
    """Of families on levels in the precision of training, of all others in double precision."""
    trained = support == "levels" and "+" not in name
    event, dtype, tolerance = EVENT[support], *((torch.float32, 1e-5) if trained else (torch.float64, 1e-10))
    pair, x = ready(name, event, dtype), data(event, 12, dtype=dtype)
    torch.manual_seed(5)
    value, theirs = pyro_step(pair, x, Trace_ELBO(), beta=0.7)
    engine = compile(pair, mode="traced")
    engine(x, 0.7)
    torch.manual_seed(5)
    loss = engine(x, 0.7)
    assert engine.reason == ""
    assert float(loss) == pytest.approx(value, rel=max(tolerance, 1e-6))
    agree(gradients(pair), theirs, tolerance)
    for parameter in pair.parameters():  # fused optimisers take this for granted
        assert parameter.grad.stride() == parameter.stride()


class Small(nn.Module):
    """A normal latent, a Bernoulli datum."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 4), nn.Linear(2, 3)

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> Any:
        loc, scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


class Switch(nn.Module):
    """A discrete latent, which has no reparameterisation."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 1)
        self.logits = nn.Parameter(torch.randn(2, 3))

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(x.new_full((len(x),), 0.5)))
            logits = self.logits[0] * z[:, None] + self.logits[1] * (1 - z[:, None])
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.encoder(x)[:, 0]))


X = data(Event(3, "binary"), 12).float()


def pair_of(made: Any, example: Tensor = X) -> Pair:
    return Pair(Event(3, "binary"), made.model, made.guide, example=example).train(True)


@pytest.mark.parametrize(
    ("made", "ours", "theirs"),
    [
        (Switch, elbo(), Trace_ELBO()),
        (Small, elbo(3), Trace_ELBO(num_particles=3)),
        (Small, mean_field_elbo(), TraceMeanField_ELBO()),
    ],
)
@pytest.mark.parametrize("mode", ["eager", "traced"])
def test_objectives_are_pyros(made: Any, ours: Objective, theirs: Any, mode: Any) -> None:
    torch.manual_seed(0)
    pair = pair_of(made())
    torch.manual_seed(1)
    value, expected = pyro_step(pair, X, theirs)
    engine = compile(pair, ours, mode=mode)
    engine(X)
    torch.manual_seed(1)
    assert float(engine(X)) == pytest.approx(value, rel=1e-5)
    assert engine.reason == ""
    agree(gradients(pair), expected, 1e-5)


@pytest.mark.thorough
def test_the_importance_weighted_bound_tightens_with_particles() -> None:
    torch.manual_seed(0)
    pair = pair_of(Small())
    losses = []
    for particles in (1, 64):
        engine = compile(pair, importance_weighted(particles))
        losses.append(sum(float(engine(X)) for _ in range(50)) / 50)
    assert engine.reason == ""
    assert losses[1] < losses[0]


@pytest.mark.thorough
def test_plain_functions_with_pyro_params_are_recorded() -> None:
    event = Event(3, "real")
    pair, x = Pair(event, *functions()), data(event, 12).float()
    torch.manual_seed(2)
    _, expected = pyro_step(pair, x, Trace_ELBO())
    engine = compile(pair)
    engine(x)
    torch.manual_seed(2)
    engine(x)
    assert engine.reason == ""
    agree(gradients(pair), expected, 1e-5)
    assert list(pyro.get_param_store().keys()) == []


@pytest.mark.thorough
def test_a_ragged_batch_another_mode_and_frozen_parameters_are_recorded_again() -> None:
    torch.manual_seed(0)
    pair = pair_of(Small())
    engine = compile(pair)
    for x in (X, X[:5], X.repeat(2, 1)):
        torch.manual_seed(3)
        value, expected = pyro_step(pair, x, Trace_ELBO())
        engine(x)
        torch.manual_seed(3)
        assert float(engine(x)) == pytest.approx(value, rel=1e-5)
        agree(gradients(pair), expected, 1e-5)
    pair.modules["Small"].decoder.weight.requires_grad_(False)
    before = pair.modules["Small"].decoder.weight.clone()
    for parameter in pair.modules["Small"].parameters():
        parameter.grad = None
    engine(X)
    assert pair.modules["Small"].decoder.weight.grad is None
    assert torch.equal(before, pair.modules["Small"].decoder.weight)


class Normed(Small):
    """Batch normalisation moves buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def guide(self, x: Tensor) -> Any:
        loc, scale = self.encoder(self.norm(x)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


@pytest.mark.thorough
def test_buffers_move_as_they_do_without_the_graph() -> None:
    states = []
    for mode in PLAIN_AND_RECORDED:
        torch.manual_seed(0)
        pair = pair_of(Normed())
        engine = compile(pair, mode=mode)
        for _ in range(3):
            engine(X)
        assert engine.reason == ""
        states.append({name: tensor.clone() for name, tensor in pair.state().items() if "norm" in name})
    for name, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][name]), name
    assert int(states[1]["Normed.norm.num_batches_tracked"]) == 3


@pytest.mark.thorough
def test_shared_weights_have_the_gradient_of_all_their_uses() -> None:
    """Two names of one parameter in a module, and a module that both programs' owners hold."""

    class Tied(Small):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(3, 4, bias=False)
            self.other.weight = self.encoder.weight

        def guide(self, x: Tensor) -> Any:
            loc, scale = (self.encoder(x) + self.other(x + 1)).chunk(2, -1)
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    class Owner(nn.Module):
        def __init__(self, held: nn.Module, program: str) -> None:
            super().__init__()
            self.held, self.program = held, program

        def forward(self, x: Tensor) -> Any:
            return getattr(self.held, self.program)(x + 0 * self.held.encoder.weight.square().sum())

    torch.manual_seed(0)
    tied, small = Tied(), Small()
    pairs = [pair_of(tied), Pair(Event(3, "binary"), Owner(small, "model"), Owner(small, "guide"))]
    for pair in pairs:
        found = []
        for mode in PLAIN_AND_RECORDED:
            torch.manual_seed(1)
            engine = compile(pair, mode=mode)
            engine(X)
            torch.manual_seed(2)
            engine(X)
            assert engine.reason == ""
            found.append(gradients(pair))
        agree(found[1], found[0], 1e-5)


class ByValue(Small):
    """Its control flow depends on the data."""

    def guide(self, x: Tensor) -> Any:
        super().guide(x if x.sum() > 0 else -x)


class ByChance(Small):
    """Its control flow depends on Python's random numbers."""

    def guide(self, x: Tensor) -> Any:
        super().guide(x * random.random())


class ByNumber(Small):
    """A number of its own is read off the data, the same for the data in any order."""

    def guide(self, x: Tensor) -> Any:
        super().guide(x * float(x.sum()))


@pytest.mark.parametrize("made", [ByValue, ByChance, ByNumber])
def test_what_a_graph_cannot_hold_falls_back_and_says_why(made: Any) -> None:
    torch.manual_seed(0)
    pair = pair_of(made())
    engine = compile(pair)
    torch.manual_seed(4)
    random.seed(4)
    loss = engine(X)
    assert "recorded" in engine.reason
    assert loss.isfinite()
    assert all(bool((grad != 0).any()) for grad in gradients(pair).values())


@pytest.mark.thorough
def test_the_reason_is_that_of_the_last_batch() -> None:
    class Odd(Small):
        def guide(self, x: Tensor) -> Any:
            super().guide(x * random.random() if len(x) == 5 else x)

    torch.manual_seed(0)
    engine = compile(pair_of(Odd()))
    for x, plain in ((X, False), (X[:5], True), (X, False)):
        engine(x)
        assert bool(engine.reason) == plain


@pytest.mark.thorough
def test_without_a_compiler_it_is_recorded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    torch.manual_seed(0)
    engine = compile(pair_of(Small()), mode="compiled")
    engine(X)
    assert engine.mode == "traced"
    assert "no C++ compiler" in engine.reason


@pytest.mark.thorough
def test_what_fails_to_compile_is_recorded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "g++").touch(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.delitem(sys.modules, COMPILER, raising=False)  # so that another process compiles
    monkeypatch.setattr(sys, "executable", "false")
    torch.manual_seed(0)
    pair = pair_of(Small())
    losses = []
    modes: tuple[Mode, ...] = ("eager", "compiled")
    for mode in modes:
        engine = compile(pair, mode=mode)
        engine(X)
        torch.manual_seed(6)
        losses.append(float(engine(X)))
    assert engine.reason == "exit code 1: recorded, not compiled"
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.thorough
def test_svi_alone_learns_and_an_unknown_engine_is_refused() -> None:
    torch.manual_seed(0)
    made = Small()
    svi = CompiledSVI(made.model, made.guide, lambda p: torch.optim.Adam(p, lr=0.05), engine="traced")
    losses = [float(svi.step(X)) for _ in range(150)]
    assert svi.reason == ""
    assert sum(losses[-20:]) < sum(losses[:20])
    with pytest.raises(ZooError, match="engine is one of"):
        compile(pair_of(made), mode="warp")  # type: ignore[arg-type]  # the mistake is the test


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, inside its compiler
def test_the_compiled_gradient_is_pyros_own() -> None:
    torch.manual_seed(0)
    pair = pair_of(Small())
    engine = compile(pair, mode="compiled")
    engine(X)
    torch.manual_seed(6)
    loss = float(engine(X))
    ours = gradients(pair)
    torch.manual_seed(6)
    value, expected = pyro_step(pair, X, Trace_ELBO())
    assert loss == pytest.approx(value, rel=1e-5)
    agree(ours, expected, 1e-5)
