"""Records and programs: fields as arguments by name, and batches cut into data with and without a label."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.errors import ContractError, UnfitError
from zoo.event import Event, Field

if TYPE_CHECKING:
    from zoo.pairs.pair import Pair


class ByFields:
    """A program as a function of packed batches: each of its arguments is given the field of that name.

    The main field goes to the first argument, unless that has the name of another field. A field that is ``missing`` in
    the event is given as ``None``. A program of ``*args, **kwargs``, as AutoGuides are, is called as ``model`` is.

    Attributes:
        takes: names of the fields that the program takes.

    Raises:
        ContractError: the program requires an argument that is no field.
    """

    def __init__(
        self, event: Event, program: Callable[..., Any], missing: str = "", model: ByFields | None = None
    ) -> None:
        self.event, self.program, self._model = event, program, model
        if not event.fields:
            self._first, self._rest = "x", list[str]()
        elif model and _takes_anything(program):
            self._first, self._rest = model._first, model._rest
        else:
            self._first, self._rest = _arguments(event, program, missing)
        self.takes = frozenset(filter(None, (self._first, *self._rest)))
        self._missing = {missing: None} if missing else {}

    def __call__(self, batch: Tensor) -> Any:
        values = self.event.unpack(batch)
        first = (values[self._first],) if self._first else ()
        return self.program(*first, **{name: values[name] for name in self._rest}, **self._missing)

    def without(self, label: str) -> ByFields:
        """The same program for data without the label, for which it is given ``None``."""
        model = self._model and self._model.without(label)
        return ByFields(self.event.unlabelled, self.program, label if label in self.takes else "", model)


def _parameters(program: Callable[..., Any]) -> list[inspect.Parameter]:
    signature = inspect.signature(program.forward if isinstance(program, nn.Module) else program)
    return list(signature.parameters.values())


def _takes_anything(program: Callable[..., Any]) -> bool:
    return [each.kind for each in _parameters(program)] == [
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    ]


def _arguments(event: Event, program: Callable[..., Any], missing: str) -> tuple[str, list[str]]:
    """The field that goes to the first argument, if that is named after none, and those that are given by name."""
    known = [each for each in _parameters(program) if each.name != missing]
    names = [field.name for field in event.fields]
    places = [each for each in known if each.kind not in (each.KEYWORD_ONLY, each.VAR_KEYWORD)]
    first = event.main.name if places and places[0].name not in names else ""
    asked = [each for each in known if not (first and each is places[0])]
    for each in asked:
        required = each.default is each.empty and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        if required and each.name not in names:
            raise ContractError(
                f"a program requires the argument {each.name!r}, which is no field of {event}: name it after a "
                "field, or give it a default"
            )
    every = any(each.kind is each.VAR_KEYWORD for each in asked)
    taken = {each.name for each in asked}
    return first, [name for name in names if name != first and (every or name in taken)]


def classes_of(event: Event, family: str) -> int:
    """K, of a record of one field and of the label ``y``, a single number of K levels.

    Args:
        event: of the data.
        family: who needs it, for the message.

    Raises:
        UnfitError: another event.

    Example:
        >>> classes_of(Event.parse("x=8x8:17,y=:10@label"), "ssvae")
        10
    """
    label = event.label
    if len(event.fields) != 2 or label is None or label.name != "y" or label.shape or label.levels is None:
        raise UnfitError(f"{family} takes a record such as x=8x8:17,y=:10@label, got {event}; see digits:labels=100")
    return label.levels


def scored(pair: Pair, with_label: bool = True) -> list[Field]:
    """The fields whose probability a pair gives: those that are observed and taken by the model."""
    roles = ("observed", "label") if with_label else ("observed",)
    return [field for field in pair.event.parts if field.role in roles and field.name in pair.takes]


def counted(pair: Pair, x: Tensor) -> Tensor:
    """Which entries of each datum are `scored`, without padding and labels that are missing: shape ``(n, size)``."""
    wanted = {field.name for field in scored(pair)}
    sizes = torch.tensor([field.size for field in pair.event.parts])
    known = torch.tensor([field.name in wanted for field in pair.event.parts]).repeat_interleave(sizes)
    absent, padding = x.flatten(1).isnan(), pair.event.padding(x)
    absent = absent if padding is None else absent | padding
    return known.to(x.device) & ~absent


def dimensions(pair: Pair, x: Tensor) -> Tensor:
    """How many numbers of each datum are `counted`: shape ``(n,)``."""
    return counted(pair, x).sum(1)


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
    if event.label is None or batch.is_meta or batch.shape[1:] != event.shape:
        return [(everything, batch)]
    missing = event.missing(batch)
    parts = [(everything[~missing], batch[~missing]), (everything[missing], event.drop_label(batch[missing]))]
    return [part for part in parts if len(part[0])]


def pair_for(pair: Pair, part: Tensor) -> Pair:
    """The pair of a part that `cut` gives: itself, or the one for data without a label."""
    return pair if part.shape[1:] == pair.event.shape else pair.unlabelled


def in_parts(pair: Pair, batch: Tensor, work: Callable[[Pair, Tensor], Tensor], dim: int = 0) -> Tensor:
    """``work`` of the data that have a label and of those that have none, along ``dim`` in the order of the batch.

    Args:
        pair: of the batch.
        batch: shape ``(n, *event.shape)``.
        work: is given each part with its pair (see `zoo.pairs.pair.Pair.unlabelled`).
        dim: of the result, which data are along.
    """
    if pair.event.label is None:
        return work(pair, batch)
    places, parts = zip(*cut(pair.event, batch), strict=True)
    found = torch.cat([work(pair_for(pair, part), part) for part in parts], dim)
    return found.index_select(dim, torch.cat(places).argsort())
