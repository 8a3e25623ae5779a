"""The recurrent language model: an LSTM over the entries of an event."""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from zoo.event import Event
from zoo.nn.lstm import LSTM_RECIPE, LSTMDecoder
from zoo.pairs.registry import family


@family(
    "rnnlm",
    group="autoregressive",
    paper="Mikolov et al. 2010, Interspeech",
    supports=("binary", "levels"),
    recipe=LSTM_RECIPE,
)
class RNNLM(nn.Module):
    """Each entry given all before it, by an LSTM; exact.

        p(x) = prod_i Categorical(x_i | softmax(b + E A h_i)),  h_i = LSTM(E[x_{i-1}] + e_i, h_{i-1})

    Written for sentences: the words are levels, and level 0 ends a sentence and fills the rest, which is found out from
    the training data (see `zoo.nn.lstm.LSTMDecoder`). Other discrete events are sequences of all their entries.

    Args:
        event: any shape, binary or of K levels.
        width: dimensions of the embedding of a level.
        hidden: size of the LSTM's state.
        dropout: share of the LSTM's inputs and outputs that is dropped in training.
        word_dropout: share of entries that the LSTM is not given in training; 1 for a model that sees none at all.

    Reference:
        Mikolov et al. 2010, Interspeech (recurrent networks); Zaremba et al. 2014, arXiv:1409.2329 (LSTM, dropout).
    """

    def __init__(
        self, event: Event, *, width: int = 128, hidden: int = 256, dropout: float = 0.3, word_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.decoder = LSTMDecoder(event, width=width, hidden=hidden, dropout=dropout, word_dropout=word_dropout)

    def model(self, x: Tensor) -> Tensor:
        """Observe ``x``, shape ``(n, *event.shape)``; the guide is empty."""
        with pyro.plate("data", len(x)):
            return pyro.sample("x", self.decoder(), obs=x)

    def initialise(self, x: Tensor) -> None:
        """Start from the frequencies of the levels in the training data."""
        self.decoder.initialise(x)
