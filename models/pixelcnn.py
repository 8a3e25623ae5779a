"""PixelCNN: masked two-dimensional convolutions in two stacks, without a blind spot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Stream
from zoo.event import Event
from zoo.nn.dropout import Dropout
from zoo.nn.networks import PIXEL_STACKS, PixelNet, chosen
from zoo.nn.pixels import PixelNetwork, window
from zoo.pairs.registry import family


class Down(nn.Module):
    """A gated residual layer of the vertical stack, over the rows of its input and the row above them.

    ``(n, width, 1 + rows, columns)`` to ``(n, width, rows, columns)``, and the same with ``2 width`` channels for
    `Right`.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.above = nn.Conv2d(width, 2 * width, (2, 3), padding=(0, 1))
        self.link = nn.Conv2d(width, 2 * width, 1)
        self.dropout = Dropout(dropout)

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        v = v[:, :, 1:] + F.glu(self.above(self.dropout(F.elu(v))), 1)
        return v, self.link(v)


class Right(nn.Module):
    """A gated residual layer of the horizontal stack, over its columns, the column to their left and `Down`'s link.

    ``(n, width, rows, 1 + columns)`` to ``(n, width, rows, columns)``.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.left = nn.Conv2d(width, 2 * width, (1, 2))
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, linked: Tensor) -> Tensor:
        return h[..., 1:] + F.glu(self.left(self.dropout(F.elu(h))) + linked, 1)

    def pixel(self, left: Tensor, h: Tensor, linked: Tensor) -> Tensor:
        """The same for one pixel: ``left`` and ``h`` ``(n, width)``, ``linked`` ``(n, 2 width)``."""
        columns = torch.stack([left, h], 2)
        return h + F.glu(window(self.left, self.dropout(F.elu(columns))) + linked, 1)


class Shortcut(nn.Module):
    """Adds what a stack had at the same place many layers before, ``(n, width, rows, columns)`` or one pixel of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, h: Tensor, earlier: Tensor) -> Tensor:
        mixed = self.mix(F.elu(earlier)) if h.dim() == 4 else window(self.mix, F.elu(earlier))
        return h + mixed


@family(
    "pixelcnn",
    group="autoregressive",
    paper="van den Oord et al. 2016, arXiv:1606.05328",
    supports=("binary", "levels"),
    recipe={
        "steps": 1200,
        "batch": 25,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 1.0,
        "schedule": "onecycle",
        "clip": 1.0,
        "average": 0.995,
    },
)
class PixelCNN(PixelNetwork):
    """Masked two-dimensional convolutions over an image, pixel by pixel in row-major order; exact.

        p(x) = prod_ij P(x_ij; b_ij + f_ij(rows above i, pixels left of j in row i))

    A vertical stack sees the rows above, a horizontal one the pixels to the left and the vertical stack. Together they
    see every earlier pixel up to ``reach`` + ``blocks`` rows above and columns to either side, without a blind spot.
    Masks are implemented by padding and shifting, so there are no masked weights. The defaults see all earlier pixels
    of images up to 9x9; larger images need ``net="deep"``.

    P is categorical; of colours it is a mixture of logistics, in which a channel is given those before it
    (`zoo.nn.pixels.Pixel`). Levels enter as cosine features, the position of a pixel as a learned vector, and b starts
    at the marginals of the training data, so training starts from independent pixels. A draw computes the vertical
    stack once per row, from the last two rows of each layer's input, and the horizontal one once per pixel, from the
    last two pixels.

    ``net="deep"`` has 30 layers in each stack, of which the last half also see the first half's outputs, from the last
    to the first (as the short-cuts of PixelCNN++, here without a change of size). Not promised: the papers' image
    quality, which takes wider stacks and days.

    Args:
        event: an image of shape ``(height, width)`` or ``(channels, height, width)``, binary or of K levels.
        net: ``shallow`` or ``deep``; by default deep for colours and for sides of 32 or more.
        width: channels of each stack.
        blocks: gated residual layers of each stack; by default 5 or 30.
        reach: rows above and columns to either side that the first convolution sees.
        dropout: share of activations dropped in training, before each residual layer's convolution and the logits.
        likelihood: ``auto``, ``categorical`` or ``mixture`` (see `zoo.nn.pixels.Pixel`).
        components: of the mixture.

    Raises:
        ZooError: an event that is not an image, another ``net`` or ``likelihood``.

    Reference:
        van den Oord et al. 2016, arXiv:1606.05328, section 2.2; Salimans et al. 2017, arXiv:1701.05517, sections 2.1
        and 2.4.
    """

    def __init__(
        self,
        event: Event,
        *,
        net: PixelNet = "auto",
        width: int = 32,
        blocks: int | None = None,
        reach: int = 3,
        dropout: float = 0.4,
        likelihood: str = "auto",
        components: int = 10,
    ) -> None:
        super().__init__(event, width, reach, "pixelcnn", likelihood, components)
        stack = chosen(PIXEL_STACKS, net, event)
        blocks = stack.blocks if blocks is None else blocks
        self.place_above = nn.Parameter(0.1 * torch.randn(width, *self.grid))
        self.place_left = nn.Parameter(0.1 * torch.randn(width, *self.grid))
        self.down = nn.ModuleList(Down(width, dropout) for _ in range(blocks))
        self.right: Any = nn.ModuleList(Right(width, dropout) for _ in range(blocks))
        last = nn.Conv2d(width, self.pixel.count, 1)
        nn.init.normal_(last.weight, std=0.01)
        self.head: Any = nn.Sequential(nn.ELU(), Dropout(dropout), last)
        self.bias = nn.Parameter(torch.zeros(self.pixel.count, *self.grid))
        joined = blocks // 2 if stack.shortcuts else 0
        self.join_above, self.join_left = (nn.ModuleList(Shortcut(width) for _ in range(joined)) for _ in range(2))

    def parameters_of(self, x: Tensor) -> Tensor:
        """The parameters of every pixel at once: ``(n, *drawn.shape)`` to ``(n, *grid, count)``."""
        above, left = self.features(self.pixels(x))
        v, h = above + self.place_above, left + self.place_left
        inputs = list[tuple[Tensor, Tensor]]()
        for layer, (down, right) in enumerate(zip(self.down, self.right, strict=True)):
            v = self._joined(self.join_above, layer, v, [each for each, _ in inputs])
            h = self._joined(self.join_left, layer, h, [each for _, each in inputs])
            inputs.append((v, h))
            v, linked = down(F.pad(v, (0, 0, 1, 0)))
            h = right(F.pad(h, (1, 0)), linked)
        return (self.head(h) + self.bias).movedim(1, -1)

    def stream(self, n: int) -> Stream:
        """The same logits pixel by pixel, for ``n`` data (see `zoo.distributions.autoregressive`)."""
        height, width = self.grid
        seen = self.blank(n, width)
        above = [self.bias.new_zeros(n, self.width, 1, width) for _ in self.down]
        for i in range(height):
            links = self._row(i, self.row_features(seen, i), above)
            left = [self.bias.new_zeros(n, self.width) for _ in self.right]
            for j in range(width):
                parameters = self._pixel(i, j, self.pixel_features(seen, i, j), left, links)
                self.enter(seen, i, j, (yield from self.pixel.stream(parameters)))

    def _row(self, i: int, features: Tensor, above: list[Tensor]) -> list[Tensor]:
        """The vertical stack's links to row ``i``; replaces ``above``, each layer's input in the row above."""
        v, links, inputs = features + self.place_above[:, i, None], [], list[Tensor]()
        for layer, down in enumerate(self.down):
            v = self._joined(self.join_above, layer, v, inputs)
            inputs.append(v)
            rows, above[layer] = torch.cat([above[layer], v], 2), v
            v, linked = down(rows)
            links.append(linked)
        return links

    def _pixel(self, i: int, j: int, features: Tensor, left: list[Tensor], links: list[Tensor]) -> Tensor:
        """The parameters of pixel ``(i, j)``; replaces ``left``, each layer's input at the pixel to the left."""
        h, inputs = features + self.place_left[:, i, j], list[Tensor]()
        for layer, right in enumerate(self.right):
            h = self._joined(self.join_left, layer, h, inputs)
            inputs.append(h)
            before, left[layer] = left[layer], h
            h = right.pixel(before, h, links[layer][:, :, 0, j])
        elu, dropout, last = self.head
        return window(last, dropout(elu(h))) + self.bias[:, i, j]

    def _joined(self, shortcuts: nn.ModuleList, layer: int, h: Tensor, inputs: list[Tensor]) -> Tensor:
        """The input of a layer: with a short-cut that of the layer as far from the first as this one from the last."""
        place = layer - (len(self.down) - len(shortcuts))
        joined: Tensor = shortcuts[place](h, inputs[len(shortcuts) - 1 - place]) if place >= 0 else h
        return joined
