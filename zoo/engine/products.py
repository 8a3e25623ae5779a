"""Large matrix products by oneDNN, where the calibration of the machine found it faster than torch's own product."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from zoo.engine.private import onednn_linear

Products = Literal["torch", "onednn"]
"""The library of large float32 products on a CPU; both are part of torch, and differ by float rounding."""
SMALLEST = 2**20
"""Multiplications from which a product is large: in smaller ones a call of oneDNN costs more than it saves."""

_library = torch.library.Library("zoo", "DEF")
_library.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


@torch.library.impl(_library, "linear", "CPU")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return onednn_linear(_dense(x), _dense(weight), bias)


def _dense(matrix: Tensor) -> Tensor:
    """The matrix without gaps between its rows or columns, which can make oneDNN 300 times as slow."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


@torch.library.impl(_library, "linear", "Meta")
def _linear_shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(len(x), len(weight))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b by oneDNN."""
    made: Tensor = torch.ops.zoo.linear(x, weight, bias)
    return made


def use_onednn(graph: GraphModule) -> GraphModule:
    """Replace the large float32 products of a CPU graph, in place, by ``zoo::linear``: x W' + b."""
    for node in graph.graph.nodes:
        if (found := _product(node)) and is_large(*(factor.meta["val"] for factor in found[:2])):
            a, b, bias = found
            with graph.graph.inserting_before(node):
                weight = graph.graph.call_function(torch.ops.aten.t.default, (b,))
                product = graph.graph.call_function(torch.ops.zoo.linear.default, (a, weight, bias))
            product.meta = dict(node.meta)
            node.replace_all_uses_with(product)
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def is_large(a: Tensor, b: Tensor) -> bool:
    """Whether oneDNN may compute the product of two matrices."""
    on_cpu = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    return on_cpu and a.numel() * b.shape[1] >= SMALLEST and torch.backends.mkldnn.is_available()


def _product(node: Node) -> tuple[Any, Any, Any] | None:
    """The factors and the bias of a product of two matrices."""
    if node.target is torch.ops.aten.mm.default:
        return node.args[0], node.args[1], None
    if node.target is torch.ops.aten.addmm.default and not node.kwargs:
        bias, a, b = node.args
        return (a, b, bias) if isinstance(bias, Node) and bias.meta["val"].dim() == 1 else None
    return None
