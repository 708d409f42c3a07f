"""Outcomes of real rules, and waivers of them. Plain data and strategies; nothing here is under test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from autocoder_components.assessments.controls.judging import judge
from autocoder_components.assessments.controls.packs import load_catalogue
from autocoder_components.assessments.controls.waivers import Waivers, WaiverSpec, apply_waivers
from autocoder_components.assessments.model import (
    Assessment,
    CheckKind,
    Finding,
    Outcome,
    Place,
    Request,
    Status,
    Target,
)
from autocoder_components.assessments.rules import CATALOGUE, KINDS
from autocoder_components.assessments.score import open_findings, score, waived_findings
from hypothesis import strategies as st

from autocoder import Place as At

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
REQUEST = Request(
    "one", paths=(".",), assessment_type="compliance", check_compliance=True, requested_at=NOW.isoformat()
)
SHIPPED = load_catalogue()
_KINDS = [CheckKind.CONFIG, CheckKind.SECURITY, CheckKind.STATUS, CheckKind.DEEP]
MISSING = (Status.ERROR, Status.SKIPPED, Status.MANUAL)


def target(server: str | None = None, file: str = ".mcp.json") -> Target:
    line = 1 if server is None else 2 + len(server)
    digest = hashlib.sha256(file.encode()).hexdigest()
    pointer = "" if server is None else f"/mcpServers/{server}"
    place = Place(file, pointer, line, 1)
    return Target("one", file, f"/{file}", "Claude", "project", "mcpServers", digest, server, place)


def finding(rule: str, where: Target, at: int = 0) -> Finding:
    info = CATALOGUE[rule]
    parts = f"{rule} {where.file} {where.server} {at}"
    place = replace(where.place, line=where.place.line + at)
    mark = hashlib.sha256(parts.encode()).hexdigest()[:32]
    return Finding(rule, info.severity, info.title, info.remedy, place, mark, where.server, info.owasp, f"seen {at}")


def outcome(
    where: Target | None,
    kind: CheckKind,
    *rules: str,
    status: Status | None = None,
    reason: str | None = None,
    left_out: Sequence[str] = (),
) -> Outcome:
    found = () if where is None else tuple(finding(rule, where, at) for at, rule in enumerate(rules))
    verdict = status or (Status.FAIL if found else Status.PASS)
    return Outcome(REQUEST, where, kind, verdict, 1, found, reason, tuple(left_out))


def clean(*servers: str, file: str = ".mcp.json") -> list[Outcome]:
    """Every check of a file and its servers, and nothing found."""
    every = [(None, CheckKind.CONFIG), (None, CheckKind.SECURITY)]
    every += [(server, kind) for server in servers for kind in _KINDS]
    return [outcome(target(server, file), kind) for server, kind in every]


def assessed(outcomes: Sequence[Outcome], waivers: Waivers | None = None, **said: object) -> Assessment:
    """What the pipeline makes of these outcomes."""
    request = replace(REQUEST, **said)  # type: ignore[arg-type]
    planned = [replace(each, request=request, planned=len(outcomes)) for each in outcomes]
    judged, uses = apply_waivers(waivers or Waivers(), planned, NOW)
    compliance = judge(SHIPPED, judged, details=request.include_details) if request.check_compliance else None
    return Assessment(
        request=request,
        started_at=NOW.isoformat(),
        finished_at=(NOW + timedelta(seconds=1)).isoformat(),
        targets=tuple(dict.fromkeys(each.target for each in judged if each.target)),
        outcomes=judged,
        findings=tuple(open_findings(judged)),
        score=score(judged, len(judged), rule_pack="2026.11"),
        waived=tuple(waived_findings(judged)),
        compliance=compliance,
        waivers=uses,
    )


def waiver(rule: str | None = None, days: int = 1, **said: str) -> WaiverSpec:
    """A waiver that expires so many days from now."""
    expires = (NOW + timedelta(days=days)).isoformat()
    return WaiverSpec.model_validate(
        {"justification": "we know", "owner": "Ada", "expires": expires, **({"rule": rule} if rule else {}), **said}
    )


def written(*specs: WaiverSpec) -> Waivers:
    return Waivers(tuple((each, At("waivers.yaml", 2 + at, 5)) for at, each in enumerate(specs)))


_RULES = {kind: [rule for rule, of in KINDS.items() if of is kind] for kind in CheckKind}


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    """Any outcome that a check could have."""
    kind = draw(st.sampled_from(_KINDS))
    server = draw(st.sampled_from([None, "a", "b", "<i>", "\u202ex", "ü`[x](y)"]))
    where = target(server, draw(st.sampled_from([".mcp.json", "~/a b/c.json", "<inline>"])))
    status = draw(st.sampled_from([None, None, None, *MISSING, Status.NOT_APPLICABLE]))
    if status is not None:
        lost = draw(st.booleans()) and status is Status.ERROR
        return outcome(
            None if lost else where, kind, status=status, reason=draw(st.sampled_from([None, "why", "x\ny"]))
        )
    # Few of them and every one, so that waivers often meet them, and each control does at times.
    pool = _RULES[kind] if draw(st.booleans()) else _RULES[kind][:6]
    rules = draw(st.lists(st.sampled_from(pool), max_size=4, unique=True))
    left_out = draw(st.lists(st.sampled_from(_RULES[kind]), max_size=2, unique=True))
    return outcome(where, kind, *rules, left_out=left_out)


@st.composite
def specs(draw: st.DrawFn) -> WaiverSpec:
    """Waivers of anything, live and expired."""
    rule = draw(st.sampled_from([*_RULES[CheckKind.SECURITY][:6], *_RULES[CheckKind.CONFIG][:6]]))
    narrowed = {}
    if draw(st.booleans()):
        narrowed["server"] = draw(st.sampled_from(["a", "*", "A", "nobody"]))
    if draw(st.booleans()):
        narrowed["file"] = draw(st.sampled_from(["*.json", "~/*", "nowhere"]))
    return waiver(rule, draw(st.sampled_from([-400, -1, 1, 400])), **narrowed)


assessments = st.builds(
    lambda many, waivers, details: assessed(many, written(*waivers), include_details=details),
    st.lists(outcomes(), min_size=1, max_size=8),
    st.lists(specs(), max_size=3),
    st.booleans(),
)
