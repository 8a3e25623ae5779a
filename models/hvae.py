"""A variational auto-encoder with two layers of latents."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.event import Event
from zoo.nn.amortised import RAW_UNIT_SCALE, diagonal_normal, scaled
from zoo.nn.decoder import Decoder
from zoo.nn.dropout import Dropout
from zoo.nn.mlp import MLP
from zoo.nn.networks import ENCODERS, DecoderNet, chosen
from zoo.pairs.registry import family


@family(
    "hvae",
    group="prescribed",
    paper="Sønderby et al. 2016, arXiv:1602.02282; the guide's residual form, Vahdat & Kautz 2020, arXiv:2007.03898",
    recipe={
        "steps": 1000,
        "batch": 100,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.1,
        "schedule": "onecycle",
        "average": 0.99,
        "checkpoints": 20,
        "patience": 4,
    },
)
class HVAE(nn.Module):
    """Hierarchical VAE whose model and guide both draw from the top down.

        z2 ~ N(0, I)                                         q(z2 | x) = N(a(r), diag b(r)^2), r = r(x)
        z1 | z2 ~ N(m(z2), diag s(z2)^2)                     q(z1 | x, z2) = N(m + s d(r, z2), diag (s c(r, z2))^2)
        x | z1, z2 ~ p(x; f(z1, z2)), entries independent

    The guide draws z2 first and then z1, shifted by d and scaled by c from the model's own p(z1 | z2). So the
    Kullback-Leibler term of z1 depends on d and c alone, and an uninformative layer can switch itself off: d = 0,
    c = 1. The likelihood p(x; f) depends on the event's support (`zoo.nn.decoder.Decoder`).

    Args:
        event: any shape and support.
        net: of f, and what r is computed from: ``mlp``, ``gated``, ``conv`` or ``resnet`` (`zoo.nn.networks`).
        top: dimensions of z2.
        bottom: dimensions of z1.
        hidden: width of all networks; the decoder has two such layers, the encoder one of twice that width.
        dropout: share of hidden units dropped in training; half of it in the guide.

    Reference:
        Sønderby et al. 2016, arXiv:1602.02282, section 2; for the guide Vahdat & Kautz 2020, arXiv:2007.03898,
        section 3.2.
    """

    def __init__(
        self,
        event: Event,
        *,
        net: DecoderNet = "auto",
        top: int = 8,
        bottom: int = 16,
        hidden: int = 512,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.event, self.top = event, top
        self.between = MLP(top, (hidden,), 2 * bottom, dropout)
        self.decoder = Decoder(event, top + bottom, (hidden, hidden), dropout, net=net)
        self.features = chosen(ENCODERS, net, event)(event)
        self.encoder = nn.Sequential(nn.Linear(self.features.features, 2 * hidden), nn.SiLU(), Dropout(dropout / 2))
        self.guide_top = nn.Linear(2 * hidden, 2 * top)
        self.guide_bottom = MLP(2 * hidden + top, (hidden,), 2 * bottom, dropout / 2)

    def model(self, x: Tensor) -> Any:
        """Draw z2, z1 and x for each datum, observing ``x`` of shape ``(n, *event.shape)``."""
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(self.top), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(*self.conditional(z2)).to_event(1))
            return pyro.sample("x", self.decoder(torch.cat([z1, z2], -1)), obs=x)

    def guide(self, x: Tensor) -> None:
        """Draw z2 and z1 given ``x``."""
        r = self.encoder(self.features(scaled(self.event, x)))
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", diagonal_normal(*self.guide_top(r).chunk(2, -1)))
            loc, scale = self.conditional(z2)
            shift, raw = self.guide_bottom(torch.cat([r, z2], -1)).chunk(2, -1)
            pyro.sample(
                "z1", dist.Normal(loc + scale * shift, scale * (softplus(raw + RAW_UNIT_SCALE) + 1e-5)).to_event(1)
            )

    def conditional(self, z2: Tensor) -> tuple[Tensor, Tensor]:
        """m and s of p(z1 | z2)."""
        loc, raw = self.between(z2).chunk(2, -1)
        return loc, softplus(raw + RAW_UNIT_SCALE) + 1e-3

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of the training data ``x``, shape ``(n, *event.shape)``."""
        self.decoder.initialise(x)
