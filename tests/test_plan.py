from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.errors import ZooError
from zoo.experiments.plan import Options, plan
from zoo.experiments.suite import Suite, load_suite, own_suite
from zoo.runs.config import DataSpec


def test_a_run_named_twice_is_planned_once() -> None:
    suite = Suite(name="own", families=["vae", "vae+normal"], data=["moons", "moons"], seeds=[0, 0, 1])
    names = [entry.name for entry in plan(suite, Options())]
    assert names == ["vae+normal on moons, seed 0", "vae+normal on moons, seed 1"]


def test_a_family_that_does_not_take_the_data_says_why() -> None:
    suite = Suite(name="own", families=["wavenet", "ppca"], data=["moons"], seeds=[0])
    unfit, fit = plan(suite, Options())
    assert unfit.planned is None
    assert "takes binary or levels" in unfit.reason
    assert fit.run
    with pytest.raises(ZooError, match="takes binary or levels"):
        plan(own_suite("own", ["wavenet"], "moons"), Options())


def test_two_data_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", np.random.default_rng(0).normal(size=(30, 2)))
    paths = [str(tmp_path / folder / "x.npy") for folder in ("a", "b")]
    with pytest.raises(ZooError, match="both called 'x'"):
        plan(Suite(name="own", families=["ppca"], data=paths), Options(data=DataSpec(name=paths[0])))


def test_settings_for_a_family_outside_the_suite_are_refused() -> None:
    with pytest.raises(ZooError, match="settings for 'vea'"):
        plan(Suite(name="own", families=["vae"], recipes={"vea": {"steps": 1}}), Options())


def test_the_name_of_a_comparison_must_be_a_folder_name() -> None:
    for name in ("", "../up", "a/b"):
        with pytest.raises(ZooError, match="name"):
            own_suite(name, ["vae"], "digits")


def test_steps_that_are_asked_for_are_taken_in_a_quick_run_too() -> None:
    suite = Suite(name="own", families=["vae"], data=["moons"], seeds=[0]).quickened()
    for options, steps in ((Options(recipe={"steps": 60}), 60), (Options(recipe={"batch": 64}), 100)):
        [entry] = plan(suite, options)
        assert entry.planned is not None
        assert entry.planned.config.recipe.steps == steps


def test_a_report_is_never_written_over_that_of_a_suite() -> None:
    assert load_suite("toys").renamed("mine").model_dump(exclude={"name"}) == load_suite("toys").model_dump(
        exclude={"name"}
    )
    for make in (lambda: own_suite("table1", ["vae"], "moons"), lambda: load_suite("toys").renamed("table1")):
        with pytest.raises(ZooError, match="table1 is the name of a suite, whose report would be overwritten"):
            make()


def test_data_that_are_the_same_are_one_run(tmp_path: Path) -> None:
    """However its folder is written, and whether or not the event that it has anyway is stated."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in range(12):
        Image.fromarray(np.full((2, 2), 20 * name, np.uint8)).save(folder / f"{name}.png")
    suite, found = Suite(name="own", families=["ppca"], data=[str(folder)], seeds=[0]), []
    for name, event in ((str(folder), None), (f"{folder}/", None), (str(folder), "2x2:256"), (str(folder), "4:256")):
        options = Options(data=DataSpec(event=event))
        [entry] = plan(suite.changed(data=[name]), options)
        assert entry.run is not None
        found.append(entry.run.folder.name)
    assert found[0] == found[1] == found[2] != found[3]
