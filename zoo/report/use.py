"""``use.html``: the second page of the report, of models in use, and its figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from zoo.data.words import sentences
from zoo.event import Event
from zoo.report import figures, tables
from zoo.report.figures.uses import RGB, Line, PlaneView, Shown
from zoo.report.pictures import data_url, image_of, listed
from zoo.report.tables import Member
from zoo.report.text import number, plus_minus
from zoo.report.uses import MEASURES, VICTIMS

if TYPE_CHECKING:
    from zoo.report.study import Study

STRONGEST = "pgd_"
"""The attack that the figure shows, at each of its distances."""
RULES = {"posterior": "by p(y | x)", "joint": "by p(x, y)", "gated": "by a threshold of p(x)"}
ALONE = "alone"
NOT_FLAGGED, FLAGGED = "share of test data flagged", "share of novel data flagged"
OPAQUE = 150
"""The alpha, of 255, of a class that is certain."""
TEXTS = ("interpolations", "reconstructions")
PIXELS = 12
"""Entries below which a datum is not shown as an image."""
WIDE, NARROW = 760.0, 348.0

Named = tuple[str, str]
"""A family's label and its figure."""


def attacks(study: Study, dataset: str) -> dict[str, list[Named]]:
    """Figure 1 of each family: by what is attacked, images before and after noise that fools it."""
    found: dict[str, list[Named]] = {}
    for victim, of in VICTIMS.items():
        for name, kept in _parts(study, dataset, f"attack-{victim}"):
            if drawn := _attacked(study, dataset, kept, f"Attacks on {of}, and log p(x) by {name}"):
                found.setdefault(victim, []).append((name, drawn))
    return found


def _attacked(study: Study, dataset: str, kept: Mapping[str, Any], title: str) -> str:
    event = Event.parse(study.pictures[dataset]["event"])
    if event.size < PIXELS:
        return ""
    cases = ["clean", *(name.removeprefix("x_") for name in kept if name.startswith(f"x_{STRONGEST}"))]
    cases[1:] = sorted(cases[1:])
    low, high = _range(kept["x_clean"], event)
    rows = []
    for place, y in enumerate(kept["y"]):
        shown = []
        for case in cases:
            p = np.asarray(kept[f"p_y_{case}"][place], float)
            log_p, guess = _finite(kept[f"log_p_{case}"][place]), int(p.argmax())
            datum = np.asarray(kept[f"x_{case}"][place], float).reshape(event.shape)
            light = np.clip((image_of(datum) - low) / ((high - low) or 1.0), 0, 1)
            pixels = np.round(255 * (light if light.ndim == 3 else 1 - light)).astype(np.uint8)
            least = _finite(kept["least"])
            shown.append(Shown(data_url(pixels), str(guess), float(p.max()), guess == int(y), log_p, log_p < least))
        rows.append(shown)
    heads = [case if case == "clean" else f"eps {case.removeprefix(STRONGEST)}" for case in cases]
    return figures.attacked(title, heads, rows)


def _range(clean: Any, event: Event) -> tuple[float, float]:
    values = np.asarray(clean, float)
    return (0.0, event.levels - 1.0) if event.levels else (float(np.nanmin(values)), float(np.nanmax(values)))


def medians(study: Study, dataset: str, victim: str) -> str:
    """A sentence on log p(x) of all test data, clean and attacked, for each family whose figure is shown."""
    sentences = []
    for name, kept in _parts(study, dataset, f"attack-{victim}"):
        cases = sorted(key.removeprefix("median_") for key in kept if key.startswith(f"median_{STRONGEST}"))
        falls = ", ".join(
            f"{number(_finite(kept[f'median_{each}']))} at {each.removeprefix(STRONGEST)}" for each in cases
        )
        clean = number(_finite(kept["median_clean"]))
        sentences.append(
            f"{name}: {clean} of clean test data, {falls}; its 5 % quantile is {number(_finite(kept['least']))}."
        )
    return " ".join(sentences)


def decisions(study: Study, dataset: str, width: float) -> list[Named]:
    """Figure 2 of each family: points with a label, the answers by p(y | x) alone, and those that p(x) withholds."""
    return [(name, _decision(kept, width)) for name, kept in _parts(study, dataset, "decision")]


def _decision(kept: Mapping[str, Any], width: float) -> str:
    p_y, log_p = np.asarray(kept["p_y"], float), np.asarray(kept["log_p"], float)
    of_cross, at_cross, least = kept["cross_p_y"], _finite(kept["cross_log_p"]), _finite(kept["least"])
    sure, guess = max(of_cross), int(np.argmax(of_cross))
    known = np.nan_to_num(log_p, nan=-np.inf, neginf=-np.inf) >= least
    verdict = f"below {number(least)}: abstains" if at_cross < least else f"at least {number(least)}: answers {guess}"
    panels = [
        PlaneView(
            _tint(p_y, np.ones_like(known)),
            "By p(y | x) alone",
            f"cross: p(y = {guess} | x) {_share(sure)}: answers {guess}",
        ),
        PlaneView(_tint(p_y, known), "With p(x)", f"cross: log p(x) = {number(at_cross)}, {verdict}"),
    ]
    left, right, bottom, top = kept["frame"]
    classes, points = [int(y) for y in kept["y"]], [(a, b) for a, b in kept["points"]]
    cross = (kept["cross"][0], kept["cross"][1])
    return figures.decision(panels, (left, right, bottom, top), points, classes, cross, width)


def _share(p: float) -> str:
    """A probability to four digits, with its sign; none is rounded to 1."""
    return f"= {p:.4f}" if p < 0.99995 else "> 0.9999"


def _tint(p_y: np.ndarray, answered: np.ndarray) -> str:
    """The plane in the colours of the most probable class, the paler the less certain; bare where it abstains."""
    count = p_y.shape[-1]
    sure = np.nan_to_num((p_y.max(-1) - 1 / count) / (1 - 1 / count))
    colours = np.array(RGB, np.uint8)[p_y.argmax(-1) % len(RGB)]
    alpha = np.round(OPAQUE * np.clip(sure, 0, 1) * answered).astype(np.uint8)
    return data_url(np.concatenate([colours, alpha[..., None]], -1))


def rocs(study: Study, dataset: str, lines: Sequence[Member]) -> dict[str, list[Named]]:
    """The ROC curves of novelty: for each measure, a figure of each family with a curve for each kind of novel data."""
    of, found = {line.label: line for line in lines}, dict[str, list[Named]]()
    for name, kept in _parts(study, dataset, "novelty"):
        for measure, words in MEASURES.items():
            start, shown = f"curve_{measure}_", []
            for key in (key for key in kept if key.startswith(start)):
                data = key.removeprefix(start)
                area = of[name].pool("novelty", f"auroc_{measure}_{data}")
                if area.value is not None:
                    points = [(at / (len(kept[key]) - 1), share) for at, share in enumerate(kept[key])]
                    shown.append(Line(f"{data} {plus_minus(area.number, area.stderr)}", points))
            if shown:
                title = f"Novel data found by {words}: {name}"
                drawn = figures.curves(title, (NOT_FLAGGED, FLAGGED), shown, diagonal=True)
                found.setdefault(measure, []).append((name, drawn))
    return {measure: found[measure] for measure in MEASURES if measure in found}


def risks(study: Study, dataset: str, lines: Sequence[Member]) -> dict[str, list[Named]]:
    """Risk over coverage: for each mixture, a figure of each family with a curve for each rule."""
    of, found = {line.label: line for line in lines}, dict[str, list[Named]]()
    for name, kept in _parts(study, dataset, "selective"):
        mixtures = dict.fromkeys(key.rpartition("_")[2] for key in kept if key.startswith("curve_"))
        for mixture in mixtures:
            shown = []
            for rule, words in RULES.items():
                error = of[name].pool("selective", f"error_90_{rule}_{mixture}")
                values = kept.get(f"curve_{rule}_{mixture}")
                if values and error.value is not None:
                    points = [((at + 1) / len(values), share) for at, share in enumerate(values)]
                    shown.append(Line(f"{words} {plus_minus(error.number, error.stderr)}", points))
            if shown:
                title = f"Errors over the share that is answered, {blend(mixture)}: {name}"
                drawn = figures.curves(title, ("share that is answered", "share of errors"), shown)
                found.setdefault(mixture, []).append((name, drawn))
    return found


def blend(mixture: str) -> str:
    """What a mixture is of."""
    return "test data alone" if mixture == ALONE else f"with 10 % {mixture}"


def texts(study: Study, dataset: str) -> list[tuple[str, dict[str, list[Markup]]]]:
    """What the latents of sentences say: (label, lists by what they show) of each family that has them.

    ``interpolations`` begin and end with a test sentence, ``reconstructions`` begin with one.
    """
    words, found = study.pictures.get(dataset, {}).get("words"), []
    for name, kept in _parts(study, dataset, "sentences"):
        if words and "interpolations" in kept:
            lists = {key: [listed(sentences(each, words)) for each in kept[key]] for key in TEXTS}
            found.append((name, {**lists, "prior": [listed(sentences(kept["prior"], words))]}))
    return found


def named(study: Study, dataset: str, lines: Sequence[Member]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every figure of a data set in use, by its name."""
    for victim, drawn in attacks(study, dataset).items():
        yield from (((f"attack-{victim}", name), svg) for name, svg in drawn)
    yield from ((("decision", name), svg) for name, svg in decisions(study, dataset, WIDE))
    for measure, drawn in rocs(study, dataset, lines).items():
        yield from (((f"novelty-{measure}", name), svg) for name, svg in drawn)
    for mixture, drawn in risks(study, dataset, lines).items():
        yield from (((f"selective-{mixture}", name), svg) for name, svg in drawn)


def shown(study: Study, dataset: str, lines: Sequence[Member]) -> dict[str, Any]:
    """What the page shows of a data set besides its tables."""
    both = zip(decisions(study, dataset, WIDE), decisions(study, dataset, NARROW), strict=True)
    return {
        "attacks": [
            (VICTIMS[victim], _marked(drawn), medians(study, dataset, victim))
            for victim, drawn in attacks(study, dataset).items()
        ],
        "decisions": [(name, Markup(wide), Markup(narrow)) for (name, wide), (_, narrow) in both],
        "texts": texts(study, dataset),
        "rocs": [(MEASURES[measure], _marked(drawn)) for measure, drawn in rocs(study, dataset, lines).items()],
        "risks": [(blend(mixture), _marked(drawn)) for mixture, drawn in risks(study, dataset, lines).items()],
    }


def _marked(drawn: Sequence[Named]) -> list[tuple[str, Markup]]:
    return [(name, Markup(svg)) for name, svg in drawn]


def _parts(study: Study, dataset: str, part: str) -> list[tuple[str, Mapping[str, Any]]]:
    """(label, what is kept) of each family that has this part, in the order of the table."""
    order = [line.label for line in tables.members(study, dataset)]
    found = study.uses.get(dataset, {})
    return [(name, found[name][part]) for name in order if part in found.get(name, {})]


def _finite(value: float | None) -> float:
    """A log-probability as it is stored: ``None`` is one that is not finite, minus infinity."""
    return -math.inf if value is None else float(value)
