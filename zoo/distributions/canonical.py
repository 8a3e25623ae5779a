"""An order of a graph's nodes that does not depend on the order in which they are given."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.distributions.graphs import square

FACTOR, FIRST, SECOND = 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9, 0x14D049BB133111EB
"""Odd numbers that mix bits."""
ROUNDS_AFTER = 3
"""Of refinement after each node that is placed; it has the whole graph refined by then."""
HASH_BITS, FIELD_BITS = 30, 8
"""Of a key: the colour's, and of each number before it."""


def canonical_orders(atoms: Tensor, bonds: Tensor) -> Tensor:
    """For each graph an order of its nodes, so that equal graphs become equal arrays (`zoo.distributions.graphs`).

    A depth-first walk: from the least node to its least neighbour, back where there is none left, and on to another
    component; absent nodes come last. Nodes are compared by the number of their bonds, their level, the sum of the
    levels of their bonds, and then by their colour. Colours are refined: a node's is a hash of its own and of those of
    its neighbours with their bonds. Among nodes of one colour the first given is taken, and recoloured.

    So the result is the same for every order that is given if nodes of one colour are images of each other under an
    automorphism that keeps the placed ones. That holds for all connected graphs of up to six nodes and nearly all small
    molecules (docs/graphs.md). Where it does not, a guide that uses this order gives a bound all the same.

    Args:
        atoms: levels of the nodes, shape ``(n, N)``; 0 is absence.
        bonds: levels of the pairs i < j, shape ``(n, N (N - 1) / 2)``; 0 is absence.

    Returns:
        The node at each place, shape ``(n, N)``.

    Example:
        >>> canonical_orders(torch.tensor([[0, 1, 2]]), torch.tensor([[0, 0, 1]]))
        tensor([[1, 2, 0]])

    Reference:
        Weisfeiler & Leman 1968 (refinement); McKay & Piperno 2014, arXiv:1301.1493 (with individualisation).
    """
    n, nodes = atoms.shape
    levels, kinds = atoms.long(), square(bonds.long(), nodes)
    bonded, rows = kinds > 0, torch.arange(n, device=atoms.device)
    fixed = (levels == 0).long()
    for number in (bonded.sum(-1), levels, kinds.sum(-1)):
        fixed = fixed << FIELD_BITS | number
    colours = _refined(_mixed(levels + 1), kinds, nodes)
    met = torch.zeros_like(levels)  # the step after which a node was last seen from a placed one; 0: never
    placed, order = torch.zeros_like(bonded[:, 0]), list[Tensor]()
    for step in range(1, nodes + 1):
        depth = met.masked_fill(placed, -1)
        key = fixed << HASH_BITS | (colours & ((1 << HASH_BITS) - 1))
        key = key.masked_fill(depth < depth.amax(1, keepdim=True), torch.iinfo(torch.int64).max)
        node = key.argmin(1)
        order.append(node)
        here = torch.zeros_like(placed).scatter(1, node[:, None], True)
        placed = placed | here
        met = torch.where(bonded[rows, node], step, met)
        colours = _refined(torch.where(here, _mixed(colours + step), colours), kinds, ROUNDS_AFTER)
    return torch.stack(order, 1)


def _refined(colours: Tensor, kinds: Tensor, rounds: int) -> Tensor:
    """Colours ``(n, N)`` after each has taken in those of its neighbours, ``rounds`` times."""
    for _ in range(rounds):
        theirs = _mixed(colours[:, None, :] + FACTOR * kinds) * (kinds > 0)
        colours = _mixed(FACTOR * colours + theirs.sum(-1))
    return colours


def _mixed(values: Tensor) -> Tensor:
    """A hash of each number of 64 bits (splitmix64, with what shifts fill in from the left)."""
    values = (values ^ (values >> 30)) * FIRST
    values = (values ^ (values >> 27)) * SECOND
    return values ^ (values >> 31)
