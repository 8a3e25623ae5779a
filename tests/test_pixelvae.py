"""The VAE with an autoregressive decoder: what a pixel depends on, and that draws follow the density."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from draws import every, perturb
from torch import Tensor

from zoo.distributions.autoregressive import Autoregressive, whole_passes
from zoo.errors import ZooError
from zoo.event import Event
from zoo.models.pixelvae import Masked
from zoo.pairs.build import build
from zoo.pairs.traces import capabilities
from zoo.seeding import seeded

EVENT = Event((3, 4), 3)
SMALL = {"latent": 2, "width": 6, "hidden": 8, "guide.hidden": 8}


def pixelvae(event: Event = EVENT, **hyper: Any) -> Any:
    """The family's module with perturbed parameters, in double precision and evaluation mode."""
    with seeded(1), torch.no_grad():
        made: Any = build("pixelvae", event, SMALL | hyper, seed=1).extras
        made.double().eval()
        perturb(made.parameters(), 0.4)
    return made


def z(n: int) -> Tensor:
    with seeded(5):
        return torch.randn(n, 2, dtype=torch.float64)


def test_a_pixel_depends_on_earlier_pixels_and_all_of_z() -> None:
    made, n = pixelvae(reach=3, blocks=3), EVENT.size
    x = torch.rand(1, 3, 4, dtype=torch.float64) * 2

    def outputs(flat: Tensor, latent: Tensor) -> Tensor:
        painted = made.paint(latent).reshape(1, 6, 3, 4)
        return made.logits(flat.reshape(1, 3, 4), painted).reshape(n, -1).sum(1)

    inner, upon_z = torch.autograd.functional.jacobian(outputs, (x.reshape(-1), z(1)))
    assert (inner.abs().triu() == 0).all(), "no pixel sees itself or a later one"
    near = inner.abs()[1:].diagonal() > 0
    assert near[[i for i in range(n - 1) if (i + 1) % 4]].all(), "the pixel to the left is seen"
    assert (inner[4:].diagonal() != 0).all(), "and the one above"
    assert (upon_z.abs() > 0).all(), "every pixel depends on all of z"


def test_given_z_the_probabilities_of_all_data_sum_to_one() -> None:
    event = Event((2, 2), 3)
    made = pixelvae(event)
    for one in z(2):
        with torch.no_grad():
            value = made.likelihood(one.expand(3**4, 2)).log_prob(every(event))
        assert float(value.exp().sum()) == pytest.approx(1, abs=1e-9)


def test_samples_follow_the_density_given_z() -> None:
    """Sampled pixel by pixel, each datum by its own z: the shares of all data are their probabilities."""
    event, n = Event((1, 2), 3), 6000
    made, latents = pixelvae(event), z(2) * 2
    with torch.no_grad(), seeded(0):
        x = made.likelihood(latents.repeat(n, 1)).sample().reshape(n, 2, 2)
        shares = torch.stack([(x == one.reshape(2)).all(-1).double().mean(0) for one in every(event)])
        expected = torch.stack([made.likelihood(one.expand(9, 2)).log_prob(every(event)).exp() for one in latents], 1)
    assert ((shares - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt() + 1e-9).all()
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 0.05  # or the test could not tell one z from the other


def test_masks_keep_the_earlier_pixels() -> None:
    assert Masked(1, 1, 3, centre=False).mask.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert Masked(1, 1, 3, centre=True).mask.tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]


def test_it_is_a_bound_with_one_latent() -> None:
    can = capabilities(build("pixelvae", EVENT, SMALL))
    assert (can.likelihood, can.latents, can.lossless) == ("bound", {"z": (2,)}, True)
    assert build("pixelvae+iaf:prior=flow,latent=2,width=6", EVENT).label == "pixelvae+iaf:prior=flow,latent=2,width=6"


def test_it_starts_from_the_marginals() -> None:
    made: Any = build("pixelvae", EVENT, SMALL).extras
    x = torch.zeros(50, 3, 4)
    x[:, 0, 0] = 2.0
    made.initialise(x)
    assert made.bias.argmax(0).flatten().tolist() == [2] + [0] * 11


def test_only_images_fit() -> None:
    assert build("pixelvae", Event((1, 3, 4), 3), SMALL)
    for shape in ((12,), (3, 4, 4, 4)):
        with pytest.raises(ZooError, match="pixelvae needs an image of shape"):
            build("pixelvae", Event(shape, 3), SMALL)


@pytest.mark.thorough
def test_passes_over_the_part_that_a_pixel_depends_on_draw_the_same() -> None:
    """As whole passes do, on an image that is much larger than the part."""
    made, n = pixelvae(Event((2, 9, 11), 3), reach=1, blocks=1), 3
    with torch.no_grad():
        whole = made.likelihood(z(n))
        painted = made.paint(z(n)).reshape(n, made.width, *made.grid)
        with seeded(0):
            naive = Autoregressive(whole.event, whole.logits, whole_passes(whole.event, whole.logits, z(n)), (n,))
            expected = naive.sample()
        with seeded(0):
            drawn = Autoregressive(whole.event, whole.logits, partial(made._windows, painted=painted), (n,)).sample()
    assert torch.equal(drawn, expected)
