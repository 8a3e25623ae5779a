from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import ZooError
from zoo.event import Event

shapes = st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple)
supports = st.one_of(st.just("binary"), st.just("real"), st.integers(2, 300))


@given(shapes, supports)
def test_text_round_trips(shape: tuple[int, ...], support: str | int) -> None:
    event = Event(shape, support)
    assert Event.parse(str(event)) == event


def test_two_levels_are_binary() -> None:
    assert Event(4, 2) == Event((4,), "binary")
    assert Event(4, 2).support == "binary"


@pytest.mark.parametrize("text", ["", "8x8", "8x8:", "8*8:17", "8x8:1", "0x8:2", "64:gray"])
def test_bad_text_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ZooError, match=r"64:binary|'binary', 'real'|positive sizes"):
        Event.parse(text)
