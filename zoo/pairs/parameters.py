"""Where the parameters of two programs live: the modules behind them, and the stores that Pyro gives to modules."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import CellType, CodeType, SimpleNamespace
from typing import Any

from pyro.nn import PyroModule
from pyro.poutine.reparam_messenger import ReparamHandler
from torch import Tensor, nn

Modules = Mapping[str, nn.Module]
LIBRARIES = frozenset({*sys.stdlib_module_names, "torch", "pyro", "zoo", "numpy"} - {"__main__"})
"""Packages whose functions and objects are not searched for the parameters of a program."""
VARIABLES = "variables"
"""The name under which parameters that belong to no module are held."""


def find_modules(model: Callable[..., Any], guide: Callable[..., Any]) -> dict[str, nn.Module]:
    """The modules of both programs by name, each once; a second one of the same name is called ``guide.NAME``.

    Modules behind helper functions, objects, dicts and lists are named by the way to them: ``helper/net``, ``nets/0``.
    Parameters that belong to no module become those of one called ``variables``.
    """
    first = _modules(model)
    held = set(first.values())
    second = {name: module for name, module in _modules(guide).items() if module not in held}
    found = {**first, **{f"guide.{name}" if name in first else name: module for name, module in second.items()}}
    parts = {part for module in found.values() for part in module.modules()}
    for name, module in _search((model, guide), nn.Module):
        if module not in parts:
            found[f"guide.{name}" if name in found else name] = module
            parts.update(module.modules())
    held_parameters = {id(parameter) for parameter in module_parameters(found).values()}
    loose = {n: p for n, p in _search((model, guide), nn.Parameter) if id(p) not in held_parameters}
    if loose:
        found[VARIABLES] = nn.Module()
        for name, parameter in loose.items():
            found[VARIABLES].register_parameter(name.replace(".", "_"), parameter)
    return found


def _search(programs: tuple[Callable[..., Any], ...], kind: type) -> Iterator[tuple[str, Any]]:
    """Every value of a kind that the programs can reach through their variables, with the way to it."""
    queue = deque[tuple[str, Any]](("", program) for program in programs)
    seen = set[int]()
    while queue:
        way, value = queue.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, kind):
            yield way or type(value).__name__, value
        queue += [(f"{way}/{name}" if way else name, each) for name, each in _inside(value)]


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """What a program can reach from one value: items, attributes, and the variables of functions."""
    value = _bare(value)
    if isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, SimpleNamespace):
        value = vars(value)
    if isinstance(value, Mapping):
        yield from ((str(key), each) for key, each in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((str(place), each) for place, each in enumerate(value))
    elif inspect.ismethod(value):
        yield from [(value.__func__.__name__, value.__func__), (type(value.__self__).__name__, value.__self__)]
    elif inspect.isfunction(value):
        function = inspect.unwrap(value)
        if not _of_a_library(function.__module__):
            cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            yield from ((name, cell.cell_contents) for name, cell in cells if cell != CellType())
            known = function.__globals__
            yield from ((name, known[name]) for name in _global_names(function.__code__) if name in known)
    elif not (inspect.isclass(value) or inspect.ismodule(value) or isinstance(value, Tensor)):
        if hasattr(value, "__dict__") and not _of_a_library(type(value).__module__):
            own = [name for name in vars(value) if not (isinstance(value, nn.Module) and name.startswith("_"))]
            yield from ((name, vars(value)[name]) for name in own)
            methods = (each for name, each in vars(type(value)).items() if inspect.isfunction(each))
            yield from ((method.__name__, method) for method in methods)
        if isinstance(value, nn.Module):
            yield from value.named_children()


def _bare(program: Any) -> Any:
    """The program that Pyro's reparametrisation decorates."""
    return _bare(program.fn) if isinstance(program, ReparamHandler) else program


def _global_names(code: CodeType) -> Iterator[str]:
    """The global variables that a function's code reads, inner functions included."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _of_a_library(module: str | None) -> bool:
    return (module or "builtins").partition(".")[0] in LIBRARIES


def _modules(program: Callable[..., Any]) -> dict[str, nn.Module]:
    """The module that a program is or is a method of, else those among its owner's attributes or its free variables."""
    program = _bare(program)
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
