"""Learning of the restricted Boltzmann machine does not depend on which state of a unit is called one."""

from __future__ import annotations

import torch
from torch import Tensor

import zoo


def learnt(x: Tensor, chains: Tensor, flipped: Tensor) -> Tensor:
    """Log-probabilities of ``x`` after three plain steps, learnt with the states of the ``flipped`` units exchanged."""
    pair = zoo.build("rbm", zoo.Event(x.shape[1:], "binary"), {"hidden": 3}, seed=0)
    machine, data = pair.extras, (x - flipped).abs()
    with torch.no_grad():
        machine.initialise(data)
        machine.persistent.copy_((chains - flipped).abs())
        machine.hidden.add_(machine.weight @ flipped)
        machine.weight.mul_(1 - 2 * flipped)
    machine.eval()  # the chains stay where they are
    optimiser = torch.optim.SGD(machine.parameters(), lr=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        machine.contrast(data).backward()
        optimiser.step()
    return zoo.log_prob(pair, data).detach()


def test_flipped_units_are_learnt_alike() -> None:
    torch.manual_seed(1)
    x, chains = torch.rand(10, 6).round(), torch.rand(100, 6).round()
    plain = learnt(x, chains, torch.zeros(6))
    assert plain.std() > 0.01
    for flipped in (torch.ones(6), torch.tensor([1.0, 0, 0, 1, 1, 0])):
        torch.testing.assert_close(plain, learnt(x, chains, flipped), rtol=1e-4, atol=1e-4)
