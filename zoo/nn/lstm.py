"""An LSTM over the entries of a discrete event, as a distribution of it and as what reads it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Autoregressive, Stream, levels
from zoo.distributions.levels import before_end
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.dropout import Dropout
from zoo.nn.softmax import GroupedSoftmax

LSTM_RECIPE: dict[str, Any] = {
    "steps": 2600,
    "batch": 64,
    "optimiser": "adamw",
    "lr": 8e-3,
    "weight_decay": 0.05,
    "schedule": "onecycle",
    "clip": 5.0,
    "engine": "eager",
    "average": 0.995,
    "checkpoints": 12,
}
"""The training recipe that families of sentences share."""


class LSTMDecoder(nn.Module):
    """p(x | c) entry by entry in row-major order, each given those before it and a context c.

        p(x | c) = prod_i Categorical(x_i; softmax(b + E A h_i)),  h_i = LSTM(E[x_{i-1}] + e_i + C c, h_{i-1})

    The embeddings E are the output layer's weights too (Press & Wolf 2017), and e_i is a learned vector of the
    position. With more than 2,000 levels, which should then be in order of frequency, the rare ones are scored in
    groups (see `zoo.nn.softmax.GroupedSoftmax`).

    Flat events of more than two levels may be sequences of several lengths, whose level 0 ends them and fills the rest.
    `initialise` finds out: level 0 occurs, and only 0 follows it. Entries after the first 0 are then 0 with certainty,
    and cost no output layer; a datum with another entry there has probability zero.

    Args:
        event: any shape, binary or of K levels.
        width: dimensions of an embedding.
        hidden: size of the LSTM's state.
        context: dimensions of c, 0 for none.
        dropout: share of the LSTM's inputs and outputs that is dropped in training.
        word_dropout: share of entries that the LSTM is not given as inputs, in training (Bowman et al. 2016,
            section 3.1). With 1 it is given none in evaluation either: entries are independent given c, but for the
            end.

    Raises:
        ZooError: a real event, or a share that is none.

    Reference:
        Press & Wolf 2017, arXiv:1608.05859; Bowman et al. 2016, arXiv:1511.06349.
    """

    ends: Tensor
    """Whether level 0 ends a datum, shape ``()``."""

    def __init__(
        self,
        event: Event,
        *,
        width: int = 128,
        hidden: int = 256,
        context: int = 0,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= word_dropout <= 1:
            raise ZooError(f"word_dropout is a share from 0 to 1, got {word_dropout!r}")
        self.event, self.word_dropout = event, word_dropout
        self.may_end = len(event.shape) == 1 and levels(event) > 2
        self.softmax = GroupedSoftmax(levels(event), width)
        self.place = nn.Parameter(0.1 * torch.randn(event.size, width))
        self.enter = nn.Linear(context, width, bias=False) if context else None
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.out = nn.Linear(hidden, width)
        self.dropout = Dropout(dropout)
        self.register_buffer("ends", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Find out whether level 0 ends a datum of the training data ``x``, and start from the levels' frequencies."""
        flat = x.flatten(1)
        after, scored = flat[:, :-1] == 0, flat == flat
        if self.may_end and after.any() and not (after & (flat[:, 1:] != 0)).any():
            self.ends.fill_(True)
            scored = before_end(flat)
        self.softmax.initialise(torch.bincount(flat[scored].long(), minlength=levels(self.event)))

    def forward(self, context: Tensor | None = None) -> Autoregressive:
        """p(x | c) for ``context`` of shape ``(n, context)``: batch shape ``(n,)``; without, batch shape ``()``."""
        return Autoregressive(
            self.event,
            lambda x: self.logits(x, context),
            lambda n: self.stream(n, context),
            () if context is None else (len(context),),
            total=lambda x: self.log_prob(x, context),
        )

    def scored(self, x: Tensor) -> Tensor | None:
        """Which entries are not certain, shape ``(n, size)``; ``None`` if all are, as on the meta device."""
        return before_end(x.flatten(1)) if self._ended else None

    @property
    def _ended(self) -> bool:
        """`ends`, read where it may be true only: a step that reads no value can be recorded as a graph."""
        return self.may_end and not self.ends.is_meta and bool(self.ends)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | c), ``(n, *event.shape)`` to ``(n,)``, in nats."""
        flat, scored = x.flatten(1).long(), self.scored(x)
        if scored is None:
            nats = self.softmax.nats(self.features(self.states(flat, context)).flatten(0, 1), flat.flatten())
            return -nats.reshape(len(x), -1).sum(1)
        steps = int(scored.sum(1).max())
        states = self.states(flat[:, :steps], context)
        data, entry = scored.nonzero(as_tuple=True)
        nats = self.softmax.nats(self.features(states[data, entry]), flat[data, entry])
        total = -nats.new_zeros(len(x)).index_add(0, data, nats)
        return total.masked_fill((flat.bool() & ~scored).any(1), -math.inf)

    def features(self, states: Tensor) -> Tensor:
        """What the softmax is given, from the state before an entry, ``(..., hidden)`` to ``(..., width)``."""
        features: Tensor = self.out(self.dropout(states))
        return features

    def states(self, flat: Tensor, context: Tensor | None) -> Tensor:
        """The LSTM's states before each entry, ``(n, steps)`` to ``(n, steps, hidden)``."""
        before = F.pad(self._given(self.softmax.embed(flat[:, :-1])), (0, 0, 1, 0))
        return self.lstm(self.dropout(before + self._always(context, len(flat), flat.shape[1])))[0]

    def _given(self, embedded: Tensor) -> Tensor:
        """Embeddings of entries, without those that are dropped."""
        if self.word_dropout == 1:
            return torch.zeros_like(embedded)
        if not (self.training and self.word_dropout):
            return embedded
        return embedded * (torch.rand_like(embedded[..., :1]) >= self.word_dropout)

    def _always(self, context: Tensor | None, n: int, steps: int) -> Tensor:
        """The part of the LSTM's inputs that does not depend on entries, shape ``(n, steps, width)``."""
        places = self.place[:steps].expand(n, -1, -1)
        return places if context is None or self.enter is None else places + self.enter(context)[:, None]

    def logits(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The logits of all entries, ``(n, *event.shape)`` to ``(n, *event.shape, levels)``."""
        found, scored = self.softmax.logits(self.features(self.states(x.flatten(1).long(), context))), self.scored(x)
        if scored is not None:
            found = torch.where(scored[..., None], found, _certain(found))
        return found.reshape(*x.shape, -1)

    def stream(self, n: int, context: Tensor | None = None) -> Stream:
        """The same logits entry by entry, for ``n`` data (see `zoo.distributions.autoregressive`)."""
        constant = self._always(context, n, self.event.size)
        before, state, alive = torch.zeros_like(constant[:, 0]), None, None
        for i in range(self.event.size):
            h, state = self.lstm((before + constant[:, i])[:, None], state)
            logits = self.softmax.logits(self.features(h[:, 0]))
            entry = yield logits if alive is None else torch.where(alive[:, None], logits, _certain(logits))
            before = self._given(self.softmax.embed(entry.long()))
            if self._ended:
                alive = (entry != 0) if alive is None else alive & (entry != 0)


class LSTMEncoder(nn.Module):
    """What an LSTM that reads a datum holds at its end, ``(n, *event.shape)`` to ``(n, hidden)``.

    It reads the embeddings of a decoder, and up to the end of a datum where there are ends.
    """

    def __init__(self, decoder: LSTMDecoder, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(decoder.softmax.embed.embedding_dim, hidden, batch_first=True)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, decoder: LSTMDecoder) -> Tensor:
        flat, scored = x.flatten(1).long(), decoder.scored(x)
        if scored is None:
            return self.lstm(self.dropout(decoder.softmax.embed(flat)))[0][:, -1]
        last = scored.sum(1) - 1
        states = self.lstm(self.dropout(decoder.softmax.embed(flat[:, : int(last.max()) + 1])))[0]
        return states[torch.arange(len(x), device=x.device), last]


def _certain(logits: Tensor) -> Tensor:
    """Logits by which level 0 is certain, of the shape of ``logits``."""
    return torch.where(torch.arange(logits.shape[-1], device=logits.device) == 0, 0.0, -torch.inf).expand_as(logits)
