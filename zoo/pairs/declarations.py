"""What is declared: the kinds of entry that a registry holds, and the registry itself."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from zoo.errors import ZooError
from zoo.event import Event, Support

T = TypeVar("T", bound="Named")
SUPPORTS: tuple[Support, ...] = ("binary", "levels", "real")
"""Of data that are one array."""


class Named(Protocol):
    """Whatever a registry holds."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Declaration:
    """A name and the class or function that was declared under it."""

    name: str
    make: Callable[..., Any]

    @property
    def doc(self) -> str:
        """The docstring of the declaration."""
        return inspect.cleandoc(self.make.__doc__ or "")


@dataclass(frozen=True)
class Family(Declaration):
    """A declared model/guide pair: ``make(event, **hyperparameters)`` builds it (see `family`)."""

    group: str = ""
    paper: str = ""
    supports: Sequence[Support] = SUPPORTS
    guide: str | None = None
    """The default guide from the shelf; ``None`` if it brings its own, and ``""`` if any may take its guide's place."""
    prior: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    event: Event | None = None
    """The one event that its programs are written for; ``None`` where ``make`` builds for any."""
    example: Event | None = None
    """An event to describe and check it by, where those of `zoo.event.EXAMPLES` do not fit."""


@dataclass(frozen=True)
class Guide(Declaration):
    """An interchangeable guide: ``make(event, latents, **hyperparameters)`` gives ``guide(x)`` (see `guide`)."""

    paper: str = ""
    space: str = "real"


@dataclass(frozen=True)
class Prior(Declaration):
    """An interchangeable prior: ``make(event, latent, **hyperparameters)`` gives a module (see `prior`)."""

    paper: str = ""
    space: str = "real"


@dataclass(frozen=True)
class Source(Declaration):
    """A registered data set (see `dataset`)."""

    about: str = ""
    log_density: Callable[[Any], Any] | None = None
    sampler: Callable[[int, Any], Any] | None = None
    packages: tuple[Any, ...] = ()

    def load(self, data_dir: Path | None, seed: int, settings: Mapping[str, Any] | None = None) -> Any:
        """Call ``make`` with those of the two arguments that its signature names, and with its keyword ``settings``.

        Raises:
            ZooError: an unknown setting.
        """
        known = inspect.signature(self.make).parameters
        own = [name for name, parameter in known.items() if parameter.kind is parameter.KEYWORD_ONLY]
        for name in settings or {}:
            if name not in own:
                raise ZooError(f"data set {self.name!r} has no setting {name!r}; it has: {', '.join(own) or 'none'}")
        given = {"data_dir": data_dir, "seed": seed}
        return self.make(**{name: value for name, value in given.items() if name in known}, **(settings or {}))


@dataclass(frozen=True)
class Evaluation:
    """A question asked of trained runs: ``ask(runs, settings)`` gives scores (see `evaluation`)."""

    name: str
    ask: Callable[..., Any]
    over: str = "run"
    alone: bool = False

    @property
    def doc(self) -> str:
        """The docstring of the declaration."""
        return inspect.cleandoc(self.ask.__doc__ or "")


@dataclass(frozen=True)
class Acquisition(Declaration):
    """A way to choose the data to label next: ``make(query, **settings)`` gives their places (see `acquisition`)."""

    paper: str = ""


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
    optional: bool = False
    """Whether it is in a second table, whose columns a reader of the page may switch on in the first."""

    @property
    def doc(self) -> str:
        """The docstring of the declaration; its first line is the question."""
        return inspect.cleandoc(self.judge.__doc__ or "")


class Registry(Generic[T]):
    """Declarations by name, in the order of their names. A clash raises; an unknown name suggests near ones.

    Args:
        word, plural: what an entry is called in messages.
        siblings: the registries that one file may fill together; the new registry is appended to this list.
    """

    def __init__(self, word: str, plural: str, siblings: list[Registry[Any]] | None = None) -> None:
        self.word, self.plural = word, plural
        self.siblings: list[Registry[Any]] = [] if siblings is None else siblings
        self.siblings.append(self)
        self._items: dict[str, T] = {}
        self._files: dict[str, Path] = {}

    def add(self, item: T) -> None:
        if item.name in self._items:
            raise ZooError(f"{self.word} {item.name!r} is already registered; give the new one another name")
        self._items[item.name] = item

    @contextmanager
    def scoped(self) -> Iterator[None]:
        """On exit, this registry and its siblings hold what they held before.

        Example:
            >>> words = Registry("word", "words")
            >>> with words.scoped():
            ...     words.add(Declaration("new", print))
            ...     len(words)
            1
            >>> len(words)
            0
        """
        before = [(each, dict(each._items), dict(each._files)) for each in self.siblings]
        try:
            yield
        finally:
            for each, items, files in before:
                each._items, each._files = items, files

    @contextmanager
    def adding(self, file: Path) -> Iterator[None]:
        """Inside, what is added to this registry or a sibling comes from ``file``; after an error none of it stays."""
        before = [(each, dict(each._items)) for each in self.siblings]
        try:
            yield
        except BaseException:
            for each, items in before:
                each._items = items
            raise
        for each, items in before:
            each._files |= {name: file for name in each._items if name not in items}

    def file(self, name: str) -> Path | None:
        """The user's file that an entry comes from; ``None`` for the zoo's own entries."""
        return self._files.get(name)

    def from_file(self, file: Path) -> list[str]:
        """Names of the entries that come from ``file``."""
        return sorted(name for name, path in self._files.items() if path == file)

    def get(self, name: str) -> T | None:
        """The entry called ``name``, if there is one."""
        return self._items.get(name)

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
