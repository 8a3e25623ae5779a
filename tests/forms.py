"""The forms that a pair's programs may take, of one model: z ~ N(0, I_2), x ~ N(f(z), s^2) in three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

Programs = tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]]


class Both(nn.Module):
    """Model and guide as methods of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder, self.encoder = nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
        self.fixed = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("shift", torch.zeros(2))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), self.fixed).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x) + self.shift, 1.0).to_event(1))


class Half(PyroModule):  # type: ignore[misc] # Pyro is not typed
    """A conditional normal; model and guide below are two modules of equal class and parameter names."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = PyroModule[nn.Linear](inputs, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = PyroParam(torch.full((outputs,), 0.5 + inputs), constraint=constraints.positive)

    def normal(self, value: Tensor) -> Any:
        return dist.Normal(self.linear(value) + self.bias, self.scale).to_event(1)


class Net(Half):
    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", self.normal(z), obs=x)


Model = Net


class Net(Half):  # type: ignore[no-redef] # of the same name on purpose
    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.normal(x))


Guide = Net


def methods() -> Programs:
    both = Both()
    return both.model, both.guide


def pyro_modules() -> Programs:
    return Model(2, 3), Guide(3, 2)


def functions() -> Programs:
    decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 2)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        scale = pyro.param("scale", lambda: torch.rand(3) + 0.5, constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

    return model, guide


NAMES = {
    methods: {f"Both.{layer}.{part}" for layer in ("decoder", "encoder.0") for part in ("weight", "bias")},
    pyro_modules: {
        f"{module}.{name}"
        for module in ("Net", "guide.Net")
        for name in ("linear.weight", "linear.bias", "bias", "scale_unconstrained")
    },
    functions: {"decoder.weight", "decoder.bias", "encoder.weight", "encoder.bias", "param.scale"},
}
"""Of each form, the names of its trainable parameters."""
FORMS = list(NAMES)
