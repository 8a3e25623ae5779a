"""Which of Pyro's published programs become members of the zoo: the table of docs/pyro_examples.md.

$ .venv/bin/python docs/pyro_examples.py [PATH OF A CHECKOUT OF PYRO]

The re-writings in ``tests/programs/published`` are tried always, Pyro's own examples and tutorials if there is a
checkout of them. Each program is checked, trained for a few steps, evaluated and sampled by the command line, on
made-up data of its event; what separates it from the zoo is an adapter of at most five lines.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from zoo.cli import app
from zoo.data import Dataset
from zoo.event import Event
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import families, load_shelves
from zoo.seeding import seeded

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "tests" / "programs" / "published"
PAGE = ROOT / "docs" / "pyro_examples.md"
STEPS = ("check", "train", "evaluate", "sample")
TRAINING = ("steps=6", "batch=30", "lr=0.01", "checkpoints=1")
PARTICLES = 24
"""Few, so that no Pareto shapes are fitted."""


@dataclass(frozen=True)
class Example:
    """A file of Pyro's repository, and the adapter that follows its imports, functions and classes."""

    file: str
    adapter: str


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
            "check": ["check", path],
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


def program_of(example: Example, checkout: Path) -> str:
    """The imports, functions and classes of an example, and its adapter."""
    path = checkout / example.file
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        lines = "".join("".join(cell["source"]) + "\n" for cell in cells).splitlines()
        text = "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
    kept = [f"import sys\nsys.path.insert(0, {str(path.parent)!r})"]
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            kept.append(f"try:\n    {ast.unparse(node)}\nexcept ImportError:\n    pass")  # what plots may be missing
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            kept.append(ast.unparse(node))
    return "\n".join([*kept, "import zoo", "# adapter", example.adapter]) + "\n"


EXAMPLES = (
    Example("examples/vae/vae.py", 'event, vae = zoo.Event(784, "binary"), VAE()\nmodel, guide = vae.model, vae.guide'),
    Example(
        "examples/vae/ss_vae_M2.py",
        'event, net = zoo.Event(784, "binary"), SSVAE(hidden_layers=[50])\nmodel, guide = net.model, net.guide',
    ),
    Example(
        "examples/cvae/cvae.py",
        'event, net = zoo.Event(784, "binary"), CVAE(20, 50, 50, nn.Linear(784, 784))\n'
        "hide = lambda x: torch.cat([x[:, :392], -torch.ones_like(x[:, 392:])], 1)\n"
        "model, guide = lambda x: net.model(hide(x), x), lambda x: net.guide(hide(x), x)",
    ),
    Example(
        "examples/dmm.py",
        'event, dmm = zoo.Event((6, 88), "binary"), DMM()\n'
        "lengths = lambda x: torch.full((len(x),), 6)\n"
        "pack = lambda x: nn.utils.rnn.pack_padded_sequence(x.flip(1), lengths(x), batch_first=True)\n"
        "given = lambda x: (x, pack(x), x.new_ones(len(x), 6), lengths(x))\n"
        "model, guide = lambda x: dmm.model(*given(x)), lambda x: dmm.guide(*given(x))",
    ),
    Example(
        "examples/air/air.py",
        'event, air = zoo.Event((50, 50), "real"), AIR(3, 50, 28, 50, 256)\n'
        "model, guide = lambda x: air.model(x, None), lambda x: air.guide(x, None)",
    ),
    Example(
        "examples/lda.py",
        "event, predictor = zoo.Event(64, 1024), nn.Sequential(nn.Linear(1024, 8), nn.Softmax(-1))\n"
        "sizes = lambda x: argparse.Namespace(num_topics=8, num_words=1024, num_docs=len(x), num_words_per_doc=64)\n"
        "documents = model\n"
        "model = lambda x: documents(x.T.long(), sizes(x))\n"
        "guide = lambda x: parametrized_guide(predictor, x.T.long(), sizes(x))",
    ),
    Example(
        "examples/sparse_gamma_def.py",
        "event, net = zoo.Event(4096, 256), SparseGammaDEF()\nmodel, guide = net.model, net.guide",
    ),
    Example(
        "examples/hmm.py",
        'event, args = zoo.Event((6, 88), "binary"), argparse.Namespace(hidden_dim=16, jit=False)\n'
        "model = lambda x: model_1(x, torch.full((len(x),), 6), args)\n"
        'exposed = poutine.block(model, expose_fn=lambda site: site["name"].startswith("probs_"))\n'
        "guide = AutoDelta(exposed)",
    ),
    Example(
        "examples/scanvi/scanvi.py",
        "event, net = zoo.Event(20, 256), SCANVI(20, 4, 3.0, 1.0)\nmodel, guide = net.model, net.guide",
    ),
    Example(
        "examples/toy_mixture_model_discrete_enumeration.py",
        'event, prior, given = zoo.Event(2, "binary"), generate_data(1)[0], (model, guide)\n'
        'columns = lambda x: {"A": x[:, 0], "C": x[:, 1]}\n'
        "model, guide = (lambda x, program=program: program(prior, columns(x), len(x)) for program in given)",
    ),
    Example(
        "examples/contrib/autoname/mixture.py",
        'event, given = zoo.Event(1, "real"), (model, guide)\n'
        "model, guide = (lambda x, program=program: program(x[:, 0], 2) for program in given)",
    ),
    Example("tutorial/source/svi_part_i.ipynb", 'event = zoo.Event(1, "binary")'),
    Example(
        "tutorial/source/bayesian_regression.ipynb",
        'event, net = zoo.Event(4, "real"), BayesianRegression(3, 1)\n'
        "auto = AutoDiagonalNormal(net)\n"
        "model, guide = lambda x: net(x[:, 1:], x[:, 0]), lambda x: auto(x[:, 1:], x[:, 0])",
    ),
    Example(
        "tutorial/source/gmm.ipynb",
        'event, K, mixture = zoo.Event(1, "real"), 2, model\n'
        "model = lambda x: mixture(x[:, 0])\n"
        'guide = AutoDelta(poutine.block(model, expose=["weights", "locs", "scale"]))',
    ),
    Example(
        "tutorial/source/prodlda.ipynb",
        "event, net = zoo.Event(50, 9), ProdLDA(50, 5, 20, 0.2)\nmodel, guide = net.model, net.guide",
    ),
)
"""Pyro's own programs, with adapters of at most five lines that were written by reading them."""


def published(checkout: Path, folder: Path) -> Iterator[Row]:
    """A row for each of Pyro's own programs in a checkout."""
    for number, example in enumerate(EXAMPLES):
        name, place = Path(example.file).stem, folder / f"pyro{number}"
        place.mkdir()
        try:
            yield attempt(name, program_of(example, checkout), example.file, place)
        except Exception as error:  # the files of another version of Pyro may do anything
            lines = len(example.adapter.splitlines())
            yield Row(name, example.file, lines, (), f"{type(error).__name__}: {error}")


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    header = ["program", "what it is", "adapter's lines", *STEPS, "likelihood, or why not"]
    lines = [header, ["---"] * len(header), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def count(rows: Sequence[Row]) -> str:
    """How many programs go through."""
    return f"{sum(row.done == STEPS for row in rows)} of {len(rows)} programs go through all four commands."


INTRODUCTION = """# Published Pyro programs

Programs as people publish them, put through `zoo check`, `train`, `evaluate` and `sample`. What separates such a
program from the zoo is an adapter of at most five lines that follows it: its event, and a signature of one batch. A
program that is refused is refused by one sentence, which says why and how to mend it.

`docs/pyro_examples.py` writes this page. The programs of the first table are our own re-writings of Pyro's examples
and tutorials, in `tests/programs/published`; `tests/test_published.py` checks that the table is as it was written."""
NO_CHECKOUT = "Pyro's own files were not tried: give the path of a checkout of Pyro to `docs/pyro_examples.py`."


def page(checkout: Path | None) -> str:
    """The page, with a second table if there is a checkout of Pyro."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = list(rewritings(folder))
        parts = [INTRODUCTION, count(rows), table(rows), "## From Pyro's repository"]
        if checkout:
            rows = list(published(checkout, folder))
            parts += [count(rows), table(rows)]
        else:
            parts.append(NO_CHECKOUT)
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Write the page."""
    checkout = Path(arguments[0]) if arguments else None
    missing = [each.file for each in EXAMPLES if checkout and not (checkout / each.file).is_file()]
    if len(missing) == len(EXAMPLES):
        raise SystemExit(f"{checkout} should be a checkout of Pyro's repository: it has no {missing[0]}")
    PAGE.write_text(page(checkout))
    print(PAGE if checkout else f"{PAGE}\n{NO_CHECKOUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
