"""The multi-scale RealNVP: what each coupling sees, what is factored out and when, and that all of it inverts."""

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.squeeze import Shape, Squeeze, channel_halves, checkerboard, image_shape
from zoo.models.realnvp_conv import FactorOut, MaskedCoupling
from zoo.pairs.build import build
from zoo.pairs.pair import Pair

EVENTS = [Event((4, 4), 5), Event((2, 4, 8), "real"), Event((3, 5), "binary"), Event(2, "real")]


def data(event: Event, n: int = 30) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if event.levels is None:
        return 3 + 2 * torch.randn(n, *event.shape, generator=generator, dtype=torch.float64)
    return torch.randint(event.levels, (n, *event.shape), generator=generator).double()


def wild(event: Event, strength: float = 0.2) -> Pair:
    """A flow in float64 that is far from the identity."""
    pair = build("realnvp-conv", event, {"hidden": 6})
    pair.extras.double().eval()
    pair.extras.initialise(data(event))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter += strength * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return pair


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
    with pytest.raises(ZooError, match="an image has shape"):
        build("realnvp-conv", Event((2, 2, 2, 2), "real"))
    with pytest.raises(ZooError, match="two or more dimensions"):
        build("realnvp-conv", Event(1, "real"))


@torch.no_grad()
def sizes(steps: torch.nn.ModuleList) -> list[tuple[str, int]]:
    """The kinds of the couplings of each scale with how many dimensions of it they see, and the rest's."""
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
    flow = wild(Event((4, 4), "real")).extras
    out = next(step for step in flow.steps if isinstance(step, FactorOut))
    h = torch.randn(3, 16, dtype=torch.float64)
    moved, _ = out(h)
    assert torch.equal(moved[:, :8], h[:, :8])
    assert (moved[:, 8:] != h[:, 8:]).all()
    other, _ = out(torch.cat([h[:, :8] + 1, h[:, 8:]], 1))
    assert torch.equal(other[:, 8:], moved[:, 8:])


def test_a_coupling_moves_what_it_does_not_see_by_what_it_sees() -> None:
    flow = wild(Event((4, 4), "real")).extras
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


@pytest.mark.parametrize(("spread", "tolerance"), [(0.0, 1e-8), (1e3, 1e-6)])
@pytest.mark.parametrize("event", EVENTS, ids=str)
@torch.no_grad()
def test_it_inverts(event: Event, spread: float, tolerance: float) -> None:
    flow, x = wild(event).extras, data(event).flatten(1)
    y = x + spread * torch.randn_like(x) if event.levels is None else x + torch.rand_like(x)
    z, _ = flow(y)
    assert (z - y).abs().mean() > 0.1
    torch.testing.assert_close(flow.inverse(z), y, rtol=0, atol=tolerance)


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_the_log_determinant_is_that_of_autograds_jacobian(event: Event) -> None:
    flow, x = wild(event).extras, data(event, 2).flatten(1)
    y = x if event.levels is None else x + 0.1 + 0.8 * torch.rand_like(x)
    for one, logdet in zip(y, flow(y)[1], strict=True):
        whole = jacobian(lambda v: flow(v[None])[0][0], one)
        torch.testing.assert_close(logdet, torch.linalg.slogdet(whole).logabsdet, rtol=0, atol=1e-8)
