"""PixelCNN: masked two-dimensional convolutions in two stacks, without a blind spot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Stream, levels
from zoo.event import Event
from zoo.nn.dropout import Dropout
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

        p(x) = prod_ij Categorical(x_ij | softmax(b_ij + f_ij(rows above i, pixels left of j in row i)))

    A vertical stack sees the rows above, a horizontal one the pixels to the left and the vertical stack. Together they
    see every earlier pixel up to ``reach`` + ``blocks`` rows above and columns to either side, without a blind spot.
    Masks are implemented by padding and shifting, so there are no masked weights. The defaults see all earlier pixels
    of images up to 9x9; larger images need more ``blocks``.

    Levels enter as cosine features, the position of a pixel as a learned vector, and b starts at the log-frequencies
    of the training data, so training starts from independent pixels. A draw computes the vertical stack once per row,
    from the last two rows of each layer's input, and the horizontal one once per pixel, from the last two pixels.
    Not promised: the paper's image quality, which takes far wider and deeper stacks; colour.

    Args:
        event: an image of shape ``(height, width)`` or ``(1, height, width)``, binary or of K levels.
        width: channels of each stack.
        blocks: gated residual layers of each stack.
        reach: rows above and columns to either side that the first convolution sees.
        dropout: share of activations dropped in training, before each residual layer's convolution and the logits.

    Raises:
        ZooError: an event that is not an image of one channel.

    Reference:
        van den Oord et al. 2016, arXiv:1606.05328, section 2.2.
    """

    def __init__(self, event: Event, *, width: int = 32, blocks: int = 5, reach: int = 3, dropout: float = 0.4) -> None:
        super().__init__(event, width, reach, "pixelcnn")
        self.place_above = nn.Parameter(0.1 * torch.randn(width, *self.grid))
        self.place_left = nn.Parameter(0.1 * torch.randn(width, *self.grid))
        self.down = nn.ModuleList(Down(width, dropout) for _ in range(blocks))
        self.right: Any = nn.ModuleList(Right(width, dropout) for _ in range(blocks))
        last = nn.Conv2d(width, levels(event), 1)
        nn.init.normal_(last.weight, std=0.01)
        self.head: Any = nn.Sequential(nn.ELU(), Dropout(dropout), last)
        self.bias = nn.Parameter(torch.zeros(levels(event), *self.grid))

    def logits(self, x: Tensor) -> Tensor:
        """``(n, *event.shape)`` to ``(n, *event.shape, levels)``, all pixels at once."""
        above, left = self.features(self.pixels(x))
        v, h = above + self.place_above, left + self.place_left
        for down, right in zip(self.down, self.right, strict=True):
            v, linked = down(F.pad(v, (0, 0, 1, 0)))
            h = right(F.pad(h, (1, 0)), linked)
        return (self.head(h) + self.bias).movedim(1, -1).reshape(*x.shape, -1)

    def stream(self, n: int) -> Stream:
        """The same logits pixel by pixel, for ``n`` data (see `zoo.distributions.autoregressive`)."""
        height, width = self.grid
        seen = self.blank(n, width)
        above = [self.bias.new_zeros(n, self.width, 1, width) for _ in self.down]
        for i in range(height):
            links = self._row(i, self.row_features(seen, i), above)
            left = [self.bias.new_zeros(n, self.width) for _ in self.right]
            for j in range(width):
                self.enter(seen, i, j, (yield self._pixel(i, j, self.pixel_features(seen, i, j), left, links)))

    def _row(self, i: int, features: Tensor, above: list[Tensor]) -> list[Tensor]:
        """The vertical stack's links to row ``i``; replaces ``above``, each layer's input in the row above."""
        v, links = features + self.place_above[:, i, None], []
        for layer, down in enumerate(self.down):
            rows, above[layer] = torch.cat([above[layer], v], 2), v
            v, linked = down(rows)
            links.append(linked)
        return links

    def _pixel(self, i: int, j: int, features: Tensor, left: list[Tensor], links: list[Tensor]) -> Tensor:
        """The logits of pixel ``(i, j)``; replaces ``left``, each layer's input at the pixel to the left."""
        h = features + self.place_left[:, i, j]
        for layer, right in enumerate(self.right):
            before, left[layer] = left[layer], h
            h = right.pixel(before, h, links[layer][:, :, 0, j])
        elu, dropout, last = self.head
        return window(last, dropout(elu(h))) + self.bias[:, i, j]
