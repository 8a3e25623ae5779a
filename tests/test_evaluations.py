"""The evaluations on pairs and histories with known answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from test_passes import Implicit
from torch import Tensor, nn

from zoo import Dataset, Event, Pair, Score, ZooError, load_data
from zoo.evaluations import certificate
from zoo.evaluations.stability import worst_fall
from zoo.metrics.bounds import bounds, log_probs
from zoo.pairs import registry
from zoo.pairs.build import build
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.seeding import seeded

PLANE = Event(2, "real")
QUICK = Settings(particles=50, samples=60)


def dataset(event: Event, draw: Callable[[int], Tensor]) -> Dataset:
    with seeded(0):
        return Dataset("made up", event, draw(200), draw(150), draw(80), "made up")


def normal_data() -> Dataset:
    return dataset(PLANE, lambda n: torch.randn(n, 2))


class Normal(nn.Module):
    """x ~ N(loc, 1), the truth about `normal_data` at loc = 0; ``of`` replaces N(loc, 1)."""

    def __init__(self, loc: float = 0.0, of: Callable[[Tensor], Any] = lambda loc: dist.Normal(loc, 1.0)) -> None:
        super().__init__()
        self.loc, self.of = nn.Parameter(torch.full((2,), loc)), of

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            return pyro.sample("x", self.of(self.loc.expand(len(x), 2)).to_event(1), obs=x)


class Latent(Normal):
    """x = z + e with z, e ~ N(0, 1/2): the same x."""

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.loc.expand(len(x), 2), math.sqrt(0.5)).to_event(1))
            return pyro.sample("x", dist.Normal(z, math.sqrt(0.5)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.6).to_event(1))


class Analytic(Latent):
    """`Latent` with its exact log-probability, plus a mistake in it."""

    def __init__(self, mistake: float = 0.0) -> None:
        super().__init__()
        self.mistake = mistake

    def log_prob(self, x: Tensor) -> Tensor:
        value: Tensor = dist.Normal(self.loc, 1.0).log_prob(x) + self.mistake
        return value.sum(1)


def pair_of(module: Any, event: Event = PLANE) -> Pair:
    if hasattr(module, "guide"):
        return Pair(event, module.model, module.guide, extras=module)
    return Pair(event, module.model, extras=module)


def finished(module: Any, data: Dataset | None = None, **rest: Any) -> TrainedRun:
    return TrainedRun(pair_of(module), data or normal_data(), seed=0, history=rest.pop("history", []), **rest)


def asked(name: str, *runs: TrainedRun, settings: Settings = QUICK) -> dict[str, Score]:
    return {score.metric: score for score in evaluate(name, runs, settings)}


def value(score: Score) -> float:
    assert score.value is not None, score.reason
    return score.value


# ---------------------------------------------------------------- likelihood


def test_exact_likelihood() -> None:
    scores = asked("likelihood", finished(Normal()))
    test = normal_data().test
    expected = -dist.Normal(0.0, 1.0).log_prob(test).sum(1).double()
    nats = scores["nats"]
    assert value(nats) == pytest.approx(float(expected.mean()), rel=1e-5)
    assert nats.stderr == pytest.approx(float(expected.std()) / math.sqrt(80), rel=1e-5)
    assert (nats.kind, nats.unit, nats.n) == ("exact", "nats", 80)
    assert value(scores["bits_per_dim"]) == pytest.approx(value(nats) / (2 * math.log(2)))
    assert scores["bits_per_dim"].unit == "bits/dim"
    assert {scores[metric].status for metric in ("elbo", "ess", "khat_share", "bound_gap")} == {"skipped"}


def test_bounded_likelihood_is_marked_as_a_bound() -> None:
    exact, bound = (value(asked("likelihood", finished(module))["nats"]) for module in (Normal(), Latent()))
    scores = asked("likelihood", finished(Latent()))
    assert scores["nats"].kind == scores["bits_per_dim"].kind == scores["elbo"].kind == "lower bound"
    assert bound == pytest.approx(exact, abs=0.02)
    assert value(scores["elbo"]) > value(scores["nats"]), "both are negative: the looser is the larger"
    assert 1 < value(scores["ess"]) <= 50
    assert value(scores["khat_share"]) < 0.3
    assert scores["bound_gap"].status == "skipped"


def test_an_analytic_value_is_checked_against_the_bound() -> None:
    right = asked("likelihood", finished(Analytic()))
    wrong = asked("likelihood", finished(Analytic(-0.1), unchecked=True))
    assert right["nats"].kind == "exact"
    gap = right["bound_gap"]
    assert -3 * gap.stderr < value(gap) < 0.05
    assert value(wrong["bound_gap"]) < -3 * (wrong["bound_gap"].stderr or 0.0), "a value below its own lower bound"


def test_too_few_particles_for_khat() -> None:
    score = asked("likelihood", finished(Latent()), settings=replace(QUICK, particles=5))["khat_share"]
    assert score.status == "skipped"
    assert "25" in score.reason


def test_implicit_models_have_no_likelihood() -> None:
    scores = asked("likelihood", finished(Implicit(), unchecked=True))  # it has no objective either
    assert scores["nats"].status == "skipped"
    assert "implicit" in scores["nats"].reason


def test_density_may_make_negative_nats() -> None:
    data = normal_data().map(lambda x: 1e-3 * x)
    sharp = Normal(of=lambda loc: dist.Normal(loc, 0.01))
    assert value(asked("likelihood", finished(sharp, data))["nats"]) < -5


def test_impossible_data_are_a_failed_row() -> None:
    score = asked("likelihood", finished(Normal(of=lambda loc: dist.Uniform(loc, 1.0)), unchecked=True))["nats"]
    assert score.status == "failed"
    assert "no finite value" in score.reason


def test_dropout_is_off() -> None:
    class Dropped(Normal):
        def log_prob(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(torch.ones(len(x)), 0.5, self.training)

    assert value(asked("likelihood", finished(Dropped(), unchecked=True))["nats"]) == -1


def test_floors_on_digits() -> None:
    data = load_data("digits")
    scores = asked("likelihood", TrainedRun(build("uniform", data.event), data, 0, []))
    assert value(scores["nats"]) == value(scores["floor_uniform"]) == pytest.approx(64 * math.log(17))
    assert 0 < value(scores["floor_independent"]) < value(scores["floor_uniform"])


def test_floors_that_do_not_fit_are_skipped() -> None:
    registry.load_shelves()
    floors = [name for name in ("uniform", "independent") if "real" not in registry.families[name].supports]
    assert floors, "no floor is for integers alone"
    scores = asked("likelihood", finished(Normal()))
    assert {scores[f"floor_{name}"].status for name in floors} == {"skipped"}


# ----------------------------------------------------------------- stability


def trained(validation: Sequence[float], discrepancy: Sequence[float], **rest: Any) -> TrainedRun:
    rows = zip(validation, discrepancy, strict=True)
    history = [{"step": t, "train": v, "validation": v, "discrepancy": d, "lr": 1e-3} for t, (v, d) in enumerate(rows)]
    return finished(rest.pop("module", Normal()), history=history, **rest)


def smooth(n: int = 20) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A discrepancy that falls from 0.5 to nothing."""
    curve: np.ndarray[Any, np.dtype[np.float64]] = 0.5 * np.exp(-0.5 * np.arange(n))
    return curve


def test_drawdown_by_hand() -> None:
    # best 5 of 10 -> 5 -> 7 -> 4: two lost again of six won
    assert worst_fall([10, 5, 7, 4]).share == pytest.approx(2 / 6)
    assert worst_fall([3, 2, 1]).share == 0
    assert worst_fall([1, 2, 3]).share == 1, "nothing won: all is lost"
    assert worst_fall([3, 1, math.nan]).share == 1
    assert worst_fall([2, 1, 1.5], nothing=6).share == pytest.approx(0.5 / 5)


def test_a_noisy_but_steady_training_is_stable() -> None:
    noise = np.random.default_rng(0).normal(size=(3, 20)) * 0.002
    scores = asked("stability", *(trained(list(20 * smooth()), list(smooth() + each)) for each in noise))
    assert value(scores["drawdown"]) == 0
    assert value(scores["discrepancy_drawdown"]) < 0.1
    assert value(scores["discrepancy_spread"]) < 0.05
    assert value(scores["diverged_share"]) == 0


def test_noise_around_a_good_start_is_not_instability() -> None:
    flat = [0.011, 0.010, 0.013, 0.009, 0.012]
    assert value(asked("stability", trained([5.0] * 5, flat))["discrepancy_drawdown"]) < 0.15


def test_a_collapse_of_one_seed_shows() -> None:
    collapsed = smooth()
    collapsed[12:] = 0.15
    scores = asked("stability", trained(list(smooth()), list(smooth())), trained(list(smooth()), list(collapsed)))
    score = scores["discrepancy_drawdown"]
    assert value(score) > 0.4
    assert 0 < score.stderr < 0.1
    assert value(scores["discrepancy_spread"]) > 0.1


def test_spread_and_diverged_share() -> None:
    runs = [trained([9.0, last], [0.5, 0.1]) for last in (1.0, 2.0, 3.0)]
    runs.append(trained([9.0, math.nan], [0.5, 0.1], status="diverged", reason="loss became nan at step 7"))
    scores = asked("stability", *runs)
    assert value(scores["diverged_share"]) == 0.25
    assert value(scores["validation_spread"]) == pytest.approx(1.0)
    assert scores["validation_spread"].n == 3
    assert value(scores["drawdown"]) == 1


def test_one_seed_has_no_spread() -> None:
    scores = asked("stability", trained([9.0, 1.0], [0.5, 0.1]))
    assert scores["validation_spread"].status == scores["discrepancy_spread"].status == "skipped"
    assert "two seeds" in scores["validation_spread"].reason


def test_crashed_runs_are_left_out_and_named() -> None:
    crashed = trained([], [], status="failed", reason="out of memory")
    score = asked("stability", trained([9.0, 1.0], [0.5, 0.1]), crashed)["diverged_share"]
    assert (score.value, score.n) == (0, 1)
    assert "1 of 2" in score.reason
    alone = asked("stability", crashed)
    assert {score.status for score in alone.values()} == {"failed"}
    assert "out of memory" in alone["diverged_share"].reason


def test_closed_forms_have_no_stability() -> None:
    assert {score.status for score in asked("stability", trained([9.0], [0.5])).values()} == {"skipped"}


def test_one_checkpoint_shows_that_training_ended_and_no_curve() -> None:
    run = finished(Normal(), history=[{"step": 800, "train": 9.0, "validation": 9.0, "discrepancy": 0.5, "lr": 1e-3}])
    scores = asked("stability", run)
    assert scores["diverged_share"].value == 0.0
    assert {scores[name].status for name in ("drawdown", "discrepancy_drawdown")} == {"skipped"}
    assert "at least two checkpoints" in scores["discrepancy_drawdown"].reason


def test_an_implicit_model_is_judged_by_its_discrepancy() -> None:
    curve = list(smooth())
    scores = asked("stability", *(trained(curve, curve, module=Implicit(), unchecked=True) for _ in range(2)))
    assert scores["validation_spread"].unit == "MMD"
    assert scores["drawdown"].value == scores["discrepancy_drawdown"].value


# ------------------------------------------------------------------ sampling


def test_quality_of_too_few_data_is_skipped() -> None:
    few = dataset(PLANE, lambda n: torch.randn(n // 20, 2))
    scores = asked("sampling", finished(Normal(), few))
    assert {scores[metric].status for metric in ("mmd2", "c2st", "precision", "recall")} == {"skipped"}
    assert scores["seconds_1"].status == "ok"


@pytest.mark.thorough
def test_quality_of_the_truth_and_of_something_else() -> None:
    truth, far = (asked("sampling", finished(Normal(loc))) for loc in (0.0, 30.0))
    assert abs(value(truth["mmd2"])) < 4 * (truth["mmd2"].stderr or 0.0)
    assert value(truth["c2st"]) < 0.75
    assert value(truth["precision"]) > 0.7
    assert value(truth["recall"]) > 0.7
    assert value(far["mmd2"]) > 10 * (far["mmd2"].stderr or 0.0)
    assert value(far["c2st"]) > 0.99
    assert value(far["precision"]) == value(far["recall"]) == 0


def test_speed_is_measured() -> None:
    scores = asked("sampling", finished(Normal()))
    assert value(scores["seconds_1"]) > 0
    assert value(scores["samples_per_second"]) == pytest.approx(100 / value(scores["seconds_100"]))
    assert value(scores["relative_time"]) > 0


def test_samples_that_are_not_finite_are_failed_rows() -> None:
    scores = asked("sampling", finished(Normal(math.inf)))
    assert {scores[metric].status for metric in ("mmd2", "c2st", "precision", "recall")} == {"failed"}
    assert scores["seconds_1"].status == "ok"


# ------------------------------------------------------------------ failures


def test_a_diverged_run_is_a_failed_row_that_says_when() -> None:
    run = finished(Normal(), status="diverged", reason="loss became nan at step 7")
    for name in ("likelihood", "sampling"):
        scores = asked(name, run)
        assert {score.status for score in scores.values()} == {"failed"}
        assert all("step 7" in score.reason for score in scores.values())


def test_an_error_in_a_model_is_a_failed_row() -> None:
    class Broken(Normal):
        def log_prob(self, x: Tensor) -> Tensor:
            raise ArithmeticError("no root found")

    scores = asked("likelihood", finished(Broken(), unchecked=True))
    assert scores["nats"].status == "failed"
    assert "ArithmeticError: no root found" in scores["nats"].reason


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_a_failed_row(number: float) -> None:
    with registry.evaluations.scoped():

        @registry.evaluation("odd")
        def odd(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
            return [Score("mean", number), Score("error", 1.0, stderr=number), Score("fine", 2.0, stderr=0.1)]

        mean, error, fine = evaluate("odd", [finished(Normal())])
    assert (mean.status, mean.reason) == ("failed", f"its value is {number}")
    assert (error.status, error.reason) == ("failed", f"its standard error is {number}")
    assert fine == Score("fine", 2.0, stderr=0.1)


def test_wrong_use_of_evaluate() -> None:
    run = finished(Normal())
    with pytest.raises(ZooError, match="exactly one run, got 2"):
        evaluate("likelihood", [run, run])
    with pytest.raises(ZooError, match="did you mean likelihood"):
        evaluate("likelyhood", [run])


def test_a_wrong_pair_is_evaluated_only_as_unchecked() -> None:
    wrong = Analytic(-0.5)
    with pytest.raises(ZooError, match="breaks a law of the contract, 'log_prob agrees with the programs'"):
        finished(wrong)
    scores = asked("likelihood", finished(wrong, unchecked=True))
    assert {score.status for score in scores.values()} == {"ok", "skipped"}
    assert all(score.reason.startswith("unchecked: ") for score in scores.values())


def test_evaluating_repeats_itself_and_leaves_the_random_stream() -> None:
    run = finished(Latent())
    before = torch.get_rng_state()
    first, second = asked("likelihood", run), asked("likelihood", run)
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)


def test_a_certificate_compares_bounds_on_the_same_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "TEMPERATURES", 4)
    data = load_data("moons")
    run = TrainedRun(build("ppca", data.event, {"latent": 1}), data, seed=0, history=[])
    scores = asked("certificate", run, settings=Settings(particles=32, samples=6))
    assert {scores[name].n for name in ("within", "ais_nats", "elbo_excess", "bound_excess", "exact_excess")} == {6}
    x, shift = data.test[:6], data.log_scale(run.pair, data.test[:6])
    found = bounds(run.pair, x, 32)
    for name, log_p in (("elbo", found.elbo), ("bound", found.importance), ("exact", log_probs(run.pair, x))):
        nats = value(scores["ais_nats"]) + value(scores[f"{name}_excess"])
        assert nats == pytest.approx(float((shift - log_p).mean()), abs=1e-6)
    assert value(scores["exact_excess"]) - 4 * (scores["exact_excess"].stderr or 0.0) < 0.0
    exact = asked("certificate", TrainedRun(build("realnvp", data.event), data, seed=0, history=[]))
    assert {score.reason for score in exact.values()} == {"no latents: its likelihood is exact"}
