"""my_family: say in one sentence what this model is.

Next: zoo check my_family.py, then zoo train my_family.py
"""

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

import zoo


@zoo.family(
    "my_family",
    group="prescribed",  # its row in the table: autoregressive, flow, implicit, prescribed, energy or diffusion
    paper="",  # Author et al. year, arXiv:number
    recipe={"steps": 1000, "batch": 100, "lr": 2e-3, "schedule": "onecycle"},  # how it is trained by default
)
class MyFamily(nn.Module):
    """A VAE: z ~ N(0, I_L), x ~ p(x | f(z)), q(z | x) = N(m(x), diag s(x)^2); f and (m, s) are MLPs of one layer."""

    def __init__(self, event: zoo.Event, *, latent: int = 8, hidden: int = 128) -> None:
        super().__init__()
        self.event, self.latent = event, latent  # event.levels is None for real data
        outputs = event.size * zoo.parameters_per_entry(event)
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, outputs))
        self.encoder = nn.Sequential(nn.Linear(event.size, hidden), nn.SiLU(), nn.Linear(hidden, 2 * latent))

    def model(self, x: Tensor) -> Tensor:
        """Generate ``x``, shape ``(n, *event.shape)``; its values are read through ``obs=x`` only."""
        with pyro.plate("data", len(x)):  # every site is inside: the data are independent
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            parameters = self.decoder(z).reshape(len(x), *self.event.shape, -1)
            return pyro.sample("x", zoo.likelihood(self.event, parameters), obs=x)

    def guide(self, x: Tensor) -> None:
        """Approximate the posterior: the latent sites of the model, given ``x``."""
        mean, log_scale = self.encoder(x.flatten(1) / (self.event.levels or 1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, log_scale.clamp(-7, 7).exp()).to_event(1))
