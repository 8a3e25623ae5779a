"""All connected graphs of up to six nodes, from the atlas in the package networkx."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.distributions.canonical import canonical_orders
from zoo.distributions.graphs import in_order, pairs_of
from zoo.event import Event, Field
from zoo.pairs.registry import dataset

NODES = 6
SPLIT_SEED = 0
HELD_OUT = 21
"""Graphs of validation, and of test."""


@dataset("atlas", about="all 143 connected graphs of up to six nodes, as atoms and bonds of two levels")
def atlas() -> Dataset:
    """The connected graphs of up to six nodes, each once: ``atoms=6:binary,bonds=15:binary``.

    A place holds a node or none (behind all nodes), a pair of places an edge or none, in the order of
    `zoo.distributions.canonical`. They are small enough to sum over all orders, which shows what a bound of an
    unlabelled graph is worth.

    Reference:
        Read & Wilson 1998, An Atlas of Graphs.
    """
    import networkx

    graphs = (graph for graph in networkx.graph_atlas_g() if 0 < len(graph) <= NODES and networkx.is_connected(graph))
    rows = torch.stack([_row(len(graph), [*graph.edges]) for graph in graphs])
    atoms, bonds = rows[:, :NODES], rows[:, NODES:]
    x = torch.cat(in_order(atoms, bonds, canonical_orders(atoms, bonds)), 1)
    event = Event.record(Field("atoms", NODES, "binary"), Field("bonds", pairs_of(NODES), "binary"))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SPLIT_SEED))
    train, validation, test = x[order].split([len(x) - 2 * HELD_OUT, HELD_OUT, HELD_OUT])
    about = (
        f"All {len(x)} connected graphs of 1 to {NODES} nodes from networkx' atlas: {len(train)} train, {HELD_OUT} "
        f"validation and {HELD_OUT} test, drawn with seed {SPLIT_SEED}."
    )
    return Dataset("atlas", event, train, validation, test, about)


def _row(nodes: int, edges: list[tuple[int, int]]) -> Tensor:
    """Levels of the places and of their pairs."""
    matrix = torch.zeros(NODES, NODES)
    for i, j in edges:
        matrix[min(i, j), max(i, j)] = 1.0
    first, second = torch.triu_indices(NODES, NODES, 1)
    return torch.cat([(torch.arange(NODES) < nodes).float(), matrix[first, second]])
