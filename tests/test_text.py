"""Numbers and names as text: any number is written within its error, any name is escaped."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.report import text


@given(st.floats(-1e5, 1e5), st.floats(1e-6, 1e4))
def test_numbers_are_rounded_well_within_their_error(value: float, error: float) -> None:
    shown, shown_error = (float(part) for part in text.plus_minus(value, error).replace("−", "-").split(" ± "))
    assert abs(shown - value) <= 0.51 * error
    assert shown_error == pytest.approx(error, rel=0.35)
    assert error >= 10 or len(text.number(error, error).replace(".", "").strip("0")) <= 2


@given(st.floats(allow_nan=False, allow_infinity=False), st.none() | st.floats(0, allow_infinity=False))
def test_any_number_can_be_written(value: float, error: float | None) -> None:
    for each in (text.plus_minus(value, error), text.duration(abs(value)), text.times(value), text.count(value)):
        assert len(each) < 60


@given(st.text())
def test_any_name_can_be_escaped(name: str) -> None:
    assert text.latex(name).isascii()
    assert not re.search(r"(?<!\\)[%#&]", text.latex(name).replace("\\\\", ""))
    assert not re.search(r"(?<!\\)[|<]", text.markdown(name).replace("\\\\", ""))
