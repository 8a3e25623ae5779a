"""Shifts of data: they stay within the support, change what they say, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo import Event, load_data
from zoo.errors import UnfitError, ZooError
from zoo.event import EXAMPLES
from zoo.metrics.shifted import SHIFTS, mutated, shifted, with_main, without_label

EVENTS = [*EXAMPLES.values(), Event((3, 4, 4), 256), Event(5, 7), Event((2, 3), "real"), Event(1, 3)]
REFUSED = {
    *((str(EXAMPLES["sequence"]), name) for name in SHIFTS),
    *((event, "rotated") for event in ("2:real", "5:7", "2x3:real", "1:3")),
    *((event, "inverted") for event in ("2:real", "2x3:real")),
    ("1:3", "shuffled"),
}
"""What does not apply, as (event, shift)."""


def batch(event: Event, n: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    fields = {}
    for each in event.parts:
        shape = (n, *each.shape)
        real = torch.randn(shape, generator=generator)
        fields[each.name] = real if each.levels is None else torch.randint(each.levels, shape, generator=generator)
    return event.pack(fields)


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_a_shift_stays_within_the_support_or_says_why_not(event: Event, name: str) -> None:
    x = batch(event)
    if (str(event), name) in REFUSED:
        with pytest.raises(UnfitError, match=r"\w+ \w+ \w+"):
            shifted(name, event, x)
        return
    changed = shifted(name, event, x, seed=3)
    assert (changed.shape, changed.dtype) == (x.shape, x.dtype)
    assert not torch.equal(event.main_of(changed), event.main_of(x))
    assert torch.equal(changed.nan_to_num(-1), shifted(name, event, x, seed=3).nan_to_num(-1))
    values = event.main_of(changed)
    assert values.isfinite().all()
    if event.main.levels:
        assert torch.equal(values, values.round().clamp(0, event.main.levels - 1))


def test_each_datum_is_shuffled_in_its_own_order() -> None:
    x = torch.arange(64.0).reshape(1, 8, 8).repeat(200, 1, 1)
    changed = shifted("shuffled", Event((8, 8), 64), x)
    assert torch.equal(changed.flatten(1).sort(1).values, x.flatten(1))
    assert len({tuple(each.tolist()) for each in changed.flatten(1)}) == 200
    first = changed[:, 0, 0]
    assert abs(float(first.mean()) - 31.5) < 4 * 18.5 / 200**0.5, "every place is as likely"


def test_the_channels_of_a_pixel_stay_together() -> None:
    pixels = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(5, 3, 1, 1)
    changed = shifted("shuffled", Event((3, 4, 4), 256), pixels)
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert torch.equal(changed[:, 0], changed[:, 2])


def test_turning_four_times_and_inverting_twice_change_nothing() -> None:
    event, x = load_data("digits").event, load_data("digits").test
    turned = x
    for _ in range(4):
        turned = shifted("rotated", event, turned)
    assert torch.equal(turned, x)
    assert torch.equal(shifted("inverted", event, shifted("inverted", event, x)), x)
    assert shifted("rotated", Event((2, 2), 4), torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])).tolist() == [[[1, 3], [0, 2]]]


def test_real_noise_has_the_marginals_of_the_batch() -> None:
    x = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0]) + 3
    x[:, 1] += x[:, 0]
    noise = shifted("noise", Event(2, "real"), x)
    assert torch.allclose(noise.mean(0), x.mean(0), atol=0.3)
    assert torch.allclose(noise.std(0), x.std(0), rtol=0.05)
    assert abs(float(torch.corrcoef(noise.T)[0, 1])) < 0.05


def test_of_a_record_only_the_main_field_changes_and_labels_go() -> None:
    event = Event.parse("x=8x8:17,c=:3@given,y=:10@label")
    x = batch(event)
    changed = shifted("inverted", event, x)
    assert torch.equal(event.main_of(changed), 16 - event.main_of(x))
    assert torch.equal(changed[:, 64], x[:, 64])
    assert event.missing(changed).all()
    assert torch.equal(with_main(event, x, event.main_of(x)), x)
    bare = without_label(event, x)
    assert event.missing(bare).all()
    assert torch.equal(bare[:, :65], x[:, :65])


def test_mutations_replace_a_share_of_the_entries_and_keep_labels() -> None:
    event = EXAMPLES["record"]
    x = batch(event, 500)
    changed = mutated(event, x, rate=0.3)
    assert torch.equal(changed[:, 64], x[:, 64])
    differing = float((event.main_of(changed) != event.main_of(x)).double().mean())
    assert differing == pytest.approx(0.3 * 16 / 17, abs=0.01), "one of 17 levels drawn is the same"
    assert torch.equal(mutated(event, x, rate=0.0), x)
    assert not torch.equal(event.main_of(mutated(event, x, rate=1.0)), event.main_of(x))


def test_an_unknown_shift_names_those_there_are() -> None:
    with pytest.raises(ZooError, match="shuffled, rotated, inverted, noise; got 'blurred'"):
        shifted("blurred", Event(2, "real"), torch.zeros(3, 2))
