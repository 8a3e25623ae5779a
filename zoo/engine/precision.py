"""Matrix products in bfloat16, and nothing else."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_aten = torch.ops.aten
PRODUCTS = frozenset(
    {
        _aten.mm.default,
        _aten.addmm.default,
        _aten.bmm.default,
        _aten.baddbmm.default,
        _aten.convolution.default,
        _aten.convolution_backward.default,
    }
)


def precision(bf16: bool) -> AbstractContextManager[Any]:
    """Inside, if ``bf16``, float32 matrix products and convolutions, and those of their gradients, are in bfloat16.

    Their results are float32 again, as are parameters, densities and losses.
    """
    return _Bfloat16Products() if bf16 else nullcontext()


class _Bfloat16Products(TorchDispatchMode):
    """Below autograd, so that backward passes are reached as well."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in PRODUCTS or not all(t.dtype == torch.float32 for t in args if isinstance(t, Tensor)):
            return func(*args, **kwargs)
        narrow = tree_map(lambda each: each.to(torch.bfloat16) if isinstance(each, Tensor) else each, args)
        out = func(*narrow, **kwargs)
        return tree_map(lambda each: each.float() if isinstance(each, Tensor) else each, out)
