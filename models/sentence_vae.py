"""The VAE of sentences: one latent vector for a whole sequence, with an LSTM on either side."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from zoo.event import Event
from zoo.nn.amortised import diagonal_normal
from zoo.nn.lstm import LSTM_RECIPE, LSTMDecoder, LSTMEncoder
from zoo.pairs.registry import family

PAPER = "Bowman et al. 2016, arXiv:1511.06349"


@family(
    "sentence-vae-freebits",
    group="prescribed",
    paper=f"{PAPER}; Kingma et al. 2016, arXiv:1606.04934",
    supports=("binary", "levels"),
    recipe=LSTM_RECIPE | {"free_bits": 4.0},
)
@family(
    "sentence-vae",
    group="prescribed",
    paper=PAPER,
    supports=("binary", "levels"),
    recipe=LSTM_RECIPE | {"kl_warmup": 500},
)
class SentenceVAE(nn.Module):
    """A latent vector of a whole sequence, and entries in order given it and those before them.

        z ~ N(0, I_L)
        x_i | z, x_1, ..., x_{i-1} ~ Categorical(softmax(b + E A h_i)),  h_i = LSTM(E[x_{i-1}] + e_i + C z, h_{i-1})
        q(z | x) = N(m(g), diag s(g)^2),  g the last state of an LSTM that reads x

    The decoder can do without z, and then the posterior is the prior: KL 0, as after plain training, even with the KL
    term annealed (``kl_warmup``). The objective's ``free_bits`` keep the KL up: ``sentence-vae-freebits`` is the same
    pair with a recipe that has them. ``word_dropout`` weakens the decoder.

    Args:
        event: any shape, binary or of K levels; see `zoo.nn.lstm.LSTMDecoder` for sentences.
        latent: L.
        width: dimensions of the embedding of a level.
        hidden: size of the state of both LSTMs.
        dropout: share of the LSTMs' inputs and of the decoder's outputs that is dropped in training.
        word_dropout: share of entries that the decoder is not given in training; 1 for a decoder that sees none at all.

    Reference:
        Bowman et al. 2016, arXiv:1511.06349, section 3.
    """

    def __init__(
        self,
        event: Event,
        *,
        latent: int = 16,
        width: int = 128,
        hidden: int = 256,
        dropout: float = 0.3,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.decoder = LSTMDecoder(
            event, width=width, hidden=hidden, context=latent, dropout=dropout, word_dropout=word_dropout
        )
        self.encoder = LSTMEncoder(self.decoder, hidden, dropout)
        self.posterior = nn.Linear(hidden, 2 * latent)

    def model(self, x: Tensor) -> Tensor:
        """Draw ``x``, shape ``(n, *event.shape)``, given z."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """Draw z given ``x``."""
        mean, raw = self.posterior(self.encoder(x, self.decoder)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", diagonal_normal(mean, raw))

    def initialise(self, x: Tensor) -> None:
        """Start from the frequencies of the levels in the training data."""
        self.decoder.initialise(x)
