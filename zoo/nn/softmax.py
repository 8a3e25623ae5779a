"""A softmax over many levels at a fraction of its cost: rare levels are scored in groups."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COMMON = 1000
"""Levels that are scored one by one; with up to twice as many there are no groups."""
GROWTH = 4
"""Each group ends at so many times the level at which it starts."""


class GroupedSoftmax(nn.Module):
    """Categorical distributions over levels of embeddings E, of which the rare ones are in groups.

        p(v | h) = softmax(b + E h)_v                                for v < 1000; each group is one more outcome
        p(v | h) = softmax(b + E h)_g  softmax_(w in g)(b_w + E_w h)_v      for v in the group g of higher levels

    (`torch.nn.AdaptiveLogSoftmaxWithLoss` has weights of its own for each group, which no embedding can share.) It is
    normalised over all levels. A group is computed for the entries that lie in it alone, so with 10,000 levels in
    order of frequency an entry costs about a fifth of a plain softmax. With up to 2,000 levels it is a plain softmax.

    Args:
        levels: their number.
        width: dimensions of h and of an embedding.

    Example:
        >>> softmax, h = GroupedSoftmax(5000, 3), torch.zeros(2, 3)
        >>> softmax.groups
        [(1000, 4000), (4000, 5000)]
        >>> softmax.logits(h).shape, softmax.nats(h, torch.tensor([0, 4999])).shape
        (torch.Size([2, 5000]), torch.Size([2]))

    Reference:
        Grave et al. 2017, arXiv:1609.04309.
    """

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        edges = [levels]
        if levels > 2 * COMMON:
            edges = [COMMON]
            while edges[-1] < levels:
                edges.append(min(levels, GROWTH * edges[-1]))
        self.common, self.groups = edges[0], list(pairwise(edges))
        self.embed = nn.Embedding(levels, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.bias = nn.Parameter(torch.zeros(levels))
        self.group = nn.Linear(width, len(self.groups)) if self.groups else None

    @torch.no_grad()
    def initialise(self, counts: Tensor) -> None:
        """Start from how often each level occurs, shape ``(levels,)``."""
        logs = (counts + 1.0).log()
        self.bias.copy_(logs - logs.logsumexp(0))
        if self.group is not None:
            self.group.bias.copy_(torch.stack([self.bias[first:last].logsumexp(0) for first, last in self.groups]))

    def nats(self, h: Tensor, level: Tensor) -> Tensor:
        """-log p of a level for each row: ``(m, width)`` and ``(m,)`` to ``(m,)``."""
        place = level
        for number, (first, last) in enumerate(self.groups):
            place = torch.where((level >= first) & (level < last), self.common + number, place)
        nats = F.cross_entropy(self._head(h), place, reduction="none")
        for number, (first, last) in enumerate(self.groups):
            rows = (place == self.common + number).nonzero()[:, 0]
            inside = F.cross_entropy(self._scores(h[rows], first, last), level[rows] - first, reduction="none")
            nats = nats.index_add(0, rows, inside)
        return nats

    def logits(self, h: Tensor) -> Tensor:
        """Log-probabilities of all levels, ``(..., width)`` to ``(..., levels)``; without groups unnormalised."""
        head = self._head(h)
        if not self.groups:
            return head
        head = head.log_softmax(-1)
        parts = [head[..., : self.common]]
        for number, (first, last) in enumerate(self.groups):
            inside = self._scores(h, first, last).log_softmax(-1)
            parts.append(head[..., self.common + number, None] + inside)
        return torch.cat(parts, -1)

    def _head(self, h: Tensor) -> Tensor:
        """Scores of the levels that are no group's, and of the groups."""
        scores = self._scores(h, 0, self.common)
        return scores if self.group is None else torch.cat([scores, self.group(h)], -1)

    def _scores(self, h: Tensor, first: int, last: int) -> Tensor:
        return F.linear(h, self.embed.weight[first:last], self.bias[first:last])
