"""Affine couplings of convolutions on several scales."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.event import Event
from zoo.flows.coupling import Affine, Elementwise, bounded, dropout_for
from zoo.flows.flow import FLOW_RECIPE, Flow, Steps
from zoo.flows.squeeze import Squeeze, channel_halves, checkerboard, squeezable, squeezed
from zoo.nn.images import Shape, image_shape
from zoo.nn.networks import COUPLINGS, CouplingNet, chosen
from zoo.pairs.registry import family


@family("realnvp-conv", group="flow", paper="Dinh et al. 2016, arXiv:1605.08803", recipe=FLOW_RECIPE | {"batch": 64})
def realnvp_conv(
    event: Event,
    *,
    net: CouplingNet = "auto",
    couplings: int = 3,
    hidden: int = 32,
    blocks: int | None = None,
    dropout: float | None = None,
) -> Flow:
    """The multi-scale RealNVP for images: a `Flow` of masked convolutional couplings, squeezes and factoring out.

        h -> b h + (1 - b) (h + t(b h)) exp s(b h)        log|det| = sum (1 - b) s(b h),  b a mask of 0 and 1

    A scale (section 3.6) has ``couplings`` with checkerboard masks; a squeeze, four channels of half the sides for one;
    ``couplings`` with masks of half the channels; then the first half of the channels is factored out and the next
    scale transforms the second. The last scale, where a side is odd or there are at most four pixels, has one more
    coupling, all with checkerboard masks: an 8x8 image has three scales, 1x8x8, 2x4x4 and 4x2x2. Masks alternate with
    their complements.

    The networks are residual convolutions with a learned vector for each place: blocks of one convolution without a
    norm (``net="conv"``), or of two with group norms (``resnet``). There is no batch normalisation. Integer data enter
    as in `zoo.flows.entry.Marginals`, not by the paper's logit. Density and sampling take one pass each.

    Args:
        event: an image ``(channels, height, width)``, ``(height, width)`` or a row of pixels ``(width,)``; any support.
        net: ``conv`` or ``resnet``; by default ``resnet`` for colours and for sides of 32 or more.
        couplings: number of couplings between two changes of shape.
        hidden: channels of each coupling's network.
        blocks: residual blocks of each network; by default one, or four of ``resnet``.
        dropout: share of its activations dropped; by default 0.4 for integer data and 0 for real data.

    Raises:
        ZooError: an event that is no image, or of one dimension; another ``net``.

    Reference:
        Dinh et al. 2016, arXiv:1605.08803, sections 3.4 and 3.6.
    """
    dropout = dropout_for(event, dropout)
    kind = chosen(COUPLINGS, net, event)

    def coupling(shape: Shape, seen: Tensor) -> nn.Module:
        network = kind.make(shape, hidden, kind.blocks if blocks is None else blocks, Affine.count, dropout)
        return MaskedCoupling(seen, Affine(), network)

    return Flow(event, scales(image_shape(event), coupling, couplings))


def scales(shape: Shape, coupling: Callable[[Shape, Tensor], nn.Module], count: int) -> list[nn.Module]:
    """The steps of a scale and of those after it; ``coupling(shape, seen)`` makes a coupling with mask ``seen``."""
    board, last = checkerboard(shape), not squeezable(shape) or shape[1] * shape[2] <= 4
    first = [coupling(shape, board if i % 2 else 1 - board) for i in range(count + last)]
    if last:
        return first
    small = squeezed(shape)
    half = channel_halves(small)
    second = [coupling(small, half if i % 2 else 1 - half) for i in range(count)]
    rest = scales((small[0] // 2, *small[1:]), coupling, count)
    return [*first, Squeeze(shape), *second, FactorOut(rest)]


class FactorOut(nn.Module):
    """Keep the first half of h and apply ``steps`` to the second (Dinh et al. 2016, section 3.6)."""

    def __init__(self, steps: list[nn.Module]) -> None:
        super().__init__()
        self.steps = Steps(steps)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        done, going = h.chunk(2, 1)
        going, total = self.steps(going)
        return torch.cat([done, going], 1), total

    def inverse(self, h: Tensor) -> Tensor:
        done, going = h.chunk(2, 1)
        return torch.cat([done, self.steps.inverse(going)], 1)


class MaskedCoupling(nn.Module):
    """A coupling by masks: the elementwise f maps each dimension that is not ``seen``, given all that are.

    ``seen`` is 1 or 0 for each of the D dimensions, ``net`` a network from ``(n, D)`` to ``(n, D, f.count)``.
    """

    seen: Tensor

    def __init__(self, seen: Tensor, f: Elementwise, net: nn.Module) -> None:
        super().__init__()
        self.register_buffer("seen", seen.float())
        self.f, self.net = f, net

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h, slope = self.f.forward(h, self._steering(h))
        return h, slope.sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        return self.f.inverse(h, self._steering(h))[0]

    def _steering(self, h: Tensor) -> Tensor:
        parameters: Tensor = self.net(self.seen * bounded(h))
        return (1 - self.seen).unsqueeze(1) * parameters
