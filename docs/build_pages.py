"""The generated pages of the documentation: families, shelves, data sets, the API, README and CONTRIBUTING.

`make docs` calls `pages` (see ``mkdocs_hooks.py``); nothing is written to disk.
"""

from __future__ import annotations

import inspect
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from measured_rows import measured_rows, number, origin, row_cells, row_header
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.cli.describe import describe
from zoo.codec.lossless import why_not
from zoo.data.files import SUFFIXES
from zoo.data.files.arrays import read_numpy
from zoo.data.files.images import read_images
from zoo.data.files.sounds import read_sound
from zoo.data.files.tables import read_csv
from zoo.data.files.texts import read_text
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.declarations import Evaluation, Family, Guide, Prior
from zoo.pairs.registry import acquisitions, datasets, evaluations, families, guides, load_shelves, priors
from zoo.report.tables import GROUPS
from zoo.training.recipe import Recipe

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
FROM_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""File in the repository's root -> its page."""
KINDS = (
    ("Arrays", "zoo compare vae independent --data mine.npz", read_numpy),
    ("Tables", "zoo compare ppca realnvp --data table.csv --field species=given", read_csv),
    ("Images", "zoo compare vae wavenet --data photos/:size=32,mode=grey", read_images),
    ("Recordings", "zoo train wavenet --data speech.wav:window=64,encoding=mulaw", read_sound),
    ("Texts", "zoo train wavenet --data verse.txt:window=64", read_text),
)
"""Kinds of files: title, example, reader."""
LINK = re.compile(r"(?<=\]\()(?!https?://|#)([^)\s]+)")
"""The target of a relative Markdown link."""


def pages() -> dict[str, str]:
    """Every generated page: path below the site's root -> Markdown."""
    load_shelves()
    made = {page: site_links((ROOT / name).read_text(), "") for name, page in FROM_ROOT.items()}
    made["families/index.md"] = "\n\n".join(["# Families", *_family_index()])
    made |= {f"families/{family.name}.md": family_page(family) for family in _ours(families)}
    made["guides.md"] = _shelf("guide", "vae+{}", guides)
    made["priors.md"] = _shelf("prior", "vae:prior={}", priors)
    made["evaluations.md"] = "\n\n".join(["# Evaluations", *_evaluation_sections()])
    made["acquisitions.md"] = "\n\n".join(["# Acquisitions", *_acquisition_sections()])
    made["data.md"] = "\n\n".join(["# Data sets", *_data_sections()])
    return made | _api()


def family_page(family: Family) -> str:
    """The page of one family: declaration, settings, recipe, capabilities and measured rows."""
    about = describe(family.name)
    no_code = why_not(build(family.name, Event.parse(about["event"])))
    latents = ", ".join(f"`{site}` {tuple(shape)}" for site, shape in about["latents"].items()) or "none"
    facts = {
        "parameters": f"{about['parameters']:,}",
        "likelihood": about["likelihood"],
        "latent sites": latents,
        "observed sites": ", ".join(f"`{site}`" for site in about["observed"]) or "none",
        "lossless codec": f"no: {no_code}" if no_code else "yes",
        "lossy codec": "yes" if about["lossy"] else "no: no latents smaller than the data",
    }
    meanings = documented_arguments(family.doc)
    for word, shelf, name in (("guide", guides, family.guide), ("prior", priors, family.prior)):
        found = documented_arguments(shelf[name].doc) if name else {}
        meanings |= {f"{word}.{setting}": meaning for setting, meaning in found.items()}
    commands = "\n".join(f"zoo {command} {family.name}" for command in ("show", "train", "compare", "evaluate"))
    return "\n\n".join(
        [
            f"# {family.name}\n\n{about['group'] or 'unsorted'} · {_paper(family.paper)}",
            _docstring(_path(family), own_page=True),
            f"```console\n{commands}\n```",
            "## Data",
            f"Support: {', '.join(about['takes'])}. {_sentence(meanings.get('event', ''))}",
            "## Settings",
            _settings(family.name, about["hyper"], meanings),
            "## Training recipe",
            "Change a value with `--train NAME=VALUE`. Bold values differ from the common defaults.",
            _table(("name", "value", "meaning"), _recipe(about["recipe"])),
            "## Capabilities",
            f"Read off its programs on {about['event']}:",
            _table(("capability", "value"), facts.items()),
            "## Measured",
            _measured("family", family.name),
        ]
    )


def documented_arguments(doc: str) -> dict[str, str]:
    """Argument -> its meaning, from the section ``Args:`` of a docstring; a line may document several arguments."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", doc, re.MULTILINE)
    entries = re.findall(
        r"^    ([\w*][\w, *]*):((?:.*\n?)(?:     +.*\n?)*)", section[1] if section else "", re.MULTILINE
    )
    return {name.strip(" *"): " ".join(text.split()) for names, text in entries for name in names.split(",")}


def _recipe(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    meanings = documented_arguments(inspect.cleandoc(Recipe.__doc__ or ""))
    for name, value in recipe.items():
        shown = f"{value}" if value == Recipe.model_fields[name].default else f"**{value}**"
        yield f"`{name}`", shown, meanings.get(name, "")


def _family_index() -> Iterator[str]:
    yield "Each name works in every command: `zoo show vae`, `zoo train vae`, `zoo compare vae realnvp`."
    scores = {
        (row["family"], row["guide"]): f"{number(row, 'likelihood')}, {row['likelihood']}".removeprefix(", ")
        for row in measured_rows()
        if row["dataset"] == "digits"
    }
    for group, title in GROUPS.items():
        lines = [
            (f"[{each.name}]({each.name}.md)", _summary(each.doc), scores.get((each.name, each.guide or ""), ""))
            for each in _ours(families)
            if each.group == group
        ]
        if lines:
            yield f"## {title}\n\n{_table(('family', 'summary', 'test likelihood, digits'), lines)}"


def _shelf(word: str, template: str, shelf: Iterable[Guide | Prior]) -> str:
    """One page for all guides, or all priors; ``template`` is a name that uses one."""
    parts = [
        f"# {word.capitalize()}s",
        f"`zoo compare {template.format('NAME')}` uses one, in any family that takes it.",
    ]
    for entry in _ours(shelf):
        settings = {f"{word}.{name}": value for name, value in _defaults(entry.make).items()}
        meanings = {f"{word}.{name}": text for name, text in documented_arguments(entry.doc).items()}
        parts += [f"## {entry.name}", _paper(entry.paper), _docstring(_path(entry), own_page=True)]
        parts.append(_settings(template.format(entry.name), settings, meanings))
        if word == "guide":
            parts.append(_measured(word, entry.name))
    return "\n\n".join(parts)


def _evaluation_sections() -> Iterator[str]:
    yield "`zoo evaluate vae -e NAME` runs one; `zoo compare` runs those that its suite names."
    for entry in _ours(evaluations):
        asked = "all seeds of a family together" if entry.over == "seeds" else "each run by itself"
        quiet = ", with nothing else running" if entry.alone else ""
        yield f"## {entry.name}\n\nAsked of {asked}{quiet}."
        yield _docstring(_path(entry))


def _acquisition_sections() -> Iterator[str]:
    yield "`zoo active --ask NAME` asks for labels so; without the option, in all of these ways."
    for entry in _ours(acquisitions):
        yield f"## {entry.name}\n\n{_paper(entry.paper)}"
        yield _docstring(_path(entry))


def _data_sections() -> Iterator[str]:
    yield f"`--data NAME` takes one of these, a file ({', '.join(f'`{each}`' for each in SUFFIXES)}) or a folder."
    for each in listed()["data"]:
        yield f"## {each['name']}\n\n{_sentence(each['about'])}"
        yield _docstring(_path(datasets[each["name"]]))
        yield f"```console\nzoo compare vae independent --data {each['name']}\n```"
    yield "## Your own data"
    yield _docstring("zoo.data.load_data")
    yield _docstring("zoo.data.files.load_file")
    for title, command, reader in KINDS:
        yield f"### {title}\n\n```console\n{command}\n```"
        yield _docstring(f"{reader.__module__}.{reader.__qualname__}")


def listed() -> dict[str, list[dict[str, Any]]]:
    """What `zoo list` lists: kind -> entries."""
    found: dict[str, list[dict[str, Any]]] = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    return found


def rooms() -> dict[str, list[str]]:
    """Room of ``zoo/`` -> its modules, the package first; ``base`` holds the modules of ``zoo/`` itself."""
    found: dict[str, list[str]] = {"base": []}
    for path in sorted((ROOT / "zoo").rglob("*.py")):
        folder, *parts = path.relative_to(ROOT).with_suffix("").parts
        if (path.parent / "__init__.py").exists() and parts not in (["__init__"], ["__main__"]):
            room = parts[0] if len(parts) > 1 else "base"
            found.setdefault(room, []).append(".".join([folder, *parts]).removesuffix(".__init__"))
    return found


def _api() -> dict[str, str]:
    public = [name for name in zoo.__all__ if getattr(zoo, name).__name__ == name]  # former names are left out
    index = ["# Public API", "Everything that `import zoo` gives. The rooms behind it have a page each."]
    made = {"api/index.md": "\n\n".join([*index, *(f"::: zoo.{name}" for name in public)])}
    for room, modules in rooms().items():
        if room == "base":
            title, blocks = "Base modules", ["# Base modules"]
        else:
            title, blocks = modules[0], [f"::: {modules.pop(0)}\n    options: {{heading_level: 1}}"]
        made[f"api/{room}.md"] = "\n\n".join(
            [f"---\ntitle: {title}\n---", *blocks, *(f"::: {name}" for name in modules)]
        )
    return made


def site_links(text: str, folder: str) -> str:
    """Markdown of a file in ``folder`` of the repository, its relative links turned into links between pages.

    Raises:
        ValueError: a link to a file that has no page.
    """
    return LINK.sub(lambda match: _site_link(match[1], folder), text)


def _site_link(target: str, folder: str) -> str:
    path, hash_, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(folder, path))
    if path in FROM_ROOT:
        return f"{FROM_ROOT[path]}{hash_}{anchor}"
    if path.startswith("docs/"):
        return f"{path.removeprefix('docs/')}{hash_}{anchor}"
    if path.startswith("zoo/"):
        module = path.rstrip("/").removesuffix(".py").replace("/", ".")
        room = module.split(".")[1] if (ROOT / "zoo" / module.split(".")[1]).is_dir() else "base"
        return f"api/{room}.md#{module}"
    raise ValueError(f"the documentation has no page for {target!r}; link to README, CONTRIBUTING, docs/ or zoo/")


def _measured(column: str, name: str) -> str:
    """The measured rows of a family or a guide."""
    rows = [row for row in measured_rows() if row[column].partition(":")[0] == name]
    if not rows:
        command = f"zoo compare {name if column == 'family' else f'vae+{name}'}"
        return f"No measured row is stored here; `{command}` makes one."
    origins = "; ".join(dict.fromkeys(map(origin, rows)))
    note = f"Measured by {origins}. ≠ marks a verdict that differs from the literature's, in italics."
    return f"{_table(row_header(rows[0]), map(row_cells, rows))}\n\n{note}"


def _ours(shelf: Iterable[T]) -> list[T]:
    """The entries that the zoo itself declares."""
    return [entry for entry in shelf if _path(entry).startswith("zoo.")]


def _path(entry: Any) -> str:
    made = entry.ask if isinstance(entry, Evaluation) else entry.make
    return f"{getattr(made, '__module__', '')}.{getattr(made, '__qualname__', '')}"


def _docstring(path: str, *, own_page: bool = False) -> str:
    """The docstring of an object; on a page of its own with its source, and its arguments as tables instead."""
    options = {"show_root_heading": False, "show_root_toc_entry": False, "members": False}
    options |= {"show_source": own_page, "show_docstring_parameters": not own_page}
    return f"::: {path}\n    options: {json.dumps(options)}"


def _defaults(make: Any) -> dict[str, Any]:
    parameters = inspect.signature(make).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def _settings(name: str, values: Mapping[str, Any], meanings: Mapping[str, str]) -> str:
    if not values:
        return "It has no settings."
    lines = [(f"`{setting}`", f"`{value}`", meanings.get(setting, "")) for setting, value in values.items()]
    first, value = next(iter(values.items()))
    in_name = f"{name}{',' if ':' in name else ':'}{first}={value}"
    note = f"Change one with `--set {first}={value}`, or in the name: `{in_name}`."
    return f"{_table(('setting', 'default', 'meaning'), lines)}\n\n{note}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _paper(paper: str) -> str:
    return re.sub(r"arXiv:([\w.\-/]+\d)", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper) or "no paper"


def _summary(doc: str) -> str:
    return " ".join(doc.partition("\n\n")[0].split())


def _table(headers: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [list(headers), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    cells = [[str(cell).replace("|", r"\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
