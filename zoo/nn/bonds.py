"""Bonds of a graph one after the other, each of which sees how many bonds its two nodes have so far."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Logits, Stream

MOST = 8
"""Larger sums of bonds count as this one."""


class BondsBySums(nn.Module):
    """Logits of the level of each pair of nodes i < j, given the pairs before it, ordered by i and then by j.

        logits_ij + W gelu(e_ij + u[a_i, s_i] + v[a_j, s_j] + B z),     s_k = sum of the levels so far of the pairs of k

    So a node whose valence is full can take no further bond, and one that no earlier node is bonded to can take the
    last chance. Which sums are full is learned. W starts at zero.

    Args:
        nodes: N.
        levels: of a node and of a pair.
        latent: size of z.
        width: of the hidden layer.
    """

    first: Tensor
    second: Tensor
    before_first: Tensor
    before_second: Tensor

    def __init__(self, nodes: int, levels: tuple[int, int], latent: int, width: int = 64) -> None:
        super().__init__()
        self.levels = levels
        ends = torch.triu_indices(nodes, nodes, 1)
        earlier = torch.ones(ends.shape[1], ends.shape[1]).triu(1)
        for name, end in zip(("first", "second"), ends, strict=True):
            self.register_buffer(name, end, persistent=False)
            touches = (ends[:, :, None] == end).any(0)  # pair q has this end of pair p
            self.register_buffer(f"before_{name}", earlier * touches, persistent=False)
        self.pair = nn.Embedding(ends.shape[1], width)
        self.of_first, self.of_second = (nn.Embedding(levels[0] * (MOST + 1), width) for _ in range(2))
        self.latent, self.out = nn.Linear(latent, width), nn.Linear(width, levels[1])
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def given(self, logits: Tensor, z: Tensor, atoms: Tensor) -> tuple[Logits, Callable[[int], Stream]]:
        """The logits of all pairs of graphs with these atoms, at once and one by one.

        Args:
            logits: shape ``(n, pairs, levels)``.
            z: shape ``(n, latent)``.
            atoms: levels of the nodes, shape ``(n, N)``.

        Returns:
            What `zoo.distributions.autoregressive.Autoregressive` takes.
        """
        start = logits, self.latent(z), atoms.long() * (MOST + 1)
        return partial(self._parallel, *start), lambda n: self._stream(*start)

    def _parallel(self, logits: Tensor, shared: Tensor, codes: Tensor, bonds: Tensor) -> Tensor:
        first, second = ((bonds @ each).long().clamp(max=MOST) for each in (self.before_first, self.before_second))
        states = self.of_first(codes[:, self.first] + first) + self.of_second(codes[:, self.second] + second)
        return logits + self.out(F.gelu(states + self.pair.weight + shared[:, None]))

    def _stream(self, logits: Tensor, shared: Tensor, codes: Tensor) -> Stream:
        sums = torch.zeros_like(codes)
        for p, (i, j) in enumerate(combinations(range(codes.shape[1]), 2)):
            known = codes + sums.clamp(max=MOST)
            state = self.of_first(known[:, i]) + self.of_second(known[:, j])
            bond = yield logits[:, p] + self.out(F.gelu(state + self.pair.weight[p] + shared))
            sums[:, [i, j]] += bond.long()[:, None]
