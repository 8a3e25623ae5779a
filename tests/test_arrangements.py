"""What is observed is x, in any arrangement, and samples and codes are put back in its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from zoo.codec import container
from zoo.contract.check import ground_laws
from zoo.errors import ContractError
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.traces import log_prob
from zoo.seeding import seeded

EVENT = Event((2, 3), 7)
PATTERN = torch.arange(6.0).reshape(2, 3)


def data(n: int = 20, event: Event = EVENT) -> Tensor:
    with seeded(0):
        return torch.randint(event.levels or 2, (n, *event.shape)).float()


LOGITS = 30.0 * nn.functional.one_hot(PATTERN.long(), 7)
"""Of a model that draws `PATTERN`; shape ``(2, 3, 7)``."""


def plain(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(logits=LOGITS).to_event(2), obs=x)


def flipped(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(logits=LOGITS.flip(1)).to_event(2), obs=x.flip(2))


def transposed(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(logits=LOGITS.transpose(0, 1)).to_event(2), obs=x.transpose(1, 2))


def flat(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(logits=LOGITS.flatten(0, 1)).to_event(1), obs=x.flatten(1).long())


def in_two_sites(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        for row in (1, 0):
            pyro.sample(f"x{row}", dist.Categorical(logits=LOGITS[row]).to_event(1), obs=x[:, row])


def entry_by_entry(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        for row in range(2):
            for column in pyro.plate(f"columns{row}", 3):
                name = f"x{row}{column}"
                pyro.sample(name, dist.Categorical(logits=LOGITS[row, column]), obs=x[:, row, column])


def in_an_outer_plate(x: Tensor) -> None:
    with pyro.plate("columns", 3, dim=-2), pyro.plate("data", len(x), dim=-1):
        logits = LOGITS.transpose(0, 1)[:, None]
        pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x.permute(2, 0, 1))


def in_an_inner_plate(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-2), pyro.plate("rows", 2, dim=-1):
        pyro.sample("x", dist.Categorical(logits=LOGITS).to_event(1), obs=x)


def as_a_subsample(x: Tensor) -> None:
    with pyro.plate("data", 1000, subsample=x) as batch:
        pyro.sample("x", dist.Categorical(logits=LOGITS).to_event(2), obs=batch)


def as_a_drawn_subsample(x: Tensor) -> None:
    with pyro.plate("data", 4, subsample_size=len(x)) as index:
        pyro.sample("x", dist.Categorical(logits=LOGITS).to_event(2), obs=x[index])


RIGHT = [
    *(plain, flipped, transposed, flat, in_two_sites, entry_by_entry),
    *(in_an_outer_plate, in_an_inner_plate, as_a_subsample, as_a_drawn_subsample),
]


@pytest.mark.parametrize("model", RIGHT)
def test_x_may_be_observed_in_any_arrangement(model: Callable[[Tensor], None]) -> None:
    pair, x = Pair(EVENT, model), data()
    ground_laws(pair, x)
    expected = dist.Categorical(logits=LOGITS).to_event(2).log_prob(x)
    assert torch.allclose(log_prob(pair, x), expected)
    for n in (1, 2, 3, 5):  # also of the size of another plate
        assert torch.equal(sample(pair, n), PATTERN.expand(n, 2, 3))


@pytest.mark.parametrize("model", [plain, flipped, flat, in_two_sites, in_an_outer_plate])
def test_a_coded_file_holds_x_in_its_own_arrangement(model: Callable[[Tensor], None]) -> None:
    pair, x = Pair(EVENT, model), data()
    assert torch.equal(torch.as_tensor(container.decode(pair, container.encode(pair, x))).float(), x)


def observing(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], None]:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Categorical(logits=torch.zeros(2, 3, 7)).to_event(2), obs=change(x))

    return model


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: (x > 3).float(), "other numbers, 0 to 1 where x is 0 to 6"),
        (lambda x: x // 2, "other numbers, 0 to 3"),
        (lambda x: 6 - x, "other numbers"),
        (lambda x: x.flip(0), "its data in another order"),
        (lambda x: torch.zeros_like(x), "the constant 0"),
        (lambda x: x[:, :1].expand(-1, 2, 3), r"entry \(0, 0\) is observed 2 times"),
        (lambda x: torch.where(x == 6, 0.0, x), "other numbers, 0 to "),
    ],
)
def test_what_is_no_rearrangement_of_x_is_refused(change: Callable[[Tensor], Tensor], words: str) -> None:
    with pytest.raises(ContractError, match=words) as refused:
        ground_laws(Pair(EVENT, observing(change)), data())
    assert "'x'" in str(refused.value)
    assert "test_arrangements.py:" in str(refused.value)


def test_an_entry_that_no_site_observes_is_named() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Categorical(logits=LOGITS[0]).to_event(1), obs=x[:, 0])

    with pytest.raises(ContractError, match=r"3 of 6 are not: entry \(1, 0\) is observed 0 times by site 'x'"):
        ground_laws(Pair(EVENT, model), data())


class Doubled(dist.Categorical):  # type: ignore[misc] # Pyro is not typed
    """Every probability is twice what it should be."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return Doubled(logits=self.logits.expand(*batch_shape, -1))

    def log_prob(self, value: Tensor) -> Any:
        return super().log_prob(value) + math.log(2)


def test_probabilities_that_sum_to_more_than_one_are_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", Doubled(logits=torch.zeros(2, 3, 7)).to_event(2), obs=x)

    with pytest.raises(ContractError, match="add up to 2, not to 1"):
        ground_laws(Pair(EVENT, model), data())
