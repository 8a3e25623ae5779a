"""PixelRNN: LSTMs over the rows or the diagonals of an image."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Stream
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.dropout import Dropout
from zoo.nn.pixels import PixelNetwork
from zoo.pairs.registry import family

PixelStream = Generator[Tensor, Tensor, None]
"""A layer pixel by pixel: is sent its input at the next pixel, ``(n, width)``, and yields its output there."""


class RowLSTM(nn.Module):
    """A residual layer with one LSTM down the rows, whose state has one vector for each column (section 3.1).

        (i, f, o, g) = K_in (x[r, c-1], x[r, c]) + K_state (h[r-1, c-1], h[r-1, c], h[r-1, c+1])

    ``(n, height, columns, width)`` to the same shape.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.hidden = hidden
        self.inputs = nn.Linear(2 * width, 4 * hidden)
        self.states = nn.Linear(3 * hidden, 4 * hidden, bias=False)
        self.out = nn.Sequential(Dropout(dropout), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        n, _, columns, _ = x.shape
        left = F.pad(x, (0, 0, 1, 0))[:, :, :-1]
        h = c = x.new_zeros(n, columns, self.hidden)
        rows = []
        for gates in self.inputs(torch.cat([left, x], -1)).unbind(1):
            h, c = cell(gates + self._above(h), c)
            rows.append(h)
        return x + self.out(torch.stack(rows, 1))

    def stream(self, n: int, columns: int) -> PixelStream:
        h = c = self.states.weight.new_zeros(n, columns, self.hidden)
        x = yield h
        while True:
            above, left, row = self._above(h), torch.zeros_like(x), []
            for j in range(columns):
                gates = self.inputs(torch.cat([left, x], -1)) + above[:, j]
                row.append(cell(gates, c[:, j]))
                left, x = x, (yield x + self.out(row[-1][0]))
            h, c = (torch.stack(part, 1) for part in zip(*row, strict=True))

    def _above(self, h: Tensor) -> Tensor:
        """The state-to-state product, from the row above, ``(n, columns, hidden)``."""
        padded = F.pad(h, (0, 0, 1, 1))
        return self.states(torch.cat([padded[:, :-2], h, padded[:, 2:]], -1))


class DiagonalBiLSTM(nn.Module):
    """A residual layer with two LSTMs along the diagonals, one from either upper corner (section 3.2).

        (i, f, o, g) = K_in x[r, c] + K_state (h[r, c-1], h[r-1, c])

    The cell's memory is that of the pixel to the left. The second LSTM reads each row from right to left, and its
    output is moved down by one row, so no pixel depends on a later one. In skewed maps, whose row r is moved by r
    columns, a column is a diagonal of the image, and both LSTMs take it in one step.

    ``(n, height, columns, width)`` to the same shape.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.hidden = hidden
        self.inputs = nn.ModuleList(nn.Linear(width, 4 * hidden) for _ in range(2))
        self.states = nn.Parameter(torch.empty(2, 2 * hidden, 4 * hidden).uniform_(-1, 1) / (2 * hidden) ** 0.5)
        self.out = nn.Sequential(Dropout(dropout), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        n, height, columns, _ = x.shape
        right, left = (inputs(x) for inputs in self.inputs)
        skewed = _skewed(torch.stack([right, left.flip(2)]).permute(0, 2, 3, 1, 4))
        h = c = x.new_zeros(2, height, n, self.hidden)
        diagonals = []
        for gates in skewed.unbind(2):
            seen = torch.cat([h, F.pad(h, (0, 0, 0, 0, 1, 0))[:, :-1]], -1)
            product = torch.baddbmm(gates.flatten(1, 2), seen.flatten(1, 2), self.states)
            h, c = cell(product.view_as(gates), c)
            diagonals.append(h)
        right, left = _straight(torch.stack(diagonals, 2), columns)
        moved = F.pad(left.flip(1), (0, 0, 0, 0, 0, 0, 1, 0))[:-1]
        return x + self.out((right + moved).movedim(2, 0))

    def stream(self, n: int, columns: int) -> PixelStream:
        (enter_right, enter_left), (right, left) = self.inputs, self.states
        zero = self.states.new_zeros(n, self.hidden)
        above, above_left = [zero] * columns, [zero] * columns  # both LSTMs' states in the row above
        x = yield zero
        while True:
            h, c, entered = zero, zero, []
            for j in range(columns):
                h, c = cell(enter_right(x) + torch.cat([h, above[j]], -1) @ right, c)
                entered.append(x)
                above[j] = h
                x = yield x + self.out(h + above_left[j])
            h, c = zero, zero
            for j in reversed(range(columns)):
                h, c = cell(enter_left(entered[j]) + torch.cat([h, above_left[j]], -1) @ left, c)
                above_left[j] = h


LAYERS: dict[str, Any] = {"diagonal": DiagonalBiLSTM, "row": RowLSTM}


@family(
    "pixelrnn",
    group="autoregressive",
    paper="van den Oord et al. 2016, arXiv:1601.06759",
    supports=("binary", "levels"),
    recipe={
        "steps": 1200,
        "batch": 25,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.5,
        "schedule": "onecycle",
        "clip": 1.0,
        "average": 0.995,
    },
)
class PixelRNN(PixelNetwork):
    """LSTMs over an image, pixel by pixel in row-major order; exact.

        p(x) = prod_ij P(x_ij; b_ij + f_ij(rows above i, pixels left of j in row i))

    A first convolution sees ``reach`` rows above and ``reach`` columns to either side, without the pixel itself
    (mask A). Residual LSTM layers follow, and two layers of one pixel each. ``kind="diagonal"`` has two LSTMs in a
    layer, one from either upper corner: every earlier pixel is seen. ``kind="row"`` has one LSTM down the rows, which
    takes fewer steps and sees a triangle: ``reach + blocks`` pixels to the left of (i, j), and in row i - D the columns
    j - D - ``blocks`` - ``reach`` to j + D + ``reach`` - 1.

    The maps have one column more than the image, at the end of each row. There the first convolution sees the whole
    row; without it, the last pixel of the row above is out of sight of the second LSTM, since mask A hides it.

    P is categorical; of colours it is a mixture of logistics, in which a channel is given those before it
    (`zoo.nn.pixels.Pixel`). Levels enter as cosine features, the position of a pixel as a learned vector, and b starts
    at the marginals of the training data, so training starts from independent pixels. A draw keeps each layer's states
    in the row above and to the left, so a new pixel costs one step of each LSTM.
    Not promised: the paper's image quality, which takes wider and deeper stacks.

    Args:
        event: an image of shape ``(height, width)`` or ``(channels, height, width)``, binary or of K levels.
        kind: ``"diagonal"`` or ``"row"``.
        width: channels between the layers.
        hidden: units of each LSTM.
        blocks: residual layers.
        reach: rows above and columns to either side that the first convolution sees.
        dropout: share of activations dropped in training, of each LSTM's output and before the logits.
        likelihood: ``auto``, ``categorical`` or ``mixture`` (see `zoo.nn.pixels.Pixel`).
        components: of the mixture.

    Raises:
        ZooError: an event that is not an image, another ``kind`` or ``likelihood``.

    Reference:
        van den Oord et al. 2016, arXiv:1601.06759, section 3.
    """

    def __init__(
        self,
        event: Event,
        *,
        kind: str = "diagonal",
        width: int = 64,
        hidden: int = 64,
        blocks: int = 3,
        reach: int = 2,
        dropout: float = 0.4,
        likelihood: str = "auto",
        components: int = 10,
    ) -> None:
        if kind not in LAYERS:
            raise ZooError(f"pixelrnn takes kind={' or '.join(LAYERS)}, got kind={kind!r}")
        super().__init__(event, width, reach, "pixelrnn", likelihood, components)
        height, columns = self.grid
        self.place = nn.Parameter(0.1 * torch.randn(width, height, columns + 1))
        self.layers: Any = nn.ModuleList(LAYERS[kind](width, hidden, dropout) for _ in range(blocks))
        last = nn.Linear(width, self.pixel.count)
        nn.init.normal_(last.weight, std=0.01)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), Dropout(dropout), last)
        self.bias = nn.Parameter(torch.zeros(self.pixel.count, *self.grid))

    def parameters_of(self, x: Tensor) -> Tensor:
        """The parameters of every pixel at once: ``(n, *drawn.shape)`` to ``(n, *grid, count)``."""
        above, left = self.features(F.pad(self.pixels(x), (0, 1)))
        h = (above + left + self.place).movedim(1, -1)
        for layer in self.layers:
            h = layer(h)
        return self.head(h[:, :, :-1]) + self.bias.movedim(0, -1)

    def stream(self, n: int) -> Stream:
        """The same logits pixel by pixel, for ``n`` data (see `zoo.distributions.autoregressive`)."""
        height, columns = self.grid
        seen = self.blank(n, columns + 1)
        layers = [layer.stream(n, columns + 1) for layer in self.layers]
        for layer in layers:
            next(layer)
        for i in range(height):
            above = self.row_features(seen, i)[:, :, 0] + self.place[:, i]
            for j in range(columns + 1):
                h = above[..., j] + self.pixel_features(seen, i, j)
                for layer in layers:
                    h = layer.send(h)
                if j < columns:
                    value = yield from self.pixel.stream(self.head(h) + self.bias[:, i, j])
                    self.enter(seen, i, j, value)


def cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM's next state and memory: ``(..., 4 hidden)`` and ``(..., hidden)`` to twice ``(..., hidden)``."""
    keep, enter, show, new = gates.chunk(4, -1)
    c = keep.sigmoid() * c + enter.sigmoid() * new.tanh()
    return show.sigmoid() * c.tanh(), c


def _skewed(x: Tensor) -> Tensor:
    """Moves row r to the right by r: ``(2, rows, columns, n, channels)`` to ``(2, rows, columns + rows - 1, ...)``."""
    rows, columns = x.shape[1:3]
    flat = F.pad(x, (0, 0, 0, 0, 0, rows)).flatten(1, 2)
    return flat[:, :-rows].unflatten(1, (rows, columns + rows - 1))


def _straight(x: Tensor, columns: int) -> Tensor:
    """The inverse of `_skewed`."""
    rows = x.shape[1]
    return F.pad(x.flatten(1, 2), (0, 0, 0, 0, 0, rows)).unflatten(1, (rows, columns + rows))[:, :, :columns]
