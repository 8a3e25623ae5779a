"""Where in the user's code a site or a plate stands."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from pyro import poutine
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zoo.pairs.pair import Pair
from zoo.pairs.user_errors import of_the_user


class Lines(poutine.messenger.Messenger):
    """Records the line of the user's code in which each site and each plate is declared."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, str] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if line := _present_line():
            self.lines[msg["name"]] = line


class Changes(TorchFunctionMode):
    """Notes the line of the user's code in which a tensor is first changed in place."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x, self.version, self.at = x, x._version, ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.x._version != self.version and not self.at and (line := _present_line()):
            self.at = f", at {line}"
        return result


def line_of(function: Callable[..., Any]) -> str:
    """``, at FILE:LINE `TEXT``` of a function of the user's, else nothing."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    known = code is not None and of_the_user(code.co_filename)
    return f", at {_line(code.co_filename, code.co_firstlineno)}" if known and code else ""


def _present_line() -> str:
    """The line of the user's code that is being run."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not of_the_user(frame.f_code.co_filename):
        frame = frame.f_back
    return _line(frame.f_code.co_filename, frame.f_lineno) if frame else ""


def _line(file: str, line: int) -> str:
    return f"{Path(file).name}:{line} `{linecache.getline(file, line).strip()}`"


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
