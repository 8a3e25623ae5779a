from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.errors import ZooError
from zoo.event import Event
from zoo.experiments.plan import Options, plan
from zoo.experiments.suite import Selector, Suite, load_suite, suite_names
from zoo.pairs.build import build, find, read_name
from zoo.pairs.registry import datasets, families, guides, priors


def of_files(suite: Suite) -> bool:
    """Whether a suite's data lie in files that have to be fetched."""
    return any("data_dir" in inspect.signature(datasets[data.partition(":")[0]].make).parameters for data in suite.data)


@pytest.mark.thorough
def test_every_suite_of_the_zoo_reads_and_can_be_planned() -> None:
    for name in suite_names():
        suite = load_suite(name).quickened()
        assert suite.name == name
        if of_files(suite):  # which need not be on this machine
            assert {find(each)[0].name for each in suite.names()}
            continue
        assert {entry.seed for entry in plan(suite, Options())} == {0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("families = []", "families"),
        ("families = ['vae']\nseedz = [1]", "seedz"),
        ("families = [", "is not TOML"),
        ("families = [3]", r"families\.0.* got 3"),
        ("families = [{ grupp = 'flow' }]", "keys group, family, support, guide, prior, without, and with family"),
        ("families = [{ group = 'flaw' }]", "group is one of autoregressive, flow"),
        ("families = [{ guide = '*' }]", "needs a group, a family or a support"),
        ("families = [{ support = 'bits' }]", "'levels', 'real', 'record' or 'sequence', got 'bits'"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ZooError, match=message):
        load_suite(str(tmp_path / "mine.toml"))


def test_quick_data_are_of_their_own_suite() -> None:
    small = Suite(name="small", families=["ppca"], data=["moons"], quick={"data": ["pinwheel"], "share": 0.5})
    whole = Suite(name="whole", families=["ppca"], data=["circles"], also=[small])
    assert [each.data for each in (whole, *whole.also)] == [["circles"], ["moons"]]
    quick = whole.quickened()
    assert [(each.data, each.share) for each in (quick, *quick.also)] == [(["circles"], 0.1), (["pinwheel"], 0.1)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"family": "vea"}, "did you mean vae"),
        ({"family": "vae", "guide": "plana"}, "did you mean planar"),
        ({"family": "vae", "priors": "*"}, "no key 'priors'; it has: group, family, support, guide, .*, latent"),
        ({"group": "energy", "support": "sequence"}, "chooses no family"),
        ({"family": "gan", "guide": "*"}, "chooses no family"),
        ({"group": "flow", "without": ["vae"]}, "does not choose vae, only .*realnvp"),
    ],
)
def test_a_selector_that_cannot_be_resolved_says_why(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        Suite(name="own", families=[Selector(**entry)]).names()


def test_an_unknown_suite_suggests_near_ones() -> None:
    with pytest.raises(ZooError, match="did you mean table1"):
        load_suite("tabel1")
    with pytest.raises(ZooError, match="cannot be read"):
        load_suite("nowhere.toml")


def test_suites_hold_all_of_what_is_registered() -> None:
    @zoo.family("newest", group="flow")
    @zoo.guide("newest")
    @zoo.prior("newest")
    def newest(event: Event) -> None: ...

    held = {name: set(load_suite(name).names()) for name in suite_names()}
    (left_out,) = (each.without for each in load_suite("toys").families if isinstance(each, Selector))
    flows = [entry for entry in families if entry.group == "flow"]
    assert {entry.name for entry in flows} <= held["flows"]
    assert {entry.name for entry in flows if "real" in entry.supports} - held["toys"] == set(left_out)
    assert {f"vae+{entry.name}" for entry in guides if entry.space == "real"} == held["posteriors"]
    for latent in (2, 16):
        named = {f"prior={entry.name}," for entry in priors if entry.name != families["vae"].prior}
        assert {f"vae:{prior}latent={latent}" for prior in (*named, "")} <= held["priors"]


def test_any_guide_with_any_prior_is_every_pair_of_one_space() -> None:
    called = [read_name(name) for name in Selector(family="vae", guide="*", prior="*").names()]
    chosen = {(each.guide, each.prior) for each in called}
    assert chosen == {(guide.name, prior.name) for guide in guides for prior in priors if guide.space == prior.space}
    zoo.family("own-prior", guide="normal")(lambda event: None)
    own_prior = {read_name(name).guide for name in Selector(family="own-prior", guide="*").names()}
    assert own_prior == {guide.name for guide in guides if guide.space == "real"}


def test_settings_of_a_selector_are_hyper_parameters() -> None:
    (name,) = Selector(family="vae", guide="iaf", prior="mixture", latent=3, **{"guide.hidden": 7}).names()
    assert name == "vae+iaf:prior=mixture,latent=3,guide.hidden=7"
    assert any(7 in parameter.shape for parameter in build(name, Event(4, "binary")).parameters())


@pytest.mark.thorough
def test_everything_is_the_runs_of_all_suites_once() -> None:
    whole = [entry.name for entry in plan(load_suite("everything").quickened(), Options())]
    suites = [load_suite(name).quickened() for name in suite_names() if name != "everything"]
    parts = [suite for suite in suites if not of_files(suite)]
    assert set(whole) == {entry.name for part in parts for entry in plan(part, Options())}
    assert len(whole) == len(set(whole))
    needing_an_extra = {entry.name for entry in families if entry.supports == ("sequence",)}  # its data are music21's
    fetched = {name for suite in suites if of_files(suite) for name in suite.names()}
    named = {re.split(r"[+: ]", name)[0] for name in [*whole, *fetched]}
    assert {entry.name for entry in families} == named | needing_an_extra


def test_included_suites_take_this_suites_seeds_and_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("also = ['toys']\nseeds = [7]\nevaluations = []")
    suite = load_suite(str(path))
    assert {entry.seed for entry in plan(suite, Options())} == {7}
    moons = suite.changed(data=["moons"], seeds=[1, 2])
    assert {(entry.dataset.name, entry.seed) for entry in plan(moons, Options())} == {("moons", 1), ("moons", 2)}
    path.write_text("also = ['toyz']")
    with pytest.raises(ZooError, match="did you mean toys"):
        load_suite(str(path))


def test_the_page_on_suites_names_every_key_and_its_example_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "suites.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(Suite.model_fields)
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.toml").write_text(example)
    names = load_suite(str(tmp_path / "mine.toml")).names()
    assert {"vae", "vae+iaf", "realnvp", "vae:prior=vamp,latent=2"} <= set(names)
    assert "idf" not in names
