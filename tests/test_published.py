"""Programs as people publish them: through every command, or refused by one sentence; the page says which."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pyro
import pytest
import torch
from pyro_adapters import EXAMPLES, LONGEST, Example
from pyro_examples import (
    PAGE,
    PARTICLES,
    PUBLISHED,
    STEPS,
    Row,
    adapter_of,
    main,
    program_of,
    published,
    rewriting,
    table,
)
from strangers import come_out
from torch import Tensor

from zoo.metrics.bounds import bounds, log_probs

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
    assert 1 <= len(adapter_of((PUBLISHED / f"{name}.py").read_text())) <= LONGEST


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"{Path(each.file).stem}-{each.about.replace(' ', '_')}")
def test_an_adapter_of_a_file_of_pyro_has_at_most_five_lines(example: Example) -> None:
    assert 1 <= len(example.adapter.splitlines()) <= LONGEST


FILE = """
import missing_plots
import pyro, pyro.distributions as dist
import torch

assert pyro.__version__.startswith("1.9.2")
WIDTH = SIZE = 2
data = missing_plots.download()
x = data[0]


def loc(x):
    return x.new_full((WIDTH,), shift)


shift = 0.5


def model(x):
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc(x), 1.0).to_event(1), obs=x)


def model_of_all():
    model(data)


model = None
"""


def test_what_an_adapter_does_not_use_of_a_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(FILE)
    program = program_of(Example("file.py", "event, model = zoo.Event(2, 'real'), model", end="model = None"), tmp_path)
    assert all(word in program for word in ("import pyro", "WIDTH = SIZE", "shift = 0.5", "def loc", "def model(x)"))
    assert not any(
        word in program for word in ("missing_plots", "data =", "x = data", "of_all", "model = None", "assert")
    )


def test_a_file_of_a_checkout_goes_through_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [{"cell_type": "code", "source": FILE.splitlines(keepends=True)}, {"cell_type": "raw", "source": ["no"]}]
    (tmp_path / "book.ipynb").write_text(json.dumps({"cells": cells}))
    adapter = "event = zoo.Event(2, 'real')\nguide = lambda x: None\nmodel = model"
    good, wrong = (Example("book.ipynb", adapter, end=end) for end in ("model = None", ""))
    monkeypatch.setattr("pyro_examples.EXAMPLES", (good, wrong))
    (tmp_path / "runs").mkdir()
    through, refused = published(tmp_path, tmp_path / "runs")
    assert (through.done, through.sentence, through.about) == (STEPS, "exact", "book.ipynb, 1.9.2")
    assert refused.done == ()
    assert refused.sentence


def test_rows_of_files_that_are_not_run_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = Example("nowhere/other.py", "", "a model")
    monkeypatch.setattr("pyro_examples.EXAMPLES", (*EXAMPLES, first))
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    with pytest.raises(SystemExit, match=r"no row of nowhere/other.py \(a model\) to keep: run other as well"):
        list(published(tmp_path, tmp_path, ["nothing"]))
    monkeypatch.setattr("pyro_examples.EXAMPLES", EXAMPLES)
    kept = list(published(tmp_path, tmp_path, ["nothing"]))
    assert table(kept).splitlines()[2:] == lines[len(NAMES) :]
    assert [Row.read(line) for line in lines[len(NAMES) :]] == kept


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="should be a checkout of Pyro's repository"):
        main([str(tmp_path)])


def outcome_of(name: str, folder: Path) -> Any:
    path = folder / f"published_{name}.py"
    path.write_text((PUBLISHED / f"{name}.py").read_text())
    outcome = come_out(path, folder)
    assert outcome.pair is not None
    return outcome


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


def of_cvae(net: Any, x: Tensor) -> Tensor:
    z, weights = quadrature()
    given, seen = x[:, :3], x[:, None, 3:]
    loc, raw = net.prior_net(torch.cat([given, (given @ net.baseline).sigmoid()], -1)).chunk(2, -1)
    pixels = torch.distributions.Bernoulli(logits=net.generation_net(loc[:, None] + raw.exp()[:, None] * z))
    return (pixels.log_prob(seen).sum(-1) + weights).logsumexp(-1)


@pytest.mark.parametrize(("name", "evidence"), [("vae", of_vae), ("ss_vae", of_ss_vae), ("cvae", of_cvae)])
def test_a_bound_is_one_of_the_evidence_by_quadrature(name: str, evidence: Any, tmp_path: Path) -> None:
    outcome = outcome_of(name, tmp_path)
    with torch.no_grad():
        truth = evidence(outcome.pair._model.program.__self__, outcome.x).double()
    excess = bounds(outcome.pair, outcome.x, PARTICLES).importance - truth
    assert outcome.nats == pytest.approx(-float((truth + excess).mean()), abs=1e-3)
    assert float(excess.mean()) < 3 * float(excess.std()) / len(truth) ** 0.5 + 1e-4


def of_hidden_states(chains: int, step: Any) -> Any:
    """log p(y) by adding up the probabilities of all paths of two-valued states, one for each of the ``chains``.

    ``step(given, states, before, notes)`` is the probability of the states and notes of one step.
    """

    def evidence(get: Any, x: Tensor) -> Tensor:
        totals = []
        for sequence in x.tolist():
            paths = itertools.product(itertools.product((0, 1), repeat=chains), repeat=len(sequence))
            total = 0.0
            for path in paths:
                before, last, probability = (0,) * chains, [0] * len(sequence[0]), 1.0
                for states, notes in zip(path, sequence, strict=True):
                    probability *= step(get, states, before, [int(note) for note in notes], last)
                    before, last = states, [int(note) for note in notes]
                total += probability
            totals.append(math.log(total))
        return torch.tensor(totals, dtype=torch.float64)

    return evidence


def bits(probabilities: list[float], notes: list[int]) -> float:
    return math.prod(p if note else 1 - p for p, note in zip(probabilities, notes, strict=True))


def plain(get: Any, states: Any, before: Any, notes: Any, last: Any) -> float:
    return get("probs_x")[before[0]][states[0]] * bits(get("probs_y")[states[0]], notes)


def autoregressive(get: Any, states: Any, before: Any, notes: Any, last: Any) -> float:
    of_notes = [get("probs_y")[states[0]][note][tone] for tone, note in enumerate(last)]
    return get("probs_x")[before[0]][states[0]] * bits(of_notes, notes)


def factorial(get: Any, states: Any, before: Any, notes: Any, last: Any) -> float:
    (w, x), (u, v) = states, before
    return get("probs_w")[u][w] * get("probs_x")[v][x] * bits(get("probs_y")[w][x], notes)


def dynamic(get: Any, states: Any, before: Any, notes: Any, last: Any) -> float:
    (w, x), (u, v) = states, before
    return get("probs_w")[u][w] * get("probs_x")[w][v][x] * bits(get("probs_y")[w][x], notes)


def by_jacobian(inverse: Any, x: Tensor) -> Tensor:
    """log N(f^-1(x)) + log |det df^-1/dx|, of each row of ``x``, with the Jacobian by differentiation."""
    found = []
    for row in x:
        z = inverse(row)
        volume = torch.autograd.functional.jacobian(inverse, row).reshape(len(row), len(row)).slogdet().logabsdet
        found.append(torch.distributions.Normal(0.0, 1.0).log_prob(z).sum() + volume)
    return torch.stack(found).detach().double()


def of_spline(names: Any, x: Tensor) -> Tensor:
    return by_jacobian(lambda row: names["spline"].inv(row), x)


def of_coupling(names: Any, x: Tensor) -> Tensor:
    return by_jacobian(lambda row: names["coupling"].inv(row[None])[0], x)


def of_two_splines(names: Any, x: Tensor) -> Tensor:
    def inverse(row: Tensor) -> Tensor:
        second = names["second"].condition(row[:1])
        return torch.cat([names["first"].inv(row[:1]), second.inv(row[1:])])

    return by_jacobian(inverse, x)


def of_given_spline(names: Any, x: Tensor) -> Tensor:
    given = [names["spline"].condition(row[1:]) for row in x]
    return torch.cat([by_jacobian(each.inv, row[None, :1]) for each, row in zip(given, x, strict=True)])


def parameters_of(pair: Any) -> Any:
    with pair.scope():
        known = {name: value.detach() for name, value in pyro.get_param_store().items()}
    return lambda name: known[name].tolist()


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("hmm", of_hidden_states(1, plain)),
        ("hmm_autoregressive", of_hidden_states(1, autoregressive)),
        ("hmm_factorial", of_hidden_states(2, factorial)),
        ("hmm_dynamic", of_hidden_states(2, dynamic)),
        ("flow_univariate", of_spline),
        ("flow_coupling", of_coupling),
        ("flow", of_two_splines),
        ("flow_conditional", of_given_spline),
    ],
)
def test_an_exact_value_is_that_of_an_independent_computation(name: str, evidence: Any, tmp_path: Path) -> None:
    outcome = outcome_of(name, tmp_path)
    program = outcome.pair._model.program
    known = program.__globals__ if name.startswith("flow") else parameters_of(outcome.pair)
    truth = evidence(known, outcome.x)
    torch.testing.assert_close(log_probs(outcome.pair, outcome.x), truth, rtol=1e-4, atol=1e-4)
    assert outcome.nats == pytest.approx(-float(truth.mean()), abs=1e-4)


def predictive_of_coin(pair: Any, x: Tensor) -> Tensor:
    a, b = (parameters_of(pair)(name) for name in ("alpha_q", "beta_q"))
    return torch.where(x[:, 0] == 1, a / (a + b), b / (a + b)).log()


def predictive_of_location(pair: Any, x: Tensor) -> Tensor:
    with pair.scope():
        low, middle = pair._guide.program.quantiles([NormalDist().cdf(-1), 0.5])["loc"]
    return torch.distributions.Normal(middle, (1 + (middle - low) ** 2).sqrt()).log_prob(x[:, 0])


def predictive_of_chain(pair: Any, x: Tensor) -> Tensor:
    get = parameters_of(pair)

    def bit(name: str, value: int, *place: int) -> float:
        a, b = (torch.tensor(get(f"{name}_{end}"))[place] for end in ("alpha", "beta"))
        return float((a if value else b) / (a + b))

    middle = [[sum(bit("p_b", b, a) * bit("p_c", c, b) for b in (0, 1)) for c in (0, 1)] for a in (0, 1)]
    return torch.tensor([math.log(bit("p_a", a) * middle[a][c]) for a, c in x.long().tolist()])


def predictive_of_logits(pair: Any, x: Tensor) -> Tensor:
    with pair.scope(), torch.no_grad():
        posterior = pair._guide.program.get_posterior()
    given = torch.cat([x[:, :3], torch.ones(len(x), 1)], 1)
    mean, scale = given @ posterior.mean, (given @ posterior.covariance_matrix * given).sum(1).sqrt()
    z, weights = quadrature()
    return (torch.distributions.Bernoulli(logits=mean + scale * z).log_prob(x[:, 3]).T + weights).logsumexp(1)


def predictive_of_incomes(pair: Any, x: Tensor) -> Tensor:
    get = parameters_of(pair)
    terms = torch.stack([torch.ones(len(x)), x[:, 0], x[:, 1], x[:, 0] * x[:, 1]], 1)
    mean = terms @ torch.tensor([get("a_loc"), *get("weights_loc")])
    variance = terms**2 @ torch.tensor([get("a_scale"), *get("weights_scale")]) ** 2
    z, weights = quadrature()
    noise = (get("sigma_loc") + get("sigma_scale") * z).exp()
    of_y = torch.distributions.Normal(mean, (variance + noise**2).sqrt()).log_prob(x[:, 2])
    return (of_y.T + weights).logsumexp(1)


@pytest.mark.parametrize(
    ("name", "predictive"),
    [
        ("coin", predictive_of_coin),
        ("minipyro", predictive_of_location),
        ("toy_mixture", predictive_of_chain),
        ("logistic", predictive_of_logits),
        ("ruggedness", predictive_of_incomes),
    ],
)
def test_shared_latents_give_the_predictive_of_their_guide(name: str, predictive: Any, tmp_path: Path) -> None:
    outcome = outcome_of(name, tmp_path)
    truth = predictive(outcome.pair, outcome.x).double()
    torch.testing.assert_close(bounds(outcome.pair, outcome.x, 250).importance, truth, rtol=0, atol=0.12)
