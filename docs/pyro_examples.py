"""Which of Pyro's published programs become members of the zoo: the table of docs/pyro_examples.md.

$ .venv/bin/python docs/pyro_examples.py [PATH OF A CHECKOUT OF PYRO [FILE ...]]

The re-writings in ``tests/programs/published`` are tried always, Pyro's own examples and tutorials if there is a
checkout of them; with names of files, such as ``lda``, these alone, and the other rows stay. Each program is checked,
trained for a few steps, evaluated and sampled by the command line, on made-up data of its event; what separates it from
the zoo is an adapter of at most five lines.
"""

from __future__ import annotations

import ast
import dis
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType
from unittest.mock import MagicMock

import numpy as np
import pyro
import torch
from pyro_adapters import EXAMPLES, LONGEST, Example
from torch import Tensor
from typer.testing import CliRunner, Result

from zoo.cli import app
from zoo.data import Dataset
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import families, load_shelves
from zoo.seeding import seeded

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "tests" / "programs" / "published"
PAGE = ROOT / "docs" / "pyro_examples.md"
STEPS = ("check", "train", "evaluate", "sample")
TRAINING = ("steps=6", "batch=30", "lr=0.001", "checkpoints=1")
PARTICLES = 24
"""Few, so that no Pareto shapes are fitted."""


@dataclass(frozen=True)
class Row:
    """One program: how far it goes, and the kind of its likelihood or the sentence that refuses it."""

    name: str
    about: str
    adapter: int
    done: tuple[str, ...]
    sentence: str

    def cells(self) -> list[str]:
        ticks = ["yes" if step in self.done else "no" for step in STEPS]
        return [f"`{self.name}`", self.about, str(self.adapter), *ticks, self.sentence]

    @classmethod
    def read(cls, line: str) -> Row:
        """The row of a line of the page."""
        name, about, adapter, *ticks, sentence = (
            cell.replace("\\|", "|") for cell in re.split(r"(?<!\\) ?\| ?", line)[1:-1]
        )
        done = tuple(step for step, tick in zip(STEPS, ticks, strict=True) if tick == "yes")
        return cls(name.strip("`"), about, int(adapter), done, sentence)


def numbers(event: Event, positive: bool) -> Tensor:
    """180 data of one array; entries differ in their means, so that no two of them may be exchanged."""
    rates = torch.linspace(0.15, 0.85, event.size).reshape(event.shape)
    if event.levels is not None:
        return torch.binomial(torch.full((180, *event.shape), event.levels - 1.0), rates.expand(180, *event.shape))
    x = 2 * rates + 0.4 * (torch.randn(180, *event.shape) + torch.randn(180, *[1] * len(event.shape)))
    return x.exp() if positive else x


def fields(event: Event, positive: bool = False) -> dict[str, Tensor]:
    """180 data by field; a label is missing in every third of them."""
    with seeded(7):
        values = {each.name: numbers(each.event, positive).reshape(180, *each.shape) for each in event.parts}
    missing = torch.arange(180) % 3 == 0
    return values | {
        each.name: values[each.name].where(~missing, torch.nan) for each in event.parts if each.role == "label"
    }


def made_up(event: Event, positive: bool = False) -> Dataset:
    """60 data in each split."""
    values = fields(event, positive)
    x = event.pack(values) if event.fields else values["x"]
    return Dataset("made-up", event, x[:60], x[60:120], x[120:], "made up")


def zoo(*words: object) -> Result:
    """A command of the zoo."""
    return CliRunner().invoke(app, list(map(str, words)))


def options_of(path: Path, folder: Path, positive: bool = False) -> list[object]:
    """The options by which a command trains the program in ``path`` on made-up data, with its runs in ``folder``."""
    load_families([path])
    event = families[path.stem].event
    assert event, f"{path} should have an event"
    data, file = made_up(event, positive), folder / "made-up.npz"
    if event.fields:
        np.savez(file, **{name: values.numpy() for name, values in fields(event, positive).items()})
    else:
        np.savez(file, train=data.train.numpy(), validation=data.validation.numpy(), test=data.test.numpy())
    settings = [word for setting in TRAINING for word in ("--train", setting)]
    return ["--data", file, "--event", event, "--runs", folder / "runs", "--device", "cpu", *settings]


def refusal(result: Result) -> str:
    """The sentence that a command ended with, empty if it ended well."""
    if result.exit_code == 0:
        return ""
    if result.exit_code not in (1, 2) or not result.output.strip():
        raise AssertionError(f"exit code {result.exit_code}: {result.output}") from result.exception
    failed = [line for line in result.output.splitlines() if line.startswith(("FAIL ", "zoo: "))]
    return re.sub(r"^(FAIL |zoo: )", "", failed[0] if failed else result.output.splitlines()[-1])


def attempt(name: str, text: str, about: str, folder: Path) -> Row:
    """Put a program through every step; the sentence is that of the first which refuses it."""
    path = folder / f"published_{name}.py"
    path.write_text(text)
    load_shelves()
    with families.scoped():
        options = options_of(path, folder)
        commands = {
            "check": ["check", path, "--device", "cpu"],
            "train": ["train", path, *options, "--quiet"],
            "evaluate": ["evaluate", path, *options, "-e", "likelihood", "--particles", PARTICLES, "--json"],
            "sample": ["sample", path, *options, "--out", folder / "samples.npy", "--quiet"],
        }
        done, sentence = list[str](), ""
        for step, words in commands.items():
            result = zoo(*words)
            if stopped := refusal(result):
                sentence = sentence or stopped
                continue
            done.append(step)
            if step == "evaluate":
                nats = next(row for row in json.loads(result.stdout) if row["metric"] == "nats")
                sentence = sentence or nats["kind"] or nats["reason"]
    return Row(name, about, len(adapter_of(text)), tuple(done), sentence)


def adapter_of(text: str) -> list[str]:
    """The lines of a program that follow its comment ``# adapter``."""
    return text.partition("\n# adapter\n")[2].strip().splitlines()


def rewriting(path: Path, folder: Path) -> Row:
    """The row of one of our own re-writings."""
    text = path.read_text()
    about = (ast.get_docstring(ast.parse(text)) or "").partition(":")[0].strip(".")
    return attempt(path.stem, text, about, folder)


def rewritings(folder: Path) -> Iterator[Row]:
    """A row for each of our own re-writings."""
    for path in sorted(PUBLISHED.glob("*.py")):
        place = folder / path.stem
        place.mkdir()
        yield rewriting(path, place)


def statements(example: Example, checkout: Path) -> list[ast.stmt]:
    """What stands at the top level of a file, or of the cells of a notebook, before ``example.end``."""
    path = checkout / example.file
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        lines = "".join("".join(cell["source"]) + "\n" for cell in cells).splitlines()
        text = "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
    before = itertools.takewhile(
        lambda node: not example.end or example.end not in ast.unparse(node), ast.parse(text).body
    )
    return list(before)


def defined(node: ast.stmt) -> set[str]:
    """The names that a statement defines: none if it does anything else than import, define or assign."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else []
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}


def used(code: ast.Module | CodeType) -> set[str]:
    """The names that a piece of a program reads from the top level of its file; a function's own are none."""
    code = code if isinstance(code, CodeType) else compile(code, "", "exec", dont_inherit=True)
    own = {each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(used(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def program_of(example: Example, checkout: Path) -> str:
    """The definitions of an example that its adapter uses, directly or through each other, and the adapter."""
    body, needed, before = statements(example, checkout), used(ast.parse(example.adapter)), set[str]()
    while needed != before:
        before = needed
        needed = before.union(*(used(ast.Module([node], [])) for node in body if defined(node) & before))
    kept = [ast.unparse(node) for node in body if defined(node) & needed]
    path = f"import sys\nsys.path.insert(0, {str((checkout / example.file).parent)!r})"
    return "\n".join([path, *kept, "import zoo", "# adapter", example.adapter]) + "\n"


def version_of(example: Example, checkout: Path) -> str:
    """The version of Pyro that a file says it was written for, empty if it says none."""
    found = re.search(r"pyro\.__version__\.startswith\(\\?[\"']([\d.]+)", (checkout / example.file).read_text())
    return found[1] if found else ""


def heading(example: Example) -> str:
    """What the page calls an example."""
    return example.file + (f" ({example.about})" if example.about else "")


def published(checkout: Path, folder: Path, only: Sequence[str] = ()) -> Iterator[Row]:
    """A row for each of Pyro's own programs in a checkout; of the files that are not run, the page's."""
    before = [Row.read(line) for line in PAGE.read_text().partition(HEADING)[2].splitlines() if line[:3] == "| `"]
    for number, example in enumerate(EXAMPLES):
        name, place = Path(example.file).stem, folder / f"pyro{number}"
        if only and name not in only:
            kept = [row for row in before if f"{row.about}, ".startswith(f"{heading(example)}, ")]
            if not kept:
                raise SystemExit(f"{PAGE} has no row of {heading(example)} to keep: run {name} as well")
            yield kept[0]
            continue
        place.mkdir()
        version = version_of(example, checkout)
        about = heading(example) + (f", {version}" if version else "")
        try:
            with loaders():
                yield attempt(name, program_of(example, checkout), about, place)
        except (OSError, SyntaxError, KeyError, ZooError) as error:
            yield Row(name, about, len(example.adapter.splitlines()), (), f"{type(error).__name__}: {error}")


@contextmanager
def loaders() -> Iterator[None]:
    """Inside, the module of Pyro's loaders of data can be imported without torchvision, which no program uses."""
    names = [] if find_spec("torchvision") else ["torchvision", "torchvision.datasets", "torchvision.transforms"]
    sys.modules.update({name: MagicMock() for name in names})
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    header = ["program", "what it is", "adapter's lines", *STEPS, "likelihood, or why not"]
    lines = [header, ["---"] * len(header), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def count(rows: Sequence[Row]) -> str:
    """How many programs go through."""
    return f"{sum(row.done == STEPS for row in rows)} of {len(rows)} programs go through all four commands."


INTRODUCTION = """# Published Pyro programs

Programs as people publish them, put through `zoo check --device cpu`, `train`, `evaluate` and `sample`. What separates
such a program from the zoo is an adapter of at most five lines that follows it: its event, and a signature of one
batch. A program that is refused is refused by one sentence, which says why and how to mend it.

`docs/pyro_examples.py` writes this page. The programs of the first table are our own re-writings of Pyro's examples
and tutorials, in `tests/programs/published`; `tests/test_published.py` checks that the table is as it was written."""
HEADING = "\n\n## From Pyro's repository\n\n"
OWN = """Pyro's own programs: the definitions of a file that its adapter uses, as they are, and the version of Pyro that
the file names. The files need not be of one commit: the versions are stated as found. Where a file's `main` makes the
guide by `AutoDelta`, a point, the adapter has `AutoNormal`; the guide of `lda` is a point for each document, and its
second row has the shelf's normal, as the mend says. A model with two guides has two rows. The definitions of
`intro_long` are as public copies of the tutorial quote them; `svi_flow_guide` and `vae_flow_prior` need zuko.

Model 7 of `hmm` is refused although its comment calls it equivalent to model 5: the network that predicts y[t] is given
y[t], where that of model 5 is given y[t-1], so its probabilities do not add up to one. `gplvm` and
`sparse_gamma_def` have parameters for each datum, so they say nothing of data that they were not trained on. The guides
by hand draw a scale below zero once in a very long while, where the prior is between 0 and 10."""


def page(checkout: Path | None, only: Sequence[str] = ()) -> str:
    """The page; without a checkout of Pyro its second table stays as it was, and with ``only`` the rows of others."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = list(rewritings(folder))
        first = "\n\n".join([INTRODUCTION, count(rows), table(rows)]) + HEADING
        if checkout is None:
            return first + PAGE.read_text().partition(HEADING)[2]
        rows = list(published(checkout, folder, only))
    ran = f"Run with Pyro {pyro.__version__}, {commit_of(checkout)}"
    ran += f": {', '.join(map('`{}`'.format, only))} on {date.today()}, the other rows before." if only else "."
    return first + "\n\n".join([OWN, f"{ran} {count(rows)}", table(rows)]) + "\n"


def commit_of(checkout: Path) -> str:
    """The commit of a checkout, in words."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "on files without a history"


def main(arguments: Sequence[str]) -> None:
    """Write the page."""
    long = [each.file for each in EXAMPLES if len(each.adapter.splitlines()) > LONGEST]
    if long:
        raise SystemExit(f"the adapter of {long[0]} should have at most {LONGEST} lines")
    checkout, only = Path(arguments[0]) if arguments else None, arguments[1:]
    files = [each.file for each in EXAMPLES if not only or Path(each.file).stem in only]
    missing = [file for file in files if checkout and not (checkout / file).is_file()]
    if missing:
        raise SystemExit(f"{checkout} should be a checkout of Pyro's repository: it has no {missing[0]}")
    PAGE.write_text(page(checkout, only))
    print(PAGE if checkout else f"{PAGE}\nThe table of Pyro's own programs is as it was: give the path of a checkout.")


if __name__ == "__main__":
    main(sys.argv[1:])
