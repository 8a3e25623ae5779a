"""Matrix products by the faster library.

On processors that are not Intel's, oneDNN multiplies float32 matrices 1.5 to 3 times as fast as the library that torch
calls for them (MKL); below about a million multiplications its call costs more than it saves. Both are in every CPU
build of torch, and both give float32 sums, in another order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

SMALLEST = 2**20
"""Multiplications from which a product is oneDNN's: a fixed number, so that no result hangs on a clock."""

_library = torch.library.Library("zoo", "DEF")
_library.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


@torch.library.impl(_library, "linear", "CPU")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")


def _dense(matrix: Tensor) -> Tensor:
    """The matrix without gaps between its rows or columns: with them oneDNN was seen to take 300 times as long."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


@torch.library.impl(_library, "linear", "Meta")
def _linear_shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(len(x), len(weight))


def use_onednn(graph: GraphModule) -> GraphModule:
    """Replace the large float32 products of a CPU graph, in place, by ``zoo::linear``: x W' + b."""
    for node in graph.graph.nodes:
        if (told := _product(node)) and is_large(*(factor.meta["val"] for factor in told[:2])):
            _replace(graph, node, *told)
    graph.recompile()
    return graph


def is_large(a: Tensor, b: Tensor) -> bool:
    """Whether the product of two matrices is oneDNN's."""
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


def _replace(graph: GraphModule, node: Node, a: Node, b: Node, bias: Node | None) -> None:
    with graph.graph.inserting_before(node):
        weight = graph.graph.call_function(torch.ops.aten.t.default, (b,))
        product = graph.graph.call_function(torch.ops.zoo.linear.default, (a, weight, bias))
    product.meta = dict(node.meta)
    node.replace_all_uses_with(product)
    graph.graph.erase_node(node)
