"""Numbers and names as text: rounding to the error, units, escapes for Markdown and LaTeX."""

from __future__ import annotations

import re
import unicodedata

from zoo.report.verdicts import NOT_ASKED, Verdict


def number(value: float, error: float | None = None) -> str:
    """``81.2``: rounded to the first digit of its error (two if that digit is a 1), else to four digits."""
    if error is None or error <= 0 or abs(value) >= 1e6:
        return f"{value:.4g}".replace("-", "−")
    return f"{value:.{_decimals(error)}f}".replace("-", "−")


def plus_minus(value: float, error: float | None) -> str:
    """``81.2 ± 0.4``."""
    if error is None or error <= 0:
        return number(value)
    return f"{number(value, error)} ± {number(error, error)}"


def percent(value: float, error: float | None = None) -> str:
    """``12 %`` or ``12 ± 3 %``."""
    if error is None or error < 0.005:
        return f"{100 * value:.0f} %".replace("-", "−")
    return f"{100 * value:.0f} ± {100 * error:.0f} %".replace("-", "−")


def duration(seconds: float) -> str:
    """``3.1 ms``: seconds in the unit that keeps the number between 1 and 1000."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds / 1e-6)} µs"


def times(value: float) -> str:
    """``×14``."""
    return f"×{_digits(value)}"


def behind(verdict: Verdict) -> str:
    """The number behind a verdict with its standard error, in words short enough for a cell; may be empty."""
    value, unit = verdict.value, verdict.unit
    if value is None:
        return ""
    if unit.startswith("share "):
        return f"{percent(value, verdict.stderr)} {unit.removeprefix('share ')}"
    if unit.startswith("times "):
        return f"{times(value)} {unit.removeprefix('times ')}"
    return f"{plus_minus(value, verdict.stderr)} {unit}".strip()


def spread(verdict: Verdict) -> str:
    """The spread of that number over seeds, in words; may be empty."""
    return "" if verdict.spread is None else f"sd {_digits(verdict.spread)} over seeds"


def reasons(verdict: Verdict) -> list[str]:
    """Why that number is missing or incomplete, and what else to know about it: its sentences."""
    return verdict.reason.split("; ") if verdict.reason and verdict.word != NOT_ASKED else []


def remarks(verdict: Verdict) -> list[str]:
    """The spread of that number over seeds, and its sentences as one."""
    return [words for words in (spread(verdict), "; ".join(reasons(verdict))) if words]


def count(value: float) -> str:
    """``64,900``: three significant digits."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if 100 <= abs(rounded) < 1e9 else f"{rounded:g}"


def markdown(text: str) -> str:
    """Text escaped for GitHub's Markdown, in table cells too."""
    text = re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", text.replace("&", "&amp;"))
    return " ".join(text.split())


TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "≠": r"$\neq$",
    "µ": r"$\mu$",
    "–": "--",
    "…": r"\dots{}",
} | {character: f"\\{character}" for character in "&%$#_{}"}


def latex(text: str) -> str:
    """Text escaped for LaTeX; letters that plain pdflatex lacks lose their accents or become ``?``."""
    return "".join(TEX[character] if character in TEX else _ascii(character) for character in " ".join(text.split()))


def _ascii(character: str) -> str:
    if character.isascii():
        return character
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _decimals(error: float) -> int:
    digits, exponent = f"{error:e}".split("e")
    return min(max(0, digits.startswith("1") - int(exponent)), 8)


def _digits(value: float) -> str:
    if 10 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.1f}" if 1 <= abs(value) < 10 else f"{value:.2g}"
