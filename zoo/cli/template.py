"""The starting file of a person's own family: what `zoo new` writes."""

from __future__ import annotations

import keyword

from zoo.errors import ZooError


def starting_file(name: str) -> str:
    """The text of a file that declares a small family called ``name``; it passes `zoo check` as it is.

    Raises:
        ZooError: a name that cannot be written as a Python name, or that a class could not take.
    """
    plain = name.replace("-", "_")
    if not (plain.isascii() and plain.isidentifier()) or keyword.iskeyword(plain) or plain.startswith("_"):
        raise ZooError(
            f"a family's name is made of letters, digits, - and _, begins with a letter and is no word of "
            f"Python's own, such as my_vae; got {name!r}"
        )
    return TEXT.replace("@NAME@", name).replace("@CLASS@", _class_name(plain))


def _class_name(name: str) -> str:
    given = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return f"{given}Family" if given in TAKEN or keyword.iskeyword(given) else given


TAKEN = frozenset({"Event", "Tensor"})
"""What the file imports."""

TEXT = '''"""@NAME@: say in a sentence what this model is."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from zoo.distributions import likelihood, parameters_per_entry
from zoo.event import Event
from zoo.pairs.registry import family


@family(
    "@NAME@",
    group="prescribed",  # its row in the table: autoregressive, flow, implicit, prescribed, energy or diffusion
    paper="",  # who thought of it, and where to read about it
    recipe={"steps": 1000, "batch": 100, "lr": 2e-3, "schedule": "onecycle"},  # `zoo train` goes by this
)
class @CLASS@(nn.Module):
    """What it is, in one line.

        z ~ N(0, I_L)                        latent, shape (L,)
        x ~ p(x | f(z))                      data; binary: Bernoulli, levels: categorical, real: normal
        q(z | x) = N(m(x), diag s(x)^2)      guide

    Args:
        event: one datum; ``event.shape``, and its support ``event.levels`` (``None`` for real data).
        latent: L.
        hidden: width of the one hidden layer of f and of (m, s).
    """

    def __init__(self, event: Event, *, latent: int = 8, hidden: int = 128) -> None:
        super().__init__()
        self.event, self.latent = event, latent
        outputs = event.size * parameters_per_entry(event)
        self.scale = 1.0 if event.levels is None else 1.0 / (event.levels - 1)  # brings levels into [0, 1]
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, outputs))
        self.encoder = nn.Sequential(nn.Linear(event.size, hidden), nn.SiLU(), nn.Linear(hidden, 2 * latent))

    def model(self, x: Tensor) -> Tensor:
        """How the data came about. ``x`` has shape ``(n, *event.shape)``; look at its values by ``obs=x`` only."""
        prior = dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1)  # x.new_zeros: on the device where x is
        with pyro.plate("data", len(x)):  # every site stands in here: the data are independent
            z = pyro.sample("z", prior)
            f = self.decoder(z).reshape(len(x), *self.event.shape, -1)
            return pyro.sample("x", likelihood(self.event, f), obs=x)

    def guide(self, x: Tensor) -> None:
        """What the latents may have been, given the data: the same sites as the model's latents."""
        mean, log_scale = self.encoder(self.scale * x.flatten(1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, log_scale.clamp(-7, 7).exp()).to_event(1))
'''
