"""Check a pair against the contract, on small random data: one finding per law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from zoo.contract.case import Case
from zoo.contract.findings import Finding as Finding
from zoo.contract.findings import judge
from zoo.contract.laws import GROUND, LAWS
from zoo.data import Dataset
from zoo.data.atoms import require_density
from zoo.errors import ContractError, ZooError
from zoo.event import EXAMPLES, Event
from zoo.pairs.build import Hyper, build, find, fitting_event
from zoo.pairs.pair import HasInitialise, Pair
from zoo.pairs.records import cut, in_parts, pair_for
from zoo.pairs.sites import in_support
from zoo.pairs.traces import traced
from zoo.seeding import seeded

CHUNK = 1000
"""Data whose support is looked at in one run of the programs."""
GIVEN = 64
"""The most real data that ground laws are checked on."""


def check(
    name: str,
    event: Event | None = None,
    hyper: Hyper | None = None,
    seed: int = 0,
    device: str = "auto",
    data: Dataset | None = None,
) -> list[Finding]:
    """Check the pair called ``name`` against the contract, on random data or on a batch of ``data``.

    A pair that breaks the contract, or does not even run, is a finding and no error.

    Args:
        name: as for `zoo.pairs.build.build`.
        event: of the random data; by default the family's own, or else a small one of each support that it takes (a
            record or a sequence only of a family that takes nothing else). That of ``data``, if they are given.
        hyper: hyper-parameters.
        seed: of parameters and data.
        device: where it is to run: ``"cpu"``, or any by default.
        data: of which the train split initialises the pair, and a batch of it is what laws are checked on.

    Raises:
        ZooError: an unknown name or hyper-parameter, or an event or data that the family does not take.

    Example:
        >>> from zoo.contract.check import check
        >>> from zoo.event import Event
        >>> [finding.law for finding in check("independent", Event((2, 2), 5)) if finding.ok is False]
        []
    """
    family, _ = find(name)
    if data is not None:
        return _check_on(name, data, hyper, seed, device)
    given = event or family.event or family.example
    findings = []
    examples = [EXAMPLES[support] for support in family.supports]
    arrays = [each for each in examples if not each.fields]
    for each in [given] if given else arrays or examples:
        small = fitting_event(family, each)
        label = "" if given else f" ({small})"
        found = check_pair(lambda key, small=small: build(name, small, hyper, key), small, seed, device)  # type: ignore[misc] # mypy cannot infer a lambda's default
        findings += [replace(finding, law=finding.law + label) for finding in found]
    return findings


def _check_on(name: str, data: Dataset, hyper: Hyper | None, seed: int, device: str) -> list[Finding]:
    """`check` on data: those that have a label, if any may lack it."""
    own = data.given_to(build(name, data.event, hyper, seed))
    with seeded(seed):
        train = own.initial()
    labelled = train[~own.event.missing(train)]
    if not len(labelled):
        raise ZooError(f"no datum of {data.name} has a label; leave it out by labels=0")

    def make(key: int) -> Pair:
        pair = build(name, data.event, hyper, key)
        if isinstance(pair.extras, HasInitialise):
            with seeded(key), torch.no_grad():
                pair.extras.initialise(train)
        return pair

    require_density(made := make(seed), own)
    require_support(made, own)
    return check_pair(make, own.event, seed, device, labelled[:GIVEN])


def require_support(pair: Pair, data: Dataset) -> None:
    """Refuse real data where the densities of a pair that takes them as they are have none, such as below zero.

    Args:
        pair: initialised.
        data: as the pair is given them (`zoo.data.Dataset.given_to`).

    Raises:
        ZooError: some lie outside the support of what observes them; a log-probability there means nothing.
    """
    for word in ("train", "validation", "test"):
        rows = getattr(data, word)
        if outside := int(outside_support(pair, rows).sum()):
            noise = "; with the noise of their grid: declare levels, or drop those at its edge"
            raise ZooError(
                f"data set {data.name!r}: {outside} of {len(rows)} {word} data lie outside the support of what "
                f"{pair.label} observes{noise if data.dequantised else '; choose a distribution of all of them'}"
            )


def outside_support(pair: Pair, x: Tensor) -> Tensor:
    """Which data have no density under a pair that takes real data as they are: shape ``(n,)``, bool, on the CPU.

    Args:
        pair: initialised.
        x: as the pair is given them, shape ``(n, *event.shape)``.
    """
    fields = pair.event.parts
    if not pair.in_own_units or all(each.levels for each in fields) or any(each.length for each in fields):
        return torch.zeros(len(x), dtype=torch.bool)

    def within(own: Pair, part: Tensor) -> Tensor:
        return in_support(traced(own, part)[0], len(part)).cpu()

    with pair.evaluating(), seeded(0):
        return ~torch.cat([in_parts(pair, part, within) for part in x.to(pair.device).split(CHUNK)])


def ground_laws(pair: Pair, x: Tensor, seed: int = 0) -> None:
    """Refuse a pair whose numbers would be wrong, by the laws `zoo.contract.laws.GROUND`.

    Args:
        pair: initialised, in any mode; it is left as it is.
        x: some real data, shape ``(n, *event.shape)``.
        seed: of the noise.

    Raises:
        ContractError: the first law that does not hold: with the site, its line and how to mend it.

    Example:
        >>> import torch
        >>> from zoo import Event, build
        >>> from zoo.contract.check import ground_laws
        >>> ground_laws(build("ppca", Event((2, 2), 5)), torch.randint(5, (20, 2, 2)).float())
    """
    for _, part in cut(pair.event, x):
        own = pair_for(pair, part)
        case = Case(lambda _, own=own: own, own.event, seed, given=part[:GIVEN].to(pair.device))  # type: ignore[misc] # mypy cannot infer a lambda's default
        for law in GROUND:
            finding = judge(law, case)
            if finding.ok is False:
                raise ContractError(f"{pair.label} breaks a law of the contract, {law.text!r}: {finding.detail}")


def check_pair(
    make: Callable[[int], Pair], event: Event, seed: int = 0, device: str = "auto", given: Tensor | None = None
) -> list[Finding]:
    """Check the pair that ``make(seed)`` builds for ``event`` against the contract.

    With ``given`` data, which all have a label, it builds a pair that is initialised.

    The ground laws of data that may lack a label are checked on data without one as well.

    Raises:
        ZooError: an error of ``make`` other than `ContractError`.
    """
    case, broken = Case(make, event, seed, given, device), ""
    findings: list[Finding] = []
    for law, of_label in product(GROUND, (False, True)[: 1 + bool(event.label)]):
        named = replace(law, text=f"{law.text}, without {event.label.name}") if event.label and of_label else law
        if broken:
            findings.append(Finding(named.text, None, broken))
            continue
        findings.append(judge(named, case.unlabelled if of_label else case))
        if findings[-1].ok is False:
            broken = f"not checked until this holds: {named.text}"
    return findings + [Finding(law.text, None, broken) if broken else judge(law, case) for law in LAWS]
