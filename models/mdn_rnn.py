"""The mixture density recurrent network: what an agent sees next, given what it saw and did."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import UnfitError
from zoo.event import Event, Field
from zoo.pairs.registry import family

SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE = -7.0, 7.0
FORM = "z=20x8:real~n,done=20:binary~n,a=20:3~n@given,n=:21@given"

State = tuple[Tensor, Tensor]
"""Output and cell of the LSTM, each of shape ``(n, hidden)``."""


@family(
    "mdn-rnn",
    group="autoregressive",
    paper="Ha & Schmidhuber 2018, arXiv:1803.10122",
    supports=("sequence",),
    example="z=4x3:real~n,done=4:binary~n,a=4:3~n@given,n=:5@given",
    recipe={
        "steps": 2000,
        "batch": 32,
        "lr": 3e-3,
        "schedule": "onecycle",
        "clip": 1.0,
        "average": 0.99,
        "checkpoints": 20,
        "patience": 4,
    },
)
class MDNRNN(nn.Module):
    """LSTM whose output gives a mixture of normals for each dimension of the next vector; exact.

        h_0 = 0     h_t = LSTM(h_{t-1}; z_t, a_t)
        p(z_t | h_{t-1}) = prod_d sum_k w_dk N(z_td; m_dk, s_dk^2)     (w, m, s) a linear map of h_{t-1}
        p(done_t | h_t) = Bernoulli(sigmoid(v . h_t + b))

    The density of a sequence given its actions is the product over its steps; ``done_t`` says that there is none after
    step t. z_t are latents of images that another model encoded. As it is trained on draws of their posterior, it does
    not learn how exact the encoder's means are.

    Args:
        event: a sequence ``z`` of real vectors, a binary sequence ``done``, the actions ``a`` by number, which may be
            left out, and their length ``n``.
        hidden: size of the LSTM's state.
        components: normals of each mixture.

    Raises:
        UnfitError: another event.

    Reference:
        Ha & Schmidhuber 2018, World Models, arXiv:1803.10122, section 2.2 and appendix A.2; Graves 2013,
        arXiv:1308.0850, section 4.
    """

    def __init__(self, event: Event, *, hidden: int = 128, components: int = 5) -> None:
        super().__init__()
        self.event, self.components = event, components
        self.steps, self.latent, self.actions = _sizes(event)
        self.lstm = nn.LSTM(self.latent + self.actions, hidden, batch_first=True)
        self.mixture = nn.Linear(hidden, 3 * self.latent * components)
        self.end = nn.Linear(hidden, 1)

    def model(self, z: Tensor, done: Tensor, n: Tensor, a: Tensor | None = None) -> None:
        """Observe ``z``, shape ``(batch, T, L)``, and ``done``, shape ``(batch, T)``, up to the lengths ``n``."""
        within = torch.arange(self.steps, device=n.device) < n[:, None]
        with pyro.plate("data", len(z)):
            steps = LatentSteps(self, self.codes(n.new_zeros(within.shape) if a is None else a))
            z = pyro.sample("z", steps.mask(within).to_event(1), obs=z)
            ends = dist.Bernoulli(logits=self.end(steps.outputs(z))[..., 0])
            pyro.sample("done", ends.mask(within).to_event(1), obs=done)

    def codes(self, a: Tensor) -> Tensor:
        """Actions one-hot, shape ``(...)`` to ``(..., actions)``."""
        return (a.unsqueeze(-1) == torch.arange(self.actions, device=a.device)).to(self.end.weight.dtype)

    def next(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights, means and log-scales of the next z, each of shape ``(..., L, components)``."""
        parts = self.mixture(h).unflatten(-1, (3, self.latent, self.components)).unbind(-3)
        return parts[0].log_softmax(-1), parts[1], parts[2].clamp(SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE)

    def begin(self, n: int) -> State:
        """The state before the first step of ``n`` sequences."""
        zero = self.end.weight.new_zeros(n, self.lstm.hidden_size)
        return zero, zero

    def advance(self, state: State, z: Tensor, a: Tensor) -> State:
        """The state after one more step: z_t of shape ``(n, L)`` and a_t of shape ``(n,)``."""
        return self.move(state, z, self.codes(a))

    def move(self, state: State, z: Tensor, codes: Tensor) -> State:
        """`advance` with the actions one-hot, shape ``(n, actions)``."""
        inputs = torch.cat([z, codes], -1).unsqueeze(1)
        _, (h, c) = self.lstm(inputs, (state[0].unsqueeze(0), state[1].unsqueeze(0)))
        return h[0], c[0]

    def imagine(self, state: State, temperature: float, generator: torch.Generator | None = None) -> Tensor:
        """Draw the next z, shape ``(n, L)``: log-weights are divided by the temperature, variances multiplied."""
        log_weights, means, log_scales = self.next(state[0])
        below = (log_weights / temperature).softmax(-1).cumsum(-1)[..., :-1]
        u = torch.rand(means.shape[:-1], dtype=means.dtype, device=means.device, generator=generator)
        chosen = (below < u.unsqueeze(-1)).sum(-1, keepdim=True)
        mean, scale = means.gather(-1, chosen)[..., 0], log_scales.gather(-1, chosen)[..., 0].exp()
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        return mean + temperature**0.5 * scale * noise

    def ending(self, state: State) -> Tensor:
        """The probability that the step that led to ``state`` was the last one, shape ``(n,)``."""
        return self.end(state[0])[:, 0].sigmoid()

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of all steps of packed training data ``x``, shape ``(n, event.size)``."""
        values = self.event.unpack(x)
        z, done, lengths = values["z"], values["done"], values["n"]
        assert z is not None
        assert done is not None
        assert lengths is not None  # none of them is a label
        within = torch.arange(self.steps, device=x.device) < lengths[:, None]
        flat, rate = z[within], (done[within].sum() + 0.5) / (within.sum() + 1)
        mean, scale = flat.mean(0), flat.std(0, correction=0).clamp(min=1e-3)
        places = torch.linspace(-1, 1, self.components).to(x) if self.components > 1 else x.new_zeros(1)
        bias = torch.stack(
            [
                x.new_zeros(self.latent, self.components),
                mean[:, None] + scale[:, None] * places,
                scale.log()[:, None].expand(-1, self.components),
            ]
        )
        self.mixture.bias.copy_(bias.reshape(-1))
        self.end.bias.fill_(rate.logit())


class LatentSteps(TorchDistribution):
    """All z of a sequence, each given those before it and the actions.

    Steps are the last dimension of the batch, so that a mask can hide those beyond the length of a sequence, although
    they are not independent: ``log_prob`` gives log p(z_t | z_1, ..., z_{t-1}) for each t, and draws go step by
    step.

    Args:
        net: the network.
        codes: the actions one-hot, shape ``(n, T, actions)``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, net: MDNRNN, codes: Tensor, validate_args: bool | None = None) -> None:
        self.net, self.codes = net, codes
        self._seen: tuple[Tensor, Tensor] | None = None
        super().__init__(codes.shape[:-1], torch.Size([net.latent]), validate_args=validate_args)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.real, 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LatentSteps:
        return LatentSteps(self.net, self.codes.expand(*batch_shape, -1), self._validate_args)

    def outputs(self, z: Tensor) -> Tensor:
        """The LSTM's output after each step, shape ``(..., T, hidden)``; of the value seen last it is kept."""
        if self._seen is None or self._seen[0] is not z:
            inputs = torch.cat([z, self.codes.expand(*z.shape[:-1], -1)], -1)
            h = self.net.lstm(inputs.flatten(0, -3))[0].reshape(*z.shape[:-1], -1)
            self._seen = (z, h)
        return self._seen[1]

    def log_prob(self, value: Tensor) -> Tensor:
        before = F.pad(self.outputs(value)[..., :-1, :], (0, 0, 1, 0))
        log_weights, means, log_scales = self.net.next(before)
        each = dist.Normal(means, log_scales.exp()).log_prob(value.unsqueeze(-1))
        return torch.logsumexp(log_weights + each, -1).sum(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        lead, steps = torch.Size(sample_shape) + self.batch_shape[:-1], self.batch_shape[-1]
        codes = self.codes.expand(*lead, steps, -1)
        codes = codes.reshape(lead.numel(), *codes.shape[-2:])
        state, drawn = self.net.begin(len(codes)), list[Tensor]()
        with torch.no_grad():
            for t in range(steps):
                drawn.append(self.net.imagine(state, 1.0))
                state = self.net.move(state, drawn[-1], codes[:, t])
        return torch.stack(drawn, 1).reshape(*lead, steps, -1)


def _sizes(event: Event) -> tuple[int, int, int]:
    """Steps, dimensions of z, and number of actions, 0 where they are left out."""
    fields = {each.name: each for each in event.fields}
    z, a = fields.get("z"), fields.get("a")
    if z is not None and len(z.shape) == 2:
        steps = z.shape[0]
        wanted = [
            Field("z", z.shape, "real", length="n"),
            Field("done", steps, "binary", length="n"),
            Field("n", (), steps + 1, "given"),
        ]
        if a is not None and a.levels:
            wanted.append(Field("a", steps, a.levels, "given", "n"))
        if set(wanted) == set(event.fields) and event.main == z:
            return steps, z.shape[1], a.levels or 0 if a else 0
    raise UnfitError(f"mdn-rnn takes latents, ends, actions and their length, such as {FORM}; got {event}")
