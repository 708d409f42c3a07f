"""Dead letters as a person or a program reads them. Secrets stay masked, there is no option to see them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from autocoder.cli.reporting import table
from autocoder.masking import Redactor, masked
from autocoder.plan import duration
from autocoder.store.dead_letters import Group, Letter

LINE: Final = 60


def letter_data(letter: Letter, redact: Redactor, moment: datetime, *, full: bool) -> dict[str, Any]:
    """A dead letter in JSON's types; `age` is in seconds. With `full` also its payload, details and history."""
    data = {
        "id": str(letter.id),
        "pipeline": letter.pipeline,
        "component": letter.component,
        "port": letter.port,
        "error_type": letter.error_type,
        "error": redact(letter.error),
        "attempts": letter.attempts,
        "replayed": letter.replayed,
        "created_at": letter.created_at.isoformat(),
        "failed_at": letter.failed_at.isoformat(),
        "age": round(letter.age(moment), 3),
    }
    if full:
        details = {name: value for name, value in letter.details.items() if name != "history"}
        data["payload"] = masked(letter.payload, redact)
        data["payload_kept"] = letter.data is not None
        data["details"] = masked(details, redact)
        data["history"] = masked(letter.history, redact)
        data["notes"] = masked(json.loads(letter.notes or "{}"), redact)
    return data


def letter_table(letters: list[Letter], redact: Redactor, moment: datetime) -> list[str]:
    """One line each."""
    rows = [
        (
            str(each.id),
            each.pipeline,
            f"{each.component}.{each.port}",
            duration(each.age(moment)),
            str(each.attempts),
            each.error_type,
            _line(redact(each.error)),
        )
        for each in letters
    ]
    return table(("id", "pipeline", "at", "age", "attempts", "error type", "error"), rows)


def letter_lines(letter: Letter, redact: Redactor, moment: datetime) -> list[str]:
    """Everything about one, for a person."""
    data = letter_data(letter, redact, moment, full=True)
    lines = [
        f"id          {data['id']}",
        f"pipeline    {data['pipeline']}",
        f"at          {data['component']}.{data['port']}",
        f"failed      {data['failed_at']}, {duration(data['age'])} ago",
        f"attempts    {data['attempts']}, replayed {data['replayed']} times",
        f"error       {_named(data)}",
    ]
    lines += [f"before      {each.get('failed_at')}: {_named(each)}" for each in data["history"]]
    for name in ("details", "notes"):
        if data[name]:
            lines.append(f"{name:<12}{json.dumps(data[name], ensure_ascii=False)}")
    if data["payload_kept"]:
        return [*lines, "payload", json.dumps(data["payload"], indent=2, ensure_ascii=False)]
    return [*lines, "payload     not kept: give it one with `autocoder dlq edit`, or discard it"]


def group_data(group: Group, moment: datetime) -> dict[str, Any]:
    """A group in JSON's types; ages are in seconds."""
    return {
        "pipeline": group.pipeline,
        "component": group.component,
        "error_type": group.error_type,
        "count": group.count,
        "oldest_age": round(_age(group.oldest, moment), 3),
        "newest_age": round(_age(group.newest, moment), 3),
    }


def group_table(groups: list[Group], moment: datetime) -> list[str]:
    """One line for each pipeline, component and error type."""
    rows = [
        (
            each.pipeline,
            each.component,
            each.error_type,
            f"{each.count:,}",
            duration(_age(each.oldest, moment)),
            duration(_age(each.newest, moment)),
        )
        for each in groups
    ]
    return table(("pipeline", "component", "error type", "count", "oldest", "newest"), rows, words=3)


def _named(failure: dict[str, Any]) -> str:
    """An error with its type, which most of them begin with."""
    kind, error = str(failure.get("error_type")), str(failure.get("error"))
    return error if error.startswith(kind) else f"{kind}: {error}"


def _age(since: datetime, moment: datetime) -> float:
    return max(0.0, (moment - since).total_seconds())


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LINE else f"{line[: LINE - 3]}..."
