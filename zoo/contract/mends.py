"""How to mend what torch's and Pyro's own errors complain of: the mistakes that are made most often."""

from __future__ import annotations

import re

PLATE = (
    "the data plate has the size of the batch, pyro.plate('data', len(x)), and all but its dimension belong to the "
    "event: declare the dimensions of one datum with .to_event(1) for vectors, .to_event(2) for matrices"
)
DEVICE = (
    "leave .cuda() and .to(device) out, the zoo moves the pair; make tensors where the data are: x.new_zeros(...), "
    "torch.arange(..., device=x.device), or register_buffer"
)
MENDS = {
    r"Shape mismatch inside plate|shape at site .* invalid": PLATE,
    r"not compiled with CUDA|NVIDIA driver|CUDA GPUs|expected device|same device|tensors on \w+ and": DEVICE,
    r"same dtype|expected scalar type|\bDouble\b|float64": (
        "data and parameters are float32: leave out .double() and dtype=torch.float64, and make constants of numpy's "
        "arrays by torch.tensor(array, dtype=x.dtype)"
    ),
    r"Multiple sample sites named": "give every site a name of its own; in a loop, f'z{i}'",
    r"must be sampled in trace": "a guide observes nothing: leave its obs= out, and observe x in the model",
    r"probs .*constraint|p_in": "give what a network puts out as logits=..., or squash it by sigmoid or softmax first",
    r"(scale|rate|concentration\d?|df) .*constraint": (
        "make it positive: torch.nn.functional.softplus(raw) + 1e-3, raw.exp(), or a pyro.param with "
        "constraint=constraints.positive"
    ),
    r"shapes cannot be multiplied|dimensional input|Given groups": (
        "x has the shape (n, *event.shape): flatten it for a dense network, x.flatten(1), whose first layer takes "
        "event.size numbers; a latent has the event shape that the decoder takes, in the guide as in the model"
    ),
    r"size of tensor a|does not match the broadcast|not broadcastable|invalid for input of size": (
        "take every size from len(x) and x.shape: a parameter or constant with a row for each datum of one batch "
        "does not fit another batch; compute what belongs to a datum from x, by a network (amortised)"
    ),
    r"positional argument": "model and guide take one argument, the batch x: wrap others, model = lambda x: f(x, y)",
    r"out of bounds": "a latent that is an index has as many classes in the guide as in the model",
    r"within the support|outside the support": (
        "observe data that the distribution takes: bits under a Bernoulli, levels 0 to K-1 under a Categorical or "
        "Binomial(K-1), reals under a Normal; zoo.likelihood(event, parameters) chooses one"
    ),
}
"""Pattern of an error's text -> what to do."""


def mend_of(error: str, otherwise: str) -> str:
    """How to mend what ``error`` says, if it is one of `MENDS`."""
    return next((mend for pattern, mend in MENDS.items() if re.search(pattern, error)), otherwise)
