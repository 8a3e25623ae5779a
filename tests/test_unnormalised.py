"""Densities that are known up to a constant: never exact by themselves; log Z by enumeration and in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from draws import every, perturb
from members import small
from pyro.distributions import constraints
from torch import Tensor, nn

import zoo
from zoo.codec.lossless import why_not
from zoo.contract.check import check_pair, ground_laws
from zoo.data import Dataset
from zoo.distributions import Unnormalised
from zoo.distributions.boltzmann import BoltzmannMachine
from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.flow import FlowDensity
from zoo.flows.tilted import Tilted
from zoo.metrics import ais
from zoo.metrics.bounds import bounds, log_likelihoods
from zoo.metrics.normaliser import backward_log_z, estimate_normaliser, forward_log_z
from zoo.pairs.pair import Pair, Player
from zoo.pairs.registry import families
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.runs.nats import own_nats
from zoo.training import validation
from zoo.training.callbacks import Progress
from zoo.training.loop import fit

PLANE = Event(2, "real")


class Bell(Unnormalised):
    """exp(-k |x|^2 / 2), k > 1, on a path from the standard normal of the plane; its moves are exact draws."""

    support = constraints.real_vector
    claimed: float | None = None

    def __init__(self, k: Tensor) -> None:
        self.k = k
        super().__init__(torch.Size([2]), 1)

    @property
    def normalised(self) -> bool:
        return self.claimed is not None

    def log_normaliser(self) -> Tensor:
        return super().log_normaliser() if self.claimed is None else self.k.new_tensor(self.claimed)

    def base_sample(self, n: int) -> Tensor:
        return torch.randn(n, 2, device=self.k.device)

    def log_path(self, value: Tensor, b: float) -> Tensor:
        normal = -0.5 * value.square().sum(-1) - math.log(2 * math.pi)
        return (1 - b) * normal - 0.5 * b * self.k * value.square().sum(-1)

    def move(self, x: Tensor, b: float) -> Tensor:
        return torch.randn_like(x) / (1 - b + b * self.k).sqrt()


class Program(nn.Module):
    """x ~ Bell(k), whose log Z is log(2 pi / k), and an empty guide."""

    made: Callable[[Tensor], Bell] = Bell

    def __init__(self) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(4.0))

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            return pyro.sample("x", self.made(self.k), obs=x)

    def players(self) -> list[Player]:
        return [Player("k", [self.k], lambda x: -Bell(self.k).log_density(x).mean() - self.k.log())]


def bell(**extra: Any) -> Pair:
    made = type("Made", (Program,), extra)()
    return Pair(PLANE, made.model, extras=made)


def plane() -> Dataset:
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    return Dataset("plane", PLANE, x[:100], x[100:200], x[200:], "normal")


@pytest.mark.parametrize("extra", [{}, {"log_prob": lambda self, x: x.sum(1)}], ids=["no guide", "a log_prob"])
def test_an_energy_with_an_empty_guide_is_not_exact(extra: dict[str, Any]) -> None:
    can = zoo.capabilities(bell(**extra))
    assert (can.likelihood, can.energies, can.lossless) == ("unnormalised", ("x",), False)


REFUSED: dict[str, Callable[[Pair], Any]] = {
    "log_prob": lambda pair: zoo.log_prob(pair, torch.zeros(3, 2)),
    "a log_prob of its own": lambda pair: zoo.log_prob(bell(log_prob=lambda self, x: x.sum(1)), torch.zeros(3, 2)),
    "log_weights": lambda pair: zoo.log_weights(pair, torch.zeros(3, 2)),
    "bounds": lambda pair: bounds(pair, torch.zeros(3, 2), 2),
    "likelihoods": lambda pair: log_likelihoods(pair, torch.zeros(3, 2)),
    "model": lambda pair: zoo.TrainedModel(pair, plane()).log_prob(torch.zeros(3, 2)),
    "the ELBO": lambda pair: fit(Pair(PLANE, pair.extras.model), plane(), {"steps": 1}),
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_needs_a_normalised_density_refuses(word: str) -> None:
    with pytest.raises(ZooError, match="up to a constant"):
        REFUSED[word](bell())


def test_differences_are_given_up_to_a_constant() -> None:
    pair, x = bell(), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    values, _ = log_likelihoods(pair.relative, x)
    assert float(values[0] - values[1]) == pytest.approx(2.0)
    assert zoo.capabilities(pair.relative).likelihood == "unnormalised"


def test_codes_and_certificates_say_why_there_are_none() -> None:
    pair = zoo.build("rbm", Event(4, "binary"), {"hidden": 3})
    assert "energy" in why_not(pair)
    assert "no bound" in ais.why_not(bell())


def test_the_contract_does_not_take_an_energy_on_trust() -> None:
    findings = {finding.law: finding for finding in check_pair(lambda seed: bell(), PLANE)}
    assert [finding for finding in findings.values() if finding.ok is False] == []
    law = findings["a distribution draws what its log_prob says"]
    assert law.ok is None
    assert "up to a constant" in law.detail


@pytest.mark.parametrize("off", [0.0, 1.5])
def test_a_claimed_normaliser_is_checked(off: float) -> None:
    class Claims(Bell):
        claimed = math.log(2 * math.pi / 4) - off

    pair = bell(made=Claims)
    assert zoo.capabilities(pair).likelihood == "exact"
    if off:
        with pytest.raises(ZooError, match="not normalised"):
            ground_laws(pair, torch.randn(20, 2))
    else:
        ground_laws(pair, torch.randn(20, 2))


@pytest.mark.thorough
def test_its_nats_are_an_estimate_with_both_sides() -> None:
    data = plane()
    run = TrainedRun(bell(), data, seed=0, history=[])
    scores = {score.metric: score for score in evaluate("likelihood", [run], Settings())}
    truth = 0.5 * 4 * float(data.test.square().sum(1).mean()) + math.log(2 * math.pi / 4)
    for metric in ("nats", "nats_conservative"):
        assert scores[metric].kind == "estimate"
        assert scores[metric].value == pytest.approx(truth, abs=0.02)
    assert "optimistic" in scores["nats"].reason
    assert "log_z" not in scores
    assert (scores["nats"].stderr or 0) > float((2 * data.test.square().sum(1)).std()) / 10


class Stuck(Bell):
    """Its chains do not move, and those back start at one place."""

    place = 0.0

    def move(self, x: Tensor, b: float) -> Tensor:
        return x

    def settled(self, n: int) -> Tensor:
        return torch.full((n, 2), self.place)


@pytest.mark.thorough
@pytest.mark.parametrize("place", [0.0, 3.0])
def test_chains_that_disagree_are_not_hidden(place: float) -> None:
    made = type("Made", (Stuck,), {"place": place})
    run = TrainedRun(bell(made=made), plane(), seed=0, history=[])
    scores = {score.metric: score for score in evaluate("likelihood", [run], Settings())}
    back = float(made(torch.tensor(4.0)).log_path(torch.full((2,), place), 1.0)) + place**2 + math.log(2 * math.pi)
    gap = back - (scores["log_z_forward"].value or 0.0)
    assert f"differ by {gap:+.1f} nats" in scores["nats"].reason
    assert (scores["nats_conservative"].status == "failed") == (gap < 0)
    assert scores["nats"].status == "ok", "few data: their standard error is greater than the gap"


def test_nats_are_refused_where_log_z_is_not_known(tmp_path: Path) -> None:
    class Lost(Stuck):
        """Its forward chains stay where the density is least, those back where it is greatest."""

        def base_sample(self, n: int) -> Tensor:
            return torch.full((n, 2), 5.0)

    run = TrainedRun(bell(made=Lost), plane(), seed=0, history=[], folder=tmp_path)
    scores = {score.metric: score for score in evaluate("likelihood", [run], Settings())}
    for metric in ("nats", "bits_per_dim"):
        assert scores[metric].status == "failed"
        assert "log Z is not known" in scores[metric].reason
    assert scores["nats_conservative"].status == "ok"
    assert own_nats(run, Settings()) is None


def machine(visible: int = 5, hidden: int = 4, levels: int = 2) -> BoltzmannMachine:
    pair = zoo.build("rbm", Event(visible, levels), {"hidden": hidden, "sweeps": 50}).extras
    perturb(pair.parameters(), 1.0)
    made: BoltzmannMachine = pair.requires_grad_(False).machine()
    return made


@pytest.mark.parametrize(("levels", "hidden"), [(2, 1), (2, 4), (2, 11), (3, 4)])
def test_enumerated_hidden_states_give_the_sum_over_all_data(levels: int, hidden: int) -> None:
    made, states = machine(hidden=hidden, levels=levels), every(Event(5, levels))
    brute = made.log_density(states).logsumexp(0)
    assert float(made.log_normaliser()) == pytest.approx(float(brute), abs=1e-5)
    assert float(made.log_path(states, 0.0).logsumexp(0)) == pytest.approx(0.0, abs=1e-5)


def test_log_z_is_computed_again_when_weights_change() -> None:
    pair = zoo.build("rbm", Event(5, "binary"), {"hidden": 4})
    with torch.no_grad():
        before = pair.extras.machine().log_normaliser()
        pair.extras.visible += 1.0
        after = pair.extras.machine().log_normaliser()
    assert float(after - before) == pytest.approx(5 * math.log((1 + math.e) / 2), abs=0.1)


@pytest.mark.parametrize("levels", [2, 3])
def test_exact_draws_and_sweeps_have_the_frequencies_of_the_model(levels: int) -> None:
    made, states = machine(visible=3, levels=levels), every(Event(3, levels))
    place = torch.tensor([levels**2, levels, 1.0], dtype=states.dtype)
    wanted = made.log_prob(states).exp()[(states @ place).argsort()]
    torch.manual_seed(0)
    exact = made.settled(4000)
    with torch.no_grad():
        for draws in (exact, made.move(exact, 1.0), made.expand([4000]).sample()):
            found = (draws.to(place) @ place).long().bincount(minlength=len(states)) / len(draws)
            assert (found - wanted).abs().max() < 4 * 0.5 / math.sqrt(len(draws))


def test_annealing_finds_log_z_from_both_sides() -> None:
    made = machine(visible=8, hidden=6)
    truth = float(made.log_normaliser())
    for work in (forward_log_z, backward_log_z):
        found = work(made, chains=200, temperatures=300, seed=1)
        assert abs(found.value - truth) < 4 * found.stderr + 1e-3
        assert found.stderr < 0.1


def test_forward_chains_flatter_and_backward_ones_do_not() -> None:
    """With two temperatures, over many estimates by one chain, in expectation."""
    made = machine(visible=8, hidden=6)
    truth, many = float(made.log_normaliser()), range(200)
    for work, sign in ((forward_log_z, 1), (backward_log_z, -1)):
        found = torch.tensor([work(made, chains=1, temperatures=2, seed=seed).value for seed in many])
        assert sign * (truth - float(found.mean())) > 4 * float(found.std()) / len(found) ** 0.5


def tilted(k: float, step: float = 0.5) -> Tilted:
    """A standard normal in the plane times exp(-k |y|^2 / 2)."""
    zero = torch.zeros(2)
    base = FlowDensity(lambda y: (y, y.new_zeros(len(y))), lambda z: z, dist.Normal(zero, 1.0).to_event(1), (2,))
    return Tilted(base, lambda y: 0.5 * k * y.square().sum(1), torch.tensor(step), 30, torch.randn(50, 2))


def test_a_tilted_normal_has_the_log_z_of_its_closed_form() -> None:
    for work in (forward_log_z, backward_log_z):
        found = work(tilted(3.0), chains=300, temperatures=60, seed=0)
        assert found.value == pytest.approx(-math.log(4.0), abs=4 * found.stderr + 0.02)


@pytest.mark.parametrize("event", [zoo.Event(4, "binary"), zoo.Event(4, 5)])
def test_chains_that_are_far_out_are_weighed(event: zoo.Event) -> None:
    """There data round to the edge of their range, whose way back to z is no number."""
    machine = zoo.build("ebm", event, {"width": 4, "chains": 8, "moves": 2})
    machine.extras.persistent.fill_(18.0)
    found = estimate_normaliser(machine, chains=20, temperatures=5, seed=0)
    assert all(math.isfinite(number) for side in (found.forward, found.backward) for number in astuple(side))


@pytest.mark.parametrize("step", [0.3, 1.5])
def test_langevin_chains_are_at_temperature_one_at_any_step(step: float) -> None:
    torch.manual_seed(0)
    made = tilted(3.0, step)
    x = torch.randn(4000, 2) / 2  # exact draws
    for _ in range(10):
        x = made.move(x, 1.0)
    assert float(x.square().mean()) == pytest.approx(0.25, abs=4 * 0.25 * math.sqrt(2 / x.numel()))


ENERGY = {"steps": 4, "batch": 8, "checkpoints": 2, "average": 0.9}


class Tape:
    """A copy of the progress at each checkpoint."""

    def __init__(self) -> None:
        self.kept: list[Progress] = []

    def on_progress(self, progress: Progress) -> None: ...

    def on_checkpoint(self, progress: Progress) -> None:
        self.kept.append(deepcopy(progress))


@pytest.mark.parametrize("name", ["rbm", "ebm"])
def test_chains_go_on_where_a_killed_run_was(name: str, coins: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "TEMPERATURES", 5)
    assert families[name].group == "energy"
    whole, again = (zoo.build(name, coins.event, small(name), seed=1) for _ in range(2))
    tape = Tape()
    fit(whole, coins, ENERGY, seed=3, callbacks=[tape])
    halfway = tape.kept[0]
    assert halfway.step == 2
    fit(again, coins, ENERGY, seed=3, start=deepcopy(halfway))
    [key] = (key for key in halfway.tensors if key.startswith("weights/") and key.endswith("persistent"))
    assert not torch.equal(halfway.tensors[key], tape.kept[-1].tensors[key])
    assert all(torch.equal(again.state()[key], tensor) for key, tensor in whole.state().items())
