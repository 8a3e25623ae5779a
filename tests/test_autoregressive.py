"""The autoregressive distribution, and the networks that give it its logits."""

from functools import partial
from typing import Any

import pytest
import torch
from draws import data, every
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.distributions.autoregressive import Autoregressive, CosineFeatures, draw, marginal_logits, whole_passes
from zoo.errors import ZooError
from zoo.event import Event
from zoo.models.pixelcnn import PixelCNN
from zoo.models.pixelrnn import PixelRNN
from zoo.models.wavenet import WaveNet
from zoo.seeding import seeded

DiagonalRNN = partial(PixelRNN, hidden=8, blocks=2)
RowRNN = partial(DiagonalRNN, kind="row")
EVERY = [WaveNet, PixelCNN, DiagonalRNN, RowRNN]
MAKERS = pytest.mark.parametrize("make", EVERY)
SMALL = Event((2, 2), 3)


def network(make: Any, event: Event, **hyper: Any) -> Any:
    """An untrained network in double precision, its output far from uniform, without dropout."""
    with seeded(0):
        net = make(event, width=8, **hyper).double().eval()
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return net


def distribution(net: Any, batch_shape: tuple[int, ...] = ()) -> Autoregressive:
    return Autoregressive(net.event, net.logits, net.stream, batch_shape)


def influence(net: Any, event: Event) -> Tensor:
    """Whether the logits of entry i depend on entry j of the data, shape ``(size, size)``."""
    x = data(event, 1, seed=1).requires_grad_()
    logits = net.logits(x).reshape(event.size, -1)
    weights = torch.linspace(-1.0, 1.0, logits.shape[1], dtype=logits.dtype)
    rows = [torch.autograd.grad(logits[i] @ weights, x, retain_graph=True)[0].flatten() for i in range(event.size)]
    return torch.stack(rows) != 0


@MAKERS
def test_the_mass_sums_to_one_and_draws_follow_it(make: Any) -> None:
    net = network(make, Event((2, 2), 2))
    masses = distribution(net).log_prob(every(net.event)).exp()
    assert masses.sum().item() == pytest.approx(1, abs=1e-10)
    assert masses.log().std() > 0.1
    with seeded(0):
        x = distribution(net, (20_000,)).sample()
    shares = (x.flatten(1).unsqueeze(1) == every(net.event).flatten(1)).all(2).double().mean(0)
    assert (shares - masses).abs().max() < 5 * 0.5 / 20_000**0.5


@MAKERS
def test_log_prob_is_the_sum_of_the_streams_conditionals(make: Any) -> None:
    event = Event((3, 4), 5)
    net, x = network(make, event), data(event, 6, seed=1)
    stream, entries = net.stream(len(x)), x.flatten(1).T
    logits = [next(stream)] + [stream.send(entry) for entry in entries[:-1]]
    terms = [q.log_softmax(-1).gather(1, entry.long()[:, None])[:, 0] for q, entry in zip(logits, entries, strict=True)]
    torch.testing.assert_close(distribution(net).log_prob(x), torch.stack(terms).sum(0))


@pytest.mark.parametrize(
    ("make", "event"),
    [
        (WaveNet, Event((8, 8), 17)),
        (PixelCNN, Event((8, 8), 17)),
        (WaveNet, Event(100, 3)),
        (partial(DiagonalRNN, reach=1, blocks=1), Event((8, 9), 3)),
    ],
)
def test_logits_depend_on_every_entry_before_and_on_none_after(make: Any, event: Event) -> None:
    seen = influence(network(make, event), event)
    assert torch.equal(seen, torch.ones(event.size, event.size).tril(-1).bool())


def test_pixelcnn_sees_all_of_its_receptive_field() -> None:
    """No blind spot: with B blocks all pixels up to 3 + B rows above, and up to as many columns to either side."""
    event, blocks = Event((9, 11), 3), 2
    seen = influence(network(PixelCNN, event, blocks=blocks), event).reshape(9, 11, 9, 11)
    field, (i, j) = 3 + blocks, (8, 5)
    rows, columns = torch.arange(9)[:, None], torch.arange(11)
    before = (rows < i) | ((rows == i) & (columns < j))
    assert torch.equal(seen[i, j], before & (rows >= i - field) & ((columns - j).abs() <= field))


def test_row_lstm_sees_a_triangle_above_the_pixel() -> None:
    event, blocks, reach = Event((6, 13), 3), 2, 1
    seen = influence(network(RowRNN, event, blocks=blocks, reach=reach), event).reshape(6, 13, 6, 13)
    (i, j), columns = (5, 7), torch.arange(13)
    above = i - torch.arange(6)[:, None]
    triangle = (columns >= j - above - blocks - reach) & (columns < j + above + reach)
    assert torch.equal(seen[i, j], torch.where(above > 0, triangle, (columns >= j - blocks - reach) & (columns < j)))


@pytest.mark.thorough
@settings(max_examples=20, deadline=None)
@given(
    make=st.sampled_from(EVERY),
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    levels=st.integers(2, 30),
    n=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_incremental_draws_equal_whole_passes(
    make: Any, shape: tuple[int, int], levels: int, n: int, seed: int
) -> None:
    event = Event(shape, levels)
    net = network(make, event)
    naive = Autoregressive(event, net.logits, whole_passes(event, net.logits, next(net.parameters())), (n,))
    with seeded(seed):
        quick = distribution(net, (n,)).sample()
    with seeded(seed):
        assert torch.equal(quick, naive.sample())


@MAKERS
def test_streams_do_not_disturb_each_other(make: Any) -> None:
    net = network(make, Event((3, 3), 4))
    x = data(net.event, 4, seed=1).flatten(1).T
    one, other = net.stream(4), net.stream(4)
    first, _ = next(one), next(other)
    for entry in x[:-1]:
        logits = one.send(entry)
        other.send(3 - entry)
    alone = net.stream(4)
    torch.testing.assert_close(next(alone), first)
    assert torch.equal([alone.send(entry) for entry in x[:-1]][-1], logits)


@MAKERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_have_the_networks_type(make: Any, dtype: torch.dtype) -> None:
    net = network(make, SMALL).to(dtype)
    x = distribution(net, (5,)).sample()
    assert (x.dtype, x.shape) == (dtype, (5, 2, 2))
    assert torch.equal(x, x.round().clamp(0, 2))
    assert distribution(net).log_prob(x).dtype == dtype


@pytest.mark.parametrize(
    ("make", "shape", "levels"),
    [(WaveNet, 1, 3), (WaveNet, (2, 3, 2), 3), (WaveNet, (1, 3, 4), 256), (PixelCNN, (1, 3, 4), 256)],
)
def test_any_number_of_axes_and_levels(make: Any, shape: Any, levels: int) -> None:
    made = distribution(network(make, Event(shape, levels)), (4,))
    x = made.sample()
    assert x.shape == (4, *made.event_shape)
    assert made.log_prob(x).isfinite().all()


@pytest.mark.parametrize("make", [PixelCNN, PixelRNN])
def test_pixel_networks_refuse_events_that_are_no_image(make: Any) -> None:
    with pytest.raises(ZooError, match=r"pixel.* height, width.*wavenet"):
        make(Event(64, 17))
    with pytest.raises(ZooError, match=r"likelihood=auto or mixture .* got 'categorical'"):
        make(Event((3, 8, 8), 17), likelihood="categorical")


def test_pixelrnn_refuses_an_unknown_kind() -> None:
    with pytest.raises(ZooError, match="kind=diagonal or row, got kind='column'"):
        PixelRNN(SMALL, kind="column")


def test_a_real_event_is_refused() -> None:
    net = network(WaveNet, SMALL)
    with pytest.raises(ZooError, match="binary data or integer levels"):
        Autoregressive(Event(2, "real"), net.logits, net.stream)


def test_values_outside_the_support_are_refused() -> None:
    net = network(WaveNet, SMALL)
    inside = distribution(net).support.check(torch.stack([torch.full((2, 2), value) for value in (0.0, 3.0, 0.5)]))
    assert inside.tolist() == [True, False, False]
    with pytest.raises(ValueError, match="support"):
        Autoregressive(SMALL, net.logits, net.stream, validate_args=True).log_prob(torch.full((2, 2), 3.0))


@MAKERS
def test_it_starts_as_independent_entries(make: Any) -> None:
    """Before the first step the logits lie near the training data's counts, one added to each."""
    event = Event((2, 3), 3)
    with seeded(0), torch.no_grad():
        net = make(event).eval()
        x = torch.randint(2, (500, 2, 3)).float()
        net.initialise(x)
        masses = net.logits(x).softmax(-1).mean(0)
    assert (masses[..., 2] < 0.02).all()
    assert ((masses[..., 0] - 0.5).abs() < 0.15).all()


def test_draws_invert_the_cumulative_distribution() -> None:
    logits = torch.tensor([0.5, 0.2, 0.3]).log().expand(30_000, 3)
    with seeded(0):
        u = torch.rand(30_000)
    with seeded(0):
        drawn = draw(logits)
    assert torch.equal(drawn, (u > 0.5).float() + (u > 0.7).float())


@pytest.mark.parametrize("levels", [2, 3, 17])
def test_cosine_features_keep_levels_equally_far_apart(levels: int) -> None:
    codes = CosineFeatures(Event(1, levels))(torch.arange(levels).float())
    distances = torch.cdist(codes, codes) + torch.eye(levels)
    off = ~torch.eye(levels, dtype=torch.bool)
    assert codes.shape == (levels, levels - 1)
    torch.testing.assert_close(distances[off], distances[off][0].expand(int(off.sum())), atol=1e-5, rtol=1e-5)


def test_levels_are_counted_within_memory() -> None:
    """As indicators, these data would take 33 GB."""
    event = Event((8, 8), 2**16)
    x = torch.arange(1000.0).reshape(-1, 1, 1).expand(-1, 8, 8) // 2
    found = marginal_logits(event, x)
    assert found.shape == (8, 8, 2**16)
    assert torch.allclose(found[..., 499].exp(), torch.tensor(3 / (1000 + 2**16)))
    assert torch.allclose(found[..., 500].exp(), torch.tensor(1 / (1000 + 2**16)))
