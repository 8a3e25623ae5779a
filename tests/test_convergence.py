"""Bounds rise with the number of particles, from the ELBO through the bound of the scores."""

from __future__ import annotations

import csv
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from command import zoo

from zoo import Settings, TrainedRun, ZooError, build, load_data
from zoo.data import Dataset
from zoo.errors import UnfitError
from zoo.metrics.bounds import particle_weights, sub_bounds
from zoo.metrics.closed_forms import closed_forms
from zoo.runs.convergence import converging
from zoo.runs.evaluation import evaluate


def test_the_bound_of_a_closed_form_rises_to_the_truth() -> None:
    """In expectation: within errors over data, of draws that differ from size to size."""
    form = next(each for each in closed_forms() if "10 latents" in each.name and "too wide" in each.name)
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
    truth, sizes = form.evidence(x).double().cpu(), (1, 8, 64)
    found = [sub_bounds(particle_weights(form.pair, x, k, seed=k), k) for k in sizes]
    grouped = particle_weights(form.pair, x, 128, seed=9)
    for low, high in pairwise([*found, truth]):
        gain = high - low
        assert float(gain.mean()) > 3 * float(gain.std()) / math.sqrt(len(gain))
    for k, fresh in zip(sizes, found, strict=True):
        difference = sub_bounds(grouped, k) - fresh
        assert abs(float(difference.mean())) < 4 * float(difference.std()) / math.sqrt(len(x)), k


def test_groups_of_groups_are_never_below_their_mean() -> None:
    weights = 3 * torch.randn(20, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(sub_bounds(weights, 1), weights.mean(1))
    for low, high in pairwise([sub_bounds(weights, 2**power) for power in range(7)]):
        assert bool((high >= low - 1e-12).all())
    assert torch.allclose(sub_bounds(weights[:, :9], 4), sub_bounds(weights[:, :8], 4)), "what is left over is left out"


@pytest.mark.parametrize("particles", [0, 5])
def test_more_particles_than_draws_are_refused(particles: int) -> None:
    with pytest.raises(ZooError, match=f"bound of {particles} particles.*there are 4"):
        sub_bounds(torch.zeros(1, 4), particles)


def trained(family: str) -> TrainedRun:
    data = load_data("digits")
    few = Dataset("few", data.event, data.train[:20], data.validation[:20], data.test[:30], "few")
    return TrainedRun(build(family, few.event), few, seed=0, history=[])


@pytest.mark.parametrize("particles", [12, 100])
def test_the_curve_passes_through_the_scores(particles: int) -> None:
    run, settings = trained("vae"), Settings(particles=particles)
    scores = {score.metric: score for score in evaluate("likelihood", [run], settings)}
    found = converging(run, settings, most=64)
    by_size = {point.particles: point for point in found.points}
    assert list(by_size) == sorted({1, 8, 16, 32, 64, particles})
    at, elbo = by_size[particles], by_size[1]
    assert (at.nats, at.stderr) == pytest.approx((scores["nats"].value, scores["nats"].stderr), rel=1e-9)
    assert elbo.nats == pytest.approx(scores["elbo"].value, rel=1e-9)
    assert by_size[max(by_size)].excess == 0


@pytest.mark.parametrize("family", ["pixelcnn", "gan"])
def test_a_family_without_a_bound_says_why(family: str) -> None:
    with pytest.raises(UnfitError, match="no bound to follow"):
        converging(trained(family), Settings())


@pytest.mark.thorough
def test_the_command_keeps_numbers_and_drawings_in_the_run(tmp_path: Path) -> None:
    options = ("--data", "moons", "--train", "steps=5", "--runs", tmp_path, "--particles", 64, "--quiet")
    zoo("evaluate", "ppca:latent=1", *options, "-e", "likelihood", "--figure")
    [curve] = tmp_path.rglob("convergence.csv")
    rows = list(csv.DictReader(curve.read_text().splitlines()))
    assert [int(row["particles"]) for row in rows] == [1, *(2**power for power in range(3, 13))]
    data = list(csv.DictReader(curve.with_name("particles.csv").read_text().splitlines()))
    assert len(data) == int(rows[0]["n"])
    mean = sum(float(row["nats"]) for row in data) / len(data)
    [at] = [float(row["nats"]) for row in rows if row["particles"] == "64"]
    assert mean == pytest.approx(at, rel=1e-9)
    for name in ("convergence.svg", "particles.svg"):
        assert curve.with_name(name).read_text().startswith("<svg")
    assert "exact: " in curve.with_name("convergence.svg").read_text()
