"""The shelf of networks: each family with each of its networks, on small images in colours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from members import in_turn, small
from torch import Tensor

from zoo.codec import decode, encode
from zoo.contract.check import check
from zoo.data import Dataset
from zoo.distributions.colours import ColourMixture, count_of, spread_over_levels
from zoo.engine.objectives import elbo
from zoo.errors import ZooError
from zoo.event import Event
from zoo.files import read_tensors, write_json, write_tensors
from zoo.models.pixelcnn import PixelCNN
from zoo.nn.convolutional import ImageDecoder, ImageEncoder
from zoo.nn.networks import DECODERS, ENCODERS, chosen, networks_of
from zoo.nn.unet import UNet
from zoo.pairs.build import build, find
from zoo.pairs.declarations import SUPPORTS
from zoo.pairs.pair import HasInitialise, HasPlayers
from zoo.pairs.registry import families, guides, load_shelves
from zoo.pairs.sampling import sample
from zoo.pairs.traces import log_weights
from zoo.runs.config import DataSpec, configure
from zoo.runs.run import Run
from zoo.seeding import seeded

COLOURS = Event((3, 8, 8), 256)
load_shelves()


def members() -> list[str]:
    """Families of levels, each with each of its networks; guides with theirs, each on the VAE."""
    found = list[str]()
    for family in families:
        if "levels" in family.supports and family.group != "floor" and family.example is None:
            nets = networks_of(family.make)
            found += [f"{family.name}:net={net}" for net in nets] or [family.name]
    of_guides = [(guide.name, guide.space, net) for guide in guides for net in networks_of(guide.make)]
    return found + [f"vae+{name}:guide.net={net}" for name, space, net in of_guides if space == "real" and net != "mlp"]


def images(n: int, event: Event = COLOURS) -> Tensor:
    return torch.randint(event.levels or 2, (n, *event.shape)).float()


@pytest.mark.parametrize("name", members())
def test_a_gradient_step_and_a_draw_of_small_images_in_colours(name: str) -> None:
    with seeded(0):
        pair, x = build(name, COLOURS, small(name)), images(4)
        if isinstance(pair.extras, HasInitialise):
            with torch.no_grad():
                pair.extras.initialise(x)
        if isinstance(pair.extras, HasPlayers):
            for player in pair.extras.players():
                grads = torch.autograd.grad(player.loss(x), list(player.parameters), allow_unused=True)
                assert all(grad.isfinite().all() for grad in grads if grad is not None)
        else:
            loss, _ = elbo(1, 100)(pair, x, 1.0)
            grads = torch.autograd.grad(loss, pair.parameters(), allow_unused=True)
            assert all(grad is not None and grad.isfinite().all() for grad in grads)
        drawn = sample(pair, 2)
    assert drawn.shape == (2, 3, 8, 8)
    assert torch.equal(drawn, drawn.round().clamp(0, 255))


NAMED = [name for name in members() if ":net=" in name]


@pytest.mark.thorough
@pytest.mark.parametrize("name", in_turn(NAMED, lambda name: name.partition(":")[0]))
def test_the_contract_holds_on_images_in_few_colours(name: str) -> None:
    """Of every network; the first of each family is swept on grey images too (tests/test_laws.py)."""
    findings = check(name, Event((3, 4, 4), 3), small(name))
    assert [finding for finding in findings if finding.ok is False] == []


@pytest.mark.parametrize("family", sorted({name.partition(":")[0] for name in NAMED}))
def test_a_wrong_name_is_refused_with_the_list(family: str) -> None:
    with pytest.raises(
        ZooError, match=rf"no net='rnn' here; net is auto, {', '.join(networks_of(find(family)[0].make)[:-1])}"
    ):
        build(family, COLOURS, {"net": "rnn"})


@pytest.mark.thorough
def test_small_grey_images_keep_the_first_network() -> None:
    """So that the measured table and saved weights stay."""
    for name in sorted({name.partition(":")[0] for name in NAMED}):
        first, *_ = networks_of(find(name)[0].make)
        for event in (Event((8, 8), 17), Event((28, 28), 256)):
            ours, theirs = (build(name, event, small(name) | given).state() for given in ({}, {"net": first}))
            assert ours.keys() == theirs.keys(), name


def test_the_guide_takes_the_familys_network_unless_it_has_its_own() -> None:
    def of(name: str) -> tuple[str, str]:
        pair = build(name, Event((8, 8), 17))
        return type(pair.extras.decoder.net).__name__, type(pair.modules["AmortizedGuide"].features).__name__  # type: ignore[attr-defined]

    assert of("vae") == ("MLP", "Flat")
    assert of("vae:net=conv") == ("ImageDecoder", "ImageEncoder")
    assert of("vae:net=gated,guide.net=resnet") == ("GatedMLP", "ImageEncoder")
    assert of("vae+iaf:guide.net=gated") == ("MLP", "GatedEncoder")


@pytest.mark.parametrize("shape", [(5, 7), (3, 9, 6), (1, 4, 4)])
@pytest.mark.parametrize("net", ["conv", "resnet"])
def test_convolutions_of_odd_sides(shape: tuple[int, ...], net: str) -> None:
    event = Event(shape, 5)
    assert chosen(DECODERS, net, event)(event, 3, (), 2, 0.1)(torch.zeros(2, 4, 3)).shape == (2, 4, 2 * event.size)
    encoder = chosen(ENCODERS, net, event)(event)
    assert encoder(torch.zeros(4, event.size)).shape == (4, encoder.features)
    assert UNet(event, 2, 6, 1)(torch.zeros(4, event.size), torch.zeros(4)).shape == (4, event.size, 2)


def test_every_entry_of_an_image_is_seen_by_the_encoder_and_the_denoiser() -> None:
    event = Event((3, 9, 9), 5)
    x = torch.randn(1, event.size, requires_grad=True)
    unet = UNet(event, 1, 8, 1)
    torch.nn.init.normal_(unet.last[-1].weight)
    for out in (ImageEncoder(event, residual=True)(x), unet(x, torch.zeros(1))):
        (grad,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), x)
        assert (grad != 0).all()


def test_a_decoders_outputs_stand_by_entry() -> None:
    """``count`` numbers of each entry together, as a likelihood takes them: the bias of one moves one."""
    decoder = ImageDecoder(Event((3, 4, 4), 5), 2, 2)
    before = decoder(torch.zeros(1, 2)).reshape(3, 4, 4, 2).detach()
    with torch.no_grad():
        decoder.out.bias.view(3, 4, 4, 2)[1, 2, 3, 1] += 1
    moved = decoder(torch.zeros(1, 2)).reshape(3, 4, 4, 2).detach() - before
    assert float(moved[1, 2, 3, 1]) == pytest.approx(1)
    assert float(moved.abs().sum()) == pytest.approx(1)


@pytest.mark.parametrize(("colours", "levels", "scale"), [(1, 7, 1.0), (2, 4, 3.0), (3, 3, 1.0), (3, 5, 30.0)])
def test_masses_of_a_pixel_sum_to_one(colours: int, levels: int, scale: float) -> None:
    """Also far from where any component is; and conditionals multiply to the joint mass."""
    with seeded(0):
        pixel = ColourMixture(scale * torch.randn(6, 4 * count_of(colours), dtype=torch.float64), colours, levels)
        every = torch.cartesian_prod(*[torch.arange(float(levels))] * colours).reshape(-1, colours).double()
        masses = pixel.expand((len(every), 6)).log_prob(every[:, None])
        torch.testing.assert_close(masses.exp().sum(0), torch.ones(6, dtype=torch.float64))
        x = pixel.sample()
        parts = [pixel.conditional(x.unbind(-1)[:colour]).log_softmax(-1) for colour in range(colours)]
        terms = [part.gather(-1, x[:, c, None].long())[:, 0] for c, part in enumerate(parts)]
        torch.testing.assert_close(torch.stack(terms).sum(0), pixel.log_prob(x))


def test_a_mixture_starts_near_the_marginals() -> None:
    counts = torch.tensor([0.0, 10.0, 90.0, 900.0, 0.0])
    start = spread_over_levels(counts, components=5, colours=1)
    masses = ColourMixture(start, 1, 5).log_prob(torch.arange(5.0)[:, None]).exp()
    assert masses.argmax() == 3
    assert masses[3] > 0.5


@pytest.mark.parametrize("net", ["shallow", "deep"])
def test_a_pixel_in_colours_depends_on_all_before_it_and_on_none_after(net: str) -> None:
    """In the order of rows, pixels and channels: red, then green given red, then blue given both."""
    event = Event((3, 4, 5), 4)
    with seeded(0):
        made = PixelCNN(event, net=net, width=8, blocks=4).double().eval()
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        x = images(1, event).double().movedim(1, -1).contiguous().requires_grad_()
        logits = made.logits(x).log_softmax(-1).reshape(event.size, -1)
        weights = torch.linspace(-1.0, 1.0, logits.shape[1], dtype=logits.dtype)
        rows = [torch.autograd.grad(q @ weights, x, retain_graph=True)[0].flatten() for q in logits[1:]]
    seen = torch.stack(rows) != 0
    assert torch.equal(seen, torch.ones(event.size - 1, event.size).tril().bool())


def test_integer_flows_of_channels_factor_out_half_on_each_level() -> None:
    made = build("idf", Event((3, 8, 8), 256), {"net": "conv"}).extras
    assert made.shapes == [(3, 8, 8), (6, 4, 4), (12, 2, 2), (24, 1, 1)]
    assert [given.size for given in made.given] == [96, 48, 24]
    with pytest.raises(ZooError, match="squeezes an image of even sides"):
        build("idf", Event((3, 5, 5), 256), {"net": "conv"})
    assert not build("idf", Event((3, 5, 5), 256)).extras.smooth


def test_integer_flows_of_channels_are_bijections() -> None:
    with seeded(0):
        pair = build("idf", Event((3, 4, 4), 5), {"net": "conv"})
        for parameter in pair.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        x = images(50, Event((3, 4, 4), 5)).flatten(1)
        flow: torch.nn.Module = pair.extras.flows[0].eval()
        z = flow(x)
    assert not torch.equal(z.sort(1).values, x.sort(1).values)
    assert torch.equal(flow.inv(z), x)  # type: ignore[operator] # a chain has an inverse
    assert torch.equal(z, z.round().clamp(0, 4))


def test_weights_of_a_bound_are_finite_in_colours() -> None:
    with seeded(0):
        pair = build("pixelvae", COLOURS, small("pixelvae"))
        assert log_weights(pair, images(2)).isfinite().all()


def test_the_sweeps_are_not_empty() -> None:
    assert len(NAMED) > 20
    assert {"levels"} <= set(SUPPORTS)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["pixelcnn:net=deep", "pixelrnn", "pixelvae:net=conv", "idf:net=conv", "vae:net=resnet"]
)
def test_images_in_colours_are_coded_without_loss(name: str) -> None:
    event = Event((3, 4, 4), 6)
    with seeded(0):
        pair, x = build(name, event, small(name)), images(5, event)
    assert torch.equal(decode(pair, encode(pair, x)), x)


def test_a_run_from_before_networks_were_chosen_loads(tmp_path: Path) -> None:
    """It has an MLP for colours, for which convolutions are the default now."""
    event = Event((3, 4, 4), 5)
    x = images(8, event)
    data = Dataset("old", event, x, x, x, "Made up.")
    hyper = {"hidden": 4, "latent": 2, "guide.hidden": 4}
    recipe = {"steps": 2, "checkpoints": 1, "engine": "eager"}
    spec = DataSpec(name="old")
    now = configure("vae", spec, data, hyper=hyper | {"net": "mlp"}, recipe=recipe)
    run = Run.of(now, tmp_path)
    run.train(now, data, "cpu")
    before = configure("vae", spec, data, hyper=hyper, recipe=recipe)
    old = Run.of(before, tmp_path)
    old.folder.mkdir(parents=True)
    weights, _ = read_tensors(run.folder / "weights.safetensors")
    write_tensors(old.folder / "weights.safetensors", weights, before.digest)
    write_json(old.folder / "config.json", {"config": before.model_dump(mode="json")})
    assert torch.equal(old.pair().state()["VAE.decoder.net.out.weight"], weights["VAE.decoder.net.out.weight"])
