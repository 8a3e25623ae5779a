"""Laws and findings: how a law is asked of a case, and how an error is told.

A law's proof is a function of a `Case` that returns if the law holds, raises `BrokenError` with what was expected and
what came, or `SilentError` if it does not apply.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyro
import torch

from zoo.contract.case import Case
from zoo.errors import ContractError, ZooError
from zoo.seeding import seeded


@dataclass(frozen=True)
class Finding:
    """What came of one law: it holds, it is broken (``False``) or it does not apply (``None``), and why."""

    law: str
    ok: bool | None
    detail: str = ""


@dataclass(frozen=True)
class Law:
    """A sentence that shall hold, its proof, and how to mend a pair that breaks it."""

    text: str
    proof: Callable[[Case], None]
    mend: str


class BrokenError(Exception):
    """The law does not hold."""


class SilentError(Exception):
    """The law does not apply."""


def ask(law: Law, case: Case) -> Finding:
    try:
        with seeded(case.seed):
            law.proof(case)
    except SilentError as reason:
        return Finding(law.text, None, str(reason))
    except BrokenError as reason:
        return Finding(law.text, False, f"{reason}; {law.mend}")
    except ContractError as error:
        return Finding(law.text, False, f"{error}{_place(error.__cause__)}; {law.mend}")
    except ZooError:
        raise
    except Exception as error:  # a stranger's program may raise anything: it is named, not hidden
        return Finding(law.text, False, f"{told(error)}; {law.mend}")
    return Finding(law.text, True)


def told(error: BaseException) -> str:
    """An error in one line, with its place."""
    message = " ".join(str(error).split("Trace Shapes:")[0].split())
    return f"{type(error).__name__}: {message}{_place(error)}"


def _place(error: BaseException | None) -> str:
    """The last line of a program of the person's own that an error went through."""
    libraries = tuple(str(Path(library.__path__[0])) for library in (torch, pyro))
    ours = Path(__file__).parent
    others = {str(ours), str(ours.parent), sysconfig.get_path("stdlib")}
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__ if error else None)
        if not frame.filename.startswith(libraries) and str(Path(frame.filename).parent) not in others
    ]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} `{frames[-1].line}`" if frames else ""
