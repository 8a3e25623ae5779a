"""How many sequential network passes one sample needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.pairs.pair import Pair
from zoo.pairs.sampling import contexts, sample

RANDOM = ("bernoulli", "binomial", "multinomial", "normal", "poisson", "_standard_gamma", "_sample_dirichlet")
"""Functions whose results are data, even if they are given nothing but weights."""


def sequential_passes(pair: Pair, sampler: str = "", passes: int = 0) -> int:
    """How many network passes, one after the other, one sample needs.

    Counted while one sample is drawn: the number of times that the most used parameter (or a part of it) meets data.
    Masked weights and other functions of weights alone count as the weights. Compiled and scripted networks are not
    seen.

    Args:
        pair: any pair.
        sampler: one of the pair's own, by name (see `zoo.sample`).
        passes: how many the sampler is asked to take.

    Returns:
        The number of passes; 0 where no parameter meets data.
    """
    given = contexts(pair.event, pair.event.zeros(1), 1)
    pair.layout  # noqa: B018 (learning it runs the model once more)
    with _Uses(pair) as seen:
        sample(pair, 1, given=given, sampler=sampler, passes=passes)
    return max(seen.uses.values(), default=0)


class _Uses(TorchFunctionMode):
    """Counts how often each parameter, or a function of parameters alone, meets data.

    A tensor is identified by its storage, so that views of a parameter are that parameter.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.uses: Counter[int] = Counter()
        self.made_of: dict[int, set[int]] = {_storage(tensor): set() for tensor in pair.state().values()}
        self.made_of |= {_storage(tensor): {_storage(tensor)} for tensor in pair.parameters()}
        self.kept: list[Tensor] = []  # a freed storage may become another tensor's

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        in_place = name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
        if not (name in RANDOM or name.startswith("new_") or name.endswith("_like")):
            self._note(list(_tensors((args, kwargs))), list(_tensors(args[0] if in_place else out)), in_place)
        return out

    def _note(self, given: list[Tensor], results: list[Tensor], in_place: bool) -> None:
        """Record one operation: weights met data in it, or became other weights."""
        weights = [self.made_of[key] for key in map(_storage, given) if key in self.made_of]
        if not weights or not results:
            return
        parameters, met = set().union(*weights), len(weights) < len(given)
        if met and in_place:
            self.made_of.pop(_storage(results[0]), None)
        if any(_storage(each) in self.made_of for each in results):
            return  # the same numbers in another shape
        if met:
            self.uses.update(parameters)
        else:
            self.made_of |= {_storage(each): parameters for each in results}
            self.kept += results


def _storage(tensor: Tensor | nn.Parameter) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(values: Any) -> Iterator[Tensor]:
    """The tensors with entries in nested arguments."""
    if isinstance(values, Tensor):
        if values.numel():
            yield values
    elif isinstance(values, (dict, list, tuple)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _tensors(value)
