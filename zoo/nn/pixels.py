"""What networks over the pixels of an image, in row-major order, have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Autoregressive, CosineFeatures, Stream, levels, marginal_logits
from zoo.distributions.colours import ColourMixture, count_of, spread_over_levels
from zoo.distributions.levels import level_counts
from zoo.errors import ZooError
from zoo.event import Event

LIKELIHOODS = ("auto", "categorical", "mixture")


class Pixel:
    """The distribution of a pixel given its parameters: levels of one channel, or a mixture over its channels.

        P(x_ij) = Categorical(x_ij | softmax(theta_ij))                 ``categorical``, of one channel
        P(r, g, b) = sum_k w_k P_k(r) P_k(g | r) P_k(b | r, g)          ``mixture``, see `ColourMixture`

    Args:
        event: an image of shape ``(height, width)`` or ``(channels, height, width)``, binary or of K levels.
        likelihood: one of these, or ``auto``: categorical of one channel, otherwise the mixture.
        components: of the mixture.
        family: the family's name, for messages.

    Raises:
        ZooError: an event that is not an image, an unknown likelihood, or the categorical one of several channels.
    """

    def __init__(self, event: Event, likelihood: str, components: int, family: str) -> None:
        if event.fields or len(event.shape) not in (2, 3):
            raise ZooError(
                f"{family} needs an image of shape (height, width) or (channels, height, width), got {event}; reshape "
                "the event, or take wavenet, which fits any shape"
            )
        self.channels, *grid = (1, *event.shape)[-3:]
        self.grid, self.levels, self.components = (grid[0], grid[1]), levels(event), components
        choices = LIKELIHOODS if self.channels == 1 else ("auto", "mixture")
        if likelihood not in choices or components < 1:
            raise ZooError(
                f"{family} takes likelihood={' or '.join(choices)} with components=1 or more for {event}; got "
                f"{likelihood!r} and {components}"
            )
        self.is_mixture = likelihood == "mixture" or self.channels > 1
        self.count = components * count_of(self.channels) if self.is_mixture else self.levels
        self.drawn = Event((*self.grid, self.channels), event.levels or 2) if self.channels > 1 else event

    def drawn_from(self, x: Tensor) -> Tensor:
        """Images ``(n, *event.shape)`` in the order in which they are drawn, ``(n, *drawn.shape)``: channels last."""
        return x.movedim(1, -1) if self.channels > 1 else x

    def distribution(self, parameters: Tensor) -> ColourMixture:
        """The mixture of each pixel."""
        return ColourMixture(parameters, self.channels, self.levels, validate_args=False)

    def logits(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Of all entries, ``(n, *drawn.shape, levels)``, from parameters ``(n, *grid, count)`` and ``x`` as drawn."""
        if not self.is_mixture:
            return parameters.reshape(*x.shape, -1)
        pixels, entries = self.distribution(parameters), x.reshape(-1, *self.grid, self.channels).unbind(-1)
        each = [pixels.conditional(entries[:colour]) for colour in range(self.channels)]
        return torch.stack(each, -2).reshape(*x.shape, -1)

    def total(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log p of each image, ``(n,)``, at the cost of one level an entry."""
        pixels = self.distribution(parameters)
        return pixels.log_prob(x.reshape(-1, *self.grid, self.channels)).flatten(1).sum(1)

    def stream(self, parameters: Tensor) -> Generator[Tensor, Tensor, Tensor]:
        """Yield the logits of each entry of a pixel, ``(n, count)``; returns what was sent, ``(n,)`` or ``(n, C)``."""
        if not self.is_mixture:
            return (yield parameters)
        pixel, entries = self.distribution(parameters), list[Tensor]()
        for _ in range(self.channels):
            entries.append((yield pixel.conditional(entries)))
        return torch.stack(entries, -1) if self.channels > 1 else entries[0]

    def start(self, event: Event, x: Tensor) -> Tensor:
        """Parameters of each place by the marginals of data ``x``, ``(n, *event.shape)``: ``(count, *grid)``."""
        if not self.is_mixture:
            return marginal_logits(event, x).reshape(*self.grid, -1).movedim(-1, 0)
        counts = level_counts(self.levels, x).reshape(self.channels, *self.grid, -1).sum(0)
        return spread_over_levels(counts, self.components, self.channels).movedim(-1, 0)


class PixelNetwork(nn.Module):
    """A model of an image pixel by pixel, and its first convolution, which does not see the pixel itself.

        p(x) = prod_ij P(x_ij; b_ij + f_ij(rows above i, pixels left of j in row i))

    P is a `Pixel`. Levels enter as cosine features. The first convolution is in two parts, over ``reach`` rows above
    and over ``reach`` pixels to the left, so that padding and shifting take the place of masked weights. ``bias`` is b,
    of shape ``(count, height, width)``; it starts at the marginals of the training data, so training starts from
    independent pixels.

    Args:
        event: an image of shape ``(height, width)`` or ``(channels, height, width)``, binary or of K levels.
        width: channels of the features.
        reach: rows above and columns to either side that the first convolution sees.
        family: the family's name, for messages.
        likelihood, components: of `Pixel`.

    Raises:
        ZooError: see `Pixel`.
    """

    bias: nn.Parameter

    def __init__(
        self, event: Event, width: int, reach: int, family: str, likelihood: str = "auto", components: int = 10
    ) -> None:
        super().__init__()
        self.event, self.width, self.reach = event, width, reach
        self.pixel = Pixel(event, likelihood, components, family)
        self.grid = self.pixel.grid
        self.encode = CosineFeatures(event)
        self.seen = self.pixel.channels * self.encode.size
        self.above = nn.Conv2d(self.seen, width, (reach, 2 * reach + 1), padding=(0, reach))
        self.left = nn.Conv2d(self.seen, width, (1, reach))

    @abstractmethod
    def parameters_of(self, x: Tensor) -> Tensor:
        """The parameters of every pixel at once: ``(n, *drawn.shape)`` to ``(n, *grid, count)``."""

    @abstractmethod
    def stream(self, n: int) -> Stream:
        """The logits of `logits` entry by entry, for ``n`` data (see `zoo.distributions.autoregressive`)."""

    def logits(self, x: Tensor) -> Tensor:
        """``(n, *drawn.shape)`` to ``(n, *drawn.shape, levels)``, all entries at once."""
        return self.pixel.logits(self.parameters_of(x), x)

    def distribution(self) -> Autoregressive:
        """Of an image, its channels last if it has several: event shape ``drawn.shape``."""

        def total(x: Tensor) -> Tensor:
            return self.pixel.total(self.parameters_of(x), x)

        return Autoregressive(
            self.pixel.drawn, self.logits, self.stream, total=total if self.pixel.is_mixture else None
        )

    def model(self, x: Tensor) -> Tensor:
        """Observe ``x``, shape ``(n, *event.shape)``; the guide is empty."""
        with pyro.plate("data", len(x)):
            return pyro.sample("x", self.distribution(), obs=self.pixel.drawn_from(x))

    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of the training data."""
        self.bias.copy_(self.pixel.start(self.event, x))

    def pixels(self, x: Tensor) -> Tensor:
        """Cosine features of the data, ``(n, *drawn.shape)`` to ``(n, seen, *grid)``."""
        if self.pixel.channels == 1:
            return self.encode(x.reshape(-1, *self.grid)).movedim(-1, 1)
        return self.encode(x).flatten(3).movedim(-1, 1)

    def features(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The first convolution's parts, over the rows above each pixel and over the pixels to its left."""
        above, left = F.pad(seen, (0, 0, self.reach, 0)), F.pad(seen, (self.reach, 0))
        return self.above(above[:, :, :-1]), self.left(left[..., :-1])

    def blank(self, n: int, columns: int) -> Tensor:
        """Zeros to hold `pixels` as they are drawn, with a margin of ``reach`` above and to the left."""
        return self.bias.new_zeros(n, self.seen, self.reach + self.grid[0], self.reach + columns)

    def enter(self, seen: Tensor, i: int, j: int, value: Tensor) -> None:
        """Write the pixel ``(i, j)``, shape ``(n,)`` or ``(n, channels)``, into what `blank` made."""
        seen[:, :, self.reach + i, self.reach + j] = self.encode(value).flatten(1)

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
