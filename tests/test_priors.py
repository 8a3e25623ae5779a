"""Laws of priors, swept over the registry, and what each prior promises on its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from draws import data, every, perturb
from torch import Tensor

from zoo.contract.check import check
from zoo.data import Dataset
from zoo.errors import ZooError
from zoo.event import Event
from zoo.experiments.plan import Options, plan
from zoo.experiments.suite import Suite
from zoo.pairs.build import build, read_name
from zoo.pairs.pair import HasInitialise, NeedsEncoder
from zoo.pairs.registry import guides, load_shelves, priors
from zoo.pairs.sampling import sample
from zoo.pairs.traces import log_weights
from zoo.runs.config import DataSpec, configure
from zoo.runs.run import Run, find_runs
from zoo.seeding import seeded

load_shelves()
EVENT = Event((2, 2), 5)
NAMES = [entry.name for entry in priors]
PLANE = [entry.name for entry in priors if entry.space == "real"]
SMALL: dict[str, dict[str, Any]] = {"lars": {"truncation": 20, "hidden": 16}, "flow": {"steps": 4, "hidden": 16}}


def encode(x: Tensor) -> Any:
    """A guide's distribution: a narrow normal in the plane."""
    flat = x.flatten(1)
    return dist.Normal(flat[:, :2] - flat[:, 2:], 0.3 + 0.1 * flat[:, :2]).to_event(1)


def make(name: str, latent: int = 2, **hyper: Any) -> Any:
    """A prior with perturbed parameters, in double precision and evaluation mode."""
    with seeded(1), torch.no_grad():
        made = priors[name].make(EVENT, latent, **SMALL.get(name, {}) | hyper).double().eval()
        if isinstance(made, HasInitialise):
            made.initialise(data(EVENT, 40))
        if isinstance(made, NeedsEncoder):
            made.use_encoder(encode)
        perturb(made.parameters(), 0.2)
    return made


def relative_error(made: Any) -> float:
    """Of the normaliser, in a prior that estimates it."""
    if not hasattr(made, "normaliser"):
        return 0.0
    Z, error = made.normaliser()
    return float(error / Z)


def grid(edge: float = 12.0, count: int = 201) -> tuple[Tensor, float]:
    """Points of the plane, shape ``(count^2, 2)``, and the area that each stands for."""
    line = torch.linspace(-edge, edge, count, dtype=torch.float64)
    return torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2


@pytest.mark.parametrize("name", PLANE)
def test_densities_integrate_to_one(name: str) -> None:
    """In the plane, up to the error of an estimated normaliser."""
    points, area = grid()
    made = make(name)
    with torch.no_grad(), seeded(0):
        total = float(made().log_prob(points).exp().sum()) * area
        slack = 4 * relative_error(made)
    assert total == pytest.approx(1, abs=1e-3 + slack)
    assert slack < 0.05


@pytest.mark.parametrize("name", PLANE)
def test_draws_follow_the_density(name: str) -> None:
    """Their moments are those of the density on a grid, and so are the shares of four quarters of the plane."""
    points, area = grid()
    n, made = 10_000, make(name)
    with torch.no_grad(), seeded(3):
        fn, slack = made(), 2e-3 + 10 * relative_error(made)
        z = fn.expand((n,)).sample()
        weight = fn.log_prob(points).exp() * area
    weight = weight / weight.sum()
    features = [lambda z: z, lambda z: z**2, lambda z: z.prod(-1, keepdim=True), lambda z: (z > 0.3).double()]
    for feature in features:
        drawn, expected = feature(z), (weight[:, None] * feature(points)).sum(0)
        error = drawn.std(0) / math.sqrt(n)
        assert ((drawn.mean(0) - expected).abs() < 5 * error + slack).all()


@pytest.mark.parametrize("name", NAMES)
def test_shapes_gradients_and_repetition(name: str) -> None:
    made = make(name, 2)
    with seeded(0):
        fn = made().expand((7,))
        z = fn.sample()
        value = fn.log_prob(z)
    assert (made().event_shape, z.shape, value.shape) == ((2,), (7, 2), (7,))
    assert fn.sample((3,)).shape == (3, 7, 2)
    assert made().log_prob(z.expand(3, 7, 2)).shape == (3, 7)
    with seeded(9):
        again = made().expand((7,)).log_prob(z)
    assert torch.equal(again, value), "in evaluation mode a density should be one number, whatever the seed"
    if list(made.parameters()):
        value.sum().backward()
        idle = [key for key, parameter in made.named_parameters() if parameter.grad is None or not parameter.grad.any()]
        assert idle == []


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_the_contract_holds_on_the_vae(name: str) -> None:
    findings = check(f"vae:prior={name},latent=3,hidden=16,guide.hidden=16", EVENT)
    assert [finding for finding in findings if finding.ok is not True] == []


def test_with_latents_on_the_sphere_probabilities_sum_to_one() -> None:
    """Guide and prior are densities on the same surface, so importance weights are unbiased, and bounded there."""
    event = Event((2,), 3)
    pair = build("vae:prior=sphere,latent=3", event, {"hidden": 16, "guide.hidden": 16}, seed=3)
    with seeded(1), pair.evaluating():
        w = log_weights(pair, every(event).float().repeat_interleave(1000, 0)).double().reshape(9, 1000).exp().sum(0)
    assert abs(w.mean() - 1) < 5 * w.std() / math.sqrt(len(w))
    assert w.std() / math.sqrt(len(w)) < 0.05


def test_vamp_is_the_guides_mixture_at_its_pseudo_inputs() -> None:
    made = make("vamp", components=7)
    with torch.no_grad():
        z = torch.randn(5, 2, dtype=torch.float64)
        each = torch.stack([encode(u[None]).log_prob(z) for u in made.pseudo_inputs])
        expected = (each + made.logits.log_softmax(0)[:, None]).exp().sum(0).log()
        assert torch.allclose(made().log_prob(z), expected, atol=1e-9)


def test_vamp_starts_at_data() -> None:
    x = data(EVENT, 30)
    made = priors["vamp"].make(EVENT, 2).double()
    with torch.no_grad():
        made.initialise(x)
    off = (made.pseudo_inputs[:, None] - x).abs().amax((-1, -2))  # the edge levels themselves are out of reach
    assert off.min(1).values.max() < 0.1
    assert len(off.argmin(1).unique()) > 15


@pytest.mark.parametrize("guide", [entry.name for entry in guides if entry.space == "real"])
def test_vamp_uses_any_guide_and_trains_it(guide: str) -> None:
    pair = build(f"vae+{guide}:prior=vamp,latent=2", EVENT, {"prior.components": 3}).train(False)
    made: Any = pair.extras
    z = torch.randn(4, 2)
    for parameter in pair.parameters():
        parameter.grad = None
    with pair.scope():
        value = made.prior().log_prob(z)
    assert value.shape == (4,)
    value.sum().backward()
    assert made.prior.raw.grad.any()
    reached = [name for name, p in pair.named_parameters().items() if p.grad is not None and p.grad.any()]
    assert any(not name.startswith("VAE.") for name in reached), "the guide's own network"
    assert not any("prior.encode" in name for name in pair.state()), "the guide is in the pair once"


def test_lars_reports_the_error_of_its_normaliser() -> None:
    points, area = grid(9.0, 101)
    made = make("lars")
    with torch.no_grad():
        normal = dist.Normal(0.0, 1.0).log_prob(points).sum(-1)
        exact = float((normal + made.log_accept(points)).exp().sum()) * area
        Z, error = made.normaliser()
        assert 0 < float(error) < 0.01
        assert abs(float(Z) - exact) < 4 * float(error)
        made.train()
        with seeded(5):
            several = torch.stack([made.normaliser()[0] for _ in range(300)])
            reported = made.normaliser()[1]
    assert abs(several.mean() - exact) < 4 * several.std() / math.sqrt(300)
    assert float(several.std()) == pytest.approx(float(reported), rel=0.25)


def test_lars_accepting_none_or_all_is_its_proposal() -> None:
    """With a = 0 it takes the last proposal, with a = 1 the first."""
    z = torch.randn(6, 2, dtype=torch.float64)
    for bias in (-60.0, 60.0):
        made = make("lars", truncation=5)
        with torch.no_grad():
            made.net.out.weight.zero_()
            made.net.out.bias.fill_(bias)
            assert torch.allclose(made().log_prob(z), dist.Normal(0.0, 1.0).log_prob(z).sum(-1), atol=1e-6)
            assert made().expand((50,)).sample().isfinite().all()


def test_lars_tends_to_the_accepted_density_with_many_proposals() -> None:
    """T = 1 is the standard normal whatever a, and the truncated density tends to N a / Z."""
    points, _ = grid(9.0, 51)
    with torch.no_grad():
        one, many = make("lars", truncation=1), make("lars", truncation=10_000)
        normal = dist.Normal(0.0, 1.0).log_prob(points).sum(-1)
        assert torch.allclose(one().log_prob(points), normal, atol=1e-9)
        limit = normal + many.log_accept(points) - many.normaliser()[0].log()
        assert torch.allclose(many().log_prob(points).exp(), limit.exp(), atol=1e-9)


def test_the_flow_prior_inverts_and_its_determinant_is_autograds() -> None:
    made = make("flow", 5)
    e = torch.randn(4, 5, dtype=torch.float64)
    with torch.no_grad():
        z = made.push(e)
        back, logdet = made.pull(z)
    assert torch.allclose(back, e, atol=1e-10)
    assert (z - e).abs().max() > 0.1
    jacobians = [torch.autograd.functional.jacobian(lambda z: made.pull(z)[0], one) for one in z]
    assert torch.allclose(logdet, torch.stack([J.slogdet().logabsdet for J in jacobians]), atol=1e-8)


def test_guide_and_prior_have_to_lie_in_one_space() -> None:
    assert (read_name("vae:prior=sphere").guide, read_name("vae+vmf").prior) == ("vmf", "sphere")
    with pytest.raises(ZooError, match=r"guides for that prior: vmf; priors for that guide: .*standard"):
        read_name("vae+normal:prior=sphere")
    with pytest.raises(ZooError, match="prior 'flow' lies in the space 'real', guide 'vmf' in 'sphere'"):
        read_name("vae+vmf:prior=flow")


def test_names_carry_prior_and_settings() -> None:
    pair = build("vae+iaf:prior=flow,latent=2,hidden=8", EVENT)
    assert (pair.family, pair.guide_name) == ("vae:prior=flow,latent=2,hidden=8", "iaf")
    assert pair.label == "vae+iaf:prior=flow,latent=2,hidden=8"
    assert read_name(pair.label).variant == pair.family
    assert read_name("vae:prior=standard").variant == "vae"
    assert build("vae", EVENT).label == "vae+normal"


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        *((f"vae:prior={name},latent=1", {}, "two or more dimensions") for name in ("flow", "sphere")),
        ("vae:prior=vmap", {}, "there is no prior 'vmap'; did you mean vamp"),
        ("independent:prior=vamp", {}, "'independent' brings its own prior; families that take one: .*vae"),
        ("vae:latent", {}, "a setting is written name=value"),
        ("vae:latent=2", {"latent": 3}, "says latent=2, and latent=3 was given"),
        ("vae:prior=mixture", {"prior.parts": 3}, "prior 'mixture' has no hyper-parameter 'parts'; it has: components"),
        ("hvae", {"prior.components": 3}, "takes no prior from the shelf"),
    ],
)
def test_wrong_names_are_refused_with_a_hint(name: str, hyper: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        build(name, EVENT, hyper)


def test_hyper_parameters_reach_the_prior() -> None:
    made: Any = build("vae:prior=mixture,prior.components=3", EVENT, {"latent": 2}).extras
    assert made.prior.loc.shape == (3, 2)


@pytest.mark.thorough
def test_runs_and_plans_keep_variants_apart(coins: Dataset, tmp_path: Path) -> None:
    names = ["vae:latent=2", "vae:prior=mixture,latent=2", "vae"]
    recipe = {"steps": 2, "checkpoints": 1}
    for name in names:
        config = configure(name, DataSpec(name="coins"), coins, hyper={"hidden": 8, "guide.hidden": 8}, recipe=recipe)
        run = Run.of(config, tmp_path)
        run.train(config, coins, "cpu")
        assert run.folder.parent.name.isascii()
        assert not set(run.folder.parent.name) & set(':=,*?"<>|\\/')
        assert find_runs(tmp_path, config.name) == [run]
        assert run.pair().label == config.name
        assert sample(run.pair(), 3).shape == (3, 2, 2)
    suite = Suite(name="own", families=names, seeds=[0], hyper={"vae:latent=2": {"hidden": 8}})
    assert [entry.label for entry in plan(suite, Options())] == [
        "vae+normal:latent=2", "vae+normal:prior=mixture,latent=2", "vae+normal",
    ]  # fmt: skip
