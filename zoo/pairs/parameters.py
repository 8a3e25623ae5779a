"""Where the parameters of two programs live: the modules behind them, and the stores that Pyro gives to modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyro.nn import PyroModule
from torch import nn

Modules = Mapping[str, nn.Module]


def find_modules(model: Callable[..., Any], guide: Callable[..., Any]) -> dict[str, nn.Module]:
    """The modules of both programs by name, each once; a second one of the same name is called ``guide.NAME``."""
    first = _modules(model)
    held = set(first.values())
    second = {name: module for name, module in _modules(guide).items() if module not in held}
    return {**first, **{f"guide.{name}" if name in first else name: module for name, module in second.items()}}


def _modules(program: Callable[..., Any]) -> dict[str, nn.Module]:
    """The module that a program is or is a method of, else those among its owner's attributes or its free variables."""
    owner = program.__self__ if inspect.ismethod(program) else program
    if isinstance(owner, nn.Module):
        return {type(owner).__name__: owner}
    function = inspect.unwrap(program)
    if inspect.ismethod(program):
        values = vars(owner)
    elif inspect.isfunction(function):
        variables = inspect.getclosurevars(function)
        values = {**variables.globals, **variables.nonlocals}
    else:
        values = {}
    return {name: value for name, value in values.items() if isinstance(value, nn.Module)}


def module_parameters(modules: Modules) -> dict[str, nn.Parameter]:
    """Every parameter of the modules, by the name of its module and its own."""
    return {
        f"{part}.{name}": parameter for part, module in modules.items() for name, parameter in module.named_parameters()
    }


def separate_stores(modules: Modules) -> None:
    """Give every ``PyroModule`` a store of its own, as Pyro does under ``module_local_params``."""
    for context in _contexts(modules):
        context.param_state = {"params": {}, "constraints": {}}


def stray_parameters(modules: Modules) -> list[str]:
    """Names of ``pyro.param`` statements inside a ``PyroModule`` whose tensors are parameters of no module."""
    held = {id(parameter) for parameter in module_parameters(modules).values()}
    params = (item for context in _contexts(modules) for item in context.param_state["params"].items())
    return [name for name, tensor in params if id(tensor) not in held]


def _contexts(modules: Modules) -> Iterator[Any]:
    """Pyro's private record of each ``PyroModule``'s store (tested with pyro-ppl 1.9)."""
    for module in modules.values():
        yield from (part._pyro_context for part in module.modules() if isinstance(part, PyroModule))
