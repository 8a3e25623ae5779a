"""The contract, proved on a pair with small random data: one finding a law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zoo.contract.case import Case
from zoo.contract.findings import Finding as Finding
from zoo.contract.findings import ask
from zoo.contract.laws import GROUND, LAWS
from zoo.event import EXAMPLES, Event
from zoo.pairs.build import Hyper, build, find, fitting_event
from zoo.pairs.pair import Pair


def check(name: str, event: Event | None = None, hyper: Hyper | None = None, seed: int = 0) -> list[Finding]:
    """Prove the contract on the pair called ``name``, with random data of ``event``.

    Without an event it is the family's own, or else a small one of each support that the family takes.

    Raises:
        ZooError: an unknown name or hyper-parameter, or an event that the family does not take. A pair that breaks the
            contract, or does not even run, is a finding.
    """
    family, _ = find(name)
    asked = event or family.event
    findings = []
    for each in [asked] if asked else [EXAMPLES[support] for support in family.supports]:
        small = fitting_event(family, each)
        label = "" if asked else f" ({small})"
        found = prove(lambda key, small=small: build(name, small, hyper, key), small, seed)  # type: ignore[misc] # mypy cannot infer a lambda's default
        findings += [replace(finding, law=finding.law + label) for finding in found]
    return findings


def prove(make: Callable[[int], Pair], event: Event, seed: int = 0) -> list[Finding]:
    """Prove the contract on the pair that ``make(seed)`` builds for ``event``.

    Raises:
        ZooError: what ``make`` raises of it, other than `ContractError`.
    """
    case = Case(make, event, seed)
    findings: list[Finding] = []
    for law in GROUND:
        findings.append(ask(law, case))
        if findings[-1].ok is False:
            rest = (*GROUND[len(findings) :], *LAWS)
            return findings + [
                Finding(law.text, None, f"not asked before this holds: {findings[-1].law}") for law in rest
            ]
    return findings + [ask(law, case) for law in LAWS]
