"""Active learning: a classifier asks, round by round, for the labels of the data that an acquisition chooses.

A round is a function of the seed, its number and the labels asked for before, so a killed experiment goes on with the
round that it was in. The classifier is trained from scratch in each round, for the same number of steps and by labels
that were asked for only: no validation labels, and no early stopping.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data import Dataset, load_data
from zoo.data.oracle import Oracle
from zoo.errors import ZooError
from zoo.event import Event
from zoo.experiments.query import Query
from zoo.files import digest_of, folder_name, read_json, write_json
from zoo.nn.classifier import KINDS, Classifier
from zoo.pairs.build import parse_settings
from zoo.pairs.registry import acquisitions, datasets, load_shelves
from zoo.report.active import Answered
from zoo.seeding import seeded
from zoo.training.classifier import CLASSIFIER, fit_classifier
from zoo.training.recipe import Recipe

Watch = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ActivePlan:
    """How an experiment goes: every way of asking with every seed.

    Args:
        ask: acquisitions by name, with settings behind a colon: ``low-p:density=vae``.
        start: labels drawn at random before the first round.
        add: labels asked for in each round.
        rounds: how often is asked.
        seeds: of the first labels, the outliers, the classifiers and the acquisitions.
        outliers: share of the pool that is replaced by outliers (see `Pool.of`).
        kind: of the classifier (see `zoo.nn.classifier.Classifier`).
        recipe: of the classifier (see `zoo.training.classifier.fit_classifier`).

    Raises:
        ZooError: numbers out of range, a way that is named twice, or an unknown kind of classifier.
    """

    ask: Sequence[str]
    start: int = 50
    add: int = 25
    rounds: int = 8
    seeds: Sequence[int] = range(5)
    outliers: float = 0.0
    kind: str = "auto"
    recipe: Recipe = CLASSIFIER

    def __post_init__(self) -> None:
        if min(self.start, self.add, self.rounds, len(self.seeds), len(self.ask)) < 1:
            raise ZooError(
                f"active learning needs one or more ways of asking, first labels, labels in a round, rounds and seeds; "
                f"got {len(self.ask)}, {self.start}, {self.add}, {self.rounds} and {len(self.seeds)}"
            )
        if len(set(self.ask)) < len(self.ask):
            raise ZooError(f"each way of asking is named once, got {', '.join(self.ask)}")
        if not 0 <= self.outliers < 1:
            raise ZooError(f"the share of outliers is from 0 to below 1, got {self.outliers}")
        if self.kind not in KINDS:
            raise ZooError(f"the kind of a classifier is {', '.join(KINDS)}; got {self.kind!r}")

    @property
    def settings(self) -> dict[str, Any]:
        """What every round depends on, besides the data, the acquisition and the seed."""
        recipe = self.recipe.model_dump()
        return {"start": self.start, "add": self.add, "outliers": self.outliers, "kind": self.kind, "recipe": recipe}


@dataclass(frozen=True, eq=False)
class Pool:
    """Data to ask labels of.

    Attributes:
        event: of one datum, without its label.
        classes: number of classes.
        x: shape ``(n, *event.shape)``.
        oracle: knows their labels.
        strange: which data are outliers, shape ``(n,)``.
    """

    event: Event
    classes: int
    x: Tensor
    oracle: Oracle
    strange: Tensor

    @classmethod
    def of(cls, data: Dataset, outliers: float = 0.0, seed: int = 0) -> Pool:
        """The train data, a share of which are replaced by outliers.

        An outlier is a datum whose entries are shuffled, by a permutation of its own, with a class drawn at random.

        Raises:
            ZooError: data without labels, or with fields besides one array and its label.
        """
        x, y = labelled(data, data.train)
        label = data.event.label
        assert label is not None  # labelled checks it
        assert label.levels is not None
        generator = torch.Generator().manual_seed(seed)
        strange = torch.zeros(len(x), dtype=torch.bool)
        strange[torch.randperm(len(x), generator=generator)[: round(outliers * len(x))]] = True
        rows, count = x[strange].flatten(1), int(strange.sum())
        order = torch.rand(rows.shape, generator=generator).argsort(1)
        x[strange] = rows.gather(1, order).reshape(count, *x.shape[1:])
        y[strange] = torch.randint(label.levels, (count,), generator=generator).float()
        return cls(data.event.array, label.levels, x, Oracle(y), strange)


def data_with_labels(spec: str, **options: Any) -> Dataset:
    """The data called ``spec`` with all their labels, where they are a registered data set that may leave them out.

    Args:
        spec: as of `zoo.data.load_data`, which is given the ``options`` too.

    Raises:
        ZooError: see `zoo.data.load_data`.
    """
    load_shelves()
    name, _, given = spec.partition(":")
    source = datasets.get(name)
    if source and "labels" in inspect.signature(source.make).parameters and "labels=" not in given:
        spec = f"{name}:{','.join(filter(None, (given, 'labels=all')))}"
    return load_data(spec, **options)


def labelled(data: Dataset, split: Tensor) -> tuple[Tensor, Tensor]:
    """Copies of the array and of the label of each datum of ``split``, shapes ``(n, *shape)`` and ``(n,)``.

    Raises:
        ZooError: there are no labels, some are missing, or they are no classes.
    """
    label, fields = data.event.label, data.event.fields
    if label is None or len(fields) != 2 or label.shape or not label.levels:
        raise ZooError(
            f"active learning needs data of one array and a label, such as digits:labels=all, or a table of your own "
            f"with --field COLUMN=label; {data.name} holds {data.event}"
        )
    values = data.event.unpack(split)[label.name]
    assert values is not None  # a split has all columns
    if missing := int(values.isnan().sum()):
        raise ZooError(
            f"{missing} of {len(values)} labels of {data.name} are missing, and the oracle needs all; ask for "
            f"labels=all, or leave these data out"
        )
    return data.event.main_of(split).clone(), values.clone()


def active(data: Dataset, plan: ActivePlan, folder: Path, watch: Watch = lambda news: None) -> list[Answered]:
    """Ask in every way with every seed.

    Each round is stored under ``folder`` when it is done, in a folder whose name ends in a digest of the settings and
    the data; what is stored already is not computed again. All ways share the first labels and the seeds of the
    classifiers, seed by seed, so they are paired.

    Args:
        data: a record of one array and a label; its train data are the pool, and the test data measure accuracy.
        plan: the experiment.
        folder: of stored rounds.
        watch: is given a line after each round.

    Returns:
        A row for each way of asking, seed and round from 0 on.

    Raises:
        ZooError: data without labels, fewer of them than are asked for, an unknown acquisition, or one that does not
            return as many different places as it should.
    """
    ways = [Way.of(name) for name in plan.ask]
    most = plan.start + plan.rounds * plan.add
    if most > len(data.train):
        raise ZooError(
            f"{plan.start} first labels and {plan.rounds} rounds of {plan.add} are {most}, more than the "
            f"{len(data.train)} train data of {data.name}; ask for fewer"
        )
    test = labelled(data, data.test)
    digest = digest_of(plan.settings | {"data": data.fingerprint})[:8]
    home = folder / f"{folder_name(data.name)}-{digest}"
    rows = []
    for seed in plan.seeds:
        pool = Pool.of(data, plan.outliers, seed)
        start = torch.randperm(len(pool.x), generator=_generator(seed, "start"))[: plan.start]
        first = cache(lambda pool=pool, seed=seed, start=start: trained(pool, plan, seed, start))
        for way in ways:
            rows += Asking(pool, plan, way, seed, home / way.folder / f"seed{seed}", test).run(start, first, watch)
    return rows


@dataclass(frozen=True)
class Way:
    """An acquisition with its settings, and the user's file that it comes from, if it does."""

    name: str
    make: Callable[..., Tensor]
    settings: dict[str, Any]
    file: Path | None

    @classmethod
    def of(cls, name: str) -> Way:
        """The acquisition of that name, with settings behind a colon.

        Raises:
            ZooError: an unknown acquisition or setting.
        """
        load_shelves()
        word, _, written = name.partition(":")
        entry, settings = acquisitions[word], parse_settings(written.split(",")) if written else {}
        known = list(inspect.signature(entry.make).parameters)[1:]
        for each in settings:
            if each not in known:
                raise ZooError(f"acquisition {word!r} has no setting {each!r}; it has: {', '.join(known) or 'none'}")
        return cls(name, entry.make, settings, acquisitions.file(word))

    @property
    def folder(self) -> str:
        """The name of its folder; it changes with the user's file, so that rounds of another version stay apart."""
        code = f"-{hashlib.sha256(self.file.read_bytes()).hexdigest()[:8]}" if self.file else ""
        return folder_name(self.name) + code

    def choose(self, query: Query) -> Tensor:
        """The places of ``query.count`` different data of the pool.

        Raises:
            ZooError: the acquisition returned something else.
        """
        found = torch.as_tensor(self.make(query, **self.settings)).cpu().long()
        fits = found.shape == (query.count,) and len(found.unique()) == query.count
        if not fits or not 0 <= int(found.min()) <= int(found.max()) < len(query.pool):
            raise ZooError(
                f"acquisition {self.name!r} should return {query.count} different places in a pool of "
                f"{len(query.pool)}, got {len(found.unique())} different ones of shape {tuple(found.shape)}"
            )
        return found


@dataclass(frozen=True, eq=False)
class Asking:
    """One way of asking with one seed, and the folder of its rounds."""

    pool: Pool
    plan: ActivePlan
    way: Way
    seed: int
    folder: Path
    test: tuple[Tensor, Tensor]

    def run(self, start: Tensor, first: Callable[[], Classifier], watch: Watch) -> list[Answered]:
        """Every round; ``first()`` is the classifier of round 0, which the ways of a seed share."""
        known, rows = start[:0], list[Answered]()
        classifier: Classifier | None = None
        for number in range(self.plan.rounds + 1):
            path = self.folder / f"round{number}.json"
            if path.exists():
                stored = read_json(path)
                known, classifier = torch.cat([known, torch.tensor(stored["places"])]), None
                rows.append(Answered(**stored["row"]))
                continue
            if number == 0:
                places, known, classifier = start, start, first()
            else:
                if classifier is None:  # of a round that was stored before
                    classifier = first() if number == 1 else self.trained(known)
                places = self.ask(known, classifier, number)
                known = torch.cat([known, places])
                classifier = self.trained(known)
            rows.append(self.answered(number, places, len(known), classifier))
            write_json(path, {"row": asdict(rows[-1]), "places": places.tolist()})
            watch(f"{self.way.name}, seed {self.seed}: {len(known)} labels, accuracy {rows[-1].accuracy:.4f}")
        return rows

    def trained(self, known: Tensor) -> Classifier:
        """The classifier of the data at ``known``."""
        return trained(self.pool, self.plan, self.seed, known)

    def ask(self, known: Tensor, classifier: Classifier, number: int) -> Tensor:
        """The places in the pool of the data whose labels are asked for in a round."""
        unknown = torch.ones(len(self.pool.x), dtype=torch.bool)
        unknown[known] = False
        rest = unknown.nonzero()[:, 0]
        x, y = self.pool.x[known], self.pool.oracle.ask(known)
        generator = _generator(self.seed, f"round {number}")
        query = Query(self.pool.x[rest], x, y, classifier, self.plan.add, generator)
        with seeded(_mixed(self.seed, f"global {number}")):
            return rest[self.way.choose(query)]

    def answered(self, number: int, places: Tensor, labels: int, classifier: Classifier) -> Answered:
        """The row of a round."""
        x, y = self.test
        accuracy = float((classifier.log_probs(x).argmax(1) == y).double().mean())
        error = math.sqrt(accuracy * (1 - accuracy) / len(y))
        outliers, every = int(self.pool.strange[places].sum()), int(self.pool.strange.sum())
        return Answered(self.way.name, self.seed, number, labels, accuracy, error, len(places), outliers, every)


def trained(pool: Pool, plan: ActivePlan, seed: int, known: Tensor) -> Classifier:
    """The classifier of the data at ``known``; its seed depends on the experiment's seed and their number."""
    x, y = pool.x[known], pool.oracle.ask(known)
    own = _mixed(seed, f"classifier {len(known)}")
    return fit_classifier(pool.event, pool.classes, x, y, plan.recipe, kind=plan.kind, seed=own)


def _generator(seed: int, what: str) -> torch.Generator:
    return torch.Generator().manual_seed(_mixed(seed, what))


def _mixed(seed: int, what: str) -> int:
    """A seed for one purpose."""
    return int(hashlib.sha256(f"{seed} {what}".encode()).hexdigest()[:8], 16)
