"""Large float32 products by another library are the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from zoo.engine import products
from zoo.engine.products import is_large, use_onednn

Product = Callable[[Tensor, Tensor, Tensor], Tensor]
PRODUCTS: dict[str, Product] = {
    "plain": lambda a, b, c: a @ b.T,
    "with a bias": lambda a, b, c: torch.nn.functional.linear(a, b, c),
    "transposed": lambda a, b, c: a.T @ b,
    "of columns": lambda a, b, c: a[:, :120] @ b[:, :120].T,
    "of rows of columns": lambda a, b, c: b[:, :120].T @ a[:, 3:],
    "of every other row": lambda a, b, c: a[::2] @ b[::2].T,
    "with a bias in two dimensions": lambda a, b, c: torch.addmm(c.expand(128, 128), a, b.T),
}


def _factors() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(128, 256), torch.randn(128, 256), torch.randn(128)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_the_same_whatever_the_layout(name: str) -> None:
    product, factors = PRODUCTS[name], _factors()
    graph = use_onednn(make_fx(product)(*factors))
    torch.testing.assert_close(graph(*factors), product(*factors), rtol=1e-5, atol=1e-4)


def test_only_large_ones_of_single_precision_are_replaced() -> None:
    a, b, c = _factors()

    def replaced(*factors: Tensor) -> bool:
        graph = use_onednn(make_fx(PRODUCTS["plain"])(*factors))
        return any(node.target is torch.ops.zoo.linear.default for node in graph.graph.nodes)

    assert replaced(a, b, c)
    assert is_large(a, b.T)
    assert not replaced(a[:8], b, c)
    assert not is_large(a[:8], b.T)
    assert not replaced(a.double(), b.double(), c.double())


def test_the_library_sees_no_matrix_with_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def watched(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen.extend((x, weight))
        return x @ weight.T

    monkeypatch.setattr(products, "onednn_linear", watched)
    a, b, _ = _factors()
    products.linear(a[:, :200], b[:, :200], None)
    products.linear(a[:, :64].T, b[:, 1:].T, None)
    assert len(seen) == 4
    assert all(each.is_contiguous() or each.T.is_contiguous() for each in seen)
