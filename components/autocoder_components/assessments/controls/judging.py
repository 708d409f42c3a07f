"""From outcomes to the status of controls, and from controls to that of a framework's requirements. Pure; reads nothing.

The one promise: nothing is satisfied that was not judged whole. Each rule of a control has a verdict for each file or server
that it judges; they are folded as follows, the first line that fits:

    a finding that counts                                              not satisfied
    an error, a check that was skipped or awaits a person, a rule
    that was left out, or no verdict at all of one of the rules        not assessed
    only verdicts that say: not applicable                             not applicable
    a finding that is waived                                           waived
    otherwise                                                          satisfied

A requirement is the worst of its controls in that order; without controls it is not assessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from autocoder_components.assessments.controls.packs import Catalogue, Control, MappingSpec
from autocoder_components.assessments.model import (
    CheckKind,
    Compliance,
    ControlResult,
    ControlStatus,
    Evidence,
    FrameworkResult,
    Outcome,
    Place,
    RequirementResult,
    Status,
)
from autocoder_components.assessments.reports.text import plural
from autocoder_components.assessments.rules import KINDS
from autocoder_components.assessments.score import open_findings

WORST: Final = (
    ControlStatus.NOT_SATISFIED,
    ControlStatus.NOT_ASSESSED,
    ControlStatus.WAIVED,
    ControlStatus.SATISFIED,
    ControlStatus.NOT_APPLICABLE,
)
"""Of several controls the first of these that one of them has is the status of the requirement."""
MISSING: Final = frozenset({Status.ERROR, Status.SKIPPED, Status.MANUAL})
WHOLE: Final = frozenset({CheckKind.CONFIG, CheckKind.SECURITY, CheckKind.DEEP})
"""The checks that judge all of their rules, whatever they find. A probe that failed did not come to the rest."""
MOST_REASONS: Final = 3


def fold(verdicts: Mapping[str, Collection[Status]]) -> ControlStatus:
    """The status of a control whose rules have these verdicts; their order and number of each do not matter."""
    found = {status for each in verdicts.values() for status in each}
    if Status.FAIL in found:
        return ControlStatus.NOT_SATISFIED
    if not verdicts or found & MISSING or not all(verdicts.values()):
        return ControlStatus.NOT_ASSESSED
    if found == {Status.NOT_APPLICABLE}:
        return ControlStatus.NOT_APPLICABLE
    return ControlStatus.WAIVED if Status.WAIVED in found else ControlStatus.SATISFIED


def combine(statuses: Iterable[ControlStatus]) -> ControlStatus:
    """The status of a requirement whose controls have these; NOT_ASSESSED where there are none."""
    found = set(statuses)
    return next((each for each in WORST if each in found), ControlStatus.NOT_ASSESSED)


def judge(catalogue: Catalogue, outcomes: Sequence[Outcome], *, details: bool = True) -> Compliance:
    """Every control of the catalogue and every requirement of its frameworks; without `details` there is no evidence."""
    seen = _Seen.all(outcomes)
    controls = {name: _control(name, control, seen, details) for name, control in catalogue.controls.items()}
    return Compliance(
        rule_packs=tuple(f"{pack.rule_pack} {pack.version}" for pack in catalogue.rule_packs),
        controls=tuple(controls.values()),
        frameworks=tuple(_framework(mapping, controls) for mapping in catalogue.frameworks),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """An outcome, and the rules that found something in it: what counts, and what is waived."""

    outcome: Outcome
    counting: frozenset[str]
    waived: frozenset[str]

    @classmethod
    def all(cls, outcomes: Sequence[Outcome]) -> Mapping[CheckKind | None, Sequence[_Seen]]:
        """The outcomes by kind; those without a target under None, for they may have been of any."""
        seen: dict[CheckKind | None, list[_Seen]] = {}
        for each in outcomes:
            waived = [one.rule for one in each.findings if each.status is Status.WAIVED or one.waiver is not None]
            counting = frozenset(one.rule for one in open_findings([each]))
            kind = None if each.target is None else each.kind
            seen.setdefault(kind, []).append(cls(each, counting, frozenset(waived)))
        return seen


@dataclass(slots=True)
class _Tally:
    """The verdicts of one control, gathered."""

    verdicts: dict[str, list[Status]]
    reasons: Counter[str] = field(default_factory=Counter)
    passed: Counter[tuple[str, str]] = field(default_factory=Counter)
    evidence: list[Evidence] = field(default_factory=list)

    def add(self, rule: str, outcome: Outcome, status: Status, why: str) -> None:
        """One verdict of one rule."""
        self.verdicts[rule].append(status)
        if status in MISSING:
            self.reasons[f"{status}: {why}"] += 1
        elif status is Status.PASS and outcome.target is not None:
            self.passed[outcome.target.file, outcome.target.sha256] += 1
        elif status in (Status.FAIL, Status.WAIVED):
            self.evidence += _of_findings(rule, outcome, status)

    def count(self, *statuses: Status) -> int:
        """How many verdicts say so."""
        return sum(status in statuses for each in self.verdicts.values() for status in each)


def _of_findings(rule: str, outcome: Outcome, status: Status) -> Iterator[Evidence]:
    digest = outcome.target.sha256 if outcome.target else ""
    for each in outcome.findings:
        if each.rule == rule and (status is Status.WAIVED or each.waiver is None):
            yield Evidence(each.place, digest, status, 1, rule, each.server, each.fingerprint)


def _control(
    name: str, control: Control, seen: Mapping[CheckKind | None, Sequence[_Seen]], details: bool
) -> ControlResult:
    tally = _Tally({rule: [] for rule in control.rules})
    for rule in control.rules:
        for each in (*seen.get(KINDS[rule], ()), *seen.get(None, ())):
            verdict = _verdict(rule, control, each)
            if verdict is not None:
                tally.add(rule, each.outcome, *verdict)
    status = fold(tally.verdicts)
    passed = (
        Evidence(Place(file), digest, Status.PASS, count) for (file, digest), count in sorted(tally.passed.items())
    )
    return ControlResult(
        id=name,
        title=control.title,
        statement=control.statement,
        rules=tuple(control.rules),
        status=status,
        reason=_reason(control, tally, status),
        passed=tally.count(Status.PASS),
        failed=tally.count(Status.FAIL),
        waived=tally.count(Status.WAIVED),
        missing=tally.count(*MISSING),
        evidence=(*tally.evidence, *passed) if details else (),
    )


def _verdict(rule: str, control: Control, seen: _Seen) -> tuple[Status, str] | None:
    """What an outcome of the rule's kind says of it, and why it says nothing; None where it is no matter of this target."""
    outcome = seen.outcome
    why, target = outcome.reason or "no reason given", outcome.target
    if target is None:
        # What was lost, or asked for and not there, may have been anything.
        return (outcome.status, why) if outcome.status in MISSING else None
    if rule in seen.counting:
        return Status.FAIL, ""
    if rule in seen.waived:
        return Status.WAIVED, ""
    # What keeps a file from being read keeps its servers from being seen; one server says nothing of the file.
    if control.subject == "files" and target.server is not None:
        return None
    if outcome.status in MISSING:
        return outcome.status, why
    if rule in outcome.left_out:
        return Status.SKIPPED, f"{rule} was left out, or could not be judged whole"
    if control.subject == "servers" and target.server is None:
        return None
    if outcome.status in (Status.FAIL, Status.WAIVED) and outcome.kind not in WHOLE:
        return Status.SKIPPED, "the check found something else first"
    return (Status.NOT_APPLICABLE if outcome.status is Status.NOT_APPLICABLE else Status.PASS), ""


def _reason(control: Control, tally: _Tally, status: ControlStatus) -> str:
    """Why the control has its status, in a sentence."""
    if not control.rules:
        return "no rule judges it"
    if status is ControlStatus.NOT_SATISFIED:
        return f"{plural(tally.count(Status.FAIL), 'verdict')} of {_total(tally)} against it"
    if status is ControlStatus.WAIVED:
        return f"{plural(tally.count(Status.WAIVED), 'verdict')} against it, all waived"
    if status is ControlStatus.NOT_APPLICABLE:
        return "nothing here that it could apply to"
    if status is ControlStatus.SATISFIED:
        return f"{plural(tally.count(Status.PASS), 'verdict')}, none against it"
    told = [f"{count} {said}" for said, count in sorted(tally.reasons.items(), key=lambda each: (-each[1], each[0]))]
    unjudged = sorted(rule for rule, each in tally.verdicts.items() if not each)
    if unjudged:
        told.append(f"no {_kinds(unjudged)} of {control.subject} was made for {', '.join(unjudged)}")
    more = len(told) - MOST_REASONS
    return "; ".join(told[:MOST_REASONS]) + (f"; and {more} more" if more > 0 else "")


def _kinds(rules: Sequence[str]) -> str:
    return " or ".join(sorted({KINDS[each] for each in rules})) + " check"


def _total(tally: _Tally) -> int:
    return sum(map(len, tally.verdicts.values()))


def _framework(mapping: MappingSpec, controls: Mapping[str, ControlResult]) -> FrameworkResult:
    requirements = tuple(
        _requirement(name, [controls[each] for each in dict.fromkeys(asked)])
        for name, asked in mapping.requirements.items()
    )
    return FrameworkResult(mapping.framework, mapping.title, mapping.version, requirements)


def _requirement(name: str, controls: Sequence[ControlResult]) -> RequirementResult:
    status = combine(each.status for each in controls)
    deciding = [each.id for each in controls if each.status is status]
    reason = f"{', '.join(deciding)}: {status.replace('_', ' ')}" if deciding else "no control here judges it"
    return RequirementResult(name, status, tuple(each.id for each in controls), reason)
