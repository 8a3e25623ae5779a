"""Errors of a user's programs in one sentence: what is wrong, where in the user's code, and how to mend it."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyro
import torch

from zoo.errors import ContractError

LIBRARIES = tuple(str(Path(str(each))) for each in (*torch.__path__, *pyro.__path__, sysconfig.get_path("stdlib")))
CORE = Path(__file__).parent.parent
SHELVES = ("models", "guides")
"""Folders of the installed package that hold programs, and no core."""

PLATE = (
    "the data plate has the size of the batch, pyro.plate('data', len(x)), and all but its dimension belong to the "
    "event: declare the dimensions of one datum with .to_event(1) for vectors, .to_event(2) for matrices, and give no "
    "parameter a row for each datum"
)
DEVICE = (
    "leave .cuda() and .to(device) out, the zoo moves the pair; make tensors where the data are: x.new_zeros(...), "
    "torch.arange(..., device=x.device), or register_buffer; or run it on the CPU alone, --device cpu"
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
    r"size of tensor a|match the broadcast|not broadcastable|invalid for input of size|number of input data points": (
        "take every size from len(x) and x.shape: a parameter or constant with a row for each datum of one batch "
        "does not fit another batch; compute what belongs to a datum from x, by a network (amortised)"
    ),
    r"n_sample <= 0": (
        "a count that is read off x, such as a Multinomial's total_count, belongs to the data: give it as a field, "
        "n=:21@given"
    ),
    r"positional argument": "model and guide take one argument, the batch x: wrap others, model = lambda x: f(x, y)",
    r"out of bounds": "a latent that is an index has as many classes in the guide as in the model",
    r"within the support|outside the support": (
        "observe data that the distribution takes: bits under a Bernoulli, levels 0 to K-1 under a Categorical or "
        "Binomial(K-1), reals under a Normal; zoo.likelihood(event, parameters) chooses one"
    ),
}
"""Pattern of the text of torch's and Pyro's own errors -> how to mend the mistake that is behind it most often."""


@contextmanager
def running(what: str, otherwise: str) -> Iterator[None]:
    """Inside, whatever a user's program raises becomes one sentence, which begins with ``what`` went wrong.

    Args:
        what: such as "the model does not run on a batch of shape (2, 3)".
        otherwise: how to mend it, where the error itself is not known to `MENDS`.

    Raises:
        ContractError: the sentence.
    """
    try:
        yield
    except ContractError:
        raise
    except Exception as error:  # a user's program may raise anything
        raise ContractError(f"{what}: {describe(error)}; {mend_of(str(error), otherwise)}") from error


def mend_of(error: str, otherwise: str) -> str:
    """How to mend what ``error`` says, if it is known to `MENDS`."""
    return next((mend for pattern, mend in MENDS.items() if re.search(pattern, error)), otherwise)


def describe(error: BaseException) -> str:
    """An error in one line, with the place in the user's code that raised it."""
    message = " ".join(str(error).split("Trace Shapes:")[0].split())
    return f"{type(error).__name__}: {message}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """The innermost line of the user's own code that an error passed through."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if of_the_user(frame.filename)]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno} `{own[-1].line}`" if own else ""


def of_the_user(filename: str) -> bool:
    """Whether a file holds programs, and is no part of a library or of the core."""
    path = Path(filename)
    if filename.startswith(("<", *LIBRARIES)):
        return False
    return not path.is_relative_to(CORE) or path.relative_to(CORE).parts[0] in SHELVES
