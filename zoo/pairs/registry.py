"""What stands on the shelves, by name.

A declaration registers itself; the core finds the shelves by walking their packages and never names what stands there.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from zoo.errors import ZooError
from zoo.event import Event, Support
from zoo.scores import COLUMNS

T = TypeVar("T", bound="Named")
Maker = TypeVar("Maker", bound=Callable[..., Any])
SUPPORTS: tuple[Support, ...] = ("binary", "levels", "real")
SPACES = ("real", "sphere")
"""Where a latent vector may lie: anywhere, or on the unit sphere. Guide and prior have to agree."""
GROUPS = ("autoregressive", "flow", "implicit", "prescribed", "energy", "diffusion", "floor")


class Named(Protocol):
    """Whatever a registry holds."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Family:
    """A declared model/guide pair: ``make(event, **hyperparameters)`` builds it.

    ``make`` gives one object with ``model`` (and, if its latents are not left to a guide from the shelf, ``guide``), or
    the two callables as a tuple. ``guide`` is the name of the default guide for a family that declares none itself.
    ``prior`` is the name of the default prior for a family that leaves it to the shelf: its ``make`` is then given,
    after the event, a function from the number of latent dimensions to the prior. ``recipe`` is how it is trained by
    default: fields of `zoo.training.recipe.Recipe`.
    """

    name: str
    make: Callable[..., Any]
    group: str = ""
    paper: str = ""
    supports: Sequence[Support] = SUPPORTS
    guide: str | None = None
    prior: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    event: Event | None = None
    """The one event that its programs are written for; ``None`` where ``make`` builds for any."""

    @property
    def doc(self) -> str:
        """The docstring of the declaration."""
        return inspect.cleandoc(self.make.__doc__ or "")


@dataclass(frozen=True)
class Guide:
    """An interchangeable guide: ``make(event, latents, **hyperparameters)`` gives ``guide(x)``.

    ``latents`` maps each latent site's name to its event shape, in the order of the model. Its draws lie in ``space``
    (see `SPACES`).
    """

    name: str
    make: Callable[..., Any]
    paper: str = ""
    space: str = "real"

    @property
    def doc(self) -> str:
        """The docstring of the declaration."""
        return inspect.cleandoc(self.make.__doc__ or "")


@dataclass(frozen=True)
class Prior:
    """An interchangeable prior: ``make(event, latent, **hyperparameters)`` gives a module, ``prior()`` a distribution.

    The distribution is over z, event shape ``(latent,)``, batch shape ``()``, and lies in ``space`` (see `SPACES`).
    ``event`` is that of the data, for a prior that is made of data. Optional extras, by method name: ``initialise(x)``
    as of a family, and ``use_encoder(encode)`` (see `zoo.pairs.pair.NeedsEncoder`).
    """

    name: str
    make: Callable[..., Any]
    paper: str = ""
    space: str = "real"

    @property
    def doc(self) -> str:
        """The docstring of the declaration."""
        return inspect.cleandoc(self.make.__doc__ or "")


@dataclass(frozen=True)
class Evaluation:
    """A question asked of finished runs: ``ask(runs, settings)`` gives scores.

    ``over`` is ``"run"`` when each run is asked alone and ``"seeds"`` when all the seeds of a family are asked
    together; ``alone`` asks for a quiet machine (nothing else runs beside it), because it measures time.
    """

    name: str
    ask: Callable[..., Any]
    over: str = "run"
    alone: bool = False

    @property
    def doc(self) -> str:
        """The docstring of the declaration."""
        return inspect.cleandoc(self.ask.__doc__ or "")


@dataclass(frozen=True)
class Column:
    """A column of the measured table: a question that is answered by a verdict, such as ``fast`` or ``slow``.

    ``judge(score, rows)`` gives the `zoo.report.verdicts.Verdict` on one family, guide and data set. ``score`` is the
    column's metric pooled over seeds, ``rows`` are all score rows. It is called only where there is a value; otherwise
    the cell says ``failed``, or the words ``skipped`` and ``missing``. Columns stand by ``place``, then by name.
    """

    name: str
    judge: Callable[..., Any]
    title: str
    evaluation: str
    metric: str
    rule: str
    literature: Mapping[str, str] = field(default_factory=dict)
    """Group -> what the literature says of it; several words are separated by a slash, such as ``fast/slow``."""
    place: int = 100
    width: int = 40
    """In mm in LaTeX, where all columns have room; the widths on the page are in proportion."""
    skipped: str = "skipped"
    missing: str = "not measured"

    @property
    def doc(self) -> str:
        """The docstring of the declaration; its first line is the question."""
        return inspect.cleandoc(self.judge.__doc__ or "")


class Registry(Generic[T]):
    """Declarations by name. A clash raises; an unknown name suggests near ones."""

    def __init__(self, word: str, plural: str) -> None:
        self.word, self.plural = word, plural
        self._items: dict[str, T] = {}
        self._files: dict[str, Path] = {}

    def add(self, item: T) -> None:
        if item.name in self._items:
            raise ZooError(f"{self.word} {item.name!r} is already registered; give the new one another name")
        self._items[item.name] = item

    @contextmanager
    def adding(self, file: Path) -> Iterator[None]:
        """Inside, what is added is noted to come from ``file``; after an error nothing of it stays."""
        before = dict(self._items)
        try:
            yield
        except BaseException:
            self._items = before
            raise
        self._files |= {name: file for name in self._items if name not in before}

    def file(self, name: str) -> Path | None:
        """The file from outside that an entry comes from; ``None`` for those of the shelves."""
        return self._files.get(name)

    def __getitem__(self, name: str) -> T:
        if name in self._items:
            return self._items[name]
        near = difflib.get_close_matches(name, self._items, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(self._items))}"
        raise ZooError(f"there is no {self.word} {name!r}; {hint}")

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[T]:
        return iter([self._items[name] for name in sorted(self._items)])

    def __len__(self) -> int:
        return len(self._items)


families: Registry[Family] = Registry("family", "families")
guides: Registry[Guide] = Registry("guide", "guides")
priors: Registry[Prior] = Registry("prior", "priors")
evaluations: Registry[Evaluation] = Registry("evaluation", "evaluations")
columns: Registry[Column] = Registry("column", "columns")


def family(
    name: str,
    *,
    group: str = "",
    paper: str = "",
    supports: Sequence[Support] = SUPPORTS,
    guide: str | None = None,
    prior: str | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Callable[[Maker], Maker]:
    """Register the decorated class or factory as a family (see `Family`)."""
    unknown = set(supports) - set(SUPPORTS)
    if unknown or not supports:
        raise ZooError(
            f"family {name!r}: supports are among {', '.join(SUPPORTS)}; got {', '.join(supports) or 'none'}"
        )
    if group and group not in GROUPS:
        raise ZooError(f"family {name!r}: group is one of {', '.join(GROUPS)}; got {group!r}")

    def register(make: Maker) -> Maker:
        families.add(Family(name, make, group, paper, tuple(supports), guide, prior, dict(recipe or {})))
        return make

    return register


def guide(name: str, *, paper: str = "", space: str = "real") -> Callable[[Maker], Maker]:
    """Register the decorated class as a guide of the shelf (see `Guide`)."""
    _check_space(f"guide {name!r}", space)

    def register(make: Maker) -> Maker:
        guides.add(Guide(name, make, paper, space))
        return make

    return register


def prior(name: str, *, paper: str = "", space: str = "real") -> Callable[[Maker], Maker]:
    """Register the decorated class as a prior of the shelf (see `Prior`)."""
    _check_space(f"prior {name!r}", space)

    def register(make: Maker) -> Maker:
        priors.add(Prior(name, make, paper, space))
        return make

    return register


def _check_space(what: str, space: str) -> None:
    if space not in SPACES:
        raise ZooError(f"{what}: space is one of {', '.join(SPACES)}; got {space!r}")


def evaluation(name: str, *, over: str = "run", alone: bool = False) -> Callable[[Maker], Maker]:
    """Register the decorated function as an evaluation (see `Evaluation`)."""

    def register(ask: Maker) -> Maker:
        evaluations.add(Evaluation(name, ask, over, alone))
        return ask

    return register


def column(
    name: str,
    *,
    title: str,
    evaluation: str,
    metric: str,
    rule: str,
    literature: Mapping[str, str] | None = None,
    place: int = 100,
    width: int = 40,
    skipped: str = "skipped",
    missing: str = "not measured",
) -> Callable[[Maker], Maker]:
    """Register the decorated function as a column of the measured table.

    The table, its CSV, its LaTeX and the rules of every report show all registered columns.

    Args:
        name: heads the column in ``table1.csv``; lower-case letters, digits and hyphens.
        title: the heading in the table.
        evaluation: the evaluation whose scores decide.
        metric: its metric that must have a value for a verdict.
        rule: one sentence, fixed before the runs; every report prints it.
        literature: group -> the literature's verdict; several words are separated by a slash, such as ``fast/slow``.
        place: columns are ordered by it, then by name; those of the zoo have 1 to 5.
        width: relative width.
        skipped: the verdict where the evaluation skips the metric, such as ``no``.
        missing: the verdict where nothing was measured.

    Returns:
        A decorator for ``judge(score, rows)``, which returns ``score.verdict(word)`` (`zoo.report.verdicts.Pooled`).
        The first line of its docstring is the question that the column answers.

    Raises:
        ZooError: a name that would clash in ``table1.csv``, or an unknown group.

    Example:
        >>> import zoo
        >>> @zoo.column("size", title="Size", evaluation="lossless", metric="bytes", rule="small below 1 kB.")
        ... def size(score, rows):
        ...     return score.verdict("small" if score.value < 1000 else "large")
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or name in COLUMNS:
        raise ZooError(
            f"column {name!r}: a name is of lower-case letters, digits and hyphens, and none of {', '.join(COLUMNS)}"
        )
    if unknown := set(literature or {}) - set(GROUPS):
        raise ZooError(f"column {name!r}: literature has groups {', '.join(GROUPS)}; got {', '.join(unknown)}")

    def register(judge: Maker) -> Maker:
        said = dict(literature or {})
        columns.add(Column(name, judge, title, evaluation, metric, rule, said, place, width, skipped, missing))
        return judge

    return register


@functools.cache
def load_shelves() -> None:
    """Import every module of the three shelves and every installed entry point of ``zoo.families``, once."""
    for shelf in ("zoo.models", "zoo.guides", "zoo.evaluations"):
        package = importlib.import_module(shelf)
        for module in pkgutil.walk_packages(package.__path__, f"{shelf}."):
            importlib.import_module(module.name)
    for point in entry_points(group="zoo.families"):
        point.load()
