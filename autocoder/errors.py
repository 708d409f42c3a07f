"""What can go wrong, said for the person who must act: what, where, what was found, the cure.

The lowest floor: knows nothing of the rest. Every error that autocoder raises on purpose is an `AutocoderError`,
and its `exit_code` is what the command line leaves with.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file, lines and columns counted from 1; line 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a declaration: `place: what; found ...; cure`."""

    place: Place
    what: str
    found: str | None = None
    cure: str | None = None

    def __str__(self) -> str:
        parts = [f"{self.place}: {self.what}"]
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.cure is not None:
            parts.append(self.cure)
        return "; ".join(parts)

    def redacted(self, redact: Callable[[str], str]) -> Problem:
        """The same problem, its texts passed through `redact`."""
        found, cure = (each if each is None else redact(each) for each in (self.found, self.cure))
        return Problem(self.place, redact(self.what), found, cure)


def as_written(problem: Problem, written: Mapping[str, str]) -> Problem:
    """The problem with `${VAR}` where the variable's value would show: it may be a secret in the wrong place."""

    def text(said: str) -> str:
        for value, source in written.items():
            said = said.replace(repr(value), repr(source))
            if len(value) >= 4:
                said = said.replace(value, source)
        return said

    return problem.redacted(text)


class AutocoderError(Exception):
    """Anything that autocoder refuses or reports."""

    exit_code = 1


class UsageError(AutocoderError):
    """The command or call itself is off."""

    exit_code = 2


class UnreachableError(AutocoderError):
    """Something this pipeline depends on (a database, a server) cannot be reached."""

    exit_code = 69


class ConfigurationError(AutocoderError):
    """A pipeline or its configuration is invalid; `problems` lists everything found, in the order of the file."""

    exit_code = 78
    headline = "invalid configuration"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems, key=lambda problem: problem.place))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ComponentDefinitionError(AutocoderError, TypeError):
    """A component class contradicts itself; raised where the class is created."""

    exit_code = 78


class PipelineError(AutocoderError):
    """A running pipeline stopped. `component`, `port` and `hook` say where; `payload` is cut short and masked."""

    def __init__(
        self,
        pipeline: str,
        component: str,
        hook: str,
        error: BaseException | str,
        *,
        port: str | None = None,
        payload: str | None = None,
    ) -> None:
        self.pipeline, self.component, self.hook, self.port, self.payload = pipeline, component, hook, port, payload
        where = f"pipeline {pipeline!r}, component {component!r}"
        if port is not None:
            where += f", port {port!r}"
        said = error if isinstance(error, str) else describe(error)
        text = f"{where}: {hook} failed: {said}"
        if payload is not None:
            text += f"; payload: {payload}"
        super().__init__(text)


class ForcedStop(AutocoderError):  # noqa: N818  it names what happened
    """The pipeline was told twice to stop; what had not been committed is given again by the next run."""

    exit_code = 130


def describe(error: BaseException) -> str:
    """An exception in one line: its type and what it says (the type alone where it says nothing).

    What no database takes as text (half of a surrogate pair, a null character) is written as an escape.
    """
    try:
        text = storable(" ".join(str(error).split()))
    except Exception:  # its own `__str__` fails
        text = ""
    if isinstance(error, AutocoderError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def storable(text: str) -> str:
    """`text` with escapes for what no database takes as text."""
    if text.isprintable():  # these are not
        return text
    return text.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")


def count(number: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def did_you_mean(found: str, known: Sequence[str] | Iterable[str], *, plural: str = "known") -> str:
    """The cure for a name that is not known: the nearest ones, or all of them when they are few."""
    names = sorted(set(known))
    near = difflib.get_close_matches(found, names, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(name) for name in near) + "?"
    if not names:
        return "there are none here"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{plural}: {shown}"
