"""A recorded graph as machine code.

On a CPU torch's compiler makes a shared library of it, ahead of time, which later processes load in milliseconds and
without the compiler. Libraries are kept in the compiler's own cache folder, each next to the Python program that it
was made from, under a digest of everything that decides its code. Loading the compiler takes a hundred MiB, so a
process that has not loaded it runs ``python -m zoo.engine.aot FOLDER`` instead.
"""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.fx import GraphModule

from zoo.engine.private import (
    COMPILER,
    Graph,
    build_library,
    cache_folder,
    compile_in_process,
    library_key,
    load_library,
    quiet_compiler,
)
from zoo.errors import ZooError
from zoo.seeding import seeded

PROGRAM, LIBRARY = "graph.py", "graph.so"
HEAD = "from math import inf, nan\n\nimport torch\nfrom torch import device\n"


class CompilationError(ZooError):
    """Why there is no machine code, in one line."""


def has_compiler() -> bool:
    """Whether this machine has a C++ compiler."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl"))


def compiled(graph: GraphModule, inputs: Sequence[Tensor], folder: Path | None = None) -> Graph:
    """Compile ``graph`` for inputs of these shapes, layouts and types, which later calls do not check.

    On a GPU it is captured as a CUDA graph where the compiler can.

    Args:
        graph: the recorded graph.
        inputs: example inputs, on one device.
        folder: where libraries are kept; the compiler's cache folder by default.

    Raises:
        CompilationError: the compiler failed.
    """
    if inputs[0].device.type != "cpu":
        with _compilation_errors():
            return compile_in_process(graph, inputs)
    names = list(dict.fromkeys(node.target for node in graph.graph.nodes if node.op == "get_attr"))
    constants = [getattr(graph, name) for name in names]
    library = _library(_program(graph, names, [*inputs, *constants]), folder or cache_folder() / "zoo")
    with _compilation_errors():
        run = load_library(library)
    return lambda *tensors: run([*tensors, *constants])


def _program(graph: GraphModule, constants: Sequence[str], inputs: Sequence[Tensor]) -> str:
    """The graph in Python, with everything that it is compiled for; its constants are its last inputs."""
    likes = [(tuple(each.shape), each.stride(), each.dtype) for each in inputs]
    for node in graph.graph.nodes:
        node.type = None  # annotations of the recorded function may name what the program does not import
    settings = {"threads": torch.get_num_threads(), "constants": constants, "likes": likes}
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join([HEAD, *lines, graph.graph.python_code("self").src])


def _library(program: str, shelf: Path) -> Path:
    """The library of a program, built if it is not on the shelf."""
    folder = shelf / hashlib.sha256(repr((program, *library_key())).encode()).hexdigest()[:32]
    if not (folder / LIBRARY).exists():
        shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf) as made:
            (Path(made) / PROGRAM).write_text(program)
            (build if COMPILER in sys.modules else _build_elsewhere)(Path(made))
            with suppress(OSError):  # another process built the same library first
                Path(made).rename(folder)
                Path(made).mkdir()
    return folder / LIBRARY


def build(folder: Path) -> None:
    """Compile the program in ``folder`` to the library in ``folder``.

    Raises:
        CompilationError: the compiler failed.
    """
    program = runpy.run_path(str(folder / PROGRAM))
    inputs = [torch.empty_strided(size, stride, dtype=dtype) for size, stride, dtype in program["likes"]]

    def forward(*tensors: Tensor) -> Sequence[Tensor]:
        n = len(tensors) - len(program["constants"])
        attributes = SimpleNamespace(**dict(zip(program["constants"], tensors[n:], strict=True)))
        made: Sequence[Tensor] = program["forward"](attributes, *tensors[:n])
        return made

    with _compilation_errors():
        build_library(forward, inputs, folder / LIBRARY, program["threads"])
    for path in folder.glob("*.wrapper.json"):  # operations called by name, looked up next to the library
        path.rename((folder / LIBRARY).with_suffix(".json"))


def _build_elsewhere(folder: Path) -> None:
    paths = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "zoo.engine.aot", str(folder)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    if done.returncode:
        last = next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
        raise CompilationError(last)


@contextmanager
def _compilation_errors() -> Iterator[None]:
    """Inside, any error is a `CompilationError`, nothing is warned of, and the caller's random streams do not move."""
    try:
        with quiet_compiler(), seeded(0), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        raise CompilationError(f"compiling failed ({type(error).__name__}: {first})") from error


def _main(folder: str) -> None:
    for each in (COMPILER, "zoo.engine.products"):  # a program may call operations of the second
        import_module(each)
    try:
        build(Path(folder))
    except CompilationError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main(*sys.argv[1:])
