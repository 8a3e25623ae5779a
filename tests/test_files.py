from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.errors import RunError
from zoo.files import cached_tensors, read_json, read_tensors, write_bytes, write_json, write_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2]), "c": torch.tensor(3.5)}


def test_tensors_read_back(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.safetensors", TENSORS, {"step": 3})
    tensors, note = read_tensors(tmp_path / "t.safetensors")
    assert note == {"step": 3}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.thorough
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), bits=st.integers(1, 255), cut=st.booleans())
def test_a_torn_or_changed_file_is_noticed_and_named(tmp_path: Path, place: int, bits: int, cut: bool) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, TENSORS, {"step": 3})
    content = bytearray(path.read_bytes())
    place %= len(content)
    if cut:
        del content[place:]
    else:
        content[place] ^= bits
    path.write_bytes(content)
    whole = _reads_the_same(path)  # a byte of padding may change without changing what the file says
    if not whole:
        with pytest.raises(RunError, match=r"t\.safetensors"):
            read_tensors(path)


def _reads_the_same(path: Path) -> bool:
    try:
        tensors, note = read_tensors(path)
    except RunError:
        return False
    return note == {"step": 3} and all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_a_failed_write_keeps_the_old_content_only(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError):
        write_bytes(path, "no bytes")  # type: ignore[arg-type]  # the mistake is the test
    assert read_json(path) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(RunError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")


def test_cached_tensors_are_computed_once_per_note(tmp_path: Path) -> None:
    path, calls = tmp_path / "once.safetensors", list[str]()

    def ask(note: str, path: Path | None) -> float:
        return float(
            cached_tensors(path, note, lambda: calls.append(note) or {"x": torch.tensor(float(len(calls)))})["x"]
        )

    assert [ask(note, path) for note in ("a", "a", "b", "b", "a")] == [1, 1, 2, 2, 3]
    assert [ask("a", None) for _ in range(2)] == [4, 5]
    assert calls == ["a", "b", "a", "a", "a"]
