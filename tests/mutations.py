"""One line of an honest program changed, by pair: what was changed, the old text, the new, and what becomes of it.

The last is a part of the sentence by which the program is refused, or, where its number may come out if it is right,
how the program sees the data: `as_it_is`, or a rearrangement that undoes itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

Sees = Callable[[Tensor], Tensor]


class Mutation(NamedTuple):
    """A change of one line of the honest program called ``pair``."""

    pair: str
    change: str
    old: str
    new: str
    sees: Sees | None = None

    def __str__(self) -> str:
        return f"{self.pair}: {self.change}"


def as_it_is(x: Tensor) -> Tensor:
    return x


PLATE = 'with pyro.plate("data", len(x)):'
MIXED = '\n        pyro.sample("x", dist.MixtureSameFamily(dist.Categorical(logits=logits), parts), '
# fmt: off
BY_PAIR: dict[str, list[tuple[str, str, str] | tuple[str, str, str, Sees]]] = {
    "levels_vae": [
        ("obs thresholded", "obs=x)", "obs=(x > 2).float())"),
        ("obs flipped", "obs=x)", "obs=x.flip(1))", lambda x: x.flip(1)),
        ("obs transposed", "obs=x)", "obs=x.mT)", lambda x: x.mT),
        ("obs constant", "obs=x)", "obs=torch.zeros_like(x))"),
        ("obs clamped", "obs=x)", "obs=x.clamp(max=3))"),
        ("obs halved", "obs=x)", "obs=(x / 2).floor())"),
        ("rows rolled", "obs=x)", "obs=x.roll(1, 0))"),
        ("rows shuffled", "obs=x)", "obs=x[torch.randperm(len(x))])"),
        ("no obs", ", obs=x)", ")"),
        ("observed latent", ".to_event(1))\n        logits", ".to_event(1), obs=x.new_zeros(len(x), 1))\n        logits"),
        ("half masked", ".to_event(2), obs", ".mask(torch.eye(2, device=x.device).bool()).to_event(2), obs"),
        ("rows masked", PLATE + "\n        z", 'with pyro.plate("data", len(x)), pyro.poutine.mask(mask=x[:, 0, 0] > 1):\n        z'),
        ("prior masked", "1.0).to_event(1))", "1.0).to_event(1).mask(False))"),
        ("prior depends on x", "dist.Normal(x.new_zeros(1), 1.0)", "dist.Normal(x.mean((1, 2))[:, None], 1.0)"),
        ("prior is the guide", "dist.Normal(x.new_zeros(1), 1.0)", "dist.Normal(encoder(x.flatten(1))[:, :1], 1.0)"),
        ("likelihood depends on x", "logits = decoder(z).reshape(-1, 2, 2)", "logits = decoder(z).reshape(-1, 2, 2) + x / 2"),
        ("x in place in the guide", "scale = nn.functional.softplus(raw) + 0.1", "scale = nn.functional.softplus(raw) + x.clamp_(max=1).new_tensor(0.1)"),
        ("x in place in the model", "logits = decoder(z).reshape(-1, 2, 2)", "logits = decoder(z).reshape(-1, 2, 2) + 0 * x.mul_(0.0)"),
        ("too few event dimensions", ".to_event(2), obs", ".to_event(1), obs"),
        ("no event dimensions", ".to_event(2), obs", ", obs"),
        ("too many event dimensions", ".to_event(2), obs", ".to_event(3), obs"),
        ("no plate in the model", PLATE + "\n        z", "if True:\n        z"),
        ("no plate in the guide", PLATE + "\n        pyro.sample(\"z\"", 'if True:\n        pyro.sample("z"'),
        ("plate of one", PLATE + "\n        z", 'with pyro.plate("data", 1):\n        z'),
        ("plate of twice", PLATE + "\n        z", 'with pyro.plate("data", 2 * len(x)):\n        z'),
        ("plate unsized", PLATE + "\n        z", 'with pyro.plate("data"):\n        z'),
        ("plate of all data", PLATE + "\n        z", 'with pyro.plate("data", 60, subsample_size=len(x)):\n        z', as_it_is),
        ("plate subsampled by x", PLATE + "\n        z", 'with pyro.plate("data", 60, subsample=x):\n        z', as_it_is),
        ("plate on the left", PLATE + "\n        z", 'with pyro.plate("data", len(x), dim=-2):\n        z'),
        ("outer plate", PLATE + "\n        z", 'with pyro.plate("copies", 5, dim=-2), pyro.plate("data", len(x), dim=-1):\n        z'),
        ("model scaled", PLATE + "\n        z", 'with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.1):\n        z', as_it_is),
        ("guide a point", "dist.Normal(loc, scale)", "dist.Delta(loc)"),
        ("guide nearly a point", "dist.Normal(loc, scale)", "dist.Normal(loc, 1e-6 + 0 * scale)", as_it_is),
        ("guide elsewhere", "dist.Normal(loc, scale)", "dist.Normal(loc + 5, scale)", as_it_is),
        ("guide uniform", "dist.Normal(loc, scale)", "dist.Uniform(loc - scale, loc + scale)", as_it_is),
        ("guide positive", "dist.Normal(loc, scale)", "dist.LogNormal(loc, scale)", as_it_is),
        ("guide discrete", "dist.Normal(loc, scale)", "dist.Poisson(scale)"),
        ("guide of two numbers", "dist.Normal(loc, scale)", "dist.Normal(loc.expand(-1, 2), scale)"),
        ("guide without event dimensions", "dist.Normal(loc, scale).to_event(1)", "dist.Normal(loc, scale)"),
        ("guide under another name", 'pyro.sample("z", dist.Normal(loc', 'pyro.sample("u", dist.Normal(loc'),
        ("guide samples one more", 'pyro.sample("z", dist.Normal(loc', 'pyro.sample("u", dist.Normal(0.0, 1.0).expand([len(x)])), pyro.sample("z", dist.Normal(loc'),
        ("guide samples nothing", 'pyro.sample("z", dist.Normal(loc, scale).to_event(1))', "pass"),
        ("guide detached", "dist.Normal(loc, scale)", "dist.Normal(loc.detach(), scale)", as_it_is),
        ("guide over the batch", "encoder(x.flatten(1))", "encoder(x.flatten(1) - x.flatten(1).mean(0))", as_it_is),
        ("model over the batch", "logits = decoder(z).", "logits = decoder(z - z.mean(0))."),
        ("parameters hidden", 'pyro.module("decoder", decoder)', "decoder = {'net': globals()['decoder']}['net']", as_it_is),
        ("double", "logits=logits", "logits=logits.double()", as_it_is),
        ("on the GPU", "logits=logits", "logits=logits.cuda()"),
        ("on the meta device", "logits=logits", "logits=logits.to('meta')"),
        ("density of levels", "dist.Binomial(4, logits=logits)", "dist.Normal(logits, 1.0)"),
        ("too few levels", "dist.Binomial(4, logits=logits)", "dist.Binomial(3, logits=logits)"),
        ("latent drawn by torch", 'pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))', "torch.randn(len(x), 1)"),
        ("noise in the decoder", "logits = decoder(z)", "logits = decoder(z + torch.randn_like(z))", as_it_is),
        ("dropout that stays on", "logits = decoder(z)", "logits = decoder(nn.functional.dropout(z, 0.5))", as_it_is),
        ("extra factor", "logits = decoder(z)", 'pyro.factor("bonus", x.new_full((len(x),), 3.0)), decoder(z)\n        logits = decoder(z)'),
        ("temperature", "dist.Binomial(4, logits=logits)", "Tempered(4, logits=logits)"),
    ],
    "factor": [
        ("obs scaled", "obs=x)", "obs=x / 16)"),
        ("obs standardised", "obs=x)", "obs=(x - x.mean(0)) / x.std(0))"),
        ("obs rounded", "obs=x)", "obs=x.round())"),
        ("obs squashed", "obs=x)", "obs=x.tanh())"),
        ("obs noisy", "obs=x)", "obs=x + torch.rand_like(x))"),
        ("obs in double", "obs=x)", "obs=x.double())", as_it_is),
        ("obs a residual", "obs=x)", "obs=x - x.detach() + loc.detach())"),
        ("a part", "dist.Normal(loc, width).to_event(1), obs=x)", "dist.Normal(loc[:, :2], width[:2]).to_event(1), obs=x[:, :2])"),
        ("one entry for all", "dist.Normal(loc, width).to_event(1), obs=x)", "dist.Normal(loc[:, :1], width[:1]).to_event(1), obs=x[:, :1])"),
        ("observed twice", "pyro.sample(\"x\", dist.Normal(loc, width).to_event(1), obs=x)", "[pyro.sample(n, dist.Normal(loc, width).to_event(1), obs=x) for n in 'xy']"),
        ("sum observed", "dist.Normal(loc, width).to_event(1), obs=x)", "dist.Normal(loc.sum(-1), 1.0), obs=x.sum(-1))"),
        ("in place", "loc, raw = encoder(x)", "loc, raw = encoder(x.div_(16))"),
        ("leak through the width", "dist.Normal(loc, width)", "dist.Normal(loc, width * (x - loc).abs().clamp(min=0.1))"),
        ("leak through a global", "loc = decoder(z)", 'loc = decoder(z) + 0.9 * globals().get("seen", x)'),
        ("batch statistics", "loc = decoder(z)", "loc = decoder(z) - decoder(z).mean(0) + x.mean(0)"),
        ("normalised by the batch", "loc = decoder(z)", "loc = nn.functional.batch_norm(decoder(z), None, None, training=True)"),
        ("width a constant of x", 'width = pyro.param("width"', 'width = x.std(0) + 0 * pyro.param("width"'),
        ("latent shared by all", "z = pyro.sample(\"z\", dist.Normal(x.new_zeros(2), 1.0).to_event(1))", 'z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))[:1]'),
        ("width in a closure", 'pyro.param("width", torch.full((3,), 0.7), constraint=constraints.positive)', "torch.full((3,), 0.7, requires_grad=True).clone()"),
        ("decoder detached", "loc = decoder(z)", "loc = decoder(z).detach()", as_it_is),
        ("guide a point", "dist.Normal(loc, scale).to_event(1))", "dist.Delta(loc).to_event(1))"),
        ("guide a line", "dist.Normal(loc, scale).to_event(1))", "dist.Normal(loc[:, :1], scale[:, :1]).expand([len(x), 1]).to_event(1))"),
        ("guide on a line", "dist.Normal(loc, scale).to_event(1))", "dist.TransformedDistribution(dist.Normal(loc, scale).to_event(1), Projection()))"),
        ("guide scaled", PLATE + '\n        pyro.sample("z", dist.Normal(loc, scale)', 'with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.1):\n        pyro.sample("z", dist.Normal(loc, scale)', as_it_is),
        ("guide masked", "dist.Normal(loc, scale).to_event(1))", "dist.Normal(loc, scale).to_event(1).mask(False))"),
        ("guide hidden", PLATE + '\n        pyro.sample("z", dist.Normal(loc, scale)', 'with pyro.poutine.block(), pyro.plate("data", len(x)):\n        pyro.sample("z", dist.Normal(loc, scale)'),
        ("model hidden", PLATE + "\n        z", 'with pyro.poutine.block(hide=["z"]), pyro.plate("data", len(x)):\n        z'),
        ("the data one by one", PLATE + "\n        z", 'for i in pyro.plate("data", len(x)):\n        z'),
        ("a global latent", "width = pyro.param(", 'width = pyro.sample("w", dist.LogNormal(0.0, 1.0)) * pyro.param('),
        ("unnormalised", "dist.Normal(loc, width)", "Unnormalised(loc, width)"),
        ("unnormalised vector", "dist.Normal(loc, width).to_event(1), obs", "Joint(loc, torch.eye(3)), obs"),
        ("wrapped", "dist.Normal(loc, width).to_event(1), obs", "ZukoToPyro(dist.Normal(loc, width).to_event(1)), obs", as_it_is),
        ("wrapped and unnormalised", "dist.Normal(loc, width).to_event(1), obs", "ZukoToPyro(Joint(loc, torch.eye(3))), obs"),
        ("lies about its draws", "dist.Normal(loc, width)", "Liar(loc, width)"),
        ("depends on the call", "loc = decoder(z)", "loc = counter.append(0) or decoder(z) + len(counter)"),
        ("noise of its own", "loc = decoder(z)", "loc = decoder(z) + dist.Normal(0.0, 1.0).sample(z.shape[:1] + (3,))"),
    ],
    "analytic": [
        ("log_prob of another width", "noise = 0.49 *", "noise = 0.1 *"),
        ("log_prob per dimension", "covariance).log_prob(x)", "covariance).log_prob(x) / 3"),
        ("log_prob of a constant", "covariance).log_prob(x)", "covariance).log_prob(x) + 5"),
        ("log_prob of scaled x", "covariance).log_prob(x)", "covariance).log_prob(x / 16)"),
        ("log_prob positive", "covariance).log_prob(x)", "covariance).log_prob(x).abs()"),
        ("log_prob of the batch", "covariance).log_prob(x)", "covariance).log_prob(x).mean().expand(len(x))"),
        ("log_prob scalar", "covariance).log_prob(x)", "covariance).log_prob(x).sum()"),
        ("log_prob detached from the program", "dist.Normal(decoder(z), 0.7)", "dist.Normal(decoder(z) + 3, 0.7)"),
        ("model scaled", "obs=x)", "obs=x / 16)"),
    ],
    "clusters": [
        ("unguided", 'pyro.sample("k", dist.Categorical(logits=classifier(x)))', "pass", as_it_is),
        ("guide of four classes", "logits=classifier(x)", "logits=torch.cat([classifier(x), classifier(x)[:, :1]], -1)"),
        ("guide of two classes", "logits=classifier(x)", "logits=classifier(x)[:, :2]", as_it_is),
        ("guide by the largest", "dist.Categorical(logits=classifier(x))", "dist.Delta(classifier(x).argmax(-1))", as_it_is),
        ("guide enumerated", "dist.Categorical(logits=classifier(x))", "dist.Categorical(logits=classifier(x)), infer={'enumerate': 'parallel'}", as_it_is),
        ("nearest centre", "means[k.long()]", "means[(x[:, None] - means).square().sum(-1).argmin(-1)]"),
        ("weights of the data", "dist.Categorical(logits=logits)", "dist.Categorical(logits=logits + classifier(x))"),
        ("rows masked", "dist.Normal(means[k.long()], 0.5).to_event(1)", "dist.Normal(means[k.long()], 0.5).to_event(1).mask(k > 0)"),
        ("obs flipped", "obs=x)", "obs=x.flip(-1))", lambda x: x.flip(1)),
    ],
    "mixture": [
        ("obs scaled", "obs=x)", "obs=x / 100)"),
        ("components unweighed", "dist.Categorical(logits=logits)", "dist.Categorical(logits=logits * x.mean())"),
        ("the best component", "dist.MixtureSameFamily(dist.Categorical(logits=logits), parts)", "dist.Normal(means[parts.log_prob(x[:, None]).argmax(-1)], 0.5).to_event(1)"),
        ("rows masked", PLATE, 'with pyro.plate("data", len(x)), pyro.poutine.mask(mask=x[:, 0] > 0):'),
        ("plate unsized", PLATE, 'with pyro.plate("data"):', as_it_is),
        ("plate unsized, of one row", PLATE + MIXED + "obs=x)", 'with pyro.plate("data"):' + MIXED + "obs=x[:1])"),
        ("plate unsized, of half the rows", PLATE + MIXED + "obs=x)", 'with pyro.plate("data"):' + MIXED + "obs=x[::2])"),
        ("plate unsized, on the left", PLATE, 'with pyro.plate("data", dim=-2):'),
        ("plate unsized, rows rolled", PLATE + MIXED + "obs=x)", 'with pyro.plate("data"):' + MIXED + "obs=x.roll(1, 0))"),
        ("a sampled centre", "means = pyro.param", "means = torch.randn(3, 2) + pyro.param"),
    ],
    "chain": [
        ("teacher forcing", "bit[:, None], past", "x[:, i : i + 1], past"),
        ("sees itself", "past = torch.zeros_like(x)", "past = x.clone()"),
        ("one site forgotten", "for i in range(4):", "for i in range(3):"),
        ("backwards", "obs=x[:, i])", "obs=x[:, 3 - i])", lambda x: x.flip(1)),
        ("one entry many times", "obs=x[:, i])", "obs=x[:, 0])"),
        ("each divided", "obs=x[:, i])", "obs=x[:, i].clamp(max=0))"),
        ("masked", "obs=x[:, i])", "obs=x[:, i], obs_mask=x[:, i] > 0)"),
    ],
    "flow": [
        ("obs doubled", "obs=x)", "obs=2 * x)"),
        ("scale without the diagonal", "entries.tril(-1) + entries.diagonal().exp().diag_embed()", "entries.tril(-1) + torch.eye(3)", as_it_is),
        ("Jacobian left out", "transforms.ExpTransform()", "NoJacobian()"),
        ("noise in the base", "x.new_zeros(3)", "torch.randn(3)"),
        ("base of the data", "dist.Normal(x.new_zeros(3), 1.0)", "dist.Normal(x.log().mean(0), 1.0)"),
    ],
    "hmm": [
        ("states unguided", 'pyro.sample(f"z{t}", dist.Categorical(logits=logits[:, t]))', "pass", as_it_is),
        ("one state reused", 'pyro.sample(f"z{t}", dist.Categorical(logits=logits[:, t]))', 'pyro.sample("z0", dist.Categorical(logits=logits[:, t]))'),
        ("guide stops early", "for t in range(3):\n            pyro", "for t in range(2):\n            pyro", as_it_is),
        ("reversed in time", "obs=x)", "obs=x.flip(1))", lambda x: x.flip(1)),
        ("state by the data", "logits=logits[state.long()]", "logits=logits[(x[:, t] > 1).long()]"),
        ("last step masked", "0.5).to_event(1)", "0.5).mask(torch.tensor([True, True, False])).to_event(1)"),
    ],
    "rates": [
        ("guide outside the support", "dist.Beta(a, b))\n\n\ndef evidence", "dist.Normal(a / (a + b), 0.1))\n\n\ndef evidence"),
        ("guide a point", "dist.Beta(a, b))\n\n\ndef evidence", "dist.Delta(a / (a + b)))\n\n\ndef evidence"),
        ("latent out of the plate", PLATE + "\n        p = ", 'p = pyro.sample("p", dist.Beta(a, b))\n    with pyro.plate("data", len(x)):\n        p = p.expand(len(x))\n        q = '),
        ("coin of the datum", 'p = pyro.sample("p", dist.Beta(a, b))', 'p = pyro.sample("p", dist.Beta(a + x.sum(-1), b + 4 - x.sum(-1)))'),
        ("obs complemented", "obs=x)", "obs=1 - x)"),
        ("obs smoothed", "dist.Bernoulli(p[:, None].expand(-1, 4)).to_event(1), obs=x)", "dist.ContinuousBernoulli(p[:, None].expand(-1, 4)).to_event(1), obs=0.9 * x + 0.05)"),
    ],
}

# fmt: on


MUTATIONS = [Mutation(pair, *row) for pair, rows in BY_PAIR.items() for row in rows]
