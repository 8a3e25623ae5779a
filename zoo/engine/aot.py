"""A recorded graph as machine code.

On a CPU the compiler (`torch._inductor`) makes a shared library of it, ahead of time, which any later process loads in
milliseconds and without the compiler. Libraries lie in the compiler's own cache folder, each beside the Python program
that it was made from, under a digest of that and of all else that decides what is made. Compiling takes a hundred MiB
for the compiler itself, which a process that has not loaded it leaves to another: ``python -m zoo.engine.aot FOLDER``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from zoo.errors import ZooError
from zoo.seeding import seeded

Flat = Callable[..., Sequence[Tensor]]
COMPILER = "torch._inductor.compile_fx"
PROGRAM, LIBRARY = "graph.py", "graph.so"
HEAD = "from math import inf, nan\n\nimport torch\nfrom torch import device\n"
OPTIONS: dict[str, Any] = {"fallback_random": True, "compile_threads": 1}
"""The compiler's. Random numbers are torch's own, so that every engine draws the same."""
OPTIONS_AHEAD: dict[str, Any] = {
    "cpp.vec_isa_ok": True,  # what the processor says that it can is not tried out in processes of their own
    "aot_inductor.compile_wrapper_opt_level": "O0",  # what calls the kernels: optimised, it was no quicker
    "aot_inductor.precompile_headers": False,  # takes longer than several graphs gain by it
}


class CompilationError(ZooError):
    """Why there is no machine code, in one line."""


def has_compiler() -> bool:
    """Whether this machine has a C++ compiler."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl"))


def compiled(graph: GraphModule, inputs: Sequence[Tensor]) -> Flat:
    """The graph as machine code, for inputs of these shapes, layouts and types, at which it does not look again.

    On a GPU it is captured as a CUDA graph where the compiler can.

    Raises:
        CompilationError: the compiler failed.
    """
    if inputs[0].device.type != "cpu":
        return _at_once(graph, inputs)
    names = list(dict.fromkeys(node.target for node in graph.graph.nodes if node.op == "get_attr"))
    constants = [getattr(graph, name) for name in names]
    library = _library(_program(graph, names, [*inputs, *constants]))
    with _explained():
        run = torch._C._aoti.AOTIModelContainerRunnerCpu(str(library), 1).run
    return lambda *tensors: run([*tensors, *constants])


def _at_once(graph: GraphModule, inputs: Sequence[Tensor]) -> Flat:
    shapes = FakeTensorMode(shape_env=ShapeEnv())  # without an environment of shapes nothing is looked up on disk
    likes: list[Any] = [shapes.from_tensor(tensor, static_shapes=True) for tensor in inputs]
    with _explained():
        made: Flat = torch._inductor.compile(
            graph, likes, options=OPTIONS | {"triton.cudagraphs": inputs[0].device.type == "cuda"}
        )
    return made


def _program(graph: GraphModule, constants: Sequence[str], inputs: Sequence[Tensor]) -> str:
    """The graph in Python, with all that it is compiled for; its constants are its last inputs."""
    likes = [(tuple(each.shape), each.stride(), each.dtype) for each in inputs]
    for node in graph.graph.nodes:
        node.type = None  # as the recorded function was annotated, which a program may have no name for
    told = {"threads": torch.get_num_threads(), "constants": constants, "likes": likes}
    return "\n".join(
        [HEAD, *(f"{name} = {value}" for name, value in told.items()), graph.graph.python_code("self").src]
    )


def _library(program: str) -> Path:
    """Where the library of a program lies, made if it was not there."""
    made_for = (program, OPTIONS, OPTIONS_AHEAD, torch.__version__, torch.cpu.get_capabilities())
    shelf = Path(torch._inductor.runtime.cache_dir_utils.cache_dir()) / "zoo"
    folder = shelf / hashlib.sha256(repr(made_for).encode()).hexdigest()[:32]
    if not (folder / LIBRARY).exists():
        shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf) as made:
            (Path(made) / PROGRAM).write_text(program)
            (build if COMPILER in sys.modules else _build_elsewhere)(Path(made))
            with suppress(OSError):  # another process was quicker, with the same library
                Path(made).rename(folder)
                Path(made).mkdir()
    return folder / LIBRARY


def build(folder: Path) -> None:
    """Compile the program in ``folder`` to the library in ``folder``.

    Raises:
        CompilationError: the compiler failed.
    """
    program = runpy.run_path(str(folder / PROGRAM))
    shapes = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)  # the compiler folds constants
    likes = [torch.empty_strided(size, stride, dtype=dtype) for size, stride, dtype in program["likes"]]
    inputs = tuple(shapes.from_tensor(like, static_shapes=True) for like in likes)
    options = OPTIONS | OPTIONS_AHEAD
    options |= {"cpp.threads": program["threads"], "aot_inductor.output_path": str(folder / LIBRARY)}

    def forward(*tensors: Tensor) -> Sequence[Tensor]:
        n = len(tensors) - len(program["constants"])
        held = SimpleNamespace(**dict(zip(program["constants"], tensors[n:], strict=True)))
        made: Sequence[Tensor] = program["forward"](held, *tensors[:n])
        return made

    with _explained():
        graph = make_fx(forward)(*inputs)
        torch._inductor.aot_compile(graph, inputs, options=options)
    for told in folder.glob("*.wrapper.json"):  # of operations that are called by name: sought beside the library
        told.rename((folder / LIBRARY).with_suffix(".json"))


def _build_elsewhere(folder: Path) -> None:
    paths = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "zoo.engine.aot", str(folder)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    if done.returncode:
        last = next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
        raise CompilationError(last)


@contextmanager
def _explained() -> Iterator[None]:
    """Inside, whatever the compiler meets with is a `CompilationError`.

    It neither warns of what it does itself nor draws from the streams of random numbers that the caller has set.
    """
    logger = logging.getLogger("torch._inductor.ir")  # says of each operation without a shortcut that it has none
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with seeded(0), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        raise CompilationError(f"compiling failed ({type(error).__name__}: {first})") from error
    finally:
        logger.setLevel(level)


def _main(folder: str) -> None:
    for each in (COMPILER, "zoo.engine.products"):  # the operations that a program may name
        import_module(each)
    try:
        build(Path(folder))
    except CompilationError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main(*sys.argv[1:])
