"""A user's own Python files.

A file either registers what it declares, or simply defines ``model`` and ``guide`` (functions, modules, or one class
that has both methods and needs no arguments). In the second case it is a family with the file's name; a module-level
``event`` is the event that it is written for, by default that of the data.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import pyro
from torch import nn

from zoo.errors import ZooError
from zoo.event import Event, Support
from zoo.pairs.declarations import Family
from zoo.pairs.pair import no_guide
from zoo.pairs.registry import GROUPS, REGISTRIES, families, load_shelves


def load_families(paths: Iterable[Path]) -> list[str]:
    """Register what the files hold, each file once; the names of their families.

    A file may register families, guides, priors, evaluations, acquisitions and data sets.

    Raises:
        ZooError: a file that is missing, does not run, or registers and defines nothing.
    """
    load_shelves()
    return [name for path in paths for name in _load(path.resolve())]


def _load(path: Path) -> list[str]:
    if not any(registry.from_file(path) for registry in REGISTRIES):
        with families.adding(path):
            size = sum(map(len, REGISTRIES))
            module = _execute(path)
            if sum(map(len, REGISTRIES)) == size:
                families.add(_declared(path, module))
    return families.from_file(path)


def _declared(path: Path, module: ModuleType) -> Family:
    _programs(module, path)
    event = getattr(module, "event", None)
    if event is not None and not isinstance(event, Event):
        raise ZooError(f"{path}: `event` should be a zoo.Event, got {type(event).__name__}")
    group = getattr(module, "group", "")
    if group and group not in GROUPS:
        raise ZooError(f"{path}: `group` is one of {', '.join(GROUPS)}; got {group!r}")

    def make(event: Event) -> Any:
        # The file runs again for each pair, so that its parameters are drawn with that pair's seed.
        return _programs(_execute(path), path)

    make.__doc__ = module.__doc__
    recipe, supports = getattr(module, "recipe", {}), get_args(Support)
    return Family(path.stem, make, group=group, supports=supports, guide="", recipe=recipe, event=event)


def _programs(module: ModuleType, path: Path) -> Any:
    """An object with the module's own ``model`` and ``guide``, or of its one class that has both."""
    if callable(getattr(module, "model", None)):
        extras = {name: getattr(module, name, None) for name in ("log_prob", "players", "initialise")}
        programs = {"model": module.model, "guide": getattr(module, "guide", no_guide)}
        return SimpleNamespace(**programs, **{name: extra for name, extra in extras.items() if callable(extra)})
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__
        and callable(getattr(value, "model", None)) and callable(getattr(value, "guide", None))
    ]  # fmt: skip
    if len(classes) == 1:
        try:
            return classes[0]()
        except TypeError as error:
            raise ZooError(f"{path}: {classes[0].__name__} should be made without arguments ({error})") from error
    raise ZooError(
        f"{path} should register families (@zoo.family) or define `model` and `guide`; it does neither"
        if not classes
        else f"{path} has {len(classes)} classes with model and guide; name one: model, guide = x.model, x.guide"
    )


def _execute(path: Path) -> ModuleType:
    if not path.is_file():
        raise ZooError(f"{path} is not there; give the path of a Python file")
    name = "zoo_outside_" + re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ZooError(f"{path} is not a Python file (its name should end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        with pyro.get_param_store().scope():
            spec.loader.exec_module(module)
    except ZooError:
        raise
    except Exception as error:  # a user's file may raise anything
        raise ZooError(f"{path} does not run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module
