"""Data that cover the pool."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.experiments.query import Query
from zoo.pairs.registry import acquisition

CHUNK = 2000
"""Labelled data whose distances to the pool are computed at once."""


@acquisition("k-centre", paper="Sener & Savarese 2018, arXiv:1708.00489")
def k_centre(query: Query) -> Tensor:
    """Greedy k-centre on the classifier's features f.

    Each choice is the datum farthest from its nearest labelled or chosen one, argmax_x min_c |f(x) - f(c)|, the first
    such. The largest distance that remains is at most twice the least that any choice of as many could leave.

    Reference:
        Sener & Savarese 2018, arXiv:1708.00489, algorithm 1; Gonzalez 1985.
    """
    pool, centres = query.classifier.embed(query.pool), query.classifier.embed(query.x)
    nearest = torch.stack([torch.cdist(pool, part).amin(1) for part in centres.split(CHUNK)]).amin(0)
    chosen = []
    for _ in range(query.count):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (pool - pool[chosen[-1]]).norm(dim=1))
        nearest[chosen[-1]] = -1.0  # never again, even where all that is left coincides with a centre
    return torch.tensor(chosen)
