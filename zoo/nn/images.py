"""Which events are images, and the sizes of their maps at halved sides."""

from __future__ import annotations

from zoo.errors import ZooError
from zoo.event import Event

Shape = tuple[int, int, int]
"""Channels, height and width."""
SMALLEST = 4
"""Pixels of the longer side, below which maps are halved no further."""


def image_shape(event: Event) -> Shape:
    """Channels, height and width of an event ``(channels, height, width)``, ``(height, width)`` or ``(width,)``.

    Raises:
        ZooError: an event of more axes, of one dimension only, or whose channels seem to be last.
    """
    if len(event.shape) > 3 or event.size < 2:
        raise ZooError(
            f"an image has shape (channels, height, width), (height, width) or (width,) and two or more dimensions, "
            f"got {event}; reshape the event or take another family"
        )
    channels, height, width = (1, 1, *event.shape)[-3:]
    if width in (1, 3, 4) and min(channels, height) > 4:
        raise ZooError(
            f"{event} is an image of {channels} channels, {height} high and {width} wide, so its channels seem to be "
            f"last: move them first by np.moveaxis(x, -1, 1), which gives {width}x{channels}x{height}"
        )
    return channels, height, width


def is_large_image(event: Event) -> bool:
    """Whether an event is an image in colours, or one with a side of 32 or more, for which convolutions are made.

    Example:
        >>> [is_large_image(Event(shape, 256)) for shape in ((28, 28), (3, 8, 8), (64, 64), (3072,))]
        [False, True, True, False]
    """
    if event.fields or len(event.shape) not in (2, 3):
        return False
    channels, height, width = (1, *event.shape)[-3:]
    return min(height, width) >= SMALLEST and (channels == 3 or (channels == 1 and max(height, width) >= 32))


def halved_sides(height: int, width: int, most: int) -> list[tuple[int, int]]:
    """The sides, their halves rounded up, the halves of these, ...: ``most`` halvings, down to `SMALLEST`.

    Example:
        >>> halved_sides(28, 28, 3)
        [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    sides = [(height, width)]
    while len(sides) <= most and max(sides[-1]) > SMALLEST:
        sides.append(((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2))
    return sides
