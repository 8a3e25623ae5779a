"""The user's own files, in every form that they may have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zoo.data import Dataset, load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build, find
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import datasets, evaluations, families, guides, priors
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_weights
from zoo.seeding import seeded
from zoo.training.loop import fit

REGISTERING = '''
import pyro
import pyro.distributions as dist
from torch import nn
import zoo

@zoo.family("mine-a", group="prescribed", supports=("binary",))
class A(nn.Module):
    """Biased coins."""
    def __init__(self, event, *, bias=0.0):
        super().__init__()
        self.logits = nn.Parameter(bias + 0 * __import__("torch").zeros(event.shape))
    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(logits=self.logits).to_event(self.logits.dim()), obs=x)

@zoo.family("mine-b", guide="normal")
class B(nn.Module):
    """One latent with a guide from the shelf."""
    def __init__(self, event):
        super().__init__()
        self.event = event
        self.decoder = nn.Linear(2, event.size * zoo.distributions.parameters_per_entry(event))
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1).to_event(1))
            pyro.sample("x", zoo.likelihood(self.event, self.decoder(z).reshape(len(x), *self.event.shape, -1)), obs=x)
'''

BARE = '''"""Bits by factor analysis."""
import pyro
import pyro.distributions as dist
import torch
import zoo
from pyro.distributions import constraints

event = zoo.Event(64, "binary")
decoder, encoder = torch.nn.Linear(2, 64), torch.nn.Linear(64, 2)
recipe = {"steps": 7}

def model(x):
    pyro.module("decoder", decoder)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

def guide(x):
    pyro.module("encoder", encoder)
    scale = pyro.param("scale", torch.ones(2), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(encoder(x), scale).to_event(1))
'''

# The variational auto-encoder of Pyro's examples, which does not know of the zoo.
PYRO_VAE = """
import pyro
import pyro.distributions as dist
import torch
import torch.nn as nn


class Decoder(nn.Module):
    def __init__(self, z_dim, hidden_dim):
        super().__init__()
        self.hidden = nn.Linear(z_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, 784)
        self.softplus = nn.Softplus()

    def forward(self, z):
        return torch.sigmoid(self.out(self.softplus(self.hidden(z))))


class Encoder(nn.Module):
    def __init__(self, z_dim, hidden_dim):
        super().__init__()
        self.hidden = nn.Linear(784, hidden_dim)
        self.loc = nn.Linear(hidden_dim, z_dim)
        self.log_scale = nn.Linear(hidden_dim, z_dim)
        self.softplus = nn.Softplus()

    def forward(self, x):
        hidden = self.softplus(self.hidden(x.reshape(-1, 784)))
        return self.loc(hidden), torch.exp(self.log_scale(hidden))


class VAE(nn.Module):
    def __init__(self, z_dim=5, hidden_dim=20):
        super().__init__()
        self.encoder = Encoder(z_dim, hidden_dim)
        self.decoder = Decoder(z_dim, hidden_dim)
        self.z_dim = z_dim

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = torch.zeros(x.shape[0], self.z_dim, dtype=x.dtype, device=x.device)
            z_scale = torch.ones(x.shape[0], self.z_dim, dtype=x.dtype, device=x.device)
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = self.decoder(z)
            pyro.sample("obs", dist.Bernoulli(loc_img, validate_args=False).to_event(1), obs=x.reshape(-1, 784))
            return loc_img

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))


if __name__ == "__main__":
    raise SystemExit("not when it is imported")
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def made_up(event: Event, n: int = 60) -> Dataset:
    with seeded(0):
        x = torch.rand(n, *event.shape) < 0.2
    x = x.float()
    return Dataset("made up", event, x, x[:20], x[:20], "made up")


def trains(name: str, data: Dataset) -> None:
    """Twenty steps lower the score, and the pair can be sampled from and scored."""
    event = find(name)[0].event or data.event
    pair = build(name, event)
    progress = fit(pair, data, {"steps": 20, "batch": 30, "lr": 1e-2, "checkpoints": 20})
    assert progress.status == "finished"
    assert progress.best_score < progress.history[0]["validation"]
    assert sample(pair, 3).shape == (3, *event.shape)
    assert log_weights(pair, data.test.reshape(-1, *event.shape)).shape == (20,)


@pytest.mark.parametrize("name", ["mine-a", "mine-b", "mine-b+planar"])
def test_a_file_may_register_families(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, "two.py", REGISTERING)
    assert load_families([path, path]) == ["mine-a", "mine-b"] * 2
    assert "two" not in families
    assert families["mine-a"].doc == "Biased coins."
    trains(name, made_up(Event((4, 4), "binary")))


def test_a_file_may_simply_define_model_and_guide(tmp_path: Path) -> None:
    assert load_families([write(tmp_path, "bare.py", BARE)]) == ["bare"]
    entry = families["bare"]
    assert (entry.event, entry.recipe, entry.doc) == (Event(64, "binary"), {"steps": 7}, "Bits by factor analysis.")
    can = capabilities(build("bare", Event((8, 8), "binary")))
    assert (can.likelihood, can.latents, can.observed, can.lossless) == ("bound", {"z": (2,)}, ("x",), True)
    trains("bare", made_up(Event((8, 8), "binary")))  # 8x8 data for a program that wants 64 numbers


def test_parameters_are_drawn_with_the_seed_of_each_pair(tmp_path: Path) -> None:
    load_families([write(tmp_path, "bare.py", BARE)])
    one, same, other = (build("bare", Event(64, "binary"), seed=seed).state() for seed in (0, 0, 1))
    name = "decoder.weight"
    assert torch.equal(one[name], same[name])
    assert one[name].data_ptr() != same[name].data_ptr()
    assert not torch.equal(one[name], other[name])


@pytest.mark.thorough
@pytest.mark.parametrize("event", [Event((28, 28), "binary"), Event(784, "binary")])
def test_pyros_own_example_works_as_published(tmp_path: Path, event: Event) -> None:
    assert load_families([write(tmp_path, "vae_example.py", PYRO_VAE)]) == ["vae_example"]
    can = capabilities(build("vae_example", event))
    assert (can.likelihood, can.latents, can.observed, can.output) == ("bound", {"latent": (5,)}, ("obs",), "obs")
    trains("vae_example", made_up(event))


def test_a_file_without_latents_needs_no_guide(tmp_path: Path) -> None:
    text = BARE.partition("def guide")[0].replace("sample(\"z\"", "deterministic(\"z\"").replace(
        "dist.Normal(x.new_zeros(2), 1.0).to_event(1))", "x.new_ones(len(x), 2), event_dim=1)"
    )  # fmt: skip
    load_families([write(tmp_path, "exact.py", text)])
    assert capabilities(build("exact", Event(64, "binary"))).likelihood == "exact"
    trains("exact", made_up(Event(64, "binary")))


OTHERS = """
import torch, zoo
zoo.guide("mine")(object)
zoo.prior("mine")(object)
zoo.evaluation("mine")(lambda runs, settings: [])

@zoo.dataset("mine")
def mine(data_dir):
    '''Ones where there is no folder.'''
    split = torch.full((3, 2), 0.0 if data_dir else 1.0)
    return zoo.Dataset("mine", zoo.Event(2, "binary"), split, split, split, "made up")
"""


def test_a_file_may_register_anything_but_families(tmp_path: Path) -> None:
    path = write(tmp_path, "others.py", OTHERS)
    assert load_families([path, path]) == []
    assert [registry.file("mine") for registry in (guides, priors, evaluations, datasets)] == [path] * 4
    assert datasets["mine"].about == "Ones where there is no folder."
    assert [load_data("mine", data_dir=folder).test.mean() for folder in (None, tmp_path)] == [1, 0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return zoo.Dataset(", "return (", "should return a zoo.Dataset, got tuple"),
        ('Dataset("mine", ', 'Dataset("other", ', "should have that name, got 'other'"),
        ("torch.full((3, 2)", "torch.full((3, 3)", r"float32 of shape \(n, 2\), got torch.float32 of shape \(3, 3\)"),
        ("if data_dir else 1.0", "if data_dir else 1.0, dtype=torch.double", "got torch.float64 of shape"),
    ],
)
def test_a_data_set_of_another_kind_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    load_families([write(tmp_path, "others.py", OTHERS.replace(old, new))])
    with pytest.raises(ZooError, match=message):
        load_data("mine")


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "neighbour_of_bare.py", "SIZE = 64\n")
    text = BARE.replace('zoo.Event(64, "binary")', 'zoo.Event(SIZE, "binary")')
    path = write(tmp_path, "bare.py", "from neighbour_of_bare import SIZE\n" + text)
    assert load_families([path]) == ["bare"]


TWO_CLASSES = PYRO_VAE + "\n\nclass Another(VAE):\n    pass\n"
NEEDS_ARGUMENTS = PYRO_VAE.replace("z_dim=5, hidden_dim=20", "z_dim, hidden_dim")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken.py", "def model(x:\n", r"broken\.py does not run: SyntaxError"),
        ("raises.py", "1 / 0\n", r"raises\.py does not run: ZeroDivisionError"),
        ("empty.py", "x = 1\n", "it does neither"),
        ("two_classes.py", TWO_CLASSES, "2 classes with model and guide; name one"),
        ("needs.py", NEEDS_ARGUMENTS, "VAE should be made without arguments"),
        ("event.py", BARE.replace('zoo.Event(64, "binary")', '"64:binary"'), "`event` should be a zoo.Event, got str"),
        ("group.py", BARE + 'group = "best"\n', "`group` is one of .*; got 'best'"),
        ("vae.py", BARE, "family 'vae' is already registered"),
        ("clash.py", REGISTERING.replace("mine-b", "vae"), "family 'vae' is already registered"),
        ("notes.txt", "hello", "its name should end in .py"),
        ("nowhere.py", None, r"nowhere\.py is not there"),
    ],
)
def test_a_wrong_file_is_named_with_its_mistake(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    path = tmp_path / name if text is None else write(tmp_path, name, text)
    with pytest.raises(ZooError, match=message):
        load_families([path])


def test_a_file_that_failed_leaves_nothing_behind(tmp_path: Path) -> None:
    before = {entry.name for entry in families}
    with pytest.raises(ZooError, match="does not run"):
        load_families([write(tmp_path, "half.py", REGISTERING + "\n1 / 0\n")])
    assert {entry.name for entry in families} == before
