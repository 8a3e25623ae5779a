"""Names: declaring, clashing, looking up, and building the pair that a name stands for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.errors import ContractError, ZooError
from zoo.event import Event
from zoo.pairs.build import build, find, fitting_event, parse_settings
from zoo.pairs.pair import no_guide
from zoo.pairs.registry import (
    REGISTRIES,
    Family,
    Registry,
    datasets,
    evaluations,
    families,
    family,
    guides,
    load_shelves,
    priors,
)
from zoo.pairs.shelf import shelf_guide


def registry(*names: str) -> Registry[Family]:
    made: Registry[Family] = Registry("family", "families")
    for name in names:
        made.add(Family(name, object))
    return made


def test_a_registry_is_in_the_order_of_its_names() -> None:
    made = registry("b", "a")
    assert [item.name for item in made] == ["a", "b"]
    assert len(made) == 2
    assert "a" in made
    assert "c" not in made


def test_a_clash_raises_and_keeps_the_first() -> None:
    made = registry("vae")
    first = made["vae"]
    with pytest.raises(ZooError, match="family 'vae' is already registered; give the new one another name"):
        made.add(Family("vae", int))
    assert made["vae"] is first


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("pixelcn", "did you mean pixelcnn"),
        ("wavnet", "did you mean wavenet"),
        ("qqq", "known: gan, pixelcnn, wavenet"),
    ],
)
def test_an_unknown_name_suggests_near_ones(asked: str, hint: str) -> None:
    with pytest.raises(ZooError, match=f"there is no family '{asked}'; {hint}"):
        registry("pixelcnn", "wavenet", "gan")[asked]


class Coins(nn.Module):
    """Coins of one bias."""

    def __init__(self, event: Event, *, sides: int = 2, needed: float = 0.0) -> None:
        super().__init__()
        self.event, self.sides = event, sides
        self.logits = nn.Parameter(needed + torch.zeros(event.shape))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(logits=self.logits).to_event(self.logits.dim()), obs=x)


class Latent(nn.Module):
    """Two latents of different shapes, no guide of its own."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(event.shape))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("z2", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            b = pyro.sample("z1", dist.Normal(x.new_zeros(2, 2), 1.0).to_event(2))
            loc = self.loc + (a.sum(-1) + b.sum((-1, -2))).reshape(-1, *(1 for _ in self.loc.shape))
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(self.loc.dim()), obs=x)


@pytest.mark.parametrize(
    ("decorator", "registry", "settings"),
    [
        (zoo.family, families, {"group": "floor", "paper": "nobody 1900", "supports": ("binary",), "recipe": {"a": 3}}),
        (zoo.guide, guides, {"paper": "nobody 1900", "space": "sphere"}),
        (zoo.prior, priors, {"paper": "nobody 1900", "space": "sphere"}),
        (zoo.evaluation, evaluations, {"over": "seeds", "alone": True}),
        (zoo.dataset, datasets, {"about": "coins", "log_density": len, "sampler": max}),
    ],
)
def test_a_decorator_registers_and_returns_the_class(
    decorator: Any, registry: Registry[Any], settings: dict[str, Any]
) -> None:
    class Thing:
        """A thing.

        And more of it.
        """

    assert decorator("thing", **settings)(Thing) is Thing
    entry = registry["thing"]
    assert Thing in vars(entry).values()
    assert entry.doc == "A thing.\n\nAnd more of it."
    assert {name: getattr(entry, name) for name in settings} == settings


def needs_rows(seed: int, rows: int) -> None: ...


@pytest.mark.parametrize(
    ("decorator", "settings", "message"),
    [
        (zoo.family, {"supports": ("bits",)}, "supports are among binary, levels, real, record, sequence; got bits"),
        (zoo.family, {"supports": ()}, "supports are among binary, levels, real, record, sequence; got none"),
        (zoo.family, {"group": "best"}, "group is one of autoregressive, .*; got 'best'"),
        (zoo.guide, {"space": "torus"}, "space is one of real, sphere; got 'torus'"),
        (zoo.prior, {"space": "torus"}, "space is one of real, sphere; got 'torus'"),
        (zoo.dataset, {}, "called with data_dir and seed, but requires 'rows'; give that a default"),
    ],
)
def test_a_wrong_declaration_is_refused(decorator: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        decorator("wrong", **settings)(needs_rows)
    assert not any("wrong" in registry for registry in REGISTRIES)


def test_a_family_and_its_guide_are_found_by_name() -> None:
    family("own")(Coins)
    family("open", guide="normal")(Latent)
    assert find("own") == (families["own"], "")
    assert find("open") == (families["open"], "normal")
    assert find("open+planar") == (families["open"], "planar")
    with pytest.raises(ZooError, match=r"family 'own' brings its own guide; families that take one: .*open"):
        find("own+planar")
    with pytest.raises(ZooError, match="there is no guide 'planer'; did you mean planar"):
        find("open+planer")


def test_another_support_names_the_families_that_fit() -> None:
    family("coins", supports=("binary",))(Coins)
    assert fitting_event(families["coins"], Event(3, "binary")) == Event(3, "binary")
    with pytest.raises(
        ZooError, match=r"'coins' takes binary data, got levels \(3:5\); families that fit: .*independent"
    ) as caught:
        fitting_event(families["coins"], Event(3, 5))
    fit = str(caught.value).partition("families that fit: ")[2].split(", ")
    assert "coins" not in fit
    assert "independent" in fit


def test_a_family_of_one_event_is_built_for_that() -> None:
    families.add(Family("fixed", Coins, event=Event(6, "binary")))
    assert build("fixed", Event((2, 3), "binary")).event == Event(6, "binary")


def test_building_depends_on_the_seed_alone() -> None:
    event = Event((2, 3), "real")
    torch.manual_seed(1)
    one = build("ppca", event, seed=5).state()
    after = torch.rand(1)
    torch.manual_seed(1)
    torch.rand(0)
    assert torch.equal(after, torch.rand(1)), "building should leave the global stream alone"
    same, other = build("ppca", event, seed=5).state(), build("ppca", event, seed=6).state()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_hyper_parameters_reach_family_and_guide() -> None:
    family("coins")(Coins)
    family("open", guide="normal")(Latent)
    assert build("coins", Event(3, "binary"), {"sides": 6}).extras.sides == 6  # type: ignore[attr-defined] # it is Coins
    narrow = build("open", Event(3, "real"), {"guide.hidden": 7})
    assert any(7 in tensor.shape for tensor in narrow.state().values())
    with pytest.raises(ZooError, match="family 'coins' has no hyper-parameter 'side'; it has: sides, needed"):
        build("coins", Event(3, "binary"), {"side": 6})
    with pytest.raises(ZooError, match=r"guide 'normal' has no hyper-parameter 'width'; it has: .*hidden"):
        build("open", Event(3, "real"), {"guide.width": 7})
    with pytest.raises(ZooError, match=r"takes no guide from the shelf, so no guide\.hidden"):
        build("coins", Event(3, "binary"), {"guide.hidden": 7})


def test_a_hyper_parameter_without_default_must_be_given() -> None:
    class Needs(Coins):
        def __init__(self, event: Event, *, bias: float) -> None:
            super().__init__(event, needed=bias)

    family("needs")(Needs)
    assert build("needs", Event(3, "binary"), {"bias": 0.5}).state()["Needs.logits"].tolist() == [0.5] * 3
    with pytest.raises(ZooError, match="family 'needs' needs its hyper-parameter 'bias', which has no default"):
        build("needs", Event(3, "binary"))


def test_entries_of_a_file_are_known_and_undone_by_an_error() -> None:
    siblings: list[Registry[Any]] = []
    made, other = (Registry[Family](word, f"{word}s", siblings) for word in ("cat", "dog"))
    made.add(Family("vae", object))
    with suppress(KeyError), made.adding(Path("mine.py")):
        other.add(Family("gan", object))
        raise KeyError
    assert (len(made), len(other)) == (1, 0)
    with made.adding(Path("mine.py")):
        other.add(Family("gan", object))
    assert (other.from_file(Path("mine.py")), other.file("gan"), made.file("vae")) == (["gan"], Path("mine.py"), None)


def test_a_scope_restores_every_sibling() -> None:
    siblings: list[Registry[Any]] = []
    made, other = (Registry[Family](word, f"{word}s", siblings) for word in ("cat", "dog"))
    with made.scoped(), made.adding(Path("mine.py")):
        other.add(Family("gan", object))
    assert (len(other), other.file("gan")) == (0, None)


def test_a_guide_gets_the_latents_in_the_models_order() -> None:
    event = Event(4, "real")
    seen: list[tuple[str, tuple[int, ...]]] = []

    def make(latents: dict[str, tuple[int, ...]]) -> Any:
        seen.extend(latents.items())
        return no_guide

    assert shelf_guide(make, Latent(event).model, event) is no_guide
    assert seen == [("z2", (3,)), ("z1", (2, 2))]


def test_the_pair_knows_where_it_came_from() -> None:
    family("open", guide="normal", group="prescribed")(Latent)
    pair = build("open+iaf", Event(3, "real"))
    assert (pair.label, pair.family, pair.guide_name, pair.group) == ("open+iaf", "open", "iaf", "prescribed")


def test_programs_that_do_not_run_are_named() -> None:
    class Fails(Coins):
        def model(self, x: Tensor) -> None:
            raise KeyError("nothing")

    family("fails")(Fails)
    with pytest.raises(ContractError, match=r"the model of fails does not run on .* \(2, 3\) \(3:real\): KeyError"):
        build("fails", Event(3, "real"))


def test_settings_are_read_as_python_literals() -> None:
    assert parse_settings(["a=1", "b=0.5", "c=(1, 2)", "d=text", "e=a=b", "f=", "g=None"]) == {
        "a": 1, "b": 0.5, "c": (1, 2), "d": "text", "e": "a=b", "f": "", "g": None,
    }  # fmt: skip
    for wrong in ("a", "=1"):
        with pytest.raises(ZooError, match="a setting is written name=value"):
            parse_settings([wrong])


def test_an_installed_package_registers_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_of_plugin.py").write_text("import zoo\nzoo.family('installed')(object)\n")
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zoo.families]\nplugin = module_of_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    load_shelves.cache_clear()
    load_shelves()
    assert "installed" in families
