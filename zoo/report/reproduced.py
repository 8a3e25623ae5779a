"""The second table, obtained against published: ``reproduced.md`` for the documentation, ``index.html`` as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.files import write_text
from zoo.report import text
from zoo.report.page import template
from zoo.report.reproduction import Attempt, Judgement, judge, metric, published

PAGE = "reproduced.md"
HEADERS = ("row", "model", "data", "metric", "obtained", "published", "verdict")
RULE = (
    "A row is reproduced if the mean over its seeds is within its tolerance (1 % unless it says otherwise) of the "
    "published value, or better; short if not, with the gap and what was left out. Numbers are negative "
    "log-likelihoods of the test split, lower is better; of a lower bound, log p(x) is at least minus the value."
)
DATA = (
    "Black and white MNIST is binarised here by the project's own seed: published numbers on Larochelle's static file "
    "are on another draw of the same pixels' probabilities, and dynamic ones on another draw of the test split. "
    "Training takes 50,000 images and keeps 10,000 for validation, by which weights are kept; the test "
    "split decides nothing. Hours are of the wall clock, on a machine that did other work too."
)


@dataclass(frozen=True)
class AttemptLine:
    """One row as it is shown: its cells, and its facts by name."""

    name: str
    judgement: Judgement
    cells: Sequence[str]
    facts: Sequence[tuple[str, str]]


def write_reproduced(attempts: Sequence[Attempt], folder: Path, reports: Path) -> list[Path]:
    """Write ``reproduced.md`` in ``folder`` and ``index.html`` in ``reports``; returns their paths."""
    made = {folder / PAGE: markdown(attempts), reports / "index.html": page(attempts)}
    for path, content in made.items():
        write_text(path, content)
    return list(made)


def lines(attempts: Sequence[Attempt]) -> list[AttemptLine]:
    """The rows as they are shown."""
    found = []
    for attempt in attempts:
        judgement, claim, obtained = judge(attempt), attempt.claim, attempt.obtained
        cells = [attempt.name, claim.title, claim.data, metric(claim, judgement, obtained)]
        cells += [judgement.obtained, published(claim), judgement.word]
        found.append(AttemptLine(attempt.name, judgement, cells, [*_facts(attempt, judgement)]))
    return found


def summary(shown: Sequence[AttemptLine]) -> str:
    """How many rows have which verdict, as a sentence."""
    counts = Counter(line.judgement.word for line in shown)
    words = [f"{counts[word]} {word}" for word in ("reproduced", "short", "not run", "failed") if counts[word]]
    return f"{len(shown)} rows: {', '.join(words)}."


def _facts(attempt: Attempt, judgement: Judgement) -> Iterator[tuple[str, str]]:
    claim, obtained = attempt.claim, attempt.obtained
    yield "remarks", "; ".join(judgement.remarks)
    yield "published", f"{claim.paper}, {claim.table}: {claim.setting}".replace(", :", ":")
    yield "source", claim.published.source + ("" if claim.published.read else "; quoted from memory, not read again")
    yield "budget", claim.budget
    if obtained is None:
        return
    yield "config", obtained.config
    yield "command", obtained.command
    if obtained.status != "ok":
        return
    errors = [score["stderr"] for score in obtained.of(claim.metric) if score.get("stderr")]
    yield "error", f"± {max(errors):.2g} {claim.published.unit}, standard error over test data" if errors else ""
    hours = sum(run.hours for run in obtained.runs)
    steps = ", ".join(dict.fromkeys(f"{run.steps:,}" for run in obtained.runs))
    yield "training", f"{hours:.2f} hours of {len(obtained.runs)} run(s), {steps} steps of {obtained.runs[0].batch}"
    facts = obtained.provenance
    hardware = f"{facts.get('processor', '')}, {facts.get('device', '')}, {facts.get('threads', '')} thread(s)"
    yield "hardware", f"{hardware}; torch {facts.get('torch', '')}, {str(facts.get('date', ''))[:10]}"
    yield "weights", ", ".join(run.folder for run in obtained.runs)


def markdown(attempts: Sequence[Attempt]) -> str:
    """The whole page as GitHub's Markdown."""
    shown = lines(attempts)
    parts = [
        "# Obtained against published",
        "Written by `zoo reproduce` from the records in `records/`; no number here is typed by hand. " + summary(shown),
        text.markdown(RULE),
        text.markdown(DATA),
        table([HEADERS, *(_marked(line) for line in shown)]),
        "`zoo reproduce` runs the rows that have no number, `zoo reproduce ROW` one of them; a stopped row resumes "
        "where it was. What a row is: [claims.md](claims.md).",
    ]
    for line in shown:
        parts.append(f"## {line.name}")
        parts.append("\n".join(f"- {name}: {_fact(name, fact)}" for name, fact in line.facts if fact))
    return "\n\n".join(parts) + "\n"


def _fact(name: str, fact: str) -> str:
    return f"`{fact}`" if name in ("config", "command") else text.markdown(fact)


def _marked(line: AttemptLine) -> list[str]:
    name, *cells, word = map(text.markdown, line.cells)
    return [f"[{name}](#{line.name})", *cells, f"**{word}**"]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of Markdown, the first of them the headings."""
    head, *body = rows
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body))


def page(attempts: Sequence[Attempt]) -> str:
    """The whole page: no script, no request to anywhere, light and dark, readable on a phone."""
    shown = lines(attempts)
    return template("reproduced.html.j2").render(
        headers=HEADERS, lines=shown, summary=summary(shown), rule=RULE, data=DATA
    )
