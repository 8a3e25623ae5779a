"""The Gaussian process latent variable model of Pyro's tutorial: the data depend on each other through the process."""

import pyro.contrib.gp as gp
import pyro.distributions as dist
import torch
from pyro.nn import PyroSample

import zoo

N, DIM = 60, 2

kernel = gp.kernels.RBF(input_dim=1, lengthscale=torch.ones(1))
inducing = torch.linspace(-1, 1, 8)[:, None]
process = gp.models.SparseGPRegression(torch.zeros(N, 1), torch.zeros(DIM, N), kernel, inducing, jitter=1e-4)
process.X = PyroSample(dist.Normal(torch.zeros(N, 1), 0.5).to_event())
process.autoguide("X", dist.Normal)


# adapter
event = zoo.Event(DIM, "real")
model = lambda x: process.set_data(process.X, x.T) or process.model()
guide = lambda x: process.guide()
