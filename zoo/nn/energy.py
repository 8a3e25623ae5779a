"""A network from data to one number."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.event import Event
from zoo.nn.mlp import MLP


class Energy(nn.Module):
    """From data ``(m, D)`` to a number each, ``(m,)``, smooth and zero at first.

    Of an image: convolutions of which each halves the sides and doubles the channels, then an MLP; of other data the
    MLP alone. Its activations have bounded slope, so the output grows at most linearly.

    Args:
        event: shape ``(height, width)`` or ``(channels, height, width)`` is an image.
        width: channels of the first convolution; layers have four times as many units.

    Example:
        >>> import torch
        >>> Energy(Event((4, 4), 5), 8)(torch.zeros(3, 16))
        tensor([0., 0., 0.], grad_fn=<SqueezeBackward1>)
    """

    def __init__(self, event: Event, width: int) -> None:
        super().__init__()
        self.image = event.shape if len(event.shape) == 3 else (1, *event.shape) if len(event.shape) == 2 else ()
        self.convolutions, size = nn.Sequential(), event.size
        if self.image:
            channels, *sides = self.image
            self.convolutions.append(nn.Conv2d(channels, width, 3, padding=1))
            while min(sides) >= 4:
                self.convolutions.extend([nn.SiLU(), nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)])
                width, sides = 2 * width, [side // 2 for side in sides]
            self.convolutions.append(nn.SiLU())
            size = width * sides[0] * sides[1]
        self.top = MLP(size, (4 * width,) if self.image else (4 * width, 4 * width), 1)
        self.top.out = nn.Linear(4 * width, 1, bias=False)  # a constant is no part of an energy
        nn.init.zeros_(self.top.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.convolutions(x.reshape(-1, *self.image)).flatten(1) if self.image else x
        energies: Tensor = self.top(h).squeeze(1)
        return energies
