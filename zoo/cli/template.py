"""The starting files of the user's own entries: what `zoo new` writes."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files

from zoo.errors import ZooError
from zoo.pairs.registry import check_column_name

TEMPLATES = files("zoo.cli") / "templates"


def kinds() -> list[str]:
    """What there is a template for: ``family``, ``guide``, and so on."""
    names = sorted(path.name for path in TEMPLATES.iterdir())
    return [name[len("my_") : -len(".py")] for name in names if name.endswith(".py")]


def starting_file(name: str, kind: str = "family") -> str:
    """The text of a file that registers a small ``kind`` called ``name``, such as a family that passes `zoo check`.

    Raises:
        ZooError: an unknown kind, or a name that cannot be a Python name.
    """
    if kind not in kinds():
        raise ZooError(f"zoo new writes one of {', '.join(kinds())}; got {kind!r}")
    plain = name.replace("-", "_")
    if not (plain.isascii() and plain.isidentifier()) or keyword.iskeyword(plain) or plain.startswith("_"):
        raise ZooError(
            f"a name consists of letters, digits, - and _, begins with a letter and is no keyword of Python, such as "
            f"my_vae; got {name!r}"
        )
    if kind == "column":
        check_column_name(name)
    text = (TEMPLATES / f"my_{kind}.py").read_text()
    named = "".join(part[:1].upper() + part[1:] for part in plain.split("_"))
    for old, new, suffix in ((f"My{kind.title()}", named, kind.title()), (f"my_{kind}", plain, f"_{kind}")):
        if keyword.iskeyword(new) or re.search(rf"\b{new}\b", text.replace(old, "")):
            new += suffix  # the bare name would hide what the file uses
        text = re.sub(rf"\b{old}\b(?=\()", new, text)
    return re.sub(rf"\bmy[_-]{kind}\b", name, text)
