"""The regression of Pyro's introduction, with a guide by hand: incomes on ruggedness, which matters by continent."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints

import zoo


def model(is_cont, ruggedness, log_gdp=None):
    zero = ruggedness.new_zeros(())
    a = pyro.sample("a", dist.Normal(zero, 10.0))
    b_a = pyro.sample("bA", dist.Normal(zero, 1.0))
    b_r = pyro.sample("bR", dist.Normal(zero, 1.0))
    b_ar = pyro.sample("bAR", dist.Normal(zero, 1.0))
    sigma = pyro.sample("sigma", dist.LogNormal(zero, 1.0))
    mean = a + b_a * is_cont + b_r * ruggedness + b_ar * is_cont * ruggedness
    with pyro.plate("data", len(ruggedness)):
        return pyro.sample("obs", dist.Normal(mean, sigma), obs=log_gdp)


def guide(is_cont, ruggedness, log_gdp=None):
    a_loc = pyro.param("a_loc", lambda: torch.tensor(0.0))
    a_scale = pyro.param("a_scale", lambda: torch.tensor(1.0), constraint=constraints.positive)
    weights_loc = pyro.param("weights_loc", lambda: torch.randn(3))
    weights_scale = pyro.param("weights_scale", lambda: torch.ones(3), constraint=constraints.positive)
    sigma_loc = pyro.param("sigma_loc", lambda: torch.tensor(0.0))
    sigma_scale = pyro.param("sigma_scale", lambda: torch.tensor(0.1), constraint=constraints.positive)
    pyro.sample("a", dist.Normal(a_loc, a_scale))
    for i, name in enumerate(("bA", "bR", "bAR")):
        pyro.sample(name, dist.Normal(weights_loc[i], weights_scale[i]))
    pyro.sample("sigma", dist.LogNormal(sigma_loc, sigma_scale))


# adapter
event = zoo.Event.parse("is_cont=:binary@given,ruggedness=:real@given,log_gdp=:real")
