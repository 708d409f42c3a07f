"""Judging what a server lists: its tools and its own instructions, each against the rules on tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from autocoder_components.assessments.deep.definitions import MOST_TEXT, Text, Tool
from autocoder_components.assessments.deep.hidden import hidden_in, mixed_scripts
from autocoder_components.assessments.deep.memory import Drift
from autocoder_components.assessments.deep.powers import combination_of, lies_of
from autocoder_components.assessments.deep.wording import orders_in
from autocoder_components.assessments.model import Finding
from autocoder_components.assessments.probes.asking import place_of
from autocoder_components.assessments.rules.base import ServerContext, excerpt, found
from autocoder_components.assessments.rules.tools import (
    AMBIGUOUS_NAME,
    LYING_ANNOTATION,
    NOT_ALL_INSPECTED,
    TOOL_CHANGED,
    TOOL_COMBINATION,
    TOOL_HIDDEN_TEXT,
    TOOL_INSTRUCTIONS,
    TOOLS_ADDED,
    TOOLS_GONE,
)

MOST_TOOLS: Final = 2000
MOST_READ: Final = 256 * 1024
"""Characters of one server that are read for orders: expressions are slower than a server is at listing."""
_NAMED: Final = 5


def findings_of(context: ServerContext, tools: Sequence[Tool], listed: int, instructions: str) -> Iterator[Finding]:
    """What is wrong with the tools of a server, of which `listed` were listed, and with its instructions."""
    where = place_of(context)
    left = MOST_READ
    for tool in tools:
        whose = f"The tool {excerpt(tool.name)}"
        yield from _of_texts(context, whose, tool.name, tool.texts, left)
        left -= sum(len(each.text) for each in tool.texts)
        for lie in lies_of(tool):
            message = f"{whose} says {lie.hint}, but {lie.against}"
            distinct = f"{tool.name}\0{lie.hint}\0{lie.against}"
            yield found(context, LYING_ANNOTATION, where, message, severity=lie.severity, distinct=distinct)
        if mixed_scripts(tool.name):
            message = f"{whose} has letters of two scripts in its name"
            yield found(context, AMBIGUOUS_NAME, where, message, distinct=tool.name)
    texts = [Text("instructions", instructions[:MOST_TEXT])]
    yield from _of_texts(context, "The server", "", texts, left)
    yield from _of_names(context, tools)
    way = combination_of(tools)
    if way is not None:
        message = (
            f"The tools can read private data ({excerpt(way.private)}), take in what strangers wrote "
            f"({excerpt(way.strangers)}) and send something out ({excerpt(way.sends)})"
        )
        yield found(context, TOOL_COMBINATION, where, message)
    if listed > len(tools):
        message = f"The server lists {listed:,} tools, of which the first {len(tools):,} were inspected"
        yield found(context, NOT_ALL_INSPECTED, where, message)
    if left < 0 or len(instructions) > MOST_TEXT or any(each.cut for each in tools):
        message = f"The definitions are longer than {MOST_TEXT:,} characters for one tool or {MOST_READ:,} for all"
        yield found(context, NOT_ALL_INSPECTED, where, message, distinct="long")


def _of_texts(context: ServerContext, whose: str, name: str, texts: Sequence[Text], left: int) -> Iterator[Finding]:
    """Hidden characters and orders in the texts of one tool, each kind once."""
    where = place_of(context)
    seen: set[str] = set()
    for text in texts:
        for hidden in hidden_in(text.text):
            if hidden.kind not in seen:
                seen.add(hidden.kind)
                message = f"{whose} has hidden characters in its {text.where}: {hidden}"
                evidence = f"spelled: {excerpt(hidden.spelled)}" if hidden.spelled else None
                distinct = f"{name}\0{hidden.kind}"
                yield found(
                    context,
                    TOOL_HIDDEN_TEXT,
                    where,
                    message,
                    severity=hidden.severity,
                    distinct=distinct,
                    evidence=evidence,
                )
        for order in orders_in(text.text) if left > 0 else ():
            if order.kind not in seen:
                seen.add(order.kind)
                message = f"{whose} gives orders in its {text.where}: it {order.kind}"
                evidence = f"words: {excerpt(order.words)}"
                distinct = f"{name}\0{order.kind}"
                yield found(
                    context,
                    TOOL_INSTRUCTIONS,
                    where,
                    message,
                    severity=order.severity,
                    distinct=distinct,
                    evidence=evidence,
                )
        left -= len(text.text)


def _of_names(context: ServerContext, tools: Sequence[Tool]) -> Iterator[Finding]:
    for name, times in Counter(tool.name for tool in tools).items():
        if times > 1:
            message = f"{times} tools have the name {excerpt(name)}"
            yield found(context, AMBIGUOUS_NAME, place_of(context), message, distinct=f"twice\0{name}")


def drift_findings(context: ServerContext, drift: Drift) -> Iterator[Finding]:
    """What is otherwise than at the last scan. `distinct` has the new hash: another change is another finding."""
    where = place_of(context)
    for name, parts, digest in drift.changed:
        message = f"The tool {excerpt(name)} has another {' and another '.join(parts)} than at the last scan"
        yield found(context, TOOL_CHANGED, where, message, distinct=f"{name}\0{digest}")
    for rule, names, what in ((TOOLS_ADDED, drift.added, "new"), (TOOLS_GONE, drift.gone, "gone")):
        if names:
            shown = ", ".join(excerpt(each) for each in names[:_NAMED])
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            number = "1 tool is" if len(names) == 1 else f"{len(names)} tools are"
            message = f"{number} {what} since the last scan: {shown}{more}"
            yield found(context, rule, where, message, distinct="\0".join(names))
