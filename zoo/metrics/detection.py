"""How well a score separates novel data from those that a model knows: areas under curves and false alarms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import ZooError

RESAMPLES = 400
"""Bootstrap samples for the standard error of `false_alarms`."""


@dataclass(frozen=True)
class Detected:
    """A rate or a probability, with its standard error over ``n`` data."""

    value: float
    stderr: float
    n: int


def auroc(known: Tensor, novel: Tensor, *, paired: bool = False) -> Detected:
    """Area under the ROC curve: the probability that a novel datum scores higher than a known one.

        A = P(s' > s) + P(s' = s) / 2

    0.5 where the score tells nothing; below it, known data look more novel than novel ones do. The standard error is
    that of DeLong et al.; it is 0 where no scores overlap, as a share of 0 or 1 has none.

    Args:
        known: scores of known data, shape ``(m,)``; higher is more novel. They may be infinite.
        novel: scores of novel data, shape ``(n,)``.
        paired: each novel datum was made of the known datum in its place, so that both scores vary together.

    Raises:
        ZooError: fewer than two scores of a kind, NaN, or pairs of unequal numbers.

    Example:
        >>> found = auroc(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.5, 3.0]))
        >>> round(found.value, 4), found.n
        (0.8333, 5)

    Reference:
        DeLong et al. 1988, Biometrics 44:837; Sun & Xu 2014 (by ranks).
    """
    known, novel = _checked(known, novel, paired)
    of_novel, of_known = _share_below(known, novel), 1 - _share_below(novel, known)
    apart = of_novel.var() / len(novel) + of_known.var() / len(known)
    variance = (of_novel + of_known).var() / len(known) if paired else apart
    return Detected(float(of_novel.mean()), math.sqrt(float(variance)), len(known) + len(novel))


def false_alarms(
    known: Tensor, novel: Tensor, detected: float = 0.95, seed: int = 0, *, paired: bool = False
) -> Detected:
    """Share of known data that are flagged by the threshold at which a share of novel data is.

    The threshold is the highest score that flags at least that share of ``novel``; a score equal to it is flagged. The
    standard error is of a bootstrap over both kinds of data, as the threshold is estimated too.

    Args:
        known: scores of known data, shape ``(m,)``; higher is more novel.
        novel: scores of novel data, shape ``(n,)``.
        detected: share of novel data that are flagged, above 0 and at most 1.
        seed: of the bootstrap.
        paired: see `auroc`; the bootstrap then draws pairs.

    Raises:
        ZooError: fewer than two scores of a kind, NaN, or pairs of unequal numbers.

    Example:
        >>> false_alarms(torch.arange(10.0), torch.tensor([8.0, 9.0])).value
        0.2
    """
    known, novel = _checked(known, novel, paired)
    rank = len(novel) - math.ceil(detected * len(novel) - 1e-9) + 1
    generator = torch.Generator().manual_seed(seed)
    of_known, of_novel = (torch.randint(n, (RESAMPLES, n), generator=generator) for n in (len(known), len(novel)))

    def share(known: Tensor, novel: Tensor) -> Tensor:
        return (known >= novel.kthvalue(rank, 1, keepdim=True).values).double().mean(1)

    spread = share(known[of_known], novel[of_known if paired else of_novel]).std()
    return Detected(float(share(known[None], novel[None])), float(spread), len(known) + len(novel))


def roc(known: Tensor, novel: Tensor, shares: Tensor) -> Tensor:
    """The ROC curve: the share of novel data that are flagged where a share of known data is.

    Scores of known and of novel data that are equal are flagged in random order, in expectation, so that the area under
    the curve is that of `auroc`.

    Args:
        known: scores of known data, shape ``(m,)``; higher is more novel.
        novel: scores of novel data, shape ``(n,)``.
        shares: of known data, from 0 to 1, shape ``(s,)``.

    Returns:
        Shape ``(s,)``, float64.

    Raises:
        ZooError: see `auroc`.

    Example:
        >>> roc(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.5, 4.0]), torch.tensor([0.0, 0.25, 0.5])).tolist()
        [0.5, 0.5, 1.0]
    """
    known, novel = _checked(known, novel, False)
    thresholds = torch.cat([known, novel]).unique().flip(0)

    def flagged(scores: Tensor) -> Tensor:
        below = torch.searchsorted(scores.sort().values, thresholds)
        return torch.cat([scores.new_zeros(1), 1 - below.double() / len(scores)])

    false, true, wanted = flagged(known), flagged(novel), shares.double()
    last = torch.searchsorted(false, wanted, right=True) - 1  # of a vertical part, its upper end
    after = (last + 1).clamp(max=len(false) - 1)
    along = (wanted - false[last]) / (false[after] - false[last]).clamp(min=torch.finfo(torch.double).tiny)
    return true[last] + along * (true[after] - true[last])


def _share_below(scores: Tensor, values: Tensor) -> Tensor:
    """For each value, the share of ``scores`` below it, those equal to it counted half."""
    ordered = scores.sort().values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + up_to).double() / (2 * len(scores))


def _checked(known: Tensor, novel: Tensor, paired: bool) -> tuple[Tensor, Tensor]:
    if paired and len(known) != len(novel):
        raise ZooError(f"pairs have one known and one novel datum each, got {len(known)} and {len(novel)}")
    for word, scores in (("known", known), ("novel", novel)):
        if len(scores) < 2:
            raise ZooError(f"needs two scores of {word} data or more, got {len(scores)}")
        if bad := int(scores.isnan().sum()):
            raise ZooError(f"{bad} of {len(scores)} scores of {word} data are NaN; a score has to be comparable")
    return known.cpu().double(), novel.cpu().double()
