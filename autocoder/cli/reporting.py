"""What the program says: data to stdout, prose to stderr, and an error as one block for a person (or as JSON)."""

from __future__ import annotations

import json
import os
import select
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from autocoder.errors import AutocoderError, ConfigurationError, Problem, UsageError, count, describe

INDENT: Final = "       "  # as wide as "error: "


@dataclass(slots=True)
class State:
    """What the options that hold for every command said; the error report at the very end needs it too."""

    debug: bool = False
    json: bool = False
    log_level: str | None = None
    secrets: set[str] = field(default_factory=set)
    """Secret values of the settings and pipelines of this command: they are masked in what is logged and in tracebacks."""


def say(text: str = "") -> None:
    """Prose, for a person: to stderr. That nobody reads on changes nothing, the exit code neither."""
    try:
        click.echo(text, err=True, color=wants_color())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def wants_color() -> bool | None:
    """False where NO_COLOR is set, else None: as the terminal allows."""
    return False if os.environ.get("NO_COLOR") else None


def give(text: str) -> None:
    """Data, for whatever reads on: to stdout. That nobody reads on changes nothing, the exit code neither."""
    try:
        click.echo(text)
    except BrokenPipeError:
        if not stdout_is_gone():
            raise
        abandon_stdout()


def give_json(value: Any) -> None:
    """One JSON value to stdout."""
    give(json.dumps(value, indent=2, ensure_ascii=False))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int | None = None) -> list[str]:
    """Rows in columns; those after the first `words` columns are numbers and set to the right."""
    widths = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = (
            text.rjust(width) if words is not None and at >= words else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return [line(row) for row in (header, *rows)]


def problem_data(problem: Problem) -> dict[str, Any]:
    """A problem as JSON; line and column count from 1 and are null where the file as a whole is meant."""
    place = problem.place
    return {
        "file": place.file,
        "line": place.line or None,
        "column": place.column or None,
        "what": problem.what,
        "found": problem.found,
        "cure": problem.cure,
    }


def report(error: Exception, state: State) -> int:
    """Say what went wrong and return the exit code."""
    code = 1
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(error.format_message())
        return error.exit_code
    if isinstance(error, click.ClickException):
        code, message = error.exit_code, _click_message(error)
    elif isinstance(error, AutocoderError):
        code, message = error.exit_code, _message(error)
    elif isinstance(error, OSError):
        message = f"the operating system refused: {describe(error)}"
    else:
        message = f"an unexpected error, which is a mistake in autocoder or in a pack: {describe(error)}"
    if state.debug:
        say(_masked("".join(traceback.format_exception(error)).rstrip(), state.secrets))
    elif not isinstance(error, AutocoderError | click.ClickException):
        message += "\n--debug shows the traceback"
    if state.json:
        try:
            give_json({"error": _error_data(error, code)})
        except OSError:  # stdout takes nothing, which may be the very error; it is told below all the same
            abandon_stdout()
    problems = error.problems if isinstance(error, ConfigurationError) else ()
    for problem in problems:
        say(str(problem))
    say(click.style("error: ", fg="red", bold=True) + message.replace("\n", f"\n{INDENT}"))
    return code


def _masked(text: str, secrets: set[str]) -> str:
    """A traceback quotes what user code raised; the redactor itself would cost the help of the program its speed."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if len(secret) >= 4 else text
    return text


def _message(error: AutocoderError) -> str:
    if isinstance(error, ConfigurationError):
        return f"{error.headline}: {count(len(error.problems), 'problem')}"
    notes = getattr(error, "__notes__", [])
    return "\n".join([str(error), *notes])


def _click_message(error: click.ClickException) -> str:
    message = error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        path = error.ctx.command_path
        message += f"\nusage: {path} {' '.join(error.ctx.command.collect_usage_pieces(error.ctx))}"
        message += f"\n`{path} --help` says more"
    return message


def _error_data(error: Exception, code: int) -> dict[str, Any]:
    data: dict[str, Any] = {"type": type(error).__name__, "message": _plain_message(error), "exit_code": code}
    if isinstance(error, ConfigurationError):
        data["problems"] = [problem_data(each) for each in error.problems]
    return data


def _plain_message(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    return _message(error) if isinstance(error, AutocoderError) else describe(error)


def stdout_is_gone() -> bool:
    """Whether the reader of stdout has closed it (any other broken pipe is an error like another)."""
    try:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0))
    except (OSError, ValueError):
        return True


def abandon_stdout() -> None:
    """Whoever read stdout has had enough; nothing more may be written there, not even by the interpreter at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_file(path: Path, text: str) -> None:
    """Write a text file in one step; raises UsageError where that is not possible."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or describe(error)}") from error
    finally:
        with suppress(OSError):
            partial.unlink()
