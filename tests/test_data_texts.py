"""The user's own texts: lines as sequences of characters, and windows."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splits import everything

from zoo.data import Dataset, load_data
from zoo.errors import ZooError
from zoo.event import Event

LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf"]), min_size=1, max_size=9), min_size=10, max_size=30
)


def text_file(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "verse.txt").write_bytes(text.encode(encoding))
    return folder / "verse.txt"


def written(data: Dataset) -> list[str]:
    """The lines or windows that the data stand for."""
    rows, names = everything(data), data.names["x"]
    steps = data.event.steps(rows)
    counts = [data.event.size] * len(rows) if steps is None else [int(count) for count in steps]
    return [
        "".join(names[int(level)] for level in row[:count]) for row, count in zip(rows.tolist(), counts, strict=True)
    ]


@pytest.mark.thorough
@given(LINES)
def test_lines_are_read_as_written(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    data = load_data(str(text_file(tmp_path_factory.mktemp("text"), "\n".join(lines))))
    assert sorted(written(data)) == sorted(lines)
    longest, levels = max(map(len, lines)), max(2, len(set("".join(lines))))
    support = "binary" if levels == 2 else levels
    if len(set(map(len, lines))) > 1:
        length = "binary" if longest == 1 else longest + 1
        assert str(data.event) == f"x={longest}:{support}~n,n=:{length}@given"
    else:
        assert str(data.event) == f"{longest}:{support}"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_line_ends_and_empty_lines_are_no_data(end: str, encoding: str, tmp_path: Path) -> None:
    lines = ["one", "", "three", *["ö"] * 8, "", ""]
    data = load_data(str(text_file(tmp_path, end.join(lines) + end, encoding)))
    assert sorted(written(data)) == sorted(line for line in lines if line)
    assert data.names["x"] == ("e", "h", "n", "o", "r", "t", "ö")
    assert "3 empty lines left out" in data.source


def test_windows_follow_one_another(tmp_path: Path) -> None:
    text = "".join(chr(ord("a") + index % 7) for index in range(60)) + "\nzz"
    data = load_data(f"{text_file(tmp_path, text)}:window=4")
    assert data.event == Event(4, 7)
    assert "".join(written(data)) == text[:60]
    assert "in order, split" in data.source
    assert "windows of 4 characters; 3 at the end left out" in data.source


def test_lines_are_cut_where_that_is_asked_for(tmp_path: Path) -> None:
    path = text_file(tmp_path, "\n".join(["a", "ab", "abc" * 500] * 5))
    data = load_data(f"{path}:cut=2")
    assert sorted(written(data)) == sorted(["a", "ab", "ab"] * 5)
    assert "0 empty lines left out, 5 lines cut to 2 characters" in data.source


def test_characters_that_are_known_keep_their_levels(tmp_path: Path) -> None:
    names = {"x": ("a", "b", "c", "d")}
    lines = ["bd", "d", "bbd"] * 4
    path = str(text_file(tmp_path, "\n".join(lines)))
    assert sorted(written(load_data(path, names=names))) == sorted(lines)
    longer = load_data(path, names=names, event=Event.parse("x=5:4~n,n=:6@given"))
    assert sorted(written(longer)) == sorted(lines)
    with pytest.raises(ZooError, match="'x' has 'd', which is none of those known: a, b"):
        load_data(path, names={"x": ("a", "b")})
    with pytest.raises(ZooError, match="'x' has up to 3 steps, more than the 2 of x=2:4~n"):
        load_data(path, names=names, event=Event.parse("x=2:4~n,n=:3@given"))


BROKEN: dict[str, tuple[bytes, str, str]] = {
    "latin-1": ("ä\nö".encode("latin-1"), "", r"as UTF-8 text \(.* at byte 0\); convert it"),
    "binary": (b"ab\0c\n", "", "has a character of code 0 and is no text"),
    "empty": (b"\n\n", "", "has no line with a character"),
    "long": (b"a\n" + b"b" * 2000, "", "line 2 has 2000 characters, more than 1024; cut lines by .*verse.txt:cut=1024"),
    "window": (b"abc", "window=4", "has 3 characters, and no window of 4"),
    "no number": (b"abc", "cut=few", "cut is a number of characters, got 'few'"),
    "both": (b"abc", "window=2,cut=1", "give window= or cut="),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_texts_are_refused_in_one_clear_sentence(case: str, tmp_path: Path) -> None:
    content, settings, words = BROKEN[case]
    (tmp_path / "verse.txt").write_bytes(content)
    with pytest.raises(ZooError, match=words) as caught:
        load_data(f"{tmp_path}/verse.txt" + (f":{settings}" if settings else ""))
    assert "\n" not in str(caught.value)
