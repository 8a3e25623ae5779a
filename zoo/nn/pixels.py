"""What networks over the pixels of an image, in row-major order, have in common."""

from __future__ import annotations

from abc import abstractmethod

import pyro
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Autoregressive, CosineFeatures, Stream, marginal_logits
from zoo.event import Event, image_size


class PixelNetwork(nn.Module):
    """A model of an image pixel by pixel, and its first convolution, which does not see the pixel itself.

        p(x) = prod_ij Categorical(x_ij | softmax(b_ij + f_ij(rows above i, pixels left of j in row i)))

    Levels enter as cosine features. The first convolution is in two parts, over ``reach`` rows above and over
    ``reach`` pixels to the left, so that padding and shifting take the place of masked weights. ``bias`` is b, of shape
    ``(levels, height, width)``; it starts at the log-frequencies of the training data, so training starts from
    independent pixels.

    Args:
        event: an image of shape ``(height, width)`` or ``(1, height, width)``, binary or of K levels.
        width: channels of the features.
        reach: rows above and columns to either side that the first convolution sees.
        family: the family's name, for messages.

    Raises:
        ZooError: an event that is not an image of one channel.
    """

    bias: nn.Parameter

    def __init__(self, event: Event, width: int, reach: int, family: str) -> None:
        super().__init__()
        self.event, self.width, self.reach = event, width, reach
        self.grid = image_size(event, family, "reshape the event, or take wavenet, which fits any shape")
        self.encode = CosineFeatures(event)
        self.above = nn.Conv2d(self.encode.size, width, (reach, 2 * reach + 1), padding=(0, reach))
        self.left = nn.Conv2d(self.encode.size, width, (1, reach))

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """``(n, *event.shape)`` to ``(n, *event.shape, levels)``, all pixels at once."""

    @abstractmethod
    def stream(self, n: int) -> Stream:
        """The same logits pixel by pixel, for ``n`` data (see `zoo.distributions.autoregressive`)."""

    def model(self, x: Tensor) -> Tensor:
        """Observe ``x``, shape ``(n, *event.shape)``; the guide is empty."""
        with pyro.plate("data", len(x)):
            return pyro.sample("x", Autoregressive(self.event, self.logits, self.stream), obs=x)

    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of the training data."""
        self.bias.copy_(marginal_logits(self.event, x).reshape(*self.grid, -1).movedim(-1, 0))

    def pixels(self, x: Tensor) -> Tensor:
        """Cosine features of the data, ``(n, *event.shape)`` to ``(n, encode.size, *grid)``."""
        return self.encode(x.reshape(-1, *self.grid)).movedim(-1, 1)

    def features(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The first convolution's parts, over the rows above each pixel and over the pixels to its left."""
        above, left = F.pad(seen, (0, 0, self.reach, 0)), F.pad(seen, (self.reach, 0))
        return self.above(above[:, :, :-1]), self.left(left[..., :-1])

    def blank(self, n: int, columns: int) -> Tensor:
        """Zeros to hold `pixels` as they are drawn, with a margin of ``reach`` above and to the left."""
        return self.bias.new_zeros(n, self.encode.size, self.reach + self.grid[0], self.reach + columns)

    def enter(self, seen: Tensor, i: int, j: int, value: Tensor) -> None:
        """Write the pixel ``(i, j)``, shape ``(n,)``, into what `blank` made."""
        seen[:, :, self.reach + i, self.reach + j] = self.encode(value)

    def row_features(self, seen: Tensor, i: int) -> Tensor:
        """Features of the rows above row ``i``, ``(n, width, 1, columns)``."""
        above: Tensor = self.above(seen[:, :, i : i + self.reach, self.reach :])
        return above

    def pixel_features(self, seen: Tensor, i: int, j: int) -> Tensor:
        """Features of the pixels to the left of ``(i, j)``, ``(n, width)``."""
        return window(self.left, seen[:, :, self.reach + i, j : j + self.reach])


def window(convolution: nn.Conv2d, seen: Tensor) -> Tensor:
    """A convolution at one place, ``(n, channels, ...)`` of the kernel's size to ``(n, outputs)``.

    A matrix product, a tenth of the cost of so small a convolution.
    """
    return F.linear(seen.flatten(1), convolution.weight.flatten(1), convolution.bias)
