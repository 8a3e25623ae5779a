"""Sample quality in the features of `zoo.metrics.mmd`: a classifier two-sample test, precision and recall."""

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
    """Classifier two-sample accuracy: 0.5 where a classifier cannot separate samples from data, 1 where it always can.

    The classifier is a forest of `TREES` extremely randomised trees, cross-validated in `FOLDS` folds: a linear one
    sees only means, and would call independent pixels perfect. The accuracy is the mean of the accuracies on samples
    and on data, so that unequal numbers do not raise it.

    Args:
        samples: shape ``(m, d)``.
        data: shape ``(n, d)``.
        seed: of the forest and the folds.

    Reference:
        Lopez-Paz & Oquab 2017, arXiv:1610.06545.
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

    A point lies among a set if it is closer to one of its points than that point's ``neighbours``-th nearest neighbour
    in the set.

    Args:
        samples: shape ``(m, d)``.
        data: shape ``(n, d)``.
        neighbours: k of the k-nearest neighbours.

    Reference:
        Kynkäänniemi et al. 2019, arXiv:1904.06991, eqs. 1 and 2.
    """
    return _covered(samples, data, neighbours), _covered(data, samples, neighbours)


def _covered(points: Tensor, by: Tensor, neighbours: int) -> Share:
    nearest = torch.cdist(by, by).kthvalue(min(neighbours + 1, len(by)), 1).values  # the first is the point itself
    return Share(float((torch.cdist(by, points) <= nearest[:, None]).any(0).double().mean()), len(points))
