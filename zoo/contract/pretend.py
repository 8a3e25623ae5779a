"""A second device for machines without a GPU: its tensors have values, and mixing them with others is an error.

It stands on private interfaces of torch, tried with torch 2.13.0. They change the process, harmlessly but for good:
torch then knows a device of this name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "pretend"
COPIES = frozenset({"_to_copy", "copy_"})
INDEXED = frozenset({"index", "index_put", "index_put_", "_index_put_impl_"})
"""Operations whose second argument, the indices, may be on the CPU."""


class PretendTensor(Tensor):
    """A tensor on the device ``pretend``; ``held``, on the CPU, has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls: type[PretendTensor], held: Tensor) -> PretendTensor:
        device = torch.device(NAME, 0)
        made: PretendTensor = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=device
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _computed(func, args, kwargs or {})

    def tolist(self) -> Any:
        """As on a GPU, numbers may be read; torch refuses it for subclasses."""
        return self.held.tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"PretendTensor({self.held!r})"


class _Factories(TorchDispatchMode):
    """Sees calls that are given no tensor, such as ``torch.zeros(3, device="pretend")``."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of the device: there is none, so it initialises nothing and keeps no random state for it."""

    def is_available(self) -> bool:
        return False

    def device_count(self) -> int:
        return 0


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Inside, the device ``pretend`` exists; operations are computed on the CPU, with its random numbers.

    An operation on tensors of both devices raises `RuntimeError`, as on a GPU; tensors without dimensions, copies and
    indices may be on the CPU. What it does not show: kernels that a GPU lacks, their numerics, memory and time.

    Example:
        >>> import torch
        >>> from zoo.contract.pretend import second_device
        >>> with second_device() as device:
        ...     x = torch.ones(2, device=device)
        ...     (x + 1).tolist(), (x + torch.ones(2, device=x.device)).device.type
        ([2.0, 2.0], 'pretend')
    """
    register_device()
    lifted, swaps = torch._C._only_lift_cpu_tensors(), torch.__future__.get_swap_module_params_on_conversion()
    swap = torch.utils.swap_tensors
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_swap_module_params_on_conversion(True)  # a parameter stays the same object, as on a GPU
    torch.utils.swap_tensors = _swap
    try:
        with _Factories(), torch.autograd.set_multithreading_enabled(False):  # no thread waits for this device
            yield torch.device(NAME, 0)
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)
        torch.__future__.set_swap_module_params_on_conversion(swaps)
        torch.utils.swap_tensors = swap


def _swap(one: Tensor, other: Tensor) -> None:
    """As torch's own, which refuses a tensor with weak references; Pyro has one to each constrained parameter."""
    one.__class__, other.__class__ = other.__class__, one.__class__
    one.__dict__, other.__dict__ = other.__dict__, one.__dict__
    torch._C._swap_tensor_impl(one, other)


@cache
def register_device() -> torch.library.Library:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    from torch._decomp import decomposition_table  # takes its time to import

    library = torch.library.Library("aten", "IMPL")  # its kernels go with it, so it is kept
    for overload in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):  # torch would call kernels of a GPU
        library.impl(overload, decomposition_table[overload], "AutogradPrivateUse1")
    library.impl("gru_cell", _gru_cell, "AutogradPrivateUse1")
    library.impl("lstm_cell", _lstm_cell, "AutogradPrivateUse1")
    return library


def _gru_cell(x: Tensor, h: Tensor, into: Tensor, on: Tensor, b: Tensor | None, c: Tensor | None) -> Tensor:
    r, z, n = linear(x, into, b).chunk(3, 1)
    kept, renewed, before = linear(h, on, c).chunk(3, 1)
    new = (n + (r + kept).sigmoid() * before).tanh()
    return new + (z + renewed).sigmoid() * (h - new)


def _lstm_cell(
    x: Tensor, state: Sequence[Tensor], into: Tensor, on: Tensor, b: Tensor | None, c: Tensor | None
) -> tuple[Tensor, Tensor]:
    i, f, g, o = (linear(x, into, b) + linear(state[0], on, c)).chunk(4, 1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def _computed(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Run one operation on the tensors that are held."""
    name = func._schema.name.removeprefix("aten::")
    given = [*_tensors(args), *_tensors(kwargs)]
    here = any(isinstance(each, PretendTensor) for each in given)
    if here and name not in COPIES:
        _require_one_device(name, [*_tensors(args[0]), *_tensors(args[2:])] if name in INDEXED else given)
    own = dict(kwargs)
    if own.get("device") is not None:
        here = torch.device(own["device"]).type == NAME
        own["device"] = "cpu" if here else own["device"]
    if here and own.get("generator") is not None:
        raise RuntimeError(f"Expected a generator on {NAME}, but {name} got one on the CPU")
    result = func(*_held(args), **_held(own))
    if not here:
        return result
    wrapped = _mapped(Tensor, PretendTensor, result)
    aliases = any(each.alias_info is not None for each in func._schema.returns)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if aliases else wrapped


def _require_one_device(name: str, given: Sequence[Tensor]) -> None:
    if any(each.dim() and not isinstance(each, PretendTensor) for each in given):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got tensors on {NAME} and cpu")


def _held(values: Any) -> Any:
    return _mapped(PretendTensor, lambda each: each.held, values)


# torch's pytree does the same for any container, and takes most of the time of small operations


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple | dict):
        for each in values.values() if isinstance(values, dict) else values:
            yield from _tensors(each)


def _mapped(kind: type[Tensor], change: Callable[[Any], Any], values: Any) -> Any:
    if isinstance(values, kind):
        return change(values)
    if isinstance(values, list | tuple):
        return type(values)([_mapped(kind, change, each) for each in values])
    if isinstance(values, dict):
        return {key: _mapped(kind, change, each) for key, each in values.items()}
    return values
