"""The shelf of networks: those that a family or a guide lets its user choose, by name.

A family that offers a choice has the hyper-parameter ``net``, annotated by one of the aliases below; ``net="auto"``
chooses by the event's shape. The guide that a family takes from the shelf has the family's network unless ``guide.net``
names another.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

from torch import nn

from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.convolutional import ImageDecoder, ImageEncoder
from zoo.nn.denoiser import Denoiser
from zoo.nn.gated import GatedDense, GatedMLP
from zoo.nn.images import is_large_image
from zoo.nn.maps import Convolutions, ResidualConvolutions
from zoo.nn.mlp import MLP
from zoo.nn.unet import UNet

GATED_WIDTH = 300
"""Units of each layer of the VampPrior's encoder."""


class DenoiserKind(NamedTuple):
    """A network of noisy data, and how many residual blocks it has by default; a U-Net has as many at each size."""

    make: type[Denoiser | UNet]
    blocks: int


class CouplingKind(NamedTuple):
    """A network of couplings of images, and how many residual blocks it has by default."""

    make: type[Convolutions]
    blocks: int


class PixelStack(NamedTuple):
    """The layers of each stack of gated convolutions, and whether later layers also see the outputs of early ones."""

    blocks: int
    shortcuts: bool


class GatedEncoder(nn.Sequential):
    """Two `GatedDense` layers of 300 units over flat data."""

    features = GATED_WIDTH

    def __init__(self, event: Event) -> None:
        super().__init__(GatedDense(event.size, GATED_WIDTH), GatedDense(GATED_WIDTH, GATED_WIDTH))


class Flat(nn.Identity):
    """The data themselves."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.features = event.size


def _dense(make: type[MLP | GatedMLP], event: Event, inputs: int, hidden: tuple[int, ...], count: int, p: float) -> Any:
    return make(inputs, hidden, event.size * count, p)


def _image(residual: bool, event: Event, inputs: int, hidden: tuple[int, ...], count: int, p: float) -> Any:
    return ImageDecoder(event, inputs, count, residual, p)


ENCODERS: Mapping[str, Callable[[Event], Any]] = {
    "mlp": Flat,
    "gated": GatedEncoder,
    "conv": ImageEncoder,
    "resnet": partial(ImageEncoder, residual=True),
}
"""From scaled flat data ``(n, event.size)`` to ``(n, features)``, before the layers of whoever asks."""
DECODERS: Mapping[str, Callable[[Event, int, tuple[int, ...], int, float], Any]] = {
    "mlp": partial(_dense, MLP),
    "gated": partial(_dense, GatedMLP),
    "conv": partial(_image, False),
    "resnet": partial(_image, True),
}
"""From an event, inputs, widths of hidden layers (convolutions have their own), outputs of each entry and dropout to a
network with a layer ``out``."""
DENOISERS: Mapping[str, DenoiserKind] = {"residual": DenoiserKind(Denoiser, 5), "unet": DenoiserKind(UNet, 2)}
"""From an event, outputs of each entry, width, blocks and dropout to a network of noisy data and their noise."""

PIXEL_STACKS: Mapping[str, PixelStack] = {"shallow": PixelStack(5, False), "deep": PixelStack(30, True)}
"""The stacks of a pixel network."""

INTEGER_FLOWS: Mapping[str, bool] = {"mlp": False, "conv": True}
"""Whether the couplings of an integer flow are of channels, on several scales."""
COUPLINGS: Mapping[str, CouplingKind] = {
    "conv": CouplingKind(Convolutions, 1),
    "resnet": CouplingKind(ResidualConvolutions, 4),
}
"""From the image's shape, width, blocks, numbers of each entry and dropout to the network of a coupling."""

EncoderNet = Annotated[str, ENCODERS]
DecoderNet = Annotated[str, DECODERS]
DenoiserNet = Annotated[str, DENOISERS]
PixelNet = Annotated[str, PIXEL_STACKS]
CouplingNet = Annotated[str, COUPLINGS]
IntegerNet = Annotated[str, INTEGER_FLOWS]


def chosen(networks: Mapping[str, Any], name: str, event: Event) -> Any:
    """The network called ``name``; of ``auto``, the first for most data and the third, or the last, for large images.

    Raises:
        ZooError: another name, with the list.

    Example:
        >>> chosen({"mlp": 1, "gated": 2, "conv": 3}, "auto", Event((3, 8, 8), 256))
        3
        >>> chosen({"mlp": 1, "gated": 2, "conv": 3}, "rnn", Event((3, 8, 8), 256))
        Traceback (most recent call last):
        zoo.errors.ZooError: there is no net='rnn' here; net is auto, mlp, gated or conv
    """
    if name == "auto":
        names = list(networks)
        name = names[min(2, len(names) - 1)] if is_large_image(event) else names[0]
    if name not in networks:
        *most, last = ["auto", *networks]
        raise ZooError(f"there is no net={name!r} here; net is {', '.join(most)} or {last}")
    return networks[name]


def networks_of(make: Callable[..., Any]) -> list[str]:
    """The names of the networks that a family or a guide lets its user choose; empty for most.

    Args:
        make: of the declaration.
    """
    if "net" not in inspect.signature(make).parameters:
        return []
    annotation = inspect.signature(make, eval_str=True).parameters["net"].annotation
    return [*annotation.__metadata__[0]] if hasattr(annotation, "__metadata__") else []
