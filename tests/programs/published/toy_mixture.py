"""A chain of three bits, of which the middle one is hidden and summed out, with Beta priors of all probabilities."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex

import zoo


@config_enumerate
def model(a, c, num_obs):
    ones = a.new_ones(2)
    p_a = pyro.sample("p_a", dist.Beta(ones[0], ones[0]))
    p_b = pyro.sample("p_b", dist.Beta(ones, ones).to_event(1))
    p_c = pyro.sample("p_c", dist.Beta(ones, ones).to_event(1))
    with pyro.plate("data", num_obs):
        a = pyro.sample("A", dist.Bernoulli(p_a.expand(num_obs)), obs=a)
        b = pyro.sample("B", dist.Bernoulli(Vindex(p_b)[a.long()]))
        pyro.sample("C", dist.Bernoulli(Vindex(p_c)[b.long()]), obs=c)


def guide(a, c, num_obs):
    for name, shape in (("p_a", ()), ("p_b", (2,)), ("p_c", (2,))):
        alpha = pyro.param(f"{name}_alpha", lambda shape=shape: 2 * torch.ones(shape), constraint=constraints.positive)
        beta = pyro.param(f"{name}_beta", lambda shape=shape: 2 * torch.ones(shape), constraint=constraints.positive)
        pyro.sample(name, dist.Beta(alpha, beta).to_event(len(shape)))


# adapter
event = zoo.Event(2, "binary")
chain = {"model": model, "guide": guide}
model, guide = (lambda x, of=of: chain[of](x[:, 0], x[:, 1], len(x)) for of in ("model", "guide"))
