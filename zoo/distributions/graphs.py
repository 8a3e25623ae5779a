"""Probabilistic graphs, and the probability of a graph whose nodes have no order."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import UnfitError, ZooError
from zoo.event import Event, Field

MOST_EXACT = 7
"""Nodes of the largest graph of which all orders are summed: 5,040."""
LEAST_LOG = -1e4
"""What an assignment takes for the logarithm of less, which it cannot be given."""
ROUNDS = 3
"""Assignments at most from each start of a matching."""


@dataclass(frozen=True)
class ProbabilisticGraph:
    """Independent categorical levels of N nodes (atoms) and of their N (N - 1) / 2 pairs (bonds); level 0 is absence.

    A graph G is given in some order of its nodes. Two probabilities of it must not be confused, in nats:

        ordered       log p(G) = sum_k log p_k(a_k) + sum_{i<j} log p_ij(b_ij)       of G with its nodes in this order
        unlabelled    log sum_H p(H), over the N! / |Aut(G)| different H = pi(G)      of G whatever the order

    Both are normalised: the first over all arrays of levels, the second over all isomorphism classes. The best order
    that a matching finds gives a bound of the second, and none of the first:

        ordered <= matched = log p(pi G) <= log max_pi p(pi G) <= unlabelled

    Args:
        atoms: log-probabilities of the levels of each node, shape ``(..., N, A)``.
        bonds: those of each pair i < j, ordered by i and then by j: shape ``(..., N (N - 1) / 2, B)``.

    Raises:
        ZooError: another number of pairs.

    Example:
        >>> half = ProbabilisticGraph(torch.full((1, 3, 2), 0.5).log(), torch.full((1, 3, 2), 0.5).log())
        >>> path = torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0, 1.0]])
        >>> [round(float(value.exp() * 64)) for value in (half.ordered(*path), half.unlabelled(*path))]
        [1, 3]

    Reference:
        Simonovsky & Komodakis 2018, arXiv:1802.03480, sections 3.2 and 3.3 (who relax the assignment instead).
    """

    atoms: Tensor
    bonds: Tensor

    def __post_init__(self) -> None:
        n = self.atoms.shape[-2]
        if self.bonds.shape[-2] != pairs_of(n):
            raise ZooError(f"a graph of {n} nodes has {pairs_of(n)} pairs, got {self.bonds.shape[-2]}")

    @property
    def nodes(self) -> int:
        """N, those that may be absent among them."""
        return self.atoms.shape[-2]

    def ordered(self, atoms: Tensor, bonds: Tensor) -> Tensor:
        """log p of graphs as they are: levels ``(n, N)`` and ``(n, N (N - 1) / 2)`` to ``(n,)``."""
        of_atoms = self.atoms.gather(-1, atoms.long().unsqueeze(-1)).squeeze(-1)
        of_bonds = self.bonds.gather(-1, bonds.long().unsqueeze(-1)).squeeze(-1)
        return of_atoms.sum(-1) + of_bonds.sum(-1)

    def in_orders(self, atoms: Tensor, bonds: Tensor, orders: Tensor) -> Tensor:
        """log p of graphs in each of ``m`` orders, shape ``(n, m, N)`` or ``(1, m, N)``: shape ``(n, m)``."""
        wide = ProbabilisticGraph(self.atoms.unsqueeze(-3), self.bonds.unsqueeze(-3))
        return wide._expanded(len(atoms), orders.shape[1]).ordered(*reordered(atoms, bonds, orders))

    def unlabelled(self, atoms: Tensor, bonds: Tensor) -> Tensor:
        """log of the sum of p over the different orders of each graph, exact, shape ``(n,)``.

        Raises:
            ZooError: more than `MOST_EXACT` nodes.
        """
        if self.nodes > MOST_EXACT:
            raise ZooError(f"all orders are summed of up to {MOST_EXACT} nodes, got {self.nodes}: take matched")
        orders = every_order(self.nodes).to(atoms.device)
        found = []
        for i in range(len(atoms)):  # a graph at a time, as 5,040 orders of many would not fit
            one = ProbabilisticGraph(self.atoms[i : i + 1], self.bonds[i : i + 1])
            logs = one.in_orders(atoms[i : i + 1], bonds[i : i + 1], orders[None])[0]
            found.append(logs.logsumexp(0) - math.log(automorphisms(atoms[i], bonds[i])))
        return torch.stack(found)

    def matched(self, atoms: Tensor, bonds: Tensor) -> tuple[Tensor, Tensor]:
        """log p of graphs in the best orders found, a lower bound of `unlabelled` that is at least `ordered`.

        Nodes of the graph are assigned to places by the Hungarian method on the gain of each node at each place: with
        the other nodes at their places so far, or, at first, at any place with equal probability. From the best order
        that at most `ROUNDS` assignments from both starts lead to, two nodes change places as long as it helps.

        Args:
            atoms: levels of the nodes, shape ``(n, N)``.
            bonds: levels of the pairs, shape ``(n, N (N - 1) / 2)``.

        Returns:
            The log-probabilities, shape ``(n,)``, and the orders, shape ``(n, N)``: the node at each place.

        Reference:
            Vogelstein et al. 2015, Fast approximate quadratic programming for graph matching.
        """
        n, size = atoms.shape
        gains = _gains(self.atoms, atoms), _gains(self.bonds, bonds)
        given = torch.arange(size, device=atoms.device).expand(n, -1)
        best, order = self.ordered(atoms, bonds), given
        for start in (given, _assigned(_mean_gain(*gains, size))):
            now = start
            for _ in range(ROUNDS):
                value = self.in_orders(atoms, bonds, now[:, None])[:, 0]
                better = value > best
                best, order = torch.where(better, value, best), torch.where(better[:, None], now, order)
                after = _assigned(_gain(*gains, size, now))
                if torch.equal(after, now):
                    break
                now = after
        return self._exchanged(atoms, bonds, best, order)

    def _exchanged(self, atoms: Tensor, bonds: Tensor, best: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """The orders after the best exchanges of two nodes, one after the other, until none helps."""
        first, second = torch.triu_indices(self.nodes, self.nodes, 1, device=atoms.device)
        swaps = torch.arange(self.nodes, device=atoms.device).repeat(len(first), 1)
        rows = torch.arange(len(first), device=atoms.device)
        swaps[rows, first], swaps[rows, second] = second, first
        best, order = best.clone(), order.clone()
        left = torch.arange(len(atoms), device=atoms.device) if len(first) else atoms.new_zeros(0).long()
        while len(left):
            tried = order[left][:, swaps]
            own = ProbabilisticGraph(self.atoms[left], self.bonds[left])
            value, place = own.in_orders(atoms[left], bonds[left], tried).max(1)
            better = value > best[left] + 1e-9
            left, tried = left[better], tried[better, place[better]]
            best[left], order[left] = value[better], tried
        return best, order

    def _expanded(self, *batch: int) -> ProbabilisticGraph:
        return ProbabilisticGraph(
            self.atoms.expand(*batch, *self.atoms.shape[-2:]), self.bonds.expand(*batch, *self.bonds.shape[-2:])
        )


def pairs_of(nodes: int) -> int:
    """N (N - 1) / 2."""
    return nodes * (nodes - 1) // 2


def graph_fields(event: Event, who: str) -> tuple[Field, Field]:
    """The fields ``atoms`` and ``bonds`` of an event of graphs.

    Args:
        event: a record of ``atoms``, of N entries of finitely many levels, and ``bonds``, of N (N - 1) / 2.
        who: needs it, for the message.

    Raises:
        UnfitError: another event.

    Example:
        >>> print(*graph_fields(Event.parse("atoms=9:5,bonds=36:4"), "graphvae"))
        atoms=9:5 bonds=36:4
    """
    found = {field.name: field for field in event.fields if field.levels and field.role == "observed"}
    atoms, bonds = found.get("atoms"), found.get("bonds")
    if len(event.fields) != 2 or atoms is None or bonds is None or bonds.size != pairs_of(atoms.size):
        raise UnfitError(f"{who} takes graphs, a record such as atoms=9:5,bonds=36:4; got {event}; see qm9 and atlas")
    return atoms, bonds


def square(bonds: Tensor, nodes: int) -> Tensor:
    """Values of pairs, shape ``(..., N (N - 1) / 2)``, as symmetric matrices ``(..., N, N)`` of diagonal zero.

    Example:
        >>> square(torch.tensor([1.0, 2.0, 3.0]), 3)
        tensor([[0., 1., 2.],
                [1., 0., 3.],
                [2., 3., 0.]])
    """
    first, second = torch.triu_indices(nodes, nodes, 1, device=bonds.device)
    full = bonds.new_zeros(*bonds.shape[:-1], nodes, nodes)
    full[..., first, second] = bonds
    full[..., second, first] = bonds
    return full


def reordered(atoms: Tensor, bonds: Tensor, orders: Tensor) -> tuple[Tensor, Tensor]:
    """Graphs in each of ``m`` orders, shape ``(n, m, N)``: place k holds the node ``orders[..., k]``.

    Args:
        atoms: shape ``(n, N)``.
        bonds: shape ``(n, N (N - 1) / 2)``.
        orders: shape ``(n, m, N)``, or ``(1, m, N)`` for all graphs.

    Returns:
        Shapes ``(n, m, N)`` and ``(n, m, N (N - 1) / 2)``.

    Example:
        >>> atoms, bonds = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 0, 2]])
        >>> [part.tolist() for part in reordered(atoms, bonds, torch.tensor([[[2, 1, 0]]]))]
        [[[[3, 2, 1]]], [[[2, 0, 1]]]]
    """
    n, nodes = atoms.shape
    orders = orders.expand(n, *orders.shape[1:])
    m = orders.shape[1]
    first, second = torch.triu_indices(nodes, nodes, 1, device=atoms.device)
    place = orders[..., first] * nodes + orders[..., second]
    full = square(bonds, nodes).reshape(n, 1, -1).expand(-1, m, -1)
    return atoms.unsqueeze(1).expand(-1, m, -1).gather(2, orders), full.gather(2, place)


def in_order(atoms: Tensor, bonds: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """`reordered` with one order of each graph, shape ``(n, N)``: levels of the shapes of ``atoms`` and ``bonds``."""
    first, second = reordered(atoms, bonds, order[:, None])
    return first[:, 0], second[:, 0]


def every_order(nodes: int) -> Tensor:
    """All orders of N nodes: shape ``(N!, N)``."""
    return torch.tensor(list(itertools.permutations(range(nodes))))


def automorphisms(atoms: Tensor, bonds: Tensor) -> int:
    """The number of orders in which a graph is the same; levels ``(N,)`` and ``(N (N - 1) / 2,)``.

    Nodes that are absent count as any others.

    Example:
        >>> automorphisms(torch.tensor([1, 1, 1]), torch.tensor([1, 0, 1]))
        2
    """
    others = reordered(atoms[None], bonds[None], every_order(len(atoms)).to(atoms.device)[None])
    same = (others[0] == atoms).all(-1) & (others[1] == bonds).all(-1)
    return int(same.sum())


def _gains(logs: Tensor, levels: Tensor) -> Tensor:
    """The log-probability at each place (or pair of places) of what each node (or pair of nodes) is: ``(n, P, P')``."""
    n, places = levels.shape
    wide = logs.clamp(min=LEAST_LOG).expand(n, *logs.shape[-2:])
    return wide.gather(2, levels.long()[:, None, :].expand(-1, places, -1))


def _gain(of_atoms: Tensor, of_bonds: Tensor, size: int, order: Tensor) -> Tensor:
    """The gain of node v at place k, the others being where ``order`` has them: shape ``(n, N, N)``."""
    n = len(of_atoms)
    index = _pair_index(size, of_atoms.device)
    rows = torch.arange(n, device=of_atoms.device)[:, None, None, None]
    places, nodes = index[None, :, None, :], index[order].transpose(1, 2)[:, None]  # (1, k, 1, j) and (n, 1, v, j)
    known = (places >= 0) & (nodes >= 0)
    found = of_bonds[rows, places.clamp(min=0), nodes.clamp(min=0)]
    return of_atoms + torch.where(known, found, 0.0).sum(-1)


def _mean_gain(of_atoms: Tensor, of_bonds: Tensor, size: int) -> Tensor:
    """The gain of node v at place k, the others being anywhere else with equal probability: shape ``(n, N, N)``."""
    index = _pair_index(size, of_atoms.device)
    member = torch.zeros(size, max(1, pairs_of(size)), dtype=of_bonds.dtype, device=of_bonds.device)
    for k in range(size):
        member[k, index[k][index[k] >= 0]] = 1.0
    if size == 1:
        return of_atoms
    return of_atoms + torch.einsum("kp,npq,vq->nkv", member, of_bonds, member) / (size - 1)


def _pair_index(size: int, device: torch.device) -> Tensor:
    """The number of each pair, shape ``(N, N)``, and -1 on the diagonal."""
    numbers = square(torch.arange(1, pairs_of(size) + 1, device=device), size)
    return numbers - 1


def _assigned(gain: Tensor) -> Tensor:
    """The orders of the greatest total gain, ``(n, N, N)`` (place, node) to ``(n, N)``."""
    from scipy.optimize import linear_sum_assignment

    found = [linear_sum_assignment(each, maximize=True)[1] for each in gain.detach().cpu().double().numpy()]
    return torch.tensor([each.tolist() for each in found], device=gain.device).reshape(gain.shape[:2]).long()
