from __future__ import annotations

import re
from pathlib import Path

import pytest

from zoo.errors import ZooError
from zoo.experiments.plan import Options, plan
from zoo.experiments.suite import load_suite, suite_names
from zoo.pairs.registry import families, guides, load_shelves, priors


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


def test_suites_hold_all_of_their_shelves() -> None:
    load_shelves()
    held = {name: set(load_suite(name).families) for name in ("flows", "posteriors", "priors")}
    assert {entry.name for entry in families if entry.group == "flow"} <= held["flows"]
    ordinary = {entry.name for entry in guides if entry.space == "real"}
    assert {f"vae+{name}" for name in ordinary} == held["posteriors"]
    for prior in {entry.name for entry in priors} - {"standard"}:
        assert {f"vae:prior={prior},latent=2", f"vae:prior={prior},latent=16"} <= held["priors"]


def test_everything_is_the_runs_of_all_suites_once() -> None:
    whole = [entry.name for entry in plan(load_suite("everything").quickened(), Options())]
    parts = [load_suite(name).quickened() for name in suite_names() if name != "everything"]
    assert set(whole) == {entry.name for part in parts for entry in plan(part, Options())}
    assert len(whole) == len(set(whole))
    load_shelves()
    assert {entry.name for entry in families} == {re.split(r"[+: ]", name)[0] for name in whole}


def test_what_a_suite_has_also_takes_its_seeds_and_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("also = ['toys']\nseeds = [7]\nevaluations = []")
    suite = load_suite(str(path))
    assert {entry.seed for entry in plan(suite, Options())} == {7}
    moons = suite.changed(data=["moons"], seeds=[1, 2])
    assert {(entry.dataset.name, entry.seed) for entry in plan(moons, Options())} == {("moons", 1), ("moons", 2)}
    path.write_text("also = ['toyz']")
    with pytest.raises(ZooError, match="did you mean toys"):
        load_suite(str(path))
