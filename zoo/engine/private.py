"""Every private interface of torch and Pyro that the engine uses, with its public fallback.

Tried with torch 2.13.0 and Pyro 1.9.1. Where an interface fails or is missing, the caller falls back: a step that
cannot be compiled is traced, one that cannot be traced is eager, without the kernel of fused Adam the optimizer's own
``step`` runs, and without oneDNN products are torch's own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pyro.infer.trace_elbo import _compute_log_r as log_ratio_of_sites
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.utils.stateless import _reparametrize_module as reparametrized
from torch.utils._python_dispatch import TorchDispatchMode as DispatchMode

__all__ = ["DispatchMode", "log_ratio_of_sites", "reparametrized"]
Graph = Callable[..., Sequence[Tensor]]
COMPILER = "torch._inductor.compile_fx"
"""The module that takes seconds and a hundred MiB to import."""
OPTIONS: dict[str, Any] = {"fallback_random": True, "compile_threads": 1}
"""Of the compiler. Random numbers are torch's own, so every engine draws the same."""
LIBRARY_OPTIONS: dict[str, Any] = {
    "cpp.vec_isa_ok": True,  # trust the processor's flags instead of trying its instructions in processes
    "aot_inductor.compile_wrapper_opt_level": "O0",  # of the code that calls the kernels: optimised, it was no faster
    "aot_inductor.precompile_headers": False,  # takes longer than it saves over several graphs
}


def cache_folder() -> Path:
    """Where torch's compiler keeps its files: ``TORCHINDUCTOR_CACHE_DIR`` if it is set."""
    return Path(torch._inductor.runtime.cache_dir_utils.cache_dir())


@contextmanager
def onednn_in_bf16() -> Iterator[None]:
    """Inside, oneDNN is left out where it has no bfloat16 for this processor: its LSTM fails there."""
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(enabled and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


def graph_of(program: Callable[..., object]) -> Callable[..., GraphModule]:
    """``graph_of(program)(*tensors)`` is the graph of its tensor operations, traced with fake tensors.

    Nothing is computed and nothing large is held; control flow that depends on values raises an error.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # here, because it takes a second to import

    return make_fx(program, tracing_mode="fake", _allow_non_fake_inputs=True)


def _fake_mode(**settings: bool) -> Any:
    """A mode of fake tensors; without an environment of shapes the compiler looks nothing up on disk."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    return FakeTensorMode(shape_env=ShapeEnv(), **settings)


def build_library(program: Callable[..., object], inputs: Sequence[Tensor], path: Path, threads: int) -> None:
    """Compile ``program``, for inputs of these shapes, layouts and types, to the shared library ``path``."""
    from torch.fx.experimental.proxy_tensor import make_fx

    fake = _fake_mode(allow_non_fake_inputs=True)  # the compiler folds constants
    likes = tuple(fake.from_tensor(tensor, static_shapes=True) for tensor in inputs)
    options = OPTIONS | LIBRARY_OPTIONS | {"cpp.threads": threads, "aot_inductor.output_path": str(path)}
    torch._inductor.aot_compile(make_fx(program)(*likes), likes, options=options)


def load_library(path: Path) -> Callable[[list[Tensor]], Sequence[Tensor]]:
    """The function of a library that `build_library` made."""
    run: Callable[[list[Tensor]], Sequence[Tensor]] = torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1).run
    return run


def compile_in_process(graph: GraphModule, inputs: Sequence[Tensor]) -> Graph:
    """Compile ``graph`` for this process only; on a GPU it becomes a CUDA graph where the compiler can make one."""
    fake = _fake_mode()
    likes: list[Any] = [fake.from_tensor(tensor, static_shapes=True) for tensor in inputs]
    options = OPTIONS | {"triton.cudagraphs": inputs[0].device.type == "cuda"}
    made: Graph = torch._inductor.compile(graph, likes, options=options)
    return made


def library_key() -> tuple[object, ...]:
    """What else than the program decides which library is built."""
    return OPTIONS, LIBRARY_OPTIONS, torch.__version__, torch.cpu.get_capabilities()


@contextmanager
def quiet_compiler() -> Iterator[None]:
    """Inside, the compiler does not warn of each operation that it has no kernel of its own for."""
    logger = logging.getLogger("torch._inductor.ir")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def walk(modules: Iterable[nn.Module]) -> tuple[list[nn.Module], list[Tensor]]:
    """All modules inside ``modules`` and all tensors that they hold, repeats included.

    ``Module.modules`` and its like take three times as long, which counts when it is done at every step.
    """
    found = list(modules)
    for module in found:
        found += filter(None, module._modules.values())
    return found, [t for each in found for t in (*each._parameters.values(), *each._buffers.values()) if t is not None]


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b by oneDNN, in float32."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def has_step_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether anything is called around the steps of ``optimizer``."""
    return bool(optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)


FUSED_ADAM: tuple[Callable[..., None] | None, Callable[..., None] | None] = (
    getattr(torch, "_fused_adam_", None),
    getattr(torch, "_fused_adamw_", None),
)
"""The kernels of fused Adam and AdamW, where this torch has them."""
