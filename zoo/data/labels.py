"""Images with the class that each shows: records of the fields ``x`` and ``y``, some of whose labels are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.errors import ZooError
from zoo.event import Event, Field


def with_labels(data: Dataset, y: Sequence[Tensor], labels: int | str, unlabelled: bool, seed: int) -> Dataset:
    """The data set with the label ``y`` of each datum: a record of ``x`` and ``y``.

    Args:
        data: of the field ``x``.
        y: the classes of the data, from 0 on: one tensor of shape ``(n,)`` for each of train, validation and test.
        labels: how many data of the train split keep their label, the same number of each class; ``"all"`` of them; or
            0 for ``data`` as they are. Validation and test keep all.
        unlabelled: whether the train data without a label stay.
        seed: draws which data keep it.

    Raises:
        ZooError: a number that is no multiple of the number of classes, or more than there are of a class.
    """
    if labels == 0:
        return data
    train, classes = y[0], int(torch.cat(list(y)).max()) + 1
    if labels == "all":
        kept = torch.ones(len(train), dtype=torch.bool)
    elif isinstance(labels, int) and labels > 0 and labels % classes == 0:
        kept = _drawn(train, labels // classes, seed)
    else:
        raise ZooError(f"labels is 'all' or a multiple of the {classes} classes of {data.name}, got {labels!r}")
    event = Event.record(
        Field("x", data.event.shape, data.event.levels or "real"), Field("y", (), max(2, classes), "label")
    )
    known = torch.where(kept, train.float(), torch.nan)
    rows = torch.ones_like(kept) if unlabelled else kept
    splits = [event.pack({"x": x, "y": label}) for x, label in zip(_splits(data), (known, *y[1:]), strict=True)]
    some = "" if labels == "all" else f" of {len(kept)} train data, drawn with seed {seed}"
    story = f"y, one of {classes} classes, is known for {int(kept.sum())}{some}, and for validation and test"
    rest = "" if unlabelled else "; train data without a label are left out"
    source = f"{data.source.removesuffix('.')}; {story}{rest}."
    return replace(data, event=event, train=splits[0][rows], validation=splits[1], test=splits[2], source=source)


def _splits(data: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    return data.train, data.validation, data.test


def _drawn(y: Tensor, each: int, seed: int) -> Tensor:
    """Which data keep their label: ``each`` of every class, drawn at random."""
    generator, kept = torch.Generator().manual_seed(seed), torch.zeros(len(y), dtype=torch.bool)
    for label in range(int(y.max()) + 1):
        places = (y == label).nonzero()[:, 0]
        if len(places) < each:
            raise ZooError(f"{each} labels of each class are asked for, and class {label} has {len(places)} data only")
        kept[places[torch.randperm(len(places), generator=generator)[:each]]] = True
    return kept
