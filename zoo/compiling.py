"""A recorded graph as machine code."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.symbolic_shapes import ShapeEnv

Flat = Callable[..., Sequence[Tensor]]


def compiled(graph: GraphModule, inputs: list[Tensor]) -> Flat:
    """The graph as machine code, from the compiler's cache on disk where it has seen the same before.

    On a GPU it is captured as a CUDA graph where the compiler can.
    """
    options: dict[str, Any] = {
        "fallback_random": True,
        "compile_threads": 1,
        "triton.cudagraphs": inputs[0].device.type == "cuda",
    }
    shapes = FakeTensorMode(shape_env=ShapeEnv())  # without an environment of shapes nothing is looked up on disk
    likes: list[Any] = [shapes.from_tensor(tensor, static_shapes=True) for tensor in inputs]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, inside its compiler
        warnings.simplefilter("ignore", FutureWarning)  # likewise
        made: Flat = torch._inductor.compile(graph, likes, options=options)
    return made


def has_compiler() -> bool:
    """Whether this machine has a C++ compiler."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl"))
