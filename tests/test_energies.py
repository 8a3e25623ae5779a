"""Energies in the plane: their normalisers, and the planar flows that are fitted to them."""

import csv
import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from energies import ENERGIES, PlanarChain, log_normaliser, main, planar_kl, u1

from zoo.seeding import seeded

LENGTH = 8 + 0.2 * math.sqrt(2 * math.pi)
"""The integral over z1 of what the walls leave."""


@pytest.mark.parametrize(("name", "widths"), [("u2", 0.4), ("u3", 0.35 + 0.35), ("u4", 0.4 + 0.35)])
def test_normalisers_are_those_of_bumps_along_a_line(name: str, widths: float) -> None:
    expected = math.log(LENGTH * widths * math.sqrt(2 * math.pi))
    assert log_normaliser(ENERGIES[name]) == pytest.approx(expected, abs=1e-6)


def test_the_first_energys_normaliser_is_that_of_polar_coordinates() -> None:
    radius = torch.linspace(0, 6, 3000, dtype=torch.float64)
    angle = 2 * math.pi * torch.arange(400, dtype=torch.float64) / 400
    z = torch.stack([radius[:, None] * angle.cos(), radius[:, None] * angle.sin()], -1)
    total = torch.trapezoid((-u1(z)).exp().mean(1) * 2 * math.pi * radius, radius)
    assert log_normaliser(u1) == pytest.approx(float(total.log()), abs=1e-5)


def test_a_planar_chains_density_is_that_of_its_map() -> None:
    """The weights q(z)/p(z) of its draws average to one for a normal q."""
    with seeded(0):
        chain = PlanarChain(4).double()
        z, log_q = chain(20_000)
    centre, spread = z.mean(0).detach(), 0.6 * z.std(0).detach()
    inner = torch.distributions.Normal(centre, spread).log_prob(z).sum(1)
    weights = (inner - log_q).exp().detach()
    error = float(weights.std()) / math.sqrt(len(weights))
    assert (z - z.mean(0)).abs().max() > 1
    assert error < 0.05
    assert float(weights.mean()) == pytest.approx(1, abs=4 * error)


def test_training_brings_a_chain_near_an_energy() -> None:
    short = planar_kl(ENERGIES["u2"], 2, steps=2, batch=50)
    longer = planar_kl(ENERGIES["u2"], 2, steps=80, batch=50)
    assert -4 * longer.stderr < longer.value < short.value - 1


def test_rows_are_printed_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again, stored = tmp_path / "first.svg", tmp_path / "again.svg", tmp_path / "kl.csv"
    monkeypatch.setattr(sys, "argv", ["energies", "--depths", "1", "2", "--steps", "2", "--figure", str(first)])
    main()
    stored.write_text(capsys.readouterr().out)
    found = list(csv.DictReader(stored.read_text().splitlines()))
    assert [(row["energy"], row["depth"]) for row in found] == [(name, k) for name in ENERGIES for k in ("1", "2")]
    monkeypatch.setattr(sys, "argv", ["energies", "--rows", str(stored), "--figure", str(again)])
    main()
    assert capsys.readouterr().out == ""
    assert first.read_bytes() == again.read_bytes()
    dots = [node for node in ElementTree.parse(first).iter() if node.tag.endswith("circle")]
    assert len(dots) == len(found)
