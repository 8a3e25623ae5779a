"""Programs as people publish them: through every command, or refused by one sentence; the page says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pyro_examples import PAGE, PARTICLES, PUBLISHED, STEPS, Row, adapter_of, main, rewriting, table
from strangers import come_out
from torch import Tensor

from zoo.metrics.bounds import bounds

NAMES = sorted(path.stem for path in PUBLISHED.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_published_program_does_what_the_page_says(name: str, tmp_path: Path) -> None:
    row: Row = rewriting(PUBLISHED / f"{name}.py", tmp_path)
    assert row.done in (STEPS, ())
    assert row.sentence
    [line] = table([row]).splitlines()[2:]
    assert line in PAGE.read_text().splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_has_at_most_five_lines(name: str) -> None:
    assert 1 <= len(adapter_of((PUBLISHED / f"{name}.py").read_text())) <= 5


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="should be a checkout of Pyro's repository"):
        main([str(tmp_path)])


def quadrature() -> tuple[Tensor, Tensor]:
    """Points of a standard normal latent and the logarithms of their weights."""
    z = torch.linspace(-8, 8, 2001)
    return z[:, None], torch.distributions.Normal(0.0, 1.0).log_prob(z) + (z[1] - z[0]).log()


def of_vae(vae: Any, x: Tensor) -> Tensor:
    z, weights = quadrature()
    pixels = torch.distributions.Bernoulli(vae.decoder(z)).log_prob(x.reshape(-1, 1, 9)).sum(-1)
    return (pixels + weights).logsumexp(-1)


def of_ss_vae(net: Any, x: Tensor) -> Tensor:
    z, weights = quadrature()
    classes = []
    for y in torch.eye(net.classes):
        logits = net.decoder(torch.cat([z, y.expand(len(z), -1)], -1))
        classes.append(
            (torch.distributions.Bernoulli(logits=logits).log_prob(x[:, None]).sum(-1) + weights).logsumexp(-1)
        )
    return torch.stack(classes).logsumexp(0) - torch.tensor(net.classes).log()


@pytest.mark.parametrize(("name", "evidence"), [("vae", of_vae), ("ss_vae", of_ss_vae)])
def test_a_bound_is_one_of_the_evidence_by_quadrature(name: str, evidence: Any, tmp_path: Path) -> None:
    path = tmp_path / f"published_{name}.py"
    path.write_text((PUBLISHED / f"{name}.py").read_text())
    outcome = come_out(path, tmp_path)
    assert outcome.pair is not None
    assert outcome.x is not None
    with torch.no_grad():
        truth = evidence(outcome.pair._model.program.__self__, outcome.x).double()  # type: ignore[attr-defined]
    excess = bounds(outcome.pair, outcome.x, PARTICLES).importance - truth
    assert outcome.nats == pytest.approx(-float((truth + excess).mean()), abs=1e-3)
    assert float(excess.mean()) < 3 * float(excess.std()) / len(truth) ** 0.5 + 1e-4
