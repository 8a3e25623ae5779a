"""The lines of the measured table and the lists of a report, for whichever format sets them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from zoo.pairs.declarations import Column
from zoo.report.verdicts import UNMEASURED, Pooled, Row, Verdict, agrees, columns, judge, pool
from zoo.scores import label

if TYPE_CHECKING:
    from zoo.report.study import Study

GROUPS = {
    "autoregressive": "Autoregressive",
    "flow": "Flow-based",
    "implicit": "Implicit",
    "prescribed": "Prescribed",
    "energy": "Energy-based",
    "diffusion": "Diffusion",
    "": "Unsorted",
    "floor": "Floors",
}
"""The groups in the order of the literature's table, families without a group and the floors last."""


SHORTEST_NOTE = 32
"""Characters below which a sentence is read sooner than a reference to it."""


@dataclass(frozen=True)
class Member:
    """A line of the table: one family with one guide on one data set, and its score rows."""

    dataset: str
    group: str
    family: str
    guide: str
    rows: tuple[Row, ...]

    @property
    def label(self) -> str:
        """``vae`` or ``vae+planar``: `zoo.scores.label`."""
        return label(self.family, self.guide)

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """Name of a column -> verdict, in the order of the table."""
        return {column.name: judge(column, self.rows) for column in columns()}

    def pool(self, evaluation: str, metric: str) -> Pooled:
        """A metric over the seeds."""
        return pool(self.rows, evaluation, metric)

    def agrees(self, column: Column) -> bool | None:
        """Whether the measured verdict is the literature's; ``None`` where either is missing."""
        return agrees(self.verdicts[column.name], column.literature.get(self.group, ""))


def datasets(study: Study) -> list[str]:
    """The data sets of a study, in the order of its scores."""
    return list(dict.fromkeys([row["dataset"] for row in study.scores] + list(study.pictures)))


def members(study: Study, dataset: str) -> list[Member]:
    """The lines of a data set's table: by group, then best likelihood first, then by name."""

    def place(line: Member) -> tuple[int, float, str]:
        nats = line.pool("likelihood", "nats").value
        order = list(GROUPS)
        return (
            order.index(line.group if line.group in order else ""),
            float("inf") if nats is None else nats,
            line.label,
        )

    rows: dict[tuple[str, str, str], list[Row]] = {}
    for row in study.scores:
        if row["dataset"] == dataset:
            rows.setdefault((row["group"] or "", row["family"], row["guide"] or ""), []).append(row)
    return sorted((Member(dataset, *key, tuple(found)) for key, found in rows.items()), key=place)


def all_members(study: Study) -> list[Member]:
    """The lines of all data sets."""
    return [line for dataset in datasets(study) for line in members(study, dataset)]


def by_group(lines: Sequence[Member]) -> list[tuple[str, str, list[Member]]]:
    """(group, its title, its members) in the table's order; groups without a member are left out."""
    names = dict.fromkeys(line.group for line in lines)
    return [(name, GROUPS.get(name, name), [line for line in lines if line.group == name]) for name in names]


def wide_header() -> list[str]:
    """The columns of ``table1.csv``."""
    facts = ("value", "unit", "stderr", "spread", "literature", "disagrees", "reason")
    verdicts = [[column.name, *(f"{column.name}_{fact}" for fact in facts)] for column in columns()]
    return ["suite", "dataset", "group", "family", "guide", *itertools.chain(*verdicts)]


def wide(study: Study) -> list[dict[str, Any]]:
    """The rows of ``table1.csv``: one for each member, with the facts of every verdict."""
    rows = []
    for line in all_members(study):
        row: dict[str, Any] = {"suite": study.suite, "dataset": line.dataset, "group": line.group}
        row |= {"family": line.family, "guide": line.guide}
        for column in columns():
            facts = asdict(line.verdicts[column.name])
            facts["literature"] = column.literature.get(line.group, "")
            facts["disagrees"] = "yes" if line.agrees(column) is False else "no"
            row[column.name] = facts.pop("word")
            row |= {f"{column.name}_{name}": fact for name, fact in facts.items()}
        rows.append(row)
    return rows


def disagreements(lines: Sequence[Member]) -> list[tuple[Member, Column]]:
    """The cells in which the measured verdict is not the literature's."""
    return [(line, column) for line in lines for column in columns() if line.agrees(column) is False]


def findings(lines: Sequence[Member]) -> list[tuple[Column, str, str, list[Member]]]:
    """The disagreements by what they say: (column, measured word, the literature's, the members with that cell)."""
    found: dict[tuple[str, str, str], tuple[Column, str, str, list[Member]]] = {}
    for line, column in disagreements(lines):
        measured, literature = line.verdicts[column.name].word, column.literature[line.group]
        found.setdefault((column.name, measured, literature), (column, measured, literature, []))[-1].append(line)
    return sorted(found.values(), key=lambda finding: columns().index(finding[0]))


def answered(lines: Sequence[Member], among: Iterable[Column]) -> list[Column]:
    """The columns ``among`` these in which at least one member has an answer."""
    return [column for column in among if any(line.verdicts[column.name].word not in UNMEASURED for line in lines)]


def leading(lines: Sequence[Member]) -> list[Column]:
    """The columns of a data set's first table: those for which a member has a score, or all if none has any."""
    main = columns(optional=False)
    asked = [each for each in main if any(line.pool(each.evaluation, each.metric).state != "missing" for line in lines)]
    return asked or main


def left_out(lines: Sequence[Member]) -> str:
    """The sentence on columns that are not `leading`; empty if all are."""
    shown = leading(lines)
    titles = [column.title for column in columns(optional=False) if column not in shown]
    return f"Not measured by this suite: {', '.join(titles)}." if titles else ""


def tone(column: Column, verdict: Verdict) -> str:
    """How the verdict grid colours a cell.

    ``first`` for the word with which the column's rule begins (stable, exact, fast, yes), ``no``, ``failed``,
    ``unmeasured`` where nothing was answered, and ``other`` for any other answer.
    """
    if verdict.word in UNMEASURED:
        return "failed" if verdict.word == "failed" else "unmeasured"
    if column.rule.startswith(f"{verdict.word} if"):
        return "first"
    return "no" if verdict.word == "no" else "other"


def repeated(sentences: Iterable[str]) -> dict[str, int]:
    """Number of each sentence that occurs more than once, from 1, in the order of their first occurrence.

    Those of fewer than `SHORTEST_NOTE` characters are left where they are.

    Example:
        >>> repeated(["no latents", "one seed: its spread cannot be seen"] * 2)
        {'one seed: its spread cannot be seen': 1}
    """
    twice = (words for words, times in Counter(sentences).items() if times > 1 and len(words) >= SHORTEST_NOTE)
    return {sentence: number for number, sentence in enumerate(twice, 1)}


def unmentioned(lines: Sequence[Member]) -> str:
    """The sentence on groups without a verdict of the literature in any column; empty if there are none."""
    cited = {group for column in columns() for group in column.literature}
    found = [GROUPS[group] for group in GROUPS if group in {line.group for line in lines} - cited - {"", "floor"}]
    groups = "group" if len(found) == 1 else "groups"
    return f"The literature's table has no row for the {groups} {', '.join(found)}." if found else ""


def comparisons(lines: Sequence[Member]) -> int:
    """Number of measured verdicts that have a counterpart in the literature."""
    return sum(line.agrees(column) is not None for line in lines for column in columns())


def unanswered(study: Study, status: str) -> list[tuple[str, str, str, str]]:
    """(label, data set and seed, metrics, reason) of the failed or skipped scores, those of one reason together.

    A score that claims to be ``ok`` without a finite value has failed.
    """
    found: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for row in study.scores:
        broken = row["status"] == "ok" and row["value"] is None
        if ("failed" if broken else row["status"]) == status:
            name = label(row["family"], row["guide"])
            where = f"{row['dataset']}, {'all seeds' if row['seed'] == 'all' else 'seed ' + str(row['seed'])}"
            why = row["reason"] or ("not a finite number" if broken else "no reason given")
            found.setdefault((name, where, why), {}).setdefault(row["evaluation"], []).append(row["metric"])
    return [
        (name, where, "; ".join(f"{evaluation}: {', '.join(names)}" for evaluation, names in metrics.items()), why)
        for (name, where, why), metrics in found.items()
    ]


def facts(study: Study) -> list[tuple[str, str]]:
    """The provenance as (name, text), nested names joined by a space; without the sentences on the data sets."""
    return list(_flat({key: value for key, value in study.provenance.items() if key != "datasets"}, ""))


def source(study: Study, dataset: str) -> str:
    """The sentence on where a data set comes from; may be empty."""
    return str((study.provenance.get("datasets") or {}).get(dataset, ""))


def seeds(study: Study) -> int:
    """Number of seeds."""
    return len({row["seed"] for row in study.scores} - {"all", None, ""})


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name} {key}".strip().replace("_", " "))
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    elif value is not None:
        yield name, str(value)
