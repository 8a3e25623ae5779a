"""Laws and findings: how a law is checked on a case, and how an error becomes a finding.

A law's check is a function of a `Case` that returns if the law holds, raises `BrokenError` with what was expected and
what was found, or `NotApplicableError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zoo.contract.case import Case
from zoo.contract.lines import located, place_of
from zoo.errors import ContractError, ZooError
from zoo.seeding import seeded


@dataclass(frozen=True)
class Finding:
    """The result of one law: it holds (``True``), is broken (``False``) or does not apply (``None``), and why."""

    law: str
    ok: bool | None
    detail: str = ""


@dataclass(frozen=True)
class Law:
    """A statement that should hold of every pair, its check, and how to mend a pair that breaks it."""

    text: str
    check: Callable[[Case], None]
    mend: str


class BrokenError(Exception):
    """The law does not hold."""


class NotApplicableError(Exception):
    """The law does not apply."""


def judge(law: Law, case: Case) -> Finding:
    """Check one law on a case, with seeded random numbers.

    Raises:
        ZooError: the pair cannot be built at all, for example because of a wrong hyper-parameter.
    """
    try:
        with seeded(case.seed):
            law.check(case)
    except NotApplicableError as reason:
        return Finding(law.text, None, str(reason))
    except BrokenError as reason:
        return Finding(law.text, False, f"{_located(str(reason), case)}; {law.mend}")
    except ContractError as error:
        return Finding(law.text, False, f"{_located(str(error), case)}{place_of(error.__cause__)}; {law.mend}")
    except ZooError:
        raise
    except Exception as error:  # a user's program may raise anything
        return Finding(law.text, False, f"{describe(error)}; {law.mend}")
    return Finding(law.text, True)


def _located(text: str, case: Case) -> str:
    try:
        pair, x = case.pair, case.x(case.sizes[0])
    except Exception:  # the finding is that it cannot be built or run
        return text
    return located(text, pair, x)


def describe(error: BaseException) -> str:
    """An error in one line, with the place in the user's code that raised it."""
    message = " ".join(str(error).split("Trace Shapes:")[0].split())
    return f"{type(error).__name__}: {message}{place_of(error)}"
