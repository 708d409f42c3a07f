"""What was known last time: a small file of fingerprints, and the gate that looks only at what is new since.

The file is made to live in version control: one finding per line, sorted, without times, so that its differences
read well. Only `fingerprint` is compared; rule, file, line and server are there for people.

A finding of what is executed, fetched or reached has the text that was judged in its fingerprint: when a known script, image
or address becomes another one, it is new again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autocoder import AutocoderError
from autocoder_components.assessments.model import Finding, Severity
from autocoder_components.assessments.reports.order import worst_first
from autocoder_components.assessments.reports.publish import publish
from autocoder_components.assessments.reports.text import visible

FORMAT = "autocoder-assessment-baseline"
VERSION = 1
_LARGEST = 64 * 1024 * 1024


class BaselineError(AutocoderError):
    """A baseline file that cannot be used; the message names the file, what was found and the cure."""

    exit_code = 78


@dataclass(frozen=True, slots=True, order=True)
class Known:
    """One finding that was known when the baseline was written."""

    file: str
    line: int
    rule: str
    fingerprint: str
    server: str | None = None


@dataclass(frozen=True)
class Baseline:
    """The known findings, in the order of file and line, each fingerprint once."""

    known: tuple[Known, ...]

    @cached_property
    def fingerprints(self) -> frozenset[str]:
        return frozenset(entry.fingerprint for entry in self.known)


def baseline_of(findings: Iterable[Finding]) -> Baseline:
    """The baseline that makes every one of `findings` known. The same findings in any order give an equal baseline."""
    entries = [
        Known(
            visible(finding.place.file),
            finding.place.line,
            finding.rule,
            finding.fingerprint,
            None if finding.server is None else visible(finding.server),
        )
        for finding in findings
    ]
    first = {entry.fingerprint: entry for entry in sorted(entries, key=_sort_key, reverse=True)}
    return Baseline(tuple(sorted(first.values(), key=_sort_key)))


def new_since(findings: Iterable[Finding], baseline: Baseline | None) -> tuple[Finding, ...]:
    """The findings whose fingerprint the baseline does not hold, in their order; all of them without a baseline."""
    known: frozenset[str] = baseline.fingerprints if baseline else frozenset()
    return tuple(finding for finding in findings if finding.fingerprint not in known)


def worst_reached(
    findings: Iterable[Finding], threshold: Severity, baseline: Baseline | None = None
) -> tuple[Finding, ...]:
    """The findings that close a gate at `threshold` (that severity or worse), worst first; none means the gate is open.

    With a baseline only what is new since counts, without one everything does.
    """
    return tuple(worst_first(f for f in new_since(findings, baseline) if f.severity.rank <= threshold.rank))


def dump_baseline(baseline: Baseline) -> str:
    """The text of the baseline file: the same bytes for an equal baseline."""
    lines = ",\n".join(f"    {json.dumps(asdict(entry), ensure_ascii=False)}" for entry in baseline.known)
    findings = f"[\n{lines}\n  ]" if lines else "[]"
    return f'{{\n  "format": "{FORMAT}",\n  "version": {VERSION},\n  "findings": {findings}\n}}\n'


def write_baseline(path: str | Path, findings: Iterable[Finding]) -> Baseline:
    """Write the baseline of `findings` to `path`, whole or not at all, and return it. Raises PublishError. Blocks."""
    baseline = baseline_of(findings)
    publish(path, dump_baseline(baseline))
    return baseline


def read_baseline(path: str | Path) -> Baseline:
    """Read the baseline file at `path`. Raises BaselineError for anything but a whole baseline. Blocks."""
    cure = "check the path, or write the baseline first"
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise BaselineError(f"{path}: there is no such baseline file; {cure}") from None
    except OSError as error:
        raise BaselineError(f"{path}: the baseline cannot be read: {error.strerror}; {cure}") from error
    if len(raw) > _LARGEST:
        raise BaselineError(f"{path}: is larger than {_LARGEST} bytes, which no baseline is; {cure}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BaselineError(f"{path}: is not UTF-8 text (byte {error.start}), so no baseline; {cure}") from None
    return parse_baseline(text, str(path))


def parse_baseline(text: str, source: str) -> Baseline:
    """The baseline that `text` holds; `source` is the name errors call it by. Raises BaselineError."""
    cure = "write the baseline anew, or name another file"
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = (
            f":{error.lineno}:{error.colno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ": too deep"
        )
        raise BaselineError(f"{source}{where}: not valid JSON, perhaps a merge left its marks; {cure}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BaselineError(f'{source}: is not a baseline: it lacks "format": "{FORMAT}"; {cure}')
    if document.get("version") != VERSION:
        found = visible(repr(document.get("version")))[:40]
        raise BaselineError(f"{source}: is a baseline of version {found}, this program reads {VERSION}; {cure}")
    findings = document.get("findings")
    if not isinstance(findings, list):
        raise BaselineError(f'{source}: "findings" is no list; {cure}')
    return Baseline(
        tuple(sorted({_known(entry, at, source, cure) for at, entry in enumerate(findings)}, key=_sort_key))
    )


def _known(entry: Any, at: int, source: str, cure: str) -> Known:
    shapes = {"file": str, "line": int, "rule": str, "fingerprint": str, "server": str | None}
    if not isinstance(entry, dict):
        raise BaselineError(f"{source}: findings[{at}] is no object; {cure}")
    for name, shape in shapes.items():
        if name not in entry and name != "server":
            raise BaselineError(f'{source}: findings[{at}] lacks "{name}"; {cure}')
        value = entry.get(name)
        if not isinstance(value, shape) or isinstance(value, bool):
            raise BaselineError(
                f'{source}: findings[{at}]: "{name}" is of the wrong type ({type(value).__name__}); {cure}'
            )
    return Known(entry["file"], entry["line"], entry["rule"], entry["fingerprint"], entry.get("server"))


def _sort_key(entry: Known) -> tuple[str, int, str, str, str]:
    return (entry.file, entry.line, entry.rule, entry.fingerprint, entry.server or "")
