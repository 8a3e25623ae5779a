"""Tables as programs write them: separators, decimal commas, headers of numbers, index columns, empty lines."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from splits import everything

from zoo.data import load_data
from zoo.data.files.dialect import sniff
from zoo.errors import ZooError

RANDOM = np.random.default_rng(0)
LEVELS = pd.DataFrame(RANDOM.integers(0, 4, (200, 12)))
REALS = pd.DataFrame(RANDOM.normal(size=(200, 4)))


def written(path: Path, text: str) -> Path:
    (path / "table.csv").write_text(text)
    return path / "table.csv"


def numbers(path: Path, text: str, settings: str = "") -> np.ndarray:
    """The rows of a table of real numbers, sorted."""
    return in_order(everything(load_data(f"{written(path, text)}{settings}").in_own_units()).numpy())


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize(
    ("table", "options", "names"),
    [
        (LEVELS, {"index": False}, [str(number) for number in range(12)]),
        (LEVELS, {}, ["", *(str(number) for number in range(12))]),
        (LEVELS, {"index": False, "header": False}, []),
        (REALS, {"index": False}, ["0", "1", "2", "3"]),
        (REALS[[0]], {"index": False}, ["0"]),
        (REALS.set_axis(range(1990, 1994), axis=1), {"index": False}, ["1990", "1991", "1992", "1993"]),
        (REALS.set_axis([400.5, 401.0, 401.5, 402.0], axis=1), {"index": False}, ["400.5", "401.0", "401.5", "402.0"]),
        (REALS.set_axis([400.5, 401.7, 401.9, 407.0], axis=1), {"index": False}, ["400.5", "401.7", "401.9", "407.0"]),
        (REALS, {"index": False, "header": False}, []),
        (REALS.round(2), {"index": False, "sep": ";", "decimal": ","}, ["0", "1", "2", "3"]),
        (REALS, {"index": False, "sep": "\t"}, ["0", "1", "2", "3"]),
    ],
)
def test_a_header_of_numbers_is_no_datum(table: pd.DataFrame, options: dict, names: list[str], tmp_path: Path) -> None:
    """As pandas writes tables of arrays, years and wavelengths."""
    path = written(tmp_path, table.to_csv(**options))
    assert list(sniff(path).names) == names
    data = load_data(str(path)).in_own_units()
    assert everything(data).shape == table.shape
    rows = np.sort(everything(data).numpy(), 0)
    assert np.allclose(rows, np.sort(table.to_numpy(np.float32), 0), atol=1e-6)


def test_what_was_decided_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, LEVELS.to_csv())
    assert "the numbers of the first line name the columns" in load_data(str(path)).source
    assert "first column has no name and is left out as an index" in load_data(str(path)).source
    path = written(tmp_path, LEVELS.to_csv(index=False))
    assert "0, 1, 2, ..., name the columns (header=no if they are a row)" in load_data(str(path)).source
    assert len(everything(load_data(f"{path}:header=no"))) == 201
    pairs = "\n".join(f"{a},{b},{c}" for a, b, c in LEVELS[[0, 1, 2]].to_numpy() + 1)
    path = written(tmp_path, "1,2,3\n" + pairs + "\n")
    assert "the first line, 1, 2, 3, is a row (header=yes if it names the columns)" in load_data(str(path)).source
    assert len(everything(load_data(str(path)))) == 201
    assert len(everything(load_data(f"{path}:header=yes"))) == 200


@pytest.mark.parametrize(
    ("head", "line"), [("a;b\n", "{};{}\n"), ("", "{};{}\n"), ("a,b\n", '"{}","{}"\n'), ("a\tb\n", "{}\t{}\n")]
)
def test_decimal_commas(head: str, line: str, tmp_path: Path) -> None:
    values = REALS[[0, 1]].round(3).to_numpy()
    rows = "".join(line.format(*(f"{each:.3f}".replace(".", ",") for each in row)) for row in values)
    assert np.allclose(numbers(tmp_path, head + rows), in_order(values), atol=1e-6)


def test_one_column_of_decimal_commas_is_not_two(tmp_path: Path) -> None:
    values = REALS[[0]].round(3).to_numpy()
    rows = "".join(f"{each:.3f}".replace(".", ",") + "\n" for each in values[:, 0])
    wanted = np.sort(values, 0)
    assert np.allclose(numbers(tmp_path, f"x\n{rows}"), wanted, atol=1e-6)
    assert np.allclose(numbers(tmp_path, rows, ":decimal=comma"), wanted, atol=1e-6)
    with pytest.raises(
        ZooError, match=r"may be two numbers, or one with a decimal comma; say which by .*decimal=point"
    ):
        load_data(str(written(tmp_path, rows)))
    source = load_data(f"{written(tmp_path, rows)}:decimal=comma").source
    assert ("commas are decimal ones" in source, "separated" in source) == (True, False)
    assert load_data(f"{written(tmp_path, rows)}:decimal=point").event.size == 2


@pytest.mark.parametrize("text", ["x\n1,234\n5,678\n", "a;b\n1,234;1\n5,678;2\n", 'a,b\n"1,234",2\n"5,678",3\n'])
def test_commas_of_thousands_are_not_guessed(text: str, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="may be a decimal one, or be that of thousands"):
        load_data(str(written(tmp_path, text)))


@pytest.mark.parametrize("before", ["\n", "\n\n  \n", "\ufeff"])
def test_empty_lines_and_marks_before_the_header(before: str, tmp_path: Path) -> None:
    plain = REALS.set_axis(list("abcd"), axis=1).to_csv(index=False)
    assert np.array_equal(numbers(tmp_path, before + plain), numbers(tmp_path, plain))


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        ("", "", "is empty"),
        ("\n\n", "", "is empty"),
        ("a,b\n1,2\n", ":header=maybe", "header is yes or no, got 'maybe'"),
        ("a,b\n1,2\n", ":decimal=dot", "decimal is point or comma, got 'dot'"),
        ("a,,c\n1,2,3\n", "", "the header does not name every column"),
        ("a,b\n1,2,3\n", "", "the header does not name every column"),
    ],
)
def test_tables_that_say_too_little_are_refused(text: str, settings: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=words) as caught:
        load_data(f"{written(tmp_path, text)}{settings}")
    assert "\n" not in str(caught.value)


def test_separators_at_the_ends_of_lines_make_no_column(tmp_path: Path) -> None:
    plain = REALS.set_axis(list("abcd"), axis=1).to_csv(index=False)
    assert np.array_equal(numbers(tmp_path, plain.replace("\n", ",\n")), numbers(tmp_path, plain))


@pytest.mark.parametrize("value", ["$3.20", "12 %", "7€", "1,234.5", "-£4"])
def test_printed_numbers_are_no_categories(value: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a,price\n" + "".join(f'{row}.5,"{value}"\n' for row in range(30)))
    with pytest.raises(ZooError, match=r"column 'price' holds .*; write plain numbers, or leave the column out"):
        load_data(str(path), roles={"price": "label"})
