from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zoo.errors import ZooError
from zoo.experiments.plan import Options, plan
from zoo.experiments.suite import Suite, own_suite
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
