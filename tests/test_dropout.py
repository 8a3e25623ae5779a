"""Dropout keeps the right share, scales it, and knows nothing of memory layouts."""

from __future__ import annotations

import pytest
import torch

from zoo.errors import ZooError
from zoo.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_is_right_and_the_mean_is_kept(p: float) -> None:
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(400_001))
    p = round(256 * p) / 256
    error = 4 * (p * (1 - p) / len(y)) ** 0.5
    assert abs(float((y == 0).double().mean()) - p) < error
    assert abs(float(y.double().mean()) - 1) < error / (1 - p)


def test_entries_are_dropped_independently_of_their_neighbours() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.3)(torch.ones(400_000)) > 0).double()
    for lag in (1, 2, 3, 4, 8):
        agreement = torch.corrcoef(torch.stack([kept[lag:], kept[:-lag]]))[0, 1]
        assert abs(float(agreement)) < 4 / len(kept) ** 0.5


def test_evaluation_and_no_dropout_change_nothing_and_draw_nothing() -> None:
    x, state = torch.randn(5, 7), torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_the_mask_is_the_same_in_any_memory_layout() -> None:
    x = torch.randn(3, 4, 5, 6)
    masks = []
    for each in (x, x.contiguous(memory_format=torch.channels_last)):
        torch.manual_seed(1)
        masks.append(Dropout(0.4)(each) == 0)
    assert torch.equal(*masks)


def test_gradients_pass_where_entries_are_kept() -> None:
    x = torch.ones(1001, dtype=torch.float64, requires_grad=True)
    y = Dropout(0.25)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize("p", [-0.1, 0.001, 0.999, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(ZooError, match="from 1/512 to 511/512"):
        Dropout(p)
