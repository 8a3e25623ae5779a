"""Records and programs: fields as arguments by name, and batches cut into data with and without a label."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.errors import ContractError
from zoo.event import Event, Field

if TYPE_CHECKING:
    from zoo.pairs.pair import Pair


class ByFields:
    """A program as a function of packed batches: each of its arguments is given the field of that name.

    The main field goes to the first argument, unless that has the name of another field. A label that is missing in
    the batch (see `zoo.event.Event.without_label`) is ``None``.

    Attributes:
        takes: names of the fields that the program takes.

    Raises:
        ContractError: the program requires an argument that is no field.
    """

    def __init__(self, event: Event, program: Callable[..., Any]) -> None:
        self.event, self.program = event, program
        known = inspect.signature(program.forward if isinstance(program, nn.Module) else program).parameters.values()
        names = [field.name for field in event.parts]
        places = [each for each in known if each.kind not in (each.KEYWORD_ONLY, each.VAR_KEYWORD)]
        first = event.main.name if places and places[0].name not in names else ""
        asked = [each for each in known if not (first and each is places[0])]
        every = any(each.kind is each.VAR_KEYWORD for each in asked)
        self._first = first
        self._rest = [name for name in names if name != first and (every or name in {each.name for each in asked})]
        self.takes = frozenset(filter(None, (first, *self._rest)))
        for each in asked:
            required = each.default is each.empty and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
            if required and each.name not in names:
                raise ContractError(
                    f"a program requires the argument {each.name!r}, which is no field of {event}: name it after a "
                    "field, or give it a default"
                )

    def __call__(self, batch: Tensor) -> Any:
        values = self.event.unpack(batch)
        first = (values[self._first],) if self._first else ()
        return self.program(*first, **{name: values[name] for name in self._rest})


def scored(pair: Pair, with_label: bool = True) -> list[Field]:
    """The fields whose probability a pair gives: those that are observed and taken by the model."""
    roles = ("observed", "label") if with_label else ("observed",)
    return [field for field in pair.event.parts if field.role in roles and field.name in pair.takes]


def density(pair: Pair, x: Tensor) -> str:
    """What a likelihood of data is of: ``p(x)``, ``p(x, y)`` where all have a label, ``p(x | c)`` where c is given.

    Example:
        >>> import torch
        >>> from zoo import Event, build
        >>> density(build("independent", Event(2, "binary")), torch.zeros(3, 2))
        'p(x)'
    """
    given = [each.name for each in pair.event.fields if each.role == "given" and each.name in pair.takes]
    missing = int(pair.event.missing(x).sum())
    words = []
    for n, with_label in ((len(x) - missing, True), (missing, False)):
        names = ", ".join(field.name for field in scored(pair, with_label))
        words += [(f"p({names}{' | ' if given else ''}{', '.join(given)})", n)] if n else []
    if len({word for word, _ in words}) == 1:
        return words[0][0]
    return " and ".join(f"{word} of {n} data" for word, n in words)


def cut(event: Event, batch: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The data of a batch that have a label, and those that have none, as far as there are any.

    Returns:
        For each part the places of its data in the batch, and these data; those without a label without its columns. A
        batch on the meta device, which has no values, counts as one with all labels.
    """
    everything = torch.arange(len(batch), device=batch.device)
    if batch.is_meta or batch.shape[1:] != event.shape:
        return [(everything, batch)]
    missing = event.missing(batch)
    parts = [(everything[~missing], batch[~missing]), (everything[missing], event.without_label(batch[missing]))]
    return [part for part in parts if len(part[0])]


def in_parts(event: Event, batch: Tensor, work: Callable[[Tensor], Tensor], dim: int = 0) -> Tensor:
    """``work`` of the data that have a label and of those that have none, along ``dim`` in the order of the batch."""
    if event.label is None:
        return work(batch)
    places, parts = zip(*cut(event, batch), strict=True)
    return torch.cat([work(part) for part in parts], dim).index_select(dim, torch.cat(places).argsort())
