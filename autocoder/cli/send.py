"""`autocoder send`: messages for a durable input of a pipeline, from an argument, a file, or lines of stdin."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import anyio
import click

from autocoder.cli.loading import STDIN, Session, open_session
from autocoder.cli.options import common_options, json_option, pipeline_options
from autocoder.cli.reporting import State, give, give_json, say
from autocoder.codec import MOST_BYTES, Codec, parse_json
from autocoder.contract import IN
from autocoder.database import Database
from autocoder.database_options import DatabaseOptions
from autocoder.errors import AutocoderError, UsageError, count, describe, did_you_mean
from autocoder.sending import Target, target_of, without_values
from autocoder.store.inbox import known_pipelines, store_messages
from autocoder.store.opening import open_store

CHUNK_BYTES: Final = 256 * 1024
BATCH: Final = 1000


class MalformedLineError(AutocoderError):
    """A line is no message of this port."""


@dataclass(slots=True)
class Tally:
    """What became of the lines."""

    sent: int = 0
    skipped: int = 0


@click.command("send")
@click.argument("pipeline")
@click.argument("target", metavar="COMPONENT[.PORT]")
@click.argument("payload", required=False, metavar="[JSON]")
@click.option("--file", metavar="FILE", help="One message in JSON a line, from a file or - for stdin.")
@click.option("--skip-invalid", is_flag=True, help="Leave malformed lines out, instead of stopping at the first.")
@click.option("--quiet", is_flag=True, help="Print no ids.")
@click.option(
    "--database",
    metavar="URL",
    help="sqlite:///path or postgresql://user@host/name, instead of the settings' database.",
)
@pipeline_options
@json_option
@common_options
@click.pass_context
def command(ctx: click.Context, /, pipeline: str, target: str, payload: str | None, **options: Any) -> int:
    """Send messages to a pipeline.

    PIPELINE is a YAML file, the name of a pipeline of a pack, or of one that has run on this database. COMPONENT is its
    flow.Inbox, or any component with an input that is `durable: true`. The pipeline takes the messages while it runs, or
    when it runs next. The ids are printed to stdout, one a line, once the messages are stored.

    Lines are sent in batches as they arrive, each in one transaction. At a malformed line everything before it has been sent,
    and nothing behind it.
    """
    if (payload is None) == (options["file"] is None):
        raise UsageError("give one message as JSON, or --file with one in each line (- for stdin)")
    session = open_session(options["environment"], allowed=options["allowed"], database=options["database"])
    found = _target(session, pipeline, target)
    tally = Tally()
    as_json = ctx.ensure_object(State).json
    sending = Sending(found, tally, skip=options["skip_invalid"], quiet=options["quiet"] or as_json)
    try:
        if payload is not None:
            anyio.run(sending.one, session.settings.database.options(), payload)
        else:
            with closing(_opened(options["file"])) as lines:
                anyio.run(sending.lines, session.settings.database.options(), lines)
    finally:
        if tally.skipped:
            say(f"{count(tally.skipped, 'malformed line')} left out")
        if tally.sent:
            say(f"{count(tally.sent, 'message')} sent to {found.pipeline}: {found.component}.{found.port}")
    if not tally.sent:
        say("nothing to send")
    if as_json:
        give_json({"sent": tally.sent, "skipped": tally.skipped})
    return 0


class Sending:
    """Sends what it is given to one port."""

    def __init__(self, target: Target, tally: Tally, *, skip: bool, quiet: bool) -> None:
        self._target = target
        self._tally = tally
        self._skip = skip
        self._quiet = quiet

    async def one(self, options: DatabaseOptions, payload: str) -> None:
        """A single message."""
        async with open_store(options, create=True) as database:
            await self._ready(database)
            try:
                message = self._encoded(payload)
            except ValueError as error:
                raise UsageError(f"the message does not fit {self._port}: {without_values(error)}") from None
            await self._store(database, [message])

    async def lines(self, options: DatabaseOptions, stream: BinaryIO) -> None:
        """The messages of a stream, as they arrive."""
        async with open_store(options, create=True) as database:
            await self._ready(database)
            for batch in batches(stream):
                messages: list[str] = []
                for number, line in batch:
                    try:
                        messages.append(self._encoded(line.decode()))
                    except ValueError as error:
                        said = f"line {number} does not fit {self._port}: {without_values(error)}"
                        if not self._skip:
                            await self._store(database, messages)
                            raise MalformedLineError(
                                f"{said}; all before it is sent, mend it and send the rest: tail -n +{number}"
                            ) from None
                        self._tally.skipped += 1
                        say(said)
                await self._store(database, messages)

    @property
    def _port(self) -> str:
        return f"{self._target.component}.{self._target.port}"

    def _encoded(self, text: str) -> str:
        codec = self._target.codec
        payload = codec.decode(text)
        parse_json(text)  # of numbers the codec takes more than JSON has
        return codec.encode(payload)

    async def _ready(self, database: Database) -> None:
        if not self._target.known:
            await _known(database, self._target.pipeline)

    async def _store(self, database: Database, messages: list[str]) -> None:
        target = self._target
        for at in range(0, len(messages), BATCH):
            batch = messages[at : at + BATCH]
            ids = await store_messages(database, target.pipeline, target.component, target.port, batch)
            self._tally.sent += len(ids)
            if not self._quiet:
                give("\n".join(map(str, ids)))


def batches(stream: BinaryIO) -> Iterator[list[tuple[int, bytes]]]:
    """The lines of a stream with their numbers, as many at a time as have arrived; empty ones are left out.

    A pipe gives what is there and does not wait for more, so that a line is sent when it is written.
    """
    number, rest = 0, b""
    read = cast("Any", stream).read1
    while chunk := read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > 2 * MOST_BYTES:
            raise MalformedLineError(f"line {number + len(whole) + 1} is longer than any message may be")
        yield [(number + at, line) for at, line in enumerate(whole, 1) if line.strip()]
        number += len(whole)
    if rest.strip():
        yield [(number + 1, rest)]


def _target(session: Session, pipeline: str, target: str) -> Target:
    component, _, port = target.partition(".")
    registry = session.registry.pipelines()
    shipped = pipeline in registry or any(each.partition(".")[2] == pipeline for each in registry)
    if pipeline == STDIN:
        raise UsageError("PIPELINE cannot be stdin here; name its file")
    if shipped or Path(pipeline).exists():
        return target_of(session.pipeline(pipeline).compile(), component, port or None)
    if Path(pipeline).suffix in (".yaml", ".yml"):
        raise UsageError(f"there is no pipeline file {pipeline}")
    return Target(pipeline, component, port or IN, Codec(Any), known=False)


async def _known(database: Database, pipeline: str) -> None:
    """A name that is no file's must be that of a pipeline that has run here: a slip of the pen would get lost."""
    async with database.reading() as connection:
        known = await known_pipelines(connection)
    if pipeline not in known:
        raise UsageError(
            f"there is no pipeline {pipeline!r}, neither as a file nor in a pack, and none of that name has run on "
            f"{database.url}; {did_you_mean(pipeline, known)}"
        )


def _opened(file: str) -> BinaryIO:
    if file == STDIN:
        return io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False), CHUNK_BYTES)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {describe(error)}") from error
