"""The console script: finds the command, and turns whatever went wrong into a kind message and an exit code.

`autocoder --help` must answer at once, so nothing heavy is imported here: the commands of the framework stand in a table
with their one-line help, and those that packs contribute (entry-point group `autocoder.commands`) are listed by name;
either is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from autocoder import __version__
from autocoder.cli.options import common_options
from autocoder.cli.reporting import State, abandon_stdout, report, say, stdout_is_gone, wants_color
from autocoder.errors import AutocoderError, describe, did_you_mean

PROGRAM: Final = "autocoder"
GROUP: Final = "autocoder.commands"
COMPONENTS_GROUP: Final = "autocoder.components"
DRAINING: Final = "run"
"""The command that a first SIGTERM ends in peace."""

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("autocoder.cli.run", "Run a pipeline to the end of its input."),
    "validate": ("autocoder.cli.validate", "Find everything wrong with pipelines, without running them."),
    "plan": ("autocoder.cli.plan", "Show what a pipeline compiles to."),
    "send": ("autocoder.cli.send", "Send messages to a pipeline."),
    "dlq": ("autocoder.cli.dlq", "Look at dead letters, mend them, send them back."),
    "db": ("autocoder.cli.db", "Look after the database: schema, backups, what may be deleted."),
    "checkpoint": (
        "autocoder.cli.checkpoint",
        "Save what a pipeline keeps, and go back to it.",
    ),
    "graph": ("autocoder.cli.graph", "Draw a pipeline."),
    "components": ("autocoder.cli.components", "List the installed components, or explain one."),
    "schema": ("autocoder.cli.schema", "Print the JSON Schema of pipelines, or of settings, for editors."),
    "init": ("autocoder.cli.init", "Create a project that runs."),
}
"""The module of each command of the framework (its `command`), and its help in one line."""


class CommandUnavailableError(AutocoderError):
    """A command that a pack contributes cannot be loaded."""

    exit_code = 78


class BrokenPipe(Exception):  # noqa: N818  it names what happened
    """A pipe that was closed by its other end: stdout as a rule, but it may be another one."""


class LazyGroup(click.Group):
    """The commands of the framework and of the packs, imported when they are asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would leave at once and say nothing, whatever pipe it was
            raise BrokenPipe(describe(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(contributed())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
            return command
        entry = contributed().get(cmd_name)
        return _load(entry) if entry is not None else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name != DRAINING and signal.getsignal(signal.SIGTERM) is _stop_early:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if name not in self.list_commands(ctx) and not name.startswith("-") and not ctx.resilient_parsing:
            cure = did_you_mean(name, self.list_commands(ctx), plural="commands")
            raise click.UsageError(f"there is no command {name!r}; {cure}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click does it, but from the table."""
        helps = {name: text for name, (_, text) in COMMANDS.items()}
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=helps.get(name)) for name in names]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does it, but from the table: nothing is imported for a list."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
        entries = contributed()
        if entries:
            with formatter.section("Commands of packs"):
                formatter.write_dl([(name, f"({_origin(entries[name])})") for name in sorted(entries)])


@cache
def _entry_points() -> Any:
    """Those of all installed distributions, to `select` from; no search of ours takes `--help` longer than this one."""
    return metadata.entry_points()


def contributed() -> dict[str, metadata.EntryPoint]:
    """The commands that installed packs contribute; the framework's own names cannot be taken."""
    found: dict[str, metadata.EntryPoint] = {}
    for entry in sorted(_entry_points().select(group=GROUP), key=lambda each: (each.name, each.value)):
        if entry.name not in COMMANDS:
            found.setdefault(entry.name, entry)
    return found


def _origin(entry: metadata.EntryPoint) -> str:
    """The pack that a command belongs to, told from the module names alone; its distribution where no pack holds it."""
    for pack in _entry_points().select(group=COMPONENTS_GROUP):
        if entry.module == pack.value or entry.module.startswith(f"{pack.value}."):
            return f"from the pack {pack.name}"
    return f"from {entry.dist.name}" if entry.dist is not None else f"from {entry.module}"


def _load(entry: metadata.EntryPoint) -> click.Command:
    try:
        command: Any = entry.load()
    except Exception as error:
        raise CommandUnavailableError(
            f"the command {entry.name!r} ({_origin(entry)}) cannot be loaded: {describe(error)}; "
            f"install what it needs, or uninstall it"
        ) from error
    if not isinstance(command, click.Command):
        raise CommandUnavailableError(
            f"the command {entry.name!r} ({_origin(entry)}) is no click command, but a {type(command).__name__}; "
            f"its entry point {entry.value!r} must name one"
        )
    return command


FORCED: Final = (130, 143)
EPILOG: Final = """\b
Exit codes: 0 done, 1 the pipeline failed, 2 usage, 69 something cannot be reached,
78 invalid configuration, 130 or 143 stopped by force.
Data go to stdout, all else to stderr. NO_COLOR is honoured.
Completion, for bash (likewise zsh and fish):
  eval "$(_AUTOCODER_COMPLETE=bash_source autocoder)"
"""


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
@common_options
def cli() -> None:
    """Run pipelines declared in YAML out of typed components."""


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; prints, raises nothing but what asks the interpreter to leave."""
    state = State()
    _replace_closed_streams()
    try:
        result = cli.main(arguments, prog_name=PROGRAM, standalone_mode=False, obj=state, color=wants_color())
    except (KeyboardInterrupt, click.Abort):
        say("stopped")
        return 130
    except SystemExit:  # click's answer to a broken pipe
        if stdout_is_gone():
            abandon_stdout()
            return 0
        raise
    except Exception as error:
        if _is_broken_pipe(error) and stdout_is_gone():
            abandon_stdout()
            return 0
        return report(error, state)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()
    return result if isinstance(result, int) else 0


def _replace_closed_streams() -> None:
    """A standard stream that was closed before the start (`>&-`) is None, which nobody who prints expects."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  it lives as long as the program
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _is_broken_pipe(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, BrokenPipeError):
            return True
        error = error.__cause__
    return False


def _stop_early(_number: int, _frame: Any) -> None:
    """SIGTERM before a run listens itself: nothing is open yet. (What a module raises while it is imported is a mistake.)"""
    with suppress(OSError):
        os.write(2, b"stopped as asked, before anything was read\n")
    os._exit(0)


def main() -> None:
    """The entry point of the console script."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # until the run listens itself
        signal.signal(signal.SIGTERM, _stop_early)
    code = execute()
    if code in FORCED:  # a handler stuck in a thread would keep the process alive
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
