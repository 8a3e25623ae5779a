"""What is registered, by name.

A declaration registers itself by a decorator. The core finds the shelves by walking their packages and names nothing
on them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, TypeVar, get_args

from zoo.errors import ZooError
from zoo.event import Event, Support
from zoo.pairs.declarations import (
    SUPPORTS,
    Acquisition,
    Column,
    Evaluation,
    Family,
    Guide,
    Named,
    Prior,
    Registry,
    Source,
)
from zoo.scores import COLUMNS

T = TypeVar("T", bound=Named)
Maker = TypeVar("Maker", bound=Callable[..., Any])
SPACES = ("real", "sphere")
"""Where a latent vector may lie: anywhere, or on the unit sphere. Guide and prior have to agree."""
GROUPS = ("autoregressive", "flow", "implicit", "prescribed", "energy", "diffusion", "floor")
SHELVES = ("zoo.data", "zoo.models", "zoo.guides", "zoo.evaluations")
"""Packages whose modules register themselves."""


REGISTRIES: list[Registry[Any]] = []
"""Everything that the shelves and a user's file may fill."""
families: Registry[Family] = Registry("family", "families", REGISTRIES)
guides: Registry[Guide] = Registry("guide", "guides", REGISTRIES)
priors: Registry[Prior] = Registry("prior", "priors", REGISTRIES)
evaluations: Registry[Evaluation] = Registry("evaluation", "evaluations", REGISTRIES)
datasets: Registry[Source] = Registry("data set", "data sets", REGISTRIES)
columns: Registry[Column] = Registry("column", "columns", REGISTRIES)
acquisitions: Registry[Acquisition] = Registry("acquisition", "acquisitions", REGISTRIES)


def _registering(registry: Registry[T], entry: Callable[[Callable[..., Any]], T]) -> Callable[[Maker], Maker]:
    """A decorator that adds the ``entry`` of what it decorates and returns that."""

    def register(make: Maker) -> Maker:
        registry.add(entry(make))
        return make

    return register


def family(
    name: str,
    *,
    group: str = "",
    paper: str = "",
    supports: Sequence[Support] = SUPPORTS,
    guide: str | None = None,
    prior: str | None = None,
    recipe: Mapping[str, Any] | None = None,
    example: str = "",
) -> Callable[[Maker], Maker]:
    """Register the decorated class or function, called as ``make(event, **hyperparameters)``, as a family.

    It makes an object with ``model`` and, unless its latents are left to a guide from the shelf, ``guide``; or a tuple
    of these two programs. Keyword arguments of ``make`` are the family's hyper-parameters. The object may also have the
    methods ``log_prob``, ``elbo_terms``, ``elbo_step``, ``samplers``, ``players`` and ``initialise`` (see
    `zoo.pairs.pair`).

    Args:
        name: unique among families.
        group: the row of the table, one of `GROUPS`.
        paper: authors, year, arXiv number.
        supports: what data it takes: ``"binary"``, ``"levels"``, ``"real"``; ``"record"`` for named fields,
            ``"sequence"`` where one of them has a length.
        guide: the default guide of a family that declares none itself.
        prior: the default prior of a family that leaves it to the shelf. After the event, ``make`` is then given a
            function from the number of latent dimensions to the prior.
        recipe: how it is trained by default: fields of `zoo.training.recipe.Recipe`.
        example: an event to describe and check it by, where it does not take that of `zoo.event.EXAMPLES`.

    Returns:
        A decorator that returns what it decorates.

    Raises:
        ZooError: a name that is taken, an unknown support or group.

    Example:
        >>> import pyro, torch, zoo
        >>> @zoo.family("fair", supports=("binary",))
        ... def fair(event):
        ...     def model(x):
        ...         with pyro.plate("data", len(x)):
        ...             coins = pyro.distributions.Bernoulli(x.new_full(event.shape, 0.5))
        ...             pyro.sample("x", coins.to_event(1), obs=x)
        ...     return model, lambda x: None
        >>> zoo.log_prob(zoo.build("fair", zoo.Event(2, "binary")), torch.zeros(1, 2))
        tensor([-1.3863])
    """
    known = get_args(Support)
    if set(supports) - set(known) or not supports:
        raise ZooError(f"family {name!r}: supports are among {', '.join(known)}; got {', '.join(supports) or 'none'}")
    if group and group not in GROUPS:
        raise ZooError(f"family {name!r}: group is one of {', '.join(GROUPS)}; got {group!r}")
    settings = (group, paper, tuple(supports), guide, prior, dict(recipe or {}))
    shown = Event.parse(example) if example else None
    return _registering(families, lambda make: Family(name, make, *settings, example=shown))


def guide(name: str, *, paper: str = "", space: str = "real") -> Callable[[Maker], Maker]:
    """Register the decorated class or function, called as ``make(event, latents, **hyperparameters)``, as a guide.

    It makes a callable, such as a module. ``guide(x)``, with ``x`` of shape ``(n, *event.shape)``, samples every site
    of ``latents`` (name to event shape, in the model's order) inside ``pyro.plate("data", len(x))``.

    Args:
        name: unique among guides.
        paper: authors, year, arXiv number.
        space: where its draws lie, one of `SPACES`.

    Returns:
        A decorator that returns what it decorates.

    Raises:
        ZooError: a name that is taken, an unknown space.

    Example:
        >>> import pyro, torch, zoo
        >>> @zoo.guide("prior-like")
        ... def prior_like(event, latents):
        ...     def guide(x):
        ...         with pyro.plate("data", len(x)):
        ...             for name, shape in latents.items():
        ...                 pyro.sample(name, pyro.distributions.Normal(x.new_zeros(shape), 1.0).to_event(len(shape)))
        ...     return guide
        >>> zoo.build("vae+prior-like", zoo.Event(4, "binary")).label
        'vae+prior-like'
    """
    _check_space(f"guide {name!r}", space)
    return _registering(guides, lambda make: Guide(name, make, paper, space))


def prior(name: str, *, paper: str = "", space: str = "real") -> Callable[[Maker], Maker]:
    """Register the decorated class or function, called as ``make(event, latent, **hyperparameters)``, as a prior.

    It makes a module. ``prior()`` is a distribution over z of event shape ``(latent,)`` and batch shape ``()``;
    ``event`` is that of the data. The module may also have the methods ``initialise(x)``, as of a family, and
    ``use_encoder(encode)`` (see `zoo.pairs.pair.NeedsEncoder`).

    Args:
        name: unique among priors.
        paper: authors, year, arXiv number.
        space: where its draws lie, one of `SPACES`.

    Returns:
        A decorator that returns what it decorates.

    Raises:
        ZooError: a name that is taken, an unknown space.

    Example:
        >>> import pyro, torch, zoo
        >>> @zoo.prior("wide")
        ... class Wide(torch.nn.Module):
        ...     def __init__(self, event, latent):
        ...         super().__init__()
        ...         self.loc = torch.nn.Parameter(torch.zeros(latent))
        ...     def forward(self):
        ...         return pyro.distributions.Normal(self.loc, 3.0).to_event(1)
        >>> zoo.build("vae:prior=wide,latent=2", zoo.Event(4, "binary")).label
        'vae+normal:prior=wide,latent=2'
    """
    _check_space(f"prior {name!r}", space)
    return _registering(priors, lambda make: Prior(name, make, paper, space))


def _check_space(what: str, space: str) -> None:
    if space not in SPACES:
        raise ZooError(f"{what}: space is one of {', '.join(SPACES)}; got {space!r}")


def dataset(
    name: str,
    *,
    about: str = "",
    log_density: Callable[[Any], Any] | None = None,
    sampler: Callable[[int, Any], Any] | None = None,
    packages: Sequence[Any] = (),
) -> Callable[[Maker], Maker]:
    """Register the decorated function, which returns a `zoo.data.Dataset`, as a data set.

    It is called with the keyword arguments ``data_dir`` (the user's data folder or ``None``) and ``seed``, less those
    that its signature leaves out. Its keyword-only arguments are settings, which a name may carry behind a colon:
    ``digits:labels=100``.

    Args:
        name: unique among data sets; also the name of the `Dataset`.
        about: one line for ``zoo list``; by default the first line of the docstring.
        log_density: the true log-density, ``(n, *event.shape)`` to ``(n,)``, in nats, where it is known.
        sampler: ``sampler(n, generator)`` draws ``n`` new data from that density.
        packages: where its files are (`zoo.data.packages.Package`), which ``zoo data fetch`` downloads.

    Returns:
        A decorator that returns what it decorates.

    Raises:
        ZooError: a name that is taken, or a function with other required arguments.

    Example:
        >>> import torch, zoo
        >>> @zoo.dataset("noise", about="independent standard normals")
        ... def noise(seed):
        ...     x = torch.randn(300, 4, generator=torch.Generator().manual_seed(seed))
        ...     train, validation, test = x.split(100)
        ...     return zoo.Dataset("noise", zoo.Event(4, "real"), train, validation, test, "Drawn by torch.")
        >>> zoo.load_data("noise").test.shape
        torch.Size([100, 4])
    """

    def entry(make: Callable[..., Any]) -> Source:
        for parameter in inspect.signature(make).parameters.values():
            if parameter.name not in ("data_dir", "seed") and parameter.default is inspect.Parameter.empty:
                raise ZooError(
                    f"data set {name!r}: its function is called with data_dir and seed, but requires "
                    f"{parameter.name!r}; give that a default"
                )
        line = about or inspect.cleandoc(make.__doc__ or "").partition("\n")[0]
        return Source(name, make, line, log_density, sampler, tuple(packages))

    return _registering(datasets, entry)


def evaluation(name: str, *, over: str = "run", alone: bool = False) -> Callable[[Maker], Maker]:
    """Register the decorated function, called as ``ask(runs, settings)``, as an evaluation.

    It is given `zoo.runs.evaluation.TrainedRun` values and `zoo.runs.evaluation.Settings` and returns a list of
    `zoo.scores.Score`.

    Args:
        name: unique among evaluations.
        over: ``"run"`` to be given each run alone, ``"seeds"`` to be given all seeds of a family together.
        alone: nothing else runs at the same time, because it measures time.

    Returns:
        A decorator that returns what it decorates.

    Raises:
        ZooError: a name that is taken.

    Example:
        >>> import zoo
        >>> @zoo.evaluation("size")
        ... def size(runs, settings):
        ...     (run,) = runs
        ...     return [zoo.Score("parameters", sum(p.numel() for p in run.pair.parameters()))]
    """
    return _registering(evaluations, lambda ask: Evaluation(name, ask, over, alone))


def acquisition(name: str, *, paper: str = "") -> Callable[[Maker], Maker]:
    """Register the decorated function, called as ``ask(query, **settings)``, as a way to choose the data to label next.

    It is given a `zoo.experiments.query.Query` and returns the places of ``query.count`` different data of
    ``query.pool``, shape ``(count,)``, int64. Its keyword arguments are settings, which a name may carry behind a
    colon: ``low-p:density=vae``. Random numbers, global or of ``query.generator``, depend on seed and round.

    Args:
        name: unique among acquisitions.
        paper: authors, year, arXiv number.

    Returns:
        A decorator that returns what it decorates.

    Raises:
        ZooError: a name that is taken.

    Example:
        >>> import zoo
        >>> @zoo.acquisition("least-confident")
        ... def least_confident(query):
        ...     return query.lowest(query.log_probs.amax(1))
    """
    return _registering(acquisitions, lambda ask: Acquisition(name, ask, paper))


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
    optional: bool = False,
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
        optional: in a second table, whose columns a reader of the page may switch on. A comparison also shows what its
            evaluation has stored of a run, without asking for it.

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
    check_column_name(name)
    if unknown := set(literature or {}) - set(GROUPS):
        raise ZooError(f"column {name!r}: literature has groups {', '.join(GROUPS)}; got {', '.join(unknown)}")
    settings = (title, evaluation, metric, rule, dict(literature or {}), place, width, skipped, missing, optional)
    return _registering(columns, lambda judge: Column(name, judge, *settings))


def check_column_name(name: str) -> None:
    """Refuse the name of a column that would clash with other columns of ``table1.csv``."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or name in COLUMNS:
        raise ZooError(
            f"column {name!r}: a name is of lower-case letters, digits and hyphens, and none of {', '.join(COLUMNS)}"
        )


@functools.cache
def load_shelves() -> None:
    """Import every module of the `SHELVES` and every installed entry point of ``zoo.families``, once."""
    for shelf in SHELVES:
        package = importlib.import_module(shelf)
        for module in pkgutil.walk_packages(package.__path__, f"{shelf}."):
            importlib.import_module(module.name)
    for point in entry_points(group="zoo.families"):
        point.load()
