"""Graphs without an order: how far bounds are from the sum over all orders, and whether the canonical order is one.

``python docs/graphs.py RUN`` takes the folder of a run on ``atlas`` and compares, for every graph of the three splits
and every particle, its probability in the data's order, in the best order found, and in all orders.
``python docs/graphs.py qm9`` (or another data set of graphs) shuffles the nodes of every graph and counts those whose
canonical array is another one then.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import zoo
from zoo.data import load_data
from zoo.distributions.canonical import canonical_orders
from zoo.distributions.graphs import graph_fields, in_order
from zoo.evaluations.matching import match
from zoo.seeding import seeded

PARTICLES = 16
CHUNK = 2000


def bounds(folder: Path) -> None:
    """Print the gaps of a trained run, and how often an order is above the next."""
    model = zoo.load(str(folder), device="cpu")
    data = model.data
    x = torch.cat([data.train, data.validation, data.test])
    found = match(model.pair, x, PARTICLES)
    if found.summed is None:
        raise SystemExit(f"{data.event} has too many nodes to sum over all orders; train on --data atlas")
    for words, low, high in (
        ("the best order found, above the data's", found.ordered, found.matched),
        ("all orders, above the best found", found.matched, found.summed),
    ):
        gap = high - low
        print(
            f"{words}: {gap.mean():.3f} nats, from {gap.min():.3g} to {gap.max():.3f}; below in {(gap < -1e-9).sum()}"
        )
    print(f"{len(x)} graphs, {PARTICLES} particles each")


def shuffle(name: str) -> None:
    """Print how many graphs of a data set have another canonical array when their nodes are shuffled."""
    data, apart = load_data(name), 0
    graph_fields(data.event, "docs/graphs.py")
    everything = torch.cat([data.train, data.validation, data.test])
    with seeded(0):
        for x in everything.split(CHUNK):
            values = data.event.unpack(x)
            atoms, bonds = values["atoms"], values["bonds"]
            assert atoms is not None
            assert bonds is not None
            mixed = in_order(atoms, bonds, torch.rand(atoms.shape).argsort(1))
            again = torch.cat(in_order(*mixed, canonical_orders(*mixed)), 1)
            apart += int((again != torch.cat(in_order(atoms, bonds, canonical_orders(atoms, bonds)), 1)).any(1).sum())
    print(f"{name}: {apart} of {len(everything)} graphs have another canonical array when their nodes are shuffled")


if __name__ == "__main__":
    given = Path(sys.argv[1])
    if given.is_dir():
        bounds(given)
    else:
        shuffle(sys.argv[1])
