"""Bayesian logistic regression with an AutoGuide of all weights together."""

import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoMultivariateNormal

import zoo


def model(covariates, outcome=None):
    dim = covariates.shape[-1]
    weights = pyro.sample("weights", dist.Normal(covariates.new_zeros(dim), 2.0).to_event(1))
    bias = pyro.sample("bias", dist.Normal(covariates.new_zeros(()), 5.0))
    with pyro.plate("data", len(covariates)):
        return pyro.sample("outcome", dist.Bernoulli(logits=covariates @ weights + bias), obs=outcome)


# adapter
event = zoo.Event.parse("covariates=3:real@given,outcome=:binary")
guide = AutoMultivariateNormal(model)
