"""Small changes of data that a classifier gets wrong: the fast gradient sign method and projected gradient descent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.errors import UnfitError, ZooError
from zoo.event import Event

Classify = Callable[[Tensor], Tensor]
"""From data ``(n, *event.shape)`` to the log-probabilities, or logits, of their classes ``(n, K)``."""
STEPS = 10
"""Of projected gradient descent."""
STRIDE = 2.5
"""The steps add up to this many times the reach, so that every point within it can be arrived at (Madry et al.)."""


def limits(event: Event, train: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value of each entry: those of the levels, or of the train data.

    Args:
        event: of one array.
        train: shape ``(n, *event.shape)``.

    Returns:
        Two tensors of shape ``event.shape``.
    """
    if event.levels is None:
        return train.amin(0), train.amax(0)
    low = train.new_zeros(event.shape)
    return low, low + (event.levels - 1)


def attacked(
    name: str, event: Event, classify: Classify, x: Tensor, y: Tensor, epsilon: float, bounds: tuple[Tensor, Tensor]
) -> Tensor:
    """Data changed, within a distance, so that a classifier gets them wrong.

    - ``fgsm``: x + eps sign(g), one step along the gradient g of the loss.
    - ``pgd``: `STEPS` smaller steps from x, each brought back within eps of it.

    No entry moves further than ``epsilon`` of the range of ``bounds``, nor out of that range. Levels stay levels, since
    nothing else has a probability: they move by whole levels, at most floor(eps (K - 1)) of them, and every gradient is
    taken at a datum of whole levels. The loss is minus the log-odds of the true class: it rises with the cross-entropy,
    so its gradient has the same direction, but it does not vanish where the classifier is certain.

    Args:
        name: of the attack, one of `ATTACKS`.
        event: of one array.
        classify: is attacked; differentiable.
        x: shape ``(n, *event.shape)``.
        y: the true classes, shape ``(n,)``, int64.
        epsilon: the largest change, as a share of the range.
        bounds: see `limits`.

    Returns:
        Shape and type of ``x``.

    Raises:
        UnfitError: a positive ``epsilon`` that is less than one level, or a classifier without a gradient.
        ZooError: an unknown attack, or a negative ``epsilon``.

    Example:
        >>> event, x = Event(2, 5), torch.tensor([[2.0, 4.0]])
        >>> def classify(x):  # class 1 by the sum
        ...     return torch.stack([-x.sum(1), x.sum(1)], 1)
        >>> attacked("fgsm", event, classify, x, torch.tensor([0]), 0.3, limits(event, x))
        tensor([[3., 4.]])

    Reference:
        Goodfellow et al. 2015, arXiv:1412.6572 (fgsm); Madry et al. 2018, arXiv:1706.06083 (pgd).
    """
    if name not in ATTACKS:
        raise ZooError(f"an attack is {', '.join(ATTACKS)}; got {name!r}")
    if epsilon < 0:
        raise ZooError(f"an attack moves data by a share of their range, 0 or more; got {epsilon:g}")
    low, high = bounds
    reach = epsilon * (high - low).double()
    if event.levels is not None:
        reach = (reach + 1e-6).floor()
    reach = reach.to(x)
    if epsilon and event.levels is not None and not reach.any():
        raise UnfitError(f"a change of {epsilon:g} of the range is less than one of the {event.levels} levels")
    lowest, highest = torch.maximum(low, x - reach).minimum(x), torch.minimum(high, x + reach).maximum(x)
    steps, share = ATTACKS[name]
    moved = x
    for _ in range(steps):
        sign = _gradient(classify, moved if event.levels is None else moved.round(), y).sign()
        moved = (moved + share * reach * sign).clamp(lowest, highest)
    return moved if event.levels is None else moved.round()


def _gradient(classify: Classify, x: Tensor, y: Tensor) -> Tensor:
    """Of minus the log-odds of the true class, by ``x``."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        scores = classify(at).log_softmax(-1)
        if not scores.requires_grad:
            raise UnfitError("the classifier has no gradient by x")
        true = torch.nn.functional.one_hot(y, scores.shape[1]).bool()
        loss = scores.masked_fill(true, -torch.inf).logsumexp(1) - scores[true]
        (gradient,) = torch.autograd.grad(loss.sum(), at, allow_unused=True)
    if gradient is None:
        raise UnfitError("the classifier has no gradient by x")
    return gradient


ATTACKS = {"fgsm": (1, 1.0), "pgd": (STEPS, STRIDE / STEPS)}
"""Name -> the number of steps, and the size of each as a share of the reach."""
