"""Convolution exponentials between affine couplings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.coupling import Affine, dropout_for, mlp_coupling
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.flows.squeeze import Squeeze, channel_halves, checkerboard, squeezable, squeezed
from zoo.nn.images import Shape, image_shape
from zoo.pairs.registry import family

KERNEL_SIDE = 3
"""Rows and columns of a kernel."""


@family("convexp", group="flow", paper="Hoogeboom et al. 2020, arXiv:2006.01910", recipe=FLOW_RECIPE)
def convexp(
    event: Event,
    *,
    layers: int = 6,
    norm: float = 1.0,
    padding: str = "zeros",
    hidden: int = 96,
    dropout: float | None = None,
) -> Flow:
    """A `Flow` on images of convolution exponentials and affine couplings.

        y -> exp(M) y = y + m * y + m * (m * y) / 2! + ...        log|det| = tr M

    A convolution of all channels with all channels need not be invertible; its exponential always is, and mixes pixels
    as far apart as there are terms (see `ConvExp`). It is linear, so affine couplings stand between, as in the paper;
    they transform the two halves of the channels by turns. An image with even sides is squeezed once at the entry; a
    single channel that cannot be squeezed is split by checkerboard. There are no multi-scale levels. Density and
    sampling take one pass each.

    Args:
        event: an image ``(channels, height, width)``, ``(height, width)`` or a row of pixels ``(width,)``; any support.
        layers: number of exponentials, each followed by a coupling.
        norm: upper bound of the norm of each M: exp(M) changes the largest entry at most e^norm times.
        padding: what surrounds an image: ``zeros``, or itself on a torus (``circular``).
        hidden: width of the two hidden layers of each coupling's MLP.
        dropout: share of those units dropped; by default 0.4 for integer data and 0 for real data.

    Raises:
        ZooError: an event that is no image, or of one dimension; another padding, or a torus one pixel wide.

    Reference:
        Hoogeboom et al. 2020, arXiv:2006.01910, section 3.
    """
    shape = image_shape(event)
    steps: list[nn.Module] = []
    if squeezable(shape):
        steps.append(Squeeze(shape))
        shape = squeezed(shape)
    half = channel_halves(shape) if shape[0] > 1 else checkerboard(shape)
    order, dropout = half.argsort(stable=True), dropout_for(event, dropout)
    for i in range(layers):
        steps.append(ConvExp(shape, norm, padding))
        steps.append(mlp_coupling(order.flip(0) if i % 2 else order, Affine(), hidden, dropout))
    return Flow(event, steps)


class ConvExp(nn.Module):
    """h -> exp(M) h, where M h = m * h is a convolution of images.

        exp(M) h = h + M h + M² h / 2! + ...
        log|det exp(M)| = tr M = height x width x (sum over channels of the kernel's centre)

    The series needs convolutions only and ends where the remainder is below the rounding error; the inverse is the
    series of -m. M's diagonal holds a kernel's centre for every place of every channel. That is exact with zero
    padding, and on a torus (``padding="circular"``) as long as both sides are greater than the kernel's reach.

    The largest sum over a row of |M| (its operator norm on the maximum norm) is bounded by ``norm``, so the number of
    terms is known beforehand. It starts as the identity.

    Args:
        shape: channels, height and width; ``h`` is flat, ``(n, channels * height * width)``.
        norm: upper bound of the norm of M.
        padding: what surrounds the image: ``zeros``, or itself on a torus (``circular``).

    Raises:
        ZooError: another padding, or a side of one pixel on a torus.
    """

    def __init__(self, shape: Shape, norm: float = 1.0, padding: str = "zeros") -> None:
        super().__init__()
        if padding not in ("zeros", "circular") or (padding == "circular" and min(shape[1:]) < 2):
            raise ZooError(f"padding is zeros, or circular for sides of two or more pixels; got {padding}, {shape}")
        self.shape, self.norm, self.padding = shape, norm, padding
        height, width = (min(KERNEL_SIDE, 2 * side - 1) for side in shape[1:])  # no wider than the image's reach
        self.reach = (height // 2, width // 2)
        self.raw = nn.Parameter(torch.zeros(shape[0], shape[0], height, width))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        kernel = self.kernel()
        centre = kernel[:, :, *self.reach]
        logdet = math.prod(self.shape[1:]) * centre.diagonal().sum()
        return self._exponential(kernel, h), logdet.expand(len(h))

    def inverse(self, h: Tensor) -> Tensor:
        return self._exponential(-self.kernel(), h)

    def kernel(self) -> Tensor:
        """m, shape ``(channels, channels, rows, columns)``: outputs first."""
        size = self.raw.abs().sum((1, 2, 3)).amax()
        return self.raw * (self.norm / size.clamp(min=self.norm))

    def convolve(self, kernel: Tensor, h: Tensor) -> Tensor:
        """M h of images ``(n, channels, height, width)``."""
        if self.padding == "zeros":
            return F.conv2d(h, kernel, padding=self.reach)
        rows, columns = self.reach
        return F.conv2d(F.pad(h, (columns, columns, rows, rows), self.padding), kernel)

    def _exponential(self, kernel: Tensor, h: Tensor) -> Tensor:
        powers = [h.reshape(-1, *self.shape)]
        for _ in range(1, terms(self.norm, torch.finfo(h.dtype).eps)):
            powers.append(self.convolve(kernel, powers[-1]))
        weights = h.new_tensor([1 / math.factorial(i) for i in range(len(powers))])
        return torch.tensordot(weights, torch.stack(powers), 1).reshape(h.shape)


def terms(norm: float, epsilon: float) -> int:
    """The number of terms after which the remainder of exp(M) h is at most ``epsilon`` |h|, for |M| <= ``norm``.

    The remainder after N terms is at most norm^N / N! e^norm.
    """
    left, count = math.exp(norm), 0
    while left > epsilon:
        count += 1
        left *= norm / count
    return count
