"""How assessments, their trail and their numbers are shown: as JSON's types, and as lines for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from autocoder import table
from autocoder_components.assessments.lifecycle.comparing import Comparison
from autocoder_components.assessments.lifecycle.states import AssessmentState, AuditEntry, Health, Outline, Stats
from autocoder_components.assessments.lifecycle.stored import StoredJson, read
from autocoder_components.assessments.reports.text import cut, percent, stamp, visible


def data_of(value: Any) -> dict[str, Any]:
    """A dataclass in JSON's types; times as ISO 8601 in UTC."""
    # Not `asdict`, which copies all of a result, piece by piece.
    return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, StoredJson):
        return value.read()
    if is_dataclass(value):
        return data_of(value)
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def outline_data(state: Outline) -> dict[str, Any]:
    """How an assessment stands, in JSON's types."""
    return {each.name: _plain(getattr(state, each.name)) for each in fields(Outline)}


def state_json(state: AssessmentState) -> str:
    """The same as `state_data` as JSON of one line: what is stored is passed on as it is, for it may have megabytes."""
    shown = shown_request(state)
    head = json.dumps(outline_data(state), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    result = "null" if state.result is None else _text(state.result)
    return f'{head[:-1]},"request":{_text(shown)},"result":{result}}}'


def _text(value: Mapping[str, Any]) -> str:
    if not isinstance(value, StoredJson):
        return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    # A line break in JSON can only stand between its parts.
    return value.text.replace("\r", " ").replace("\n", " ")


def shown_request(state: AssessmentState) -> Mapping[str, Any]:
    """The request with nothing of inline configurations but their names: their text may hold credentials."""
    request = state.request
    if isinstance(request, StoredJson) and '"candidates"' not in request.text:
        return request
    candidates = request.get("candidates")
    if not candidates:
        return request
    hidden = [{name: each.get(name) for name in ("name", "client") if name in each} for each in candidates]
    return {**request, "candidates": hidden}


def state_data(state: AssessmentState) -> dict[str, Any]:
    """All of an assessment, but of inline configurations only their names."""
    return data_of(state) | {"request": read(shown_request(state))}


def state_lines(state: AssessmentState) -> list[str]:
    """One assessment for a person."""
    facts: list[tuple[str, str | None]] = [
        ("assessment", state.assessment_id),
        ("state", f"{state.state} (version {state.version})"),
        ("type", state.assessment_type),
        ("server", state.server_name),
        ("paths", ", ".join(state.request.get("paths", ())) or None),
        ("priority", str(state.priority)),
        ("progress", f"{state.progress} %" + (f", {state.message}" if state.message else "")),
        ("created", stamp(state.created_at)),
        ("started", None if state.started_at is None else stamp(state.started_at)),
        ("ended", None if state.completed_at is None else stamp(state.completed_at)),
        ("retries", f"{state.retry_count} of {state.max_retries}" if state.retry_count else None),
        ("next retry", None if state.next_retry_at is None else stamp(state.next_retry_at)),
        ("error", state.error_message),
        ("score", _score(state)),
    ]
    return [f"{name:<12}{visible(text)}" for name, text in facts if text is not None]


def _score(state: AssessmentState) -> str | None:
    score = (state.result or {}).get("score")
    if not isinstance(score, dict):
        return None
    counts = score.get("counts")
    counts = counts if isinstance(counts, dict) else {}
    found = ", ".join(f"{number} {severity}" for severity, number in counts.items() if number) or "no findings"
    value = "none" if score.get("value") is None else score["value"]
    judged = f" ({score.get('judged')} of {score.get('planned')} checks)" if score.get("planned") is not None else ""
    return f"{value} ({found}), {_coverage(score.get('coverage'))}{judged}, {_rules(score.get('rule_pack'))}"


def _coverage(value: Any) -> str:
    """A score says little without how much of the plan was judged, and by which rules."""
    return f"coverage {percent(value)}" if isinstance(value, int | float) else "coverage unknown"


def _rules(value: Any) -> str:
    return f"rules {value or 'unknown'}"


def state_table(states: Sequence[Outline]) -> list[str]:
    """Assessments in columns."""
    header = ("assessment", "state", "type", "server", "created", "progress", "priority")
    rows = [
        (
            cut(visible(each.assessment_id), 40),
            each.state.value,
            each.assessment_type,
            cut(visible(each.server_name or "-"), 24),
            stamp(each.created_at)[:19] + "Z",
            f"{each.progress} %",
            str(each.priority),
        )
        for each in states
    ]
    return table(header, rows, words=5)


def audit_table(entries: Sequence[AuditEntry]) -> list[str]:
    """The trail in columns."""
    header = ("time", "assessment", "action", "change", "by", "reason")
    rows = [
        (
            stamp(each.created_at),
            cut(visible(each.assessment_id), 40),
            each.change_action,
            f"{each.old_state or '-'} → {each.new_state}"
            if each.old_state is not each.new_state
            else each.new_state.value,
            cut(visible(each.changed_by), 24),
            cut(visible(each.change_reason or ""), 60),
        )
        for each in entries
    ]
    return table(header, rows)


def stats_lines(stats: Stats) -> list[str]:
    """The aggregates for a person."""
    spent, rate = stats.average_processing_time, stats.error_rate
    facts = [
        ("total", f"{stats.total_assessments:,}"),
        ("active", f"{stats.active_assessments:,}"),
        ("completed", f"{stats.completed_assessments:,}"),
        ("failed", f"{stats.failed_assessments:,}"),
        ("mean time", "-" if spent is None else f"{spent:.3f} s"),
        ("throughput", f"{stats.throughput_per_minute:.2f} a minute"),
        ("error rate", "-" if rate is None else f"{100 * rate:.2f} %"),
    ]
    return [f"{name:<12}{text}" for name, text in facts]


def health_lines(health: Health) -> list[str]:
    """How the store does, for a person."""
    oldest = health.oldest_pending_seconds
    facts = [
        ("status", health.status),
        *(("", each) for each in health.reasons),
        ("waiting", f"{health.pending:,}" + ("" if oldest is None else f", the oldest for {oldest:.0f} s")),
        ("worked on", f"{health.processing:,}"),
        ("database", f"answered in {1000 * health.query_seconds:.1f} ms"),
    ]
    return [f"{name:<12}{text}" for name, text in facts]


def comparison_lines(comparison: Comparison) -> list[str]:
    """What differs between two verdicts, for a person."""
    parts = (
        ("+", comparison.new, "new"),
        ("-", comparison.gone, "gone"),
        ("?", comparison.not_judged, "no longer judged"),
        ("~", comparison.waived, "newly waived"),
        ("~", comparison.waived_no_longer, "waived no longer"),
    )
    told = [
        f"{mark} {visible(str(each.get('severity') or '-')):<9}{visible(str(each.get('rule') or '-'))}  "
        f"{visible(str(each.get('server') or '-'))}  "
        f"{visible(str(each.get('file', '')))}:{each.get('line', '')}  {visible(str(each.get('message', '')))}"
        + ("" if mark in "+-" else f" ({what})")
        for mark, found, what in parts
        for each in found
    ]
    scores = _change(
        *("none" if each is None else str(each) for each in (comparison.score_first, comparison.score_second))
    )
    coverage = _change(_coverage(comparison.coverage_first), _coverage(comparison.coverage_second))
    rules = _change(_rules(comparison.rule_pack_first), _rules(comparison.rule_pack_second))
    always, same = ("new", "gone"), f"{comparison.same} the same"
    counts = [f"{len(found)} {what}" for _, found, what in parts if found or what in always]
    return [
        *told,
        visible(f"score {scores}, {coverage}, {rules}; findings: {', '.join([*counts[:2], same, *counts[2:]])}"),
    ]


def _change(first: str, second: str) -> str:
    return first if first == second else f"{first} → {second}"
