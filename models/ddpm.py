"""Denoising diffusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.distributions.diffusion import DenoisingChain, NoisyPath
from zoo.distributions.samplers import SAMPLERS, Sampler
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.amortised import scaled
from zoo.nn.networks import DENOISERS, DenoiserNet, chosen
from zoo.nn.noise_schedule import NoiseSchedule
from zoo.pairs.registry import family


@family(
    "ddpm",
    group="diffusion",
    paper="Ho et al. 2020, arXiv:2006.11239",
    recipe={
        "steps": 1500,
        "batch": 128,
        "lr": 2e-3,
        "optimiser": "adamw",
        "weight_decay": 1e-2,
        "schedule": "onecycle",
        "average": 0.995,
        "checkpoints": 15,
        "clip": 50.0,
    },
)
class DDPM(nn.Module):
    """Denoising diffusion: data gain noise in T steps, and a network that takes it away is the model.

        z_T ~ N(0, I)     z_(t-1) | z_t ~ q(z_(t-1) | z_t, x'(z_t, t))     x | z_0 ~ p(x | z_0)
        q(z_0, ..., z_T | x): z_t = a_t (x + noise of variance v_t), a_t^2 = 1 / (1 + v_t)

    The guide has no parameters. x is scaled to [-1, 1] if it has levels. p(x | z_0) is the posterior of x under the
    noise of z_0: over the levels, or normal for real data. log v_t is linear in t, from ``low`` to ``high``, or
    learned.

    The network is given z_t and log v_t. It predicts x by one of two parametrisations:

    - ``"levels"`` (integer data): the posterior over levels, proportional to exp(f_k(z_t) - (u_t - x_k)^2 / (2 v_t)),
      u_t = z_t / a_t, whose mean is x';
    - ``"noise"`` (real data): the noise e of u_t, x' = u_t - v_t^(1/2) e.

    z_(t-1) | z_t has the variance of q(z_(t-1) | z_t, x); if it is ``"matched"``, that also counts how uncertain the
    posterior over levels is of x, which matters where steps are few.

    Training and scores use `elbo_terms`, which takes one random step of each datum; the programs have all T.
    `samplers` draw in fewer passes.

    Args:
        event: any shape and support; of an image the network is convolutional.
        net: ``residual``, blocks at the image's own size, or ``unet``; by default a U-Net for colours and for sides of
            32 or more.
        timesteps: T.
        width: channels, or units, of the network.
        blocks: residual blocks of the network, by default five; of a U-Net those of each size on each way, two.
        dropout: share of hidden units dropped in training; by default 0.3 for integer data and 0 for real data.
        predict: ``"levels"``, ``"noise"``, or ``"auto"`` by the support.
        low: log v_0.
        high: log v_T.
        schedule: ``"linear"``, or ``"learned"``: log v_t is then trained with the network, from the linear one on.
        variance: of a step of the model, ``"fixed"``, or ``"matched"`` where levels are predicted.

    Raises:
        ZooError: levels predicted of real data, another ``predict``, ``schedule``, ``variance`` or ``net``, or fewer
            than one step.

    Reference:
        Ho et al. 2020, arXiv:2006.11239, sections 2 and 3; the noise in signal-to-noise ratios and the discrete-time
        bound: Kingma et al. 2021, arXiv:2107.00630, sections 3 and 4; the matched variance: Bao et al. 2022,
        arXiv:2201.06503, theorem 1.
    """

    v: Tensor
    levels: Tensor

    def __init__(
        self,
        event: Event,
        *,
        net: DenoiserNet = "auto",
        timesteps: int = 100,
        width: int = 40,
        blocks: int | None = None,
        dropout: float | None = None,
        predict: str = "auto",
        low: float = -7.0,
        high: float = 5.0,
        schedule: str = "linear",
        variance: str = "fixed",
    ) -> None:
        super().__init__()
        kinds = ("auto", "noise", "levels") if event.levels else ("auto", "noise")
        schedules = ("linear", "learned")
        if predict not in kinds or schedule not in schedules or timesteps < 1 or low >= high:
            raise ZooError(
                f"ddpm of {event} takes predict={' or '.join(kinds)}, schedule={' or '.join(schedules)}, one step or "
                f"more, and low < high; got predict={predict!r}, schedule={schedule!r}, timesteps={timesteps}, "
                f"low={low}, high={high}"
            )
        self.event, self.timesteps = event, timesteps
        self.predict = ("levels" if event.levels else "noise") if predict == "auto" else predict
        variances = ("fixed", "matched") if self.predict == "levels" else ("fixed",)
        if variance not in variances:
            raise ZooError(
                f"ddpm that predicts {self.predict} takes variance={' or '.join(variances)}, got {variance!r}"
            )
        self.matched = variance == "matched"
        dropout = (0.3 if event.levels else 0.0) if dropout is None else dropout
        self.schedule = NoiseSchedule(low, high) if schedule == "learned" else None
        if self.schedule is None:
            self.register_buffer("v", torch.linspace(low, high, timesteps + 1).exp())
        self.register_buffer("levels", torch.linspace(-1, 1, event.levels or 2))
        count = len(self.levels) if self.predict == "levels" else 1
        kind = chosen(DENOISERS, net, event)
        self.net = kind.make(event, count, width, kind.blocks if blocks is None else blocks, dropout)

    def model(self, x: Tensor) -> Any:
        """Draw z_T, ..., z_0 and x for each datum, observing ``x`` of shape ``(n, *event.shape)``."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", DenoisingChain(self.denoise, len(x), self.event.size, self.noise(x)))
            return pyro.sample("x", self.likelihood(z[:, 0]), obs=x)

    def guide(self, x: Tensor) -> None:
        """Add noise to ``x``."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", NoisyPath(scaled(self.event, x), self.noise(x)))

    def elbo_terms(self, x: Tensor) -> dict[str, Tensor]:
        """Unbiased estimates of the ELBO's terms: that of x, of the prior, and T times that of one random step.

        The steps of a batch are spread evenly over all T, and as many before the middle as after it.

        Args:
            x: data, shape ``(n, *event.shape)``.

        Returns:
            ``reconstruction``, ``diffusion`` and ``prior``, each of shape ``(n,)``, which add up to the ELBO, in nats.
        """
        data, v, n = scaled(self.event, x), self.noise(x), len(x)
        z_0 = (data + v[0].sqrt() * torch.randn_like(data)) / (1 + v[0]).sqrt()
        even = (torch.rand(1, device=x.device) + torch.arange(n, device=x.device) / n) % 1
        t = (even * self.timesteps).long().clamp(max=self.timesteps - 1) + 1
        signal = data.square() / (1 + v[-1])
        variance = v[-1] / (1 + v[-1])
        return {
            "reconstruction": self.likelihood(z_0).log_prob(x),
            "diffusion": self.timesteps * self.elbo_step(x, t),
            "prior": -0.5 * (signal + variance - 1 - variance.log()).sum(1),
        }

    def elbo_step(self, x: Tensor, t: Tensor) -> Tensor:
        """Estimate of -KL(q(z_(t-1) | z_t, x) || p(z_(t-1) | z_t)) of step ``t`` of each datum, shape ``(n,)``."""
        data, v = scaled(self.event, x), self.noise(x)
        after, before = v[t], v[t - 1]
        u = data + after.sqrt()[:, None] * torch.randn_like(data)
        mean, variance = self.denoise(u, after)
        gain = (1 / before - 1 / after)[:, None]  # of the signal-to-noise ratio
        gap, more = gain * (data - mean).square(), gain * variance
        return -0.5 * (more.log1p() + (gap - more) / (1 + more)).sum(1)

    def samplers(self) -> Mapping[str, Callable[[int, int], Tensor]]:
        """Ways to draw ``n`` data in a number of passes that need not be T, as the network is given log v_t.

        ``ancestral`` in T passes is the model itself; ``ddim`` and ``dpm-solver`` are for few passes
        (`zoo.distributions.samplers`). Each ends with a draw of p(x | z_0).
        """
        return {name: partial(self._draw, sampler) for name, sampler in SAMPLERS.items()}

    def _draw(self, sampler: Sampler, n: int, passes: int) -> Tensor:
        v = self.noise(self.levels, passes)
        noise = torch.randn(n, self.event.size, device=v.device)
        u = sampler(self.denoise, noise * (1 + v[-1]).sqrt(), v)
        drawn: Tensor = self.likelihood(u / (1 + v[0]).sqrt()).sample()
        return drawn

    def noise(self, like: Tensor, steps: int = 0) -> Tensor:
        """v_0 ... v_T of as many ``steps``, by default T, with the type and device of ``like``."""
        t = torch.linspace(0, 1, (steps or self.timesteps) + 1, device=like.device)
        if self.schedule is not None:
            return self.schedule(t).exp().to(like)
        low, high = self.v[[0, -1]].log()
        return (low + (high - low) * t).exp().to(like)

    def denoise(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """x' of data ``u``, shape ``(m, D)``, with noise of variance ``v``, shape ``(m,)``, and the variance of x."""
        out = self.net(u / (1 + v).sqrt()[:, None], -v.log())
        if self.predict == "noise":
            return u - v.sqrt()[:, None] * out[..., 0], torch.zeros_like(u)
        shares, levels = (out + self._evidence(u, v)).softmax(-1), self.levels.to(out)
        mean = shares @ levels
        if not self.matched:
            return mean, torch.zeros_like(mean)
        return mean, (shares @ levels.square() - mean.square()).clamp(min=0)

    def likelihood(self, z_0: Tensor) -> Any:
        """p(x | z_0), event shape ``event.shape``."""
        v = self.noise(z_0)[0]
        u, shape = z_0 * (1 + v).sqrt(), self.event.shape
        if self.event.levels is None:
            return dist.Normal(u.reshape(-1, *shape), v.sqrt()).to_event(len(shape))
        logits = self._evidence(u, v.expand(len(u)))
        logits = logits.reshape(-1, *shape, self.event.levels)
        if self.event.levels == 2:
            return dist.Bernoulli(logits=logits[..., 1] - logits[..., 0]).to_event(len(shape))
        return dist.Categorical(logits=logits).to_event(len(shape))

    def _evidence(self, u: Tensor, v: Tensor) -> Tensor:
        """What u says of each level: ``(m, D, K)``."""
        return -(u[..., None] - self.levels.to(u)).square() / (2 * v)[:, None, None]
