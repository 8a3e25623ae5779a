"""Integer flows: the map inverts, its mass is one, its gradients are differences of log-masses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from draws import every, perturb
from torch import Tensor, nn

from zoo.data import Dataset, load_data
from zoo.distributions import Levels
from zoo.distributions.integer_transformed import Blocks, IntegerTransformed, coded, decoded
from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.integer import Shift, coarse_to_fine, shifted
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.registry import families
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_prob
from zoo.training.loop import fit

EVENT = Event((1, 3), 4)
CASES: list[tuple[str, dict[str, Any]]] = [
    ("idf", {}),
    ("idf", {"depth": 1, "rounds": 3}),
    ("idf", {"depth": 0, "rounds": 2}),
    ("git", {"parts": 2}),
    ("git", {"parts": 3, "rounds": 3}),
]


def wild(name: str, hyper: dict[str, Any], event: Event = EVENT) -> Pair:
    """A flow in float64 whose shifts are of several levels."""
    pair = build(name, event, hyper | {"hidden": 8})
    pair.extras.double().eval()
    perturb(pair.parameters(), 1.0)
    return pair


@pytest.mark.parametrize(("name", "hyper"), CASES)
def test_the_mass_of_all_data_is_one_and_draws_follow_it(name: str, hyper: dict[str, Any]) -> None:
    pair = wild(name, hyper)
    mass = log_prob(pair, every(EVENT)).detach().exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
    assert float(mass.max() / mass.min()) > 10
    torch.manual_seed(0)
    place = sample(pair, 20_000).flatten(1).long() @ torch.tensor([16, 4, 1])
    shares = torch.bincount(place, minlength=64) / 20_000
    assert float(((shares - mass) ** 2 / mass).sum() * 20_000) < 63 + 5 * (2 * 63) ** 0.5  # Pearson's chi-squared


def layers(distribution: Any) -> list[IntegerTransformed]:
    """Every transformed distribution in one, from the outside inwards."""
    if isinstance(distribution, IntegerTransformed):
        return [distribution, *layers(distribution.base)]
    return layers(distribution.first) if isinstance(distribution, Blocks) else []


@pytest.mark.parametrize(("name", "hyper"), CASES)
@pytest.mark.parametrize("event", [Event(5, 3), Event((2, 3), 2)], ids=str)
def test_the_map_is_one_to_one_and_codes_agree_with_integers(name: str, hyper: dict[str, Any], event: Event) -> None:
    levels, moved = event.levels or 0, False
    found = layers(wild(name, hyper, event).extras.distribution())
    assert found
    for layer in found:
        x = every(Event(tuple(layer.event_shape), levels))
        with torch.no_grad():
            z = layer.bijection(x)
            codes: Tensor = layer.bijection.relaxed(coded(x, levels))
        assert len(z.unique(dim=0)) == len(x)
        assert set(z.unique().tolist()) <= set(range(levels))
        assert torch.equal(layer.bijection.inv(z), x)
        assert torch.equal(codes, coded(z, levels))
        moved = moved or not torch.equal(z.flatten(1).sort(1)[0], x.flatten(1).sort(1)[0])
    assert moved


@pytest.mark.parametrize("name", ["idf", "git"])
def test_it_is_exact_and_lossless(name: str) -> None:
    able = capabilities(build(name, Event(3, 5)))
    assert (able.likelihood, able.latents, able.lossless) == ("exact", {}, True)


def test_rounding_is_exact_and_its_gradient_the_difference_of_neighbours() -> None:
    t = torch.tensor([0.2, -0.3, 0.7, 4.6, -1.4], dtype=torch.float64, requires_grad=True)
    value = torch.tensor([0.0, 1.0, 5.0, 2.0, -3.0], dtype=torch.float64)
    codes = shifted(coded(torch.tensor([0.0, 1.0, 3.0, 4.0, 0.0]).double(), 5), t)
    assert decoded(codes.detach()).tolist() == [0, 1, 4, 4, 4]
    (codes @ value).sum().backward()
    # from level 0 to 1, 0 to 1, 3 to 4, 3 to 4 and 3 to 4
    assert t.grad.tolist() == [1.0, 1.0, -5.0, -5.0, -5.0]


def test_a_shift_adds_modulo_the_levels() -> None:
    net = nn.Linear(1, 1).double()
    with torch.no_grad():
        net.weight.fill_(2.0)  # the only other entry, spread over [-1, 1]: -2, 0 or 2
        net.bias.fill_(0.4)
    shift = Shift(torch.tensor([0]), 2, 3, net)
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 2.0]]).double()
    assert shift(x).tolist() == [[1, 0], [0, 1], [1, 2]]


def chance(table: list[float]) -> Any:
    return Levels(logits=torch.tensor([table]).double().log()).to_event(1)


def test_blocks_multiply_conditional_masses() -> None:
    seen: list[tuple[int, ...]] = []

    def given(earlier: Tensor) -> Any:
        seen.append(tuple(earlier.shape))
        logits = torch.stack([earlier.sum(1), torch.zeros(len(earlier))], -1)
        return Levels(logits=logits[:, None]).to_event(1)

    blocks = Blocks(chance([0.3, 0.7]), (1, given), (1, given), levels=2)
    x = every(Event(3, 2))
    expected = torch.where(x[:, 0] == 1, 0.7, 0.3)
    for i in (1, 2):
        zero = torch.sigmoid(x[:, :i].sum(1))
        expected = expected * torch.where(x[:, i] == 1, 1 - zero, zero)
    torch.testing.assert_close(blocks.log_prob(x).exp(), expected)
    assert seen == [(8, 1), (8, 2)]
    assert (blocks.block(2, x[:, :2]).batch_shape, blocks.block(0, x[:, :0]).batch_shape) == ((8,), (8,))


def test_gradients_see_across_the_edge_of_the_alphabet() -> None:
    """From level 2, one up is level 0, which the base prefers."""
    net = nn.Linear(1, 1).double()
    nn.init.zeros_(net.weight)
    nn.init.constant_(net.bias, 0.1)
    shift = Shift(torch.tensor([1]), 2, 3, net)
    base = Levels(logits=torch.tensor([[0.5, 0.3, 0.2], [0.7, 0.2, 0.1]]).double().log()).to_event(1)
    IntegerTransformed(base, shift, 3).log_prob(torch.tensor([[0.0, 2.0]]).double()).sum().backward()
    assert float(net.bias.grad) == pytest.approx(torch.tensor(7.0).log().item(), rel=1e-6)


def test_coarse_comes_before_fine() -> None:
    order = coarse_to_fine((4, 4)).tolist()
    assert order[0] == 0
    assert set(order[:4]) == {0, 2, 8, 10}
    assert set(order[:8]) == {0, 2, 8, 10, 5, 7, 13, 15}
    assert all((i // 4 + i % 4) % 2 for i in order[8:])
    assert sorted(coarse_to_fine((3, 5)).tolist()) == list(range(15))
    assert coarse_to_fine((5,)).tolist() == [0, 4, 2, 1, 3]


@pytest.mark.parametrize("make", [lambda: build("idf", Event(1, 3)), lambda: build("git", Event(4, 3), {"parts": 1})])
def test_nothing_to_couple_is_refused(make: Callable[[], Pair]) -> None:
    with pytest.raises(ZooError, match="two or more"):
        make()


def test_git_starts_as_the_independent_floor() -> None:
    digits = load_data("digits")
    pairs = [build("git", digits.event), build("independent", digits.event, {"pseudocount": 0.5})]
    for pair in pairs:
        with torch.no_grad():
            pair.extras.initialise(digits.train)
        pair.train(False)
    ours, floor = (log_prob(pair, digits.validation) for pair in pairs)
    torch.testing.assert_close(ours, floor, rtol=0, atol=1e-3)


@pytest.mark.thorough
def test_couplings_learn_a_dependence() -> None:
    """Two entries that are always equal: a coupling makes one of them constant."""
    x = torch.tensor([0.0] * 60 + [1.0] * 25 + [2.0] * 15).unsqueeze(1).expand(-1, 2)
    data = Dataset("equal", Event(2, 3), x, x, x, "made up")
    pair = build("git", data.event, {"parts": 2, "dropout": 0.0})
    recipe = dict(families["git"].recipe) | {"steps": 150, "checkpoints": 1, "lr": 1e-2}
    progress = fit(pair, data, recipe, device="cpu")
    assert progress.best_score < 1.2  # the entropy of one is 0.94, and 1.88 that of two by themselves
