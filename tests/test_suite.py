from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import ZooError
from zoo.suite import load_suite, suite_names


def test_every_suite_of_the_zoo_reads() -> None:
    assert "table1" in suite_names()
    for name in suite_names():
        suite = load_suite(name)
        assert suite.name == name
        assert len(suite.quickened().seeds) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("families = []", "families"),
        ("families = ['vae']\nseedz = [1]", "seedz"),
        ("families = [", "is not TOML"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ZooError, match=message):
        load_suite(str(tmp_path / "mine.toml"))


def test_an_unknown_suite_suggests_near_ones() -> None:
    with pytest.raises(ZooError, match="did you mean table1"):
        load_suite("tabel1")
    with pytest.raises(ZooError, match="cannot be read"):
        load_suite("nowhere.toml")
