"""Reads what happens to failing messages (`on_error`) and when an epoch closes (`commit`)."""

from __future__ import annotations

import re
from typing import Final, Literal, cast

from autocoder.declaration import CommitPolicy, ErrorPolicy, RetryPolicy
from autocoder.reading import Reader, is_unresolved
from autocoder.yaml_document import Entry, MappingNode, ScalarNode

THEN: Final = ("dead_letter", "drop", "stop")
ON_ERROR_KEYS: Final = ("retry", "then")
RETRY_KEYS: Final = ("attempts", "backoff", "cap", "on")
COMMIT_KEYS: Final = ("every", "messages")
_EXCEPTION: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def read_error_policy(reader: Reader, entry: Entry | None) -> ErrorPolicy | None:
    """`dead_letter | drop | stop`, or `{retry: {attempts, backoff, cap, on}, then: ...}`."""
    if entry is None or is_unresolved(entry.value):
        return None
    if isinstance(entry.value, ScalarNode) and entry.value.value is not None:
        then = reader.choice(entry, THEN)
        return None if then is None else ErrorPolicy(then=_then(then))
    if not isinstance(entry.value, MappingNode):
        reader.refuse(
            entry.value.place,
            f"on_error: must be {' or '.join(THEN)}, or a mapping",
            cure="write on_error: {retry: {attempts: 3, backoff: 1s}, then: dead_letter}",
        )
        return None
    entries = reader.keys(entry.value, ON_ERROR_KEYS, "on_error")
    retry, then = _retry(reader, entries.get("retry")), reader.choice(entries.get("then"), THEN)
    return ErrorPolicy(retry, _then(then or "dead_letter"))


def _then(word: str) -> Literal["dead_letter", "drop", "stop"]:
    return cast("Literal['dead_letter', 'drop', 'stop']", word)


def _retry(reader: Reader, entry: Entry | None) -> RetryPolicy:
    default = RetryPolicy()
    if entry is None or is_unresolved(entry.value):
        return default
    entries = reader.keys(entry.value, RETRY_KEYS, "retry")
    attempts = reader.integer(entries.get("attempts"))
    if isinstance(entry.value, MappingNode) and "attempts" not in entries:
        reader.refuse(entry.place, "retry: attempts is missing", cure="say how often a message is tried: attempts: 3")
    elif attempts == 1 and len(entries) > 1:
        reader.refuse(
            entries["attempts"].value.place,
            "retry: one attempt is no retry, so the rest has no effect",
            cure="attempts counts the first one: write 2 or more, or leave retry out",
        )
    backoff, cap = reader.duration(entries.get("backoff")), reader.duration(entries.get("cap"))
    on = reader.texts(entries.get("on")) or ()
    for name in on:
        if not _EXCEPTION.fullmatch(name):
            reader.refuse(
                entries["on"].value.place, "on: must name exception classes", repr(name), "as in on: [TimeoutError]"
            )
    backoff = default.backoff if backoff is None else backoff
    if cap is not None and cap < backoff:
        reader.refuse(
            entries["cap"].value.place, "cap: is shorter than backoff, so backoff has no effect", cure="raise cap"
        )
    return RetryPolicy(attempts or default.attempts, backoff, max(default.cap, backoff) if cap is None else cap, on)


def read_commit_policy(reader: Reader, entry: Entry | None) -> CommitPolicy:
    """`{every: 100ms, messages: 10000}`."""
    default = CommitPolicy()
    if entry is None or is_unresolved(entry.value):
        return default
    entries = reader.keys(entry.value, COMMIT_KEYS, "commit")
    every = reader.duration(entries.get("every"), zero=False)
    messages = reader.integer(entries.get("messages"))
    return CommitPolicy(every or default.every, messages or default.messages)
