"""Which of Pyro's published programs become members of the zoo: the table of docs/pyro_examples.md.

$ .venv/bin/python docs/pyro_examples.py [PATH OF A CHECKOUT OF PYRO]

The re-writings in ``tests/programs/published`` are tried always, Pyro's own examples and tutorials if there is a
checkout of them. Each program is checked, trained for a few steps, evaluated and sampled by the command line, on
made-up data of its event; what separates it from the zoo is an adapter of at most five lines.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import MagicMock

import numpy as np
import pyro
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
LONGEST = 5
"""The most lines of an adapter."""
PARTICLES = 24
"""Few, so that no Pareto shapes are fitted."""


@dataclass(frozen=True)
class Example:
    """A file of Pyro's repository, and the adapter that follows its imports, functions and classes."""

    file: str
    adapter: str
    about: str = ""
    end: str = ""
    """Text of the first statement that is left out, with what follows it, of a tutorial that redefines its names."""


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


def used(node: ast.AST) -> set[str]:
    """The names that occur in a piece of a program."""
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def program_of(example: Example, checkout: Path) -> str:
    """The definitions of an example that its adapter uses, directly or through each other, and the adapter."""
    body, needed, before = statements(example, checkout), used(ast.parse(example.adapter)), set[str]()
    while needed != before:
        before = needed
        needed = before.union(*(used(node) for node in body if defined(node) & before))
    kept = [ast.unparse(node) for node in body if defined(node) & needed]
    path = f"import sys\nsys.path.insert(0, {str((checkout / example.file).parent)!r})"
    return "\n".join([path, *kept, "import zoo", "# adapter", example.adapter]) + "\n"


CHORDS = 'event, args = zoo.Event.parse("x=6x88:binary~n,n=:7@given"), argparse.Namespace(hidden_dim=16, jit=True)\n'
TONES = "args.nn_dim, args.nn_channels = 48, 2\ntones_generator = TonesGenerator(args, 88)\n"
PRIORS = (
    "guide = pyro.infer.autoguide.AutoNormal(poutine.block(model, expose_fn=lambda site: site['name'][:6] == 'probs_'))"
)


def hmm(number: int) -> str:
    """The adapter of a hidden Markov model of ``examples/hmm.py``."""
    return (
        f"{CHORDS}{TONES if number in (5, 7) else ''}model = lambda x, n: model_{number}(x, n.long(), args)\n{PRIORS}"
    )


EXAMPLES = (
    Example("examples/vae/vae.py", 'event, vae = zoo.Event(784, "binary"), VAE()\nmodel, guide = vae.model, vae.guide'),
    Example(
        "examples/vae/ss_vae_M2.py",
        'event, net = zoo.Event(784, "binary"), SSVAE(hidden_layers=[50], config_enum="parallel")\n'
        'model, guide = lambda x: net.model(x), config_enumerate(lambda x: net.guide(x), "parallel", expand=True)',
        "without labels",
    ),
    Example(
        "examples/cvae/cvae.py",
        'event = zoo.Event.parse("xs=392:binary@given,ys=392:binary")\n'
        "net = CVAE(20, 50, 50, nn.Linear(784, 784).requires_grad_(False))\n"
        "halves = lambda xs, ys: (torch.cat([xs, -torch.ones_like(xs)], 1), torch.cat([xs, ys], 1))\n"
        "model, guide = lambda xs, ys: net.model(*halves(xs, ys)), lambda xs, ys: net.guide(*halves(xs, ys))",
    ),
    Example(
        "examples/dmm.py",
        'event, dmm = zoo.Event.parse("x=6x88:binary~n,n=:7@given"), DMM()\n'
        "pack = lambda x: nn.utils.rnn.pack_padded_sequence(x, torch.full((len(x),), 6), batch_first=True)\n"
        "mask = lambda x, n: poly.get_mini_batch_mask(x, n).bool()\n"
        "given = lambda x, n: (x, pack(poly.reverse_sequences(x, n)), mask(x, n), n)\n"
        "model, guide = lambda x, n: dmm.model(*given(x, n.long())), lambda x, n: dmm.guide(*given(x, n.long()))",
    ),
    Example(
        "examples/air/air.py",
        'event, air = zoo.Event((20, 20), "real"), AIR(2, 20, 10, 5, 20, use_baselines=False)\n'
        'constant = [value.requires_grad_("bl_" not in name) for name, value in air.named_parameters()]\n'
        "air.bl_h_init, air.bl_c_init = air.h_init, air.c_init\n"
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
    *(
        Example("examples/hmm.py", hmm(number), about)
        for number, about in enumerate(
            (
                "model 0: one sequence at a time",
                "model 1: a hidden Markov model",
                "model 2: autoregressive",
                "model 3: factorial",
                "model 4: a dynamic Bayesian network",
                "model 5: a network of the emissions",
            )
        )
    ),
    Example(
        "examples/hmm.py",
        'event = zoo.Event((6, 88), "binary")\n'
        "args = argparse.Namespace(hidden_dim=16, raftery_parameterization=False)\n"
        "model = lambda x: model_6(x, torch.full((len(x),), 6), args)",
        "model 6: of second order, its probabilities are parameters",
    ),
    Example(
        "examples/hmm.py",
        'event, args = zoo.Event((6, 88), "binary"), argparse.Namespace(hidden_dim=16, jit=True)\n'
        f"{TONES}"
        "model = lambda x: model_7(x, torch.full((len(x),), 6), args)\n"
        f"{PRIORS}",
        "model 7: as model 5, by Pyro's DiscreteHMM",
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
        "def in_plate(program, x):\n"
        '    with pyro.plate("data", len(x)):\n'
        "        program([x[:, 0]], 2)\n"
        "model, guide = lambda x: in_plate(given[0], x), lambda x: in_plate(given[1], x)",
    ),
    Example(
        "examples/contrib/cevae/synthetic.py",
        'event = zoo.Event.parse("x=5:real,t=:binary,y=:binary")\n'
        "net = CEVAE(feature_dim=5, outcome_dist='bernoulli', latent_dim=4, hidden_dim=10, num_layers=2)\n"
        "model, guide = net.model, net.guide",
    ),
    Example("tutorial/source/svi_part_i.ipynb", 'event = zoo.Event(1, "binary")\nmodel, guide = model, guide'),
    Example(
        "tutorial/source/mle_map.ipynb",
        'event = zoo.Event(1, "binary")\nmodel, guide = lambda x: model_mle(x[:, 0]), guide_mle',
        "maximum likelihood",
    ),
    Example(
        "tutorial/source/mle_map.ipynb",
        'event = zoo.Event(1, "binary")\nmodel, guide = lambda x: original_model(x[:, 0]), guide_map',
        "maximum a posteriori",
    ),
    Example(
        "examples/svi_torch.py",
        'event = zoo.Event.parse("covariates=:real@given,data=:real")\nmodel = Model(60)\nguide = AutoNormal(model)',
    ),
    Example(
        "tutorial/source/intro_long.ipynb",
        'event = zoo.Event.parse("is_cont_africa=:binary@given,ruggedness=:real@given,log_gdp=:real")\n'
        "model, guide = model, custom_guide",
    ),
    Example(
        "tutorial/source/bayesian_regression.ipynb",
        'event, model = zoo.Event.parse("x=3:real@given,y=:real"), BayesianRegression(3, 1)\n'
        "guide = AutoDiagonalNormal(model)",
    ),
    Example(
        "tutorial/source/gmm.ipynb",
        'event, mixture = zoo.Event(1, "real"), model\n'
        "model = lambda x: mixture(x[:, 0])\n"
        'guide = pyro.infer.autoguide.AutoNormal(poutine.block(model, expose=["weights", "locs", "scale"]))',
    ),
    Example(
        "tutorial/source/normalizing_flows_i.ipynb",
        'event = zoo.Event(2, "real")\n'
        "def model(x):\n"
        '    pyro.module("spline", spline_transform)\n'
        '    with pyro.plate("data", len(x)):\n'
        '        pyro.sample("x", flow_dist.to_event(1), obs=x)',
        "splines of each dimension",
        "T.spline_coupling",
    ),
    Example(
        "tutorial/source/normalizing_flows_i.ipynb",
        'event = zoo.Event(2, "real")\n'
        "def model(x):\n"
        '    pyro.module("spline", spline_transform)\n'
        '    with pyro.plate("data", len(x)):\n'
        '        pyro.sample("x", flow_dist, obs=x)',
        "a coupling of splines",
    ),
    Example(
        "tutorial/source/normalizing_flows_i.ipynb",
        'event, flows = zoo.Event(2, "real"), torch.nn.ModuleList([x1_transform, x2_transform])\n'
        "def model(x):\n"
        '    with pyro.plate("data", pyro.module("flows", flows) and len(x)):\n'
        '        x1 = pyro.sample("x1", dist_x1.expand([len(x), 1]).to_event(1), obs=x[:, :1])\n'
        '        pyro.sample("x2", dist_x2_given_x1.condition(x1).expand([len(x), 1]).to_event(1), obs=x[:, 1:])',
        "a spline, and one given it",
    ),
    Example(
        "tutorial/source/gplvm.ipynb",
        'event, mean = zoo.Event(48, "real"), torch.zeros(60, 2)\n'
        "gplvm = gp.models.SparseGPRegression(mean, torch.zeros(48, 60), gp.kernels.RBF(2), torch.randn(32, 2))\n"
        "gplvm.X = pyro.nn.PyroSample(dist.Normal(mean, 0.1).to_event())\n"
        'gplvm.autoguide("X", dist.Normal)\n'
        "model, guide = lambda x: gplvm.set_data(gplvm.X, x.T) or gplvm.model(), lambda x: gplvm.guide()",
        end="URL",
    ),
    Example(
        "tutorial/source/prodlda.ipynb",
        "event, net = zoo.Event(50, 9), ProdLDA(50, 5, 20, 0.2)\nmodel, guide = net.model, net.guide",
    ),
)
"""Pyro's own programs, with their adapters."""


def version_of(example: Example, checkout: Path) -> str:
    """The version of Pyro that a file says it was written for, empty if it says none."""
    found = re.search(r"pyro\.__version__\.startswith\(\\?[\"']([\d.]+)", (checkout / example.file).read_text())
    return found[1] if found else ""


def published(checkout: Path, folder: Path) -> Iterator[Row]:
    """A row for each of Pyro's own programs in a checkout."""
    for number, example in enumerate(EXAMPLES):
        name, place = Path(example.file).stem, folder / f"pyro{number}"
        place.mkdir()
        version = version_of(example, checkout)
        about = example.file + (f" ({example.about})" if example.about else "") + (f", {version}" if version else "")
        try:
            with loaders():
                yield attempt(name, program_of(example, checkout), about, place)
        except Exception as error:  # the files of another version of Pyro may do anything
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
the file names. Where a file's `main` makes the guide by `AutoDelta`, a point, the adapter has `AutoNormal`."""


def page(checkout: Path | None) -> str:
    """The page; without a checkout of Pyro its second table stays as it was."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = list(rewritings(folder))
        first = "\n\n".join([INTRODUCTION, count(rows), table(rows)]) + HEADING
        if checkout is None:
            return first + PAGE.read_text().partition(HEADING)[2]
        rows = list(published(checkout, folder))
    ran = f"Run with Pyro {pyro.__version__}, {commit_of(checkout)}."
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
    checkout = Path(arguments[0]) if arguments else None
    missing = [each.file for each in EXAMPLES if checkout and not (checkout / each.file).is_file()]
    if missing:
        raise SystemExit(f"{checkout} should be a checkout of Pyro's repository: it has no {missing[0]}")
    PAGE.write_text(page(checkout))
    print(PAGE if checkout else f"{PAGE}\nThe table of Pyro's own programs is as it was: give the path of a checkout.")


if __name__ == "__main__":
    main(sys.argv[1:])
