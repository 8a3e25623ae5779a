"""The figures of the page as files of their own, for a paper or slides: SVG, PDF and PNG."""

from __future__ import annotations

import html
import importlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError
from zoo.report import active, figures, pictures, tables, use
from zoo.report.active import Answered
from zoo.report.figures.svg import drawing, tag
from zoo.report.pictures import Picture

if TYPE_CHECKING:
    from zoo.report.study import Study

FORMATS = ("svg", "pdf", "png")
SCALE = 3
"""Pixels of a PNG for one of the page."""
OF_FAMILIES = {
    "ranking": (figures.ranking, 880.0),
    "elbo-gaps": (figures.elbo_gaps, 880.0),
    "elbo-parts": (figures.elbo_parts, 880.0),
    "brackets": (figures.brackets, 880.0),
    "speed-likelihood": (figures.speed_and_likelihood, 440.0),
    "speed-quality": (figures.speed_and_quality, 440.0),
    "passes-quality": (figures.passes_and_quality, 440.0),
    "rate-distortion": (figures.rate_distortion, 640.0),
    "fields": (figures.bits_by_field, 640.0),
}
"""Name of a figure with all families of a data set -> how it is drawn, and its width on a large screen."""
SVG = "http://www.w3.org/2000/svg"
PAPER = {"paper": "#ffffff", "sans": "Arial, Helvetica, sans-serif"}
"""Variables of the page's style that have other values in a file."""
PIXELATED = "image-rendering:pixelated"
LAYOUT = {"display", "width", "height"}
"""What the page's style says of a drawing's place on the page; a size of 100 % would leave a file blank."""
OF_DRAWINGS = re.compile(r"\.figure (\w+|\.[\w-]+)|(\.figure|\.(?:g|ink)-[\w-]+)")
SHEET = re.compile(r'<img class="sheet" alt="([^"]*)" width="(\d+)" height="(\d+)" src="(data:[^"]*)">')


def formats_of(text: str) -> tuple[str, ...]:
    """The formats of figures in ``svg,pdf,png``.

    Raises:
        ZooError: another format, or the library that writes PDF and PNG is not installed.
    """
    formats = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",")))
    if unknown := [word for word in formats if word not in FORMATS]:
        raise ZooError(f"figures are written as {', '.join(FORMATS)}, got {unknown[0]!r}; name some: --figures svg,pdf")
    if {*formats} - {"svg"}:
        try:
            importlib.import_module("cairosvg")
        except (ImportError, OSError) as error:  # OSError without the system's library
            raise ZooError(
                f"figures in {' and '.join(word for word in formats if word != 'svg')} need cairosvg and the system's "
                f"cairo ({str(error).partition(chr(10))[0]}); pip install 'pyro-zoo[figures]', or take --figures svg"
            ) from error
    return formats


def figure_files(study: Study, formats: Sequence[str], answered: Sequence[Answered] = ()) -> dict[str, bytes]:
    """Every figure of the pages as files: name -> content, ``digits-ranking.pdf``; ``answered`` are ``active.pdf``."""
    found: dict[str, bytes] = {}
    if not formats:
        return found
    drawn = named_figures(study) | ({"active": active.figure(answered, active.AGAINST)} if answered else {})
    for name, svg in drawn.items():
        own = standalone(svg)
        for suffix in formats:
            found[f"{name}.{suffix}"] = _written(own, suffix)
    return found


def named_figures(study: Study) -> dict[str, str]:
    """Name -> drawing as it is on a large screen; those of one family are called by its label."""
    found: dict[str, str] = {}
    for dataset in tables.datasets(study):
        for name, svg in _of_dataset(study, dataset):
            whole, count = "-".join(filter(None, map(_slug, (dataset, *name)))), 1
            unique = whole
            while unique in found:  # names that differ in characters that a file's name cannot have
                count += 1
                unique = f"{whole}-{count}"
            found[unique] = svg
    return found


def _of_dataset(study: Study, dataset: str) -> Iterator[tuple[tuple[str, ...], str]]:
    lines, shown = tables.members(study, dataset), study.pictures.get(dataset)
    groups = {line.label: line.group for line in lines}
    for name, (draw, width) in OF_FAMILIES.items():
        if drawn := draw(lines, width):
            yield (name,), drawn
    curves = [row for row in study.curves if row["dataset"] == dataset]
    for label, nats, discrepancy in figures.learning(curves, lines):
        yield ("learning-nats", label), nats
        yield ("learning-discrepancy", label), discrepancy
    if shown:
        yield from _of_pictures(shown, groups)
    yield from use.named(study, dataset, lines)


def _of_pictures(shown: Mapping[str, Any], groups: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], str]]:
    kinds = {
        "samples": pictures.pictures(shown, groups),
        "neighbours": pictures.neighbours(shown, groups),
        "density": pictures.densities(shown, groups),
        "latents": pictures.latents(shown, groups),
    }
    for name, drawn in kinds.items():
        yield from (((name, each.label), _drawn(each)) for each in drawn if each.html)
    for label, strip in pictures.strips(shown, lambda label, grid: grid).items():
        yield from (((f"lossy-{each.label}", label), _drawn(each)) for each in strip)


def _drawn(picture: Picture) -> str:
    """A picture as a drawing; pixels are embedded."""
    source = str(picture.html)
    sheet = SHEET.fullmatch(source)
    if not sheet:
        return source
    width, height = float(sheet[2]), float(sheet[3])
    image = tag("image", href=sheet[4], width=width, height=height, style=PIXELATED)
    return drawing(width, height, html.unescape(sheet[1]), picture.label, image)


def standalone(svg: str) -> str:
    """A `drawing` with the page's light style written into every element, and a size."""
    ET.register_namespace("", SVG)
    root, rules = ET.fromstring(svg), _rules()
    _, _, width, height = root.attrib["viewBox"].split()
    del root.attrib["style"]
    _inline(root, rules, "")
    root.attrib |= {"width": width, "height": height}
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _inline(node: ET.Element, rules: Sequence[tuple[str, dict[str, str]]], inherited: str) -> None:
    names = {node.tag.removeprefix(f"{{{SVG}}}"), *(f".{word}" for word in node.get("class", "").split())}
    style: dict[str, str] = {}
    for name, declared in rules:
        if name in names:
            style |= declared
    colour = style.get("color", inherited)
    own = {key: colour if value == "currentColor" else value for key, value in style.items()}
    text = ";".join(filter(None, [*(f"{key}:{value}" for key, value in own.items()), node.get("style", "")]))
    if text:
        node.set("style", text)
    for child in node:
        _inline(child, rules, colour)


def _rules() -> list[tuple[str, dict[str, str]]]:
    """What the page's style says of drawings: (a tag or a class, its declarations), weaker rules first."""
    style = files("zoo.report").joinpath("page.css").read_text(encoding="utf-8")
    variables = dict(re.findall(r"--([\w-]+): ([^;]+);", style[: style.index("}")])) | PAPER
    flat = re.sub(r"/\*.*?\*/|@[^{}]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", style, flags=re.DOTALL)
    found: list[tuple[str, dict[str, str]]] = []
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", flat):
        resolved = re.sub(r"var\(--([\w-]+)\)", lambda name: variables[name[1]], body)
        declared = {key: value for key, value in re.findall(r"([\w-]+): ([^;]+);", resolved) if key not in LAYOUT}
        names = (OF_DRAWINGS.fullmatch(selector.strip()) for selector in selectors.split(","))
        found += [(name[1] or name[2], declared) for name in names if name]
    return sorted(found, key=lambda rule: rule[0].startswith("."))


def _written(svg: str, suffix: str) -> bytes:
    if suffix == "svg":
        return svg.encode()
    import cairosvg

    source = svg.replace(PIXELATED, "image-rendering:optimizeSpeed").encode()  # the only name by which it knows this
    if suffix == "pdf":
        return bytes(cairosvg.svg2pdf(bytestring=source))
    return bytes(cairosvg.svg2png(bytestring=source, scale=SCALE, background_color="white"))


def _slug(name: str) -> str:
    return re.sub(r"[^\w.+=-]+", "-", name).strip("-.")
