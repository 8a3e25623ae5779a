"""The variational auto-encoder of graphs: a latent generates a probabilistic graph, and a graph network infers it."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.distributions.autoregressive import Autoregressive
from zoo.distributions.canonical import canonical_orders
from zoo.distributions.graphs import graph_fields, square
from zoo.distributions.levels import Levels, level_counts
from zoo.event import Event
from zoo.nn.amortised import diagonal_normal
from zoo.nn.bonds import BondsBySums
from zoo.nn.mlp import MLP
from zoo.pairs.registry import family


@family(
    "graphvae",
    group="prescribed",
    paper="Simonovsky & Komodakis 2018, arXiv:1802.03480",
    supports=("record",),
    example="atoms=4:3,bonds=6:3",
    recipe={
        "steps": 12000,
        "batch": 128,
        "optimiser": "adamw",
        "lr": 4e-3,
        "weight_decay": 1e-3,
        "schedule": "onecycle",
        "clip": 10.0,
        "kl_warmup": 1000,
        "average": 0.999,
        "checkpoints": 12,
        "engine": "eager",  # the guide's order is hundreds of small operations, which take minutes to compile
    },
)
class GraphVAE(nn.Module):
    """VAE of graphs of N places for atoms and of the bonds between them, each with levels of which 0 is absence.

        z ~ N(0, I_L)
        a_k | z ~ Cat(f_k(z)), k = 1 ... N      b_ij | z ~ Cat(f_ij(z)), i < j      f an MLP
        q(z | a, b) = N(m, diag s^2), of the sum over atoms of gated states, whatever their order

    The guide's states start at h_k, an embedding of the atom and one of its rank in an order that the guide finds
    itself (`zoo.distributions.canonical`). They pass messages over bonds, h_k becomes GRU(h_k, sum_j W[b_kj] h_j),
    ``rounds`` times; and what is summed is sigmoid(u(h_k)) v(h_k). So equal graphs in two orders have the same
    posterior. Without ranks the guide would have to learn from sums which atom the decoder takes for which.

    The programs score a graph in the order that the data have, so scores are bounds on the probability of that one
    order, and with it on that of the graph in any order, which is a sum over them. The evaluation ``matching`` reports
    the bound of the best order found (`zoo.distributions.graphs`), which is higher, under its own name. It is no
    density of the arrays that the model draws, so it is not that of a site.

    With ``sums`` bonds are not independent given z: b_ij also depends on the atoms i and j and on the sums of the bonds
    that each has so far (`zoo.nn.bonds`), so that valences can be kept. No order is matched then.

    Args:
        event: a record of ``atoms``, of N entries of finitely many levels, and ``bonds``, of N (N - 1) / 2.
        latent: L.
        hidden: width of the two hidden layers of f.
        width: size of the guide's states.
        rounds: of messages.
        sums: whether bonds see sums of bonds.

    Raises:
        UnfitError: another event.

    Reference:
        Simonovsky & Komodakis 2018, arXiv:1802.03480; Li et al. 2016, arXiv:1511.05493 (the gated graph network).
    """

    def __init__(
        self,
        event: Event,
        *,
        latent: int = 40,
        hidden: int = 512,
        width: int = 48,
        rounds: int = 1,
        sums: bool = False,
    ) -> None:
        super().__init__()
        atoms, bonds = graph_fields(event, "graphvae")
        assert atoms.levels
        assert bonds.levels
        self.event, self.latent, self.rounds, self.nodes = event, latent, rounds, atoms.size
        self.bonds = Event(bonds.size, bonds.levels)
        self.levels = (atoms.levels, bonds.levels)
        self.sizes = [atoms.size * atoms.levels, bonds.size * bonds.levels]
        self.decoder = MLP(latent, (hidden, hidden), sum(self.sizes))
        self.sums = BondsBySums(atoms.size, self.levels, latent) if sums else None
        self.embed, self.rank = nn.Embedding(atoms.levels, width), nn.Embedding(self.nodes, width)
        self.messages = nn.Linear(width, (bonds.levels - 1) * width, bias=False)
        self.update = nn.GRUCell(width, width)
        self.gate, self.value = nn.Linear(2 * width, 4 * width), nn.Linear(2 * width, 4 * width)
        self.posterior = MLP(4 * width, (hidden,), 2 * latent)

    def model(self, atoms: Tensor, bonds: Tensor) -> None:
        """Draw z, atoms and bonds, observing ``atoms``, shape ``(n, N)``, and ``bonds``, ``(n, N (N - 1) / 2)``."""
        with pyro.plate("data", len(atoms)):
            z = pyro.sample("z", dist.Normal(atoms.new_zeros(self.latent), 1.0).to_event(1))
            of_atoms, of_bonds = self.decoder(z).split(self.sizes, -1)
            own = Levels(logits=of_atoms.unflatten(-1, (-1, self.levels[0]))).to_event(1)
            atoms = pyro.sample("atoms", own, obs=atoms)
            logits = of_bonds.unflatten(-1, (-1, self.levels[1]))
            pyro.sample("bonds", self.of_bonds(logits, z, atoms), obs=bonds)

    def of_bonds(self, logits: Tensor, z: Tensor, atoms: Tensor) -> Any:
        """The distribution of bonds, given logits of each, shape ``(n, N (N - 1) / 2, levels)``, z and atoms."""
        if self.sums is None:
            return Levels(logits=logits).to_event(1)
        parallel, stream = self.sums.given(logits, z, atoms)
        return Autoregressive(self.bonds, parallel, stream)

    def guide(self, atoms: Tensor, bonds: Tensor) -> None:
        """Draw z given a graph, in whatever order."""
        with pyro.plate("data", len(atoms)):
            pyro.sample("z", diagonal_normal(*self.posterior(self.pooled(atoms, bonds)).chunk(2, -1)))

    def pooled(self, atoms: Tensor, bonds: Tensor) -> Tensor:
        """The sum over places of gated states, shape ``(n, 4 width)``, the same for any order of a graph."""
        ranks = canonical_orders(atoms, bonds).argsort(1)
        start, n = self.embed(atoms.long()) + self.rank(ranks), len(atoms)
        present = torch.arange(1, self.levels[1], device=bonds.device)
        kinds = (square(bonds, self.nodes).unsqueeze(-1) == present).to(start.dtype)
        state, joined = start, kinds.reshape(n, self.nodes, -1)  # of node k: to node j by a bond of each level
        for _ in range(self.rounds):
            sent = self.messages(state).reshape(n, joined.shape[-1], -1)
            state = self.update((joined @ sent).flatten(0, 1), state.flatten(0, 1)).reshape(start.shape)
        both = torch.cat([start, state], -1)
        return (self.gate(both).sigmoid() * self.value(both)).sum(1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of packed training data ``x``, shape ``(n, event.size)``."""
        values = self.event.unpack(x)
        counts = [
            level_counts(levels, part) + 0.5
            for levels, name in zip(self.levels, ("atoms", "bonds"), strict=True)
            if (part := values[name]) is not None
        ]
        self.decoder.out.bias.copy_(torch.cat([each.log().log_softmax(-1).flatten() for each in counts]))
