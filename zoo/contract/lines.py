"""Where in the user's code a site or a plate stands."""

from __future__ import annotations

import linecache
import sys
import sysconfig
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from zoo.pairs.pair import Pair

LIBRARIES = tuple(str(Path(str(each))) for each in (*torch.__path__, *pyro.__path__, sysconfig.get_path("stdlib")))
CORE = Path(__file__).parent.parent
SHELVES = ("models", "guides")
"""Folders of the installed package that hold programs, and no core."""


def of_the_user(filename: str) -> bool:
    """Whether a file holds programs, and is no part of a library or of the core."""
    path = Path(filename)
    if filename.startswith(("<", *LIBRARIES)):
        return False
    return not path.is_relative_to(CORE) or path.relative_to(CORE).parts[0] in SHELVES


def place_of(error: BaseException | None) -> str:
    """The innermost line of the user's own code that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    own = [frame for frame in frames if of_the_user(frame.filename)]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno} `{own[-1].line}`" if own else ""


class Lines(poutine.messenger.Messenger):
    """Records the line of the user's code in which each site and each plate is declared."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, str] = {}

    def _pyro_sample(self, msg: Any) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None and not of_the_user(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is not None:
            name, line = frame.f_code.co_filename, frame.f_lineno
            self.lines[msg["name"]] = f"{Path(name).name}:{line} `{linecache.getline(name, line).strip()}`"


def located(text: str, pair: Pair, x: Tensor) -> str:
    """``text`` with the line of the first site or plate that it names in quotes.

    What is in both programs is looked up in the guide if ``text`` is about the guide.
    """
    of_guide, of_model = Lines(), Lines()
    for lines, program in ((of_guide, pair.guide), (of_model, pair.model)):
        with suppress(Exception), pair.evaluating(), lines:  # as far as the program runs
            program(x.clone())
    known = of_model.lines | of_guide.lines if "guide" in text else of_guide.lines | of_model.lines
    named = [name for name in known if repr(name) in text]
    return f"{text}, at {known[min(named, key=lambda name: text.index(repr(name)))]}" if named else text
