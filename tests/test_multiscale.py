"""The multi-scale RealNVP: what each coupling sees, what is factored out and when."""

import pytest
import torch
from draws import perturb
from torch.autograd.functional import jacobian

from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.flow import Flow
from zoo.flows.squeeze import Squeeze, channel_halves, checkerboard
from zoo.models.realnvp_conv import FactorOut, MaskedCoupling
from zoo.nn.images import Shape, image_shape
from zoo.pairs.build import build


def wild() -> Flow:
    """A flow of 4x4 real numbers in float64 that is far from the identity."""
    flow: Flow = build("realnvp-conv", Event((4, 4), "real"), {"hidden": 6}).extras.double().eval()
    perturb(flow.parameters(), 0.2)
    return flow


@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 4, 6)])
def test_a_squeeze_keeps_squares_together_and_inverts(shape: Shape) -> None:
    channels, height, width = shape
    h = torch.arange(2.0 * channels * height * width).reshape(2, -1)
    image, (small, _) = h.reshape(2, *shape), Squeeze(shape)(h)
    assert torch.equal(Squeeze(shape).inverse(small), h)
    squares = small.reshape(2, channels, 4, height // 2, width // 2)
    for place, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        assert torch.equal(squares[:, :, place], image[:, :, row::2, column::2])


def test_masks() -> None:
    assert checkerboard((2, 2, 3)).reshape(2, 2, 3).tolist() == [[[0, 1, 0], [1, 0, 1]]] * 2
    assert channel_halves((4, 1, 2)).reshape(4, 2).tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_images_have_at_most_three_axes() -> None:
    assert image_shape(Event(5, "real")) == (1, 1, 5)
    assert image_shape(Event((3, 5), "real")) == (1, 3, 5)
    for name in ("realnvp-conv", "convexp"):
        with pytest.raises(ZooError, match="an image has shape"):
            build(name, Event((2, 2, 2, 2), "real"))


@pytest.mark.parametrize("shape", [(8, 6, 3), (28, 28, 1), (8, 8, 4)])
def test_channels_that_are_last_are_refused(shape: Shape) -> None:
    for name in ("realnvp-conv", "convexp"):
        with pytest.raises(ZooError, match=f"move them first.* gives {shape[2]}x{shape[0]}x{shape[1]}"):
            build(name, Event(shape, 256))
    assert image_shape(Event((8, 3, 3), "real")) == (8, 3, 3)


@torch.no_grad()
def sizes(steps: torch.nn.ModuleList) -> list[tuple[str, int]]:
    """The image shape of each coupling, and how many dimensions it sees."""
    found: list[tuple[str, int]] = []
    for step in steps:
        if isinstance(step, MaskedCoupling):
            found.append((str(step.net.shape), int(step.seen.sum())))  # type: ignore[arg-type,union-attr] # a module list
        if isinstance(step, FactorOut):
            found += sizes(step.steps)
    return found


def test_three_scales_of_an_image_of_eight_by_eight() -> None:
    steps = build("realnvp-conv", Event((8, 8), 17), {"couplings": 2, "hidden": 2}).extras.steps
    first = [("(1, 8, 8)", 32)] * 2 + [("(4, 4, 4)", 32)] * 2
    second = [("(2, 4, 4)", 16)] * 2 + [("(8, 2, 2)", 16)] * 2
    assert sizes(steps) == [*first, *second, *[("(4, 2, 2)", 8)] * 3]


@torch.no_grad()
def test_half_of_the_dimensions_is_done_after_a_scale() -> None:
    flow = wild()
    out = next(step for step in flow.steps if isinstance(step, FactorOut))
    h = torch.randn(3, 16, dtype=torch.float64)
    moved, _ = out(h)
    assert torch.equal(moved[:, :8], h[:, :8])
    assert (moved[:, 8:] != h[:, 8:]).all()
    other, _ = out(torch.cat([h[:, :8] + 1, h[:, 8:]], 1))
    assert torch.equal(other[:, 8:], moved[:, 8:])


def test_a_coupling_moves_what_it_does_not_see_given_what_it_sees() -> None:
    flow = wild()
    for step in flow.steps:
        if not isinstance(step, MaskedCoupling):
            continue
        seen, h = step.seen.bool(), torch.randn(16, dtype=torch.float64)
        slope = jacobian(lambda v, step=step: step(v[None])[0][0], h)  # type: ignore[misc] # mypy cannot infer a lambda's default
        assert torch.equal(slope[seen], torch.eye(16, dtype=torch.float64)[seen])
        own = slope[~seen][:, ~seen]
        assert torch.equal(own, own.diagonal().diag())
        assert (own.diagonal() > 0).all()
        assert (slope[~seen][:, seen] != 0).any(1).all()
