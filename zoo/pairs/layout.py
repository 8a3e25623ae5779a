"""Where the entries of ``x`` stand in the sites that a model observes, learnt by probing.

The model is run on a batch whose columns all differ. An observed value, its data dimension moved first, has to consist
of such columns, and all observed values together of each exactly once. So a model may observe ``x`` flipped, transposed
or in several sites; what it observes is ``x`` and nothing else, and what it draws can be put back in place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from torch import Tensor

from zoo.errors import ContractError
from zoo.event import Event
from zoo.pairs.sites import data_first, is_deterministic, random_sites
from zoo.pairs.user_errors import running
from zoo.seeding import seeded

if TYPE_CHECKING:
    from zoo.pairs.pair import Pair

EXTRA_ROWS = 8
"""Random rows of a probe, besides those that tell its columns apart: they show a change of the order of the rows."""
CLOSE = 1e-3
"""How far a second probe is from an example, as a share of its numbers."""


@dataclass(frozen=True)
class Layout:
    """The place in the flattened datum of every entry that a site observes.

    ``places[site]`` belongs to the site's value with the data dimension first and the rest flattened. An implicit model
    observes nothing, so it has no places. ``plates`` are the names of the data plates.
    """

    places: dict[str, Tensor]
    plates: frozenset[str] = frozenset()

    def assemble(self, model_trace: Any, x: Tensor) -> Tensor:
        """The data in the observed sites of a trace, in the shape and type of ``x``, ``(n, *event.shape)``.

        Args:
            model_trace: of the model on ``n`` data; its sites may have been observed or drawn.
            x: a batch of ``n`` data, of which the fields that are not observed stay.
        """
        sites = {name: model_trace.nodes[name] for name in self.places if name in model_trace.nodes}
        return self.place({name: data_first(name, site, len(x), self.plates) for name, site in sites.items()}, x)

    def place(self, values: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """What belongs to the observed entries, put in place in a copy of ``x``, shape ``(n, *event.shape)``.

        Args:
            values: for each site, one entry for each that it observes: shape ``(n, ...)``. A program may end before a
                site that has nothing but padding; its entries in ``x`` stay.
            x: a batch of ``n`` data.
        """
        flat = x.clone(memory_format=torch.contiguous_format).flatten(1)
        for name, value in values.items():
            value, places = value.reshape(len(x), -1), self.places[name]
            if value.shape[1] != len(places):
                raise ContractError(
                    f"site {name!r} should have {len(places)} entries for each datum, as it had for another batch; "
                    f"got {value.shape[1]}"
                )
            flat[:, places] = value.to(flat.dtype)
        return flat.reshape(x.shape)


def learn_layout(pair: Pair) -> Layout:
    """The layout of a pair's observed sites.

    Of a record, the entries of the fields that the model takes are to be observed, less those of fields that are given.

    Raises:
        ContractError: the observed values are not the entries of ``x``, each exactly once, row by row.
    """
    event = pair.event
    fields = torch.arange(len(event.parts)).repeat_interleave(torch.tensor([each.size for each in event.parts]))
    observed = torch.tensor([each.role != "given" and each.name in pair.takes for each in event.parts])[fields]
    x = probe(event).to(pair.device, torch.get_default_dtype())
    try:
        trace = _trace(pair, x)
    except Exception:  # a user's program need not run on any numbers
        x = _close_by(pair.example, event).to(x)
        wrong = f"{pair.label} does not run on made-up data, by which the entries of x are found in what it observes"
        with running(wrong, "let it run on all values of the event: clamp what is an index, or declare its levels"):
            trace = _trace(pair, x)
    return Layout(_places(pair, x, trace, observed), pair.structure.plates)


def _trace(pair: Pair, x: Tensor) -> Any:
    """The model's trace after the guide, whose draws take less time than the prior's of a flow."""
    with seeded(0), pair.evaluating():
        guided = poutine.trace(pair.guide).get_trace(x.clone())
        pair.structure.forget_plates(guided)
        return poutine.trace(poutine.replay(pair.model, trace=guided)).get_trace(x.clone())


def _places(pair: Pair, x: Tensor, trace: Any, observed: Tensor) -> dict[str, Tensor]:
    """The place in ``x`` of each column that a site observes; all columns that are ``observed`` have to be, once."""
    known = {column: place for place, column in enumerate(_columns(x))}
    places: dict[str, Tensor] = {}
    for name, site in random_sites(trace):
        if not site["is_observed"]:
            continue
        value = data_first(name, site, len(x)).reshape(len(x), -1)
        found = [known.get(column, -1) for column in _columns(value)]
        if -1 in found:
            raise ContractError(
                f"site {name!r} should observe entries of x as they are, datum by datum; it observes "
                f"{_difference(x, value[:, found.index(-1)])}{_reparametrised(name, trace)}"
            )
        places[name] = torch.tensor(found)
    times = Counter(place for found in places.values() for place in found.tolist())
    wanted = observed.int().tolist()
    wrong = [place for place, once in enumerate(wanted) if times[place] != once] if places else []
    if wrong:
        sites = ", ".join(map(repr, places))
        once = "exactly once" if wanted[wrong[0]] else "never, as it is given"
        raise ContractError(
            f"each entry of x should be observed {once}; {len(wrong)} of {len(wanted)} are not: entry "
            f"{_index(pair.event, wrong[0])} is observed {times[wrong[0]]} times by site {sites}"
        )
    return places


def probe(event: Event) -> Tensor:
    """A batch whose columns all differ, shape ``(n, *event.shape)``: levels, or different numbers between 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    taken = {*event.shape, event.size}
    if event.fields:
        return _probe_of_record(event, generator)
    if event.levels is None:
        n = next(n for n in range(EXTRA_ROWS, 64) if n not in taken)
        numbers = (torch.randperm(n * event.size, generator=generator) + 0.5) / (n * event.size)
        return numbers.reshape(n, *event.shape)
    digits = math.ceil(math.log(event.size, event.levels) - 1e-9) if event.size > 1 else 0
    n = next(n for n in range(digits + EXTRA_ROWS, digits + 64) if n not in taken)
    powers = event.levels ** torch.arange(digits)
    counting = torch.arange(event.size) // powers[:, None] % event.levels
    noise = torch.randint(event.levels, (n - digits, event.size), generator=generator)
    return torch.cat([counting, noise]).float().reshape(n, *event.shape)


def _probe_of_record(event: Event, generator: torch.Generator) -> Tensor:
    """Discrete columns count in twos, which every field has levels for, and go on at random; sequences are complete."""
    digits = math.ceil(math.log2(event.size)) if event.size > 1 else 0
    n = next(n for n in range(digits + EXTRA_ROWS, digits + 64) if n not in {field.size for field in event.fields})
    real = ((torch.randperm(n * event.size, generator=generator) + 0.5) / (n * event.size)).reshape(n, -1)
    counting = torch.arange(event.size) // 2 ** torch.arange(digits)[:, None] % 2
    columns, lengths = list[Tensor](), {field.length: field.shape[0] for field in event.fields if field.length}
    for field, numbers in zip(event.fields, real.split([field.size for field in event.fields], 1), strict=True):
        start = sum(column.shape[1] for column in columns)
        if field.name in lengths:
            columns.append(torch.full((n, 1), float(lengths[field.name])))
            continue
        noise = torch.randint(field.levels or 2, (n - digits, field.size), generator=generator)
        levels = torch.cat([counting[:, start : start + field.size], noise]).float()
        columns.append(numbers if field.levels is None else levels)
    return torch.cat(columns, 1)


def _close_by(example: Tensor, event: Event) -> Tensor:
    """`probe` with real numbers close to those of an example, and what is given as it is there."""
    made = probe(event)
    values, known = event.unpack(made), event.unpack(example[torch.arange(len(made)) % len(example)].cpu())
    for field in event.parts:
        value, numbers = known[field.name], values[field.name]
        if value is not None and field.role == "given":
            values[field.name] = value
        elif value is not None and numbers is not None and field.levels is None:
            values[field.name] = value + CLOSE * value.abs().clamp(min=1.0) * numbers
    return event.pack(values) if event.fields else values["x"]  # type: ignore[return-value] # an array's field is there


def _columns(batch: Tensor) -> Iterator[bytes]:
    """The columns of a batch as keys."""
    rows = batch.detach().flatten(1).float().cpu() + 0.0  # minus zero becomes zero
    return (column.tobytes() for column in rows.T.contiguous().numpy())


def _difference(x: Tensor, column: Tensor) -> str:
    """What is observed instead of a column of x."""
    low, high = float(column.min()), float(column.max())
    if low == high:
        return f"the constant {low:g}"
    if (x.flatten(1).sort(0).values == column.to(x).sort().values[:, None]).all(0).any():
        return "x with its data in another order"
    return f"other numbers, {low:g} to {high:g} where x is {float(x.min()):g} to {float(x.max()):g}"


def _reparametrised(name: str, trace: Any) -> str:
    """What is wrong if Pyro has observed a transformed site by its base: the Jacobian is nowhere in the trace."""
    whole = name.removesuffix("_base")
    if whole == name or whole not in trace.nodes or not is_deterministic(trace.nodes[whole]):
        return ""
    return f"; TransformReparam is for latents, and leaves out the Jacobian of {whole!r}: do without it there"


def _index(event: Event, place: int) -> tuple[int, ...]:
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(place), event.shape))
