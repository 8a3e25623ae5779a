"""Imports go one way: shelves import the core, and the core names nothing on them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHELVES = ("models", "guides", "evaluations")
ROOMS = (
    *("", "distributions", "nn", "pairs", "flows", "data", "contract", "codec", "engine", "metrics", "training"),
    *("report", "runs", "use", "experiments", "worlds", "bench", "cli"),
)
"""Bottom up: a room imports from itself and from rooms before it. The first holds the modules of ``zoo/`` itself."""
DOORS = {"zoo/__init__.py", "zoo/__main__.py"}


@cache
def sources(*folders: str) -> dict[str, ast.Module]:
    """The modules of these folders, parsed, by their path."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """The garbage collector would visit a million nodes again and again."""
    yield
    sources.cache_clear()


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, and ``module.name`` for what it imports from one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def on_a_shelf(name: str) -> bool:
    parts = name.split(".")
    return parts[0] in SHELVES or (parts[0] in ("zoo", "") and len(parts) > 1 and parts[1] in SHELVES)


def imports(*folders: str) -> list[tuple[str, str]]:
    """A path with each name that it imports."""
    return [(path, name) for path, tree in sources(*folders).items() for name in imported(tree)]


def test_nothing_imports_a_shelf_by_name() -> None:
    assert [(path, name) for path, name in imports("zoo", *SHELVES) if on_a_shelf(name)] == []


def test_shelves_import_no_neighbour_by_a_relative_path() -> None:
    assert [(path, name) for path, name in imports(*SHELVES) if name.startswith(".")] == []


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def test_rooms_import_only_from_rooms_below() -> None:
    places = {path: path.split("/")[1:-1] for path in sources("zoo") if path not in DOORS}
    assert [path for path, rooms in places.items() if rooms and rooms[0] not in ROOMS] == [], "name its room in ROOMS"
    heights = {path: ROOMS.index(rooms[0] if rooms else "") for path, rooms in places.items()}
    own = [(path, name) for path, name in imports("zoo") if path in heights and name.split(".")[0] == "zoo"]
    assert [(path, name) for path, name in own if ROOMS.index(room_of(name)) > heights[path]] == []


@pytest.mark.parametrize("room", ROOMS[1:])
def test_every_room_says_what_lives_there(room: str) -> None:
    said = ast.get_docstring(sources("zoo")[f"zoo/{room}/__init__.py"]) or ""
    assert 2 <= len(said.splitlines()) <= 8, said


def test_the_core_names_the_shelves_in_one_place_only() -> None:
    """As text, "zoo.models" is in the registry, which walks the shelves, and nowhere else."""
    shelves = {f"zoo.{shelf}" for shelf in SHELVES}
    names = {
        path
        for path, tree in sources("zoo").items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in shelves
    }
    assert names == {"zoo/pairs/registry.py"}


def test_the_core_uses_no_family_by_name() -> None:
    """No argument, key, index or comparison of the core is the name of a declared family."""
    declared = set(declared_names())
    assert len(declared) > 5
    strange = [
        f"{path}:{node.lineno} {name}"
        for path, tree in sources("zoo").items()
        for node in ast.walk(tree)
        for name in named_by(node)
        if name in declared
    ]
    assert strange == []


def declared_names() -> Iterator[str]:
    for tree in sources("models").values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("family", "zoo.family"):
                yield from (word.value for word in node.args[:1] if isinstance(word, ast.Constant))


def named_by(node: ast.AST) -> Iterator[str]:
    """Constants where a family would be named: arguments, keys, indices and sides of comparisons."""
    if isinstance(node, ast.Call):
        places = [*node.args, *(keyword.value for keyword in node.keywords)]
    elif isinstance(node, ast.Compare):
        places = [node.left, *node.comparators]
    elif isinstance(node, ast.Subscript):
        places = [node.slice]
    elif isinstance(node, ast.Dict):
        places = [key for key in node.keys if key is not None]
    else:
        places = []
    yield from (str(place.value) for place in places if isinstance(place, ast.Constant))


def test_nothing_loads_pickle() -> None:
    """Neither by import nor by call; `np.load` says so."""
    unpicklers = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert [(path, name) for path, name in imports("zoo", *SHELVES) if name in unpicklers] == []
    calls = [(path, node) for path, tree in sources("zoo", *SHELVES).items() for node in ast.walk(tree)]
    assert [f"{path}:{node.lineno}" for path, node in calls if isinstance(node, ast.Call) and unpickles(node)] == []


def unpickles(node: ast.Call) -> bool:
    """Whether a call reads or writes pickle, or may; `np.load` may unless it says allow_pickle=False."""
    called, default = ast.unparse(node.func), "False"
    if called in {"torch.load", "torch.save", "torch.package.PackageImporter"}:
        return True
    if called.endswith(("get_param_store().load", "get_param_store().save", "read_pickle", "to_pickle")):
        return True
    if called in {"np.load", "numpy.load"}:
        default = "True"
    return {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}.get(
        "allow_pickle", default
    ) != "False"


@pytest.mark.parametrize("call", ["torch.load(f)", "np.load(f)", "np.load(f, allow_pickle=True)", "pd.read_pickle(f)"])
def test_what_may_load_pickle_is_seen(call: str) -> None:
    assert unpickles(parsed(call))
    assert not unpickles(parsed("np.load(f, allow_pickle=False)"))


def parsed(call: str) -> ast.Call:
    [found] = (node for node in ast.walk(ast.parse(call)) if isinstance(node, ast.Call))
    return found


LIGHT = ("zoo", "zoo.errors", "zoo.event", "zoo.pairs.registry", "zoo.scores", "zoo.cli")
LATE = ("sympy", "scipy.stats", "scipy.interpolate", "sklearn", "matplotlib")
"""Each takes from half a second to two to import, and few commands use it."""


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        *((f"import {module}", ("torch", "pyro", *LATE)) for module in LIGHT),
        ("import zoo.use.model, zoo.training.loop; from zoo.pairs.registry import load_shelves; load_shelves()", LATE),
    ],
)
def test_what_is_slow_to_import_is_not_imported_before_it_is_needed(code: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys; {code}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def distributions(known: Mapping[str, list[str]], *folders: str) -> set[str]:
    """The distributions that the files of these folders import, by their names on a package index."""
    tops = {name.split(".")[0] for _, name in imports(*folders)} - {*sys.stdlib_module_names, "zoo", ""}
    own = {Path(path).stem for path in sources("tests", "docs")}
    return {known.get(top, [top])[0].lower() for top in tops - own}


def test_every_import_is_declared_and_every_dependency_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    required, optional, any_extra = (
        {re.split(r"[^\w-]", text)[0] for text in texts}
        for texts in (
            project["dependencies"],
            chain.from_iterable(texts for name, texts in extras.items() if name not in ("dev", "docs")),
            chain.from_iterable(extras.values()),
        )
    )
    known = packages_distributions()
    assert distributions(known, "zoo", *SHELVES) - optional == required
    assert distributions(known, "tests", "docs") <= required | any_extra


def test_every_public_name_is_there() -> None:
    import zoo

    for name in zoo.__all__:
        for _ in range(2):  # a module of the same name would take the name's place
            assert getattr(zoo, name).__module__.startswith("zoo.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zoo.nothing  # noqa: B018 (the look-up itself is the test)
