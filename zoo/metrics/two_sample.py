"""How good samples are in the features of `zoo.metrics.mmd`: told from data or not, like data, covering data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 3
FOLDS = 5
TREES = 50


@dataclass(frozen=True)
class Share:
    """A share of ``n`` trials, with its binomial standard error."""

    value: float
    n: int

    @property
    def stderr(self) -> float:
        """Square root of p (1 - p) / n."""
        return math.sqrt(self.value * (1 - self.value) / self.n)


def c2st(samples: Tensor, data: Tensor, seed: int = 0) -> Share:
    """Classifier two-sample accuracy: 0.5 where a classifier cannot tell samples from data, 1 where it always can.

    Shapes ``(m, d)`` and ``(n, d)``. The classifier is a forest of `TREES` extremely randomised trees, cross-validated
    in `FOLDS` folds (Lopez-Paz & Oquab 2017): a linear one sees means only, and would call independent pixels perfect.
    The accuracy is the mean of that on samples and that on data, so that unequal numbers do not raise it.
    """
    from sklearn.ensemble import ExtraTreesClassifier  # here, because it takes a second to import
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    x = torch.cat([samples, data]).cpu().numpy()
    truth = np.repeat([0, 1], [len(samples), len(data)])
    forest = ExtraTreesClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed)
    guess = cross_val_predict(forest, x, truth, cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed))
    right = [float((guess[truth == side] == side).mean()) for side in (0, 1)]
    return Share(sum(right) / 2, len(x))


def precision_recall(samples: Tensor, data: Tensor, neighbours: int = NEIGHBOURS) -> tuple[Share, Share]:
    """Precision, the share of samples that lie among the data; recall, the share of data that lie among the samples.

    Kynkäänniemi et al. 2019, eqs. 1 and 2; shapes ``(m, d)`` and ``(n, d)``. To lie among a set is to be within the
    distance of one of its points to that point's ``neighbours``-th nearest neighbour in the set.
    """
    return _covered(samples, data, neighbours), _covered(data, samples, neighbours)


def _covered(points: Tensor, by: Tensor, neighbours: int) -> Share:
    nearest = torch.cdist(by, by).kthvalue(min(neighbours + 1, len(by)), 1).values  # the first is the point itself
    return Share(float((torch.cdist(by, points) <= nearest[:, None]).any(0).double().mean()), len(points))
