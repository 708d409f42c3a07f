"""`autocoder dlq`: the messages that failed for good, and what a person can do about them."""

from __future__ import annotations

import getpass
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import anyio
import click

from autocoder.cli.dlq_options import (
    Opened,
    RateType,
    absent,
    bulk_options,
    chosen,
    opened,
    selection_of,
    selection_options,
    settings_of,
    store_options,
    tell_unjudged,
)
from autocoder.cli.dlq_output import group_data, group_table, letter_data, letter_lines, letter_table
from autocoder.cli.loading import open_session
from autocoder.cli.options import common_options, json_option
from autocoder.cli.reporting import State, give, give_json, say
from autocoder.codec import Codec, parse_json
from autocoder.errors import UsageError, count, describe, storable
from autocoder.masking import masked, unmasked
from autocoder.sending import without_values
from autocoder.store.columns import now
from autocoder.store.dead_letters import PAGE, Letter, Unjudged

MOST_LISTED: Final = 50
BATCHES_PER_SECOND: Final = 10


@click.group("dlq")
@common_options
def command() -> None:
    """Look at dead letters, mend them, send them back.

    A dead letter is a message that a component could not handle in all its attempts. It waits at the port where it failed,
    with its payload as it arrived there, until it is replayed or discarded. All of this works while the pipeline runs.
    """


@command.command("list")
@selection_options
@click.option("--limit", type=click.IntRange(min=1), default=MOST_LISTED, show_default=True, help="At most so many.")
@click.option("--after", type=click.UUID, metavar="ID", help="Those behind this one: the next page.")
@store_options
@json_option
@common_options
@click.pass_context
def list_letters(ctx: click.Context, /, **options: Any) -> None:
    """List dead letters, the oldest first."""
    anyio.run(_list, options, ctx.ensure_object(State).json, settings_of(options))


async def _list(options: dict[str, Any], as_json: bool, settings: Any) -> None:
    limit, unjudged, after = options["limit"], Unjudged(), 0
    async with opened(settings) as store:
        if options["after"] is not None:
            after = store.letters.position(options["after"])
        pages = store.letters.matching(selection_of(options), after=after, limit=limit + 1, unjudged=unjudged)
        letters = [each async for page in pages for each in page]
    letters, more, moment = letters[:limit], len(letters) > limit, now()
    following = str(letters[-1].id) if more else None
    if as_json:
        data = [letter_data(each, store.redact, moment, full=False) for each in letters]
        give_json({"dead_letters": data, "next": following})
    elif letters:
        give("\n".join(letter_table(letters, store.redact, moment)))
    if not letters:
        say("no dead letters")
    if more:
        say(f"there are more: --after {following}")
    tell_unjudged(unjudged)


@command.command("show")
@click.argument("identity", type=click.UUID, metavar="ID")
@store_options
@json_option
@common_options
@click.pass_context
def show(ctx: click.Context, /, identity: UUID, **options: Any) -> None:
    """Show everything about one dead letter; fields whose names say that they are secret stay masked."""
    anyio.run(_show, identity, ctx.ensure_object(State).json, settings_of(options))


async def _show(identity: UUID, as_json: bool, settings: Any) -> None:
    async with opened(settings) as store:
        letter = await _found(store, identity)
    if as_json:
        give_json(letter_data(letter, store.redact, now(), full=True))
    else:
        give("\n".join(letter_lines(letter, store.redact, now())))


@command.command("stats")
@selection_options
@store_options
@json_option
@common_options
@click.pass_context
def stats(ctx: click.Context, /, **options: Any) -> None:
    """Count dead letters by pipeline, component and error type, with the age of the oldest."""
    anyio.run(_stats, options, ctx.ensure_object(State).json, settings_of(options))


async def _stats(options: dict[str, Any], as_json: bool, settings: Any) -> None:
    unjudged = Unjudged()
    async with opened(settings) as store:
        groups = await store.letters.groups(selection_of(options), unjudged=unjudged)
    moment, total = now(), sum(each.count for each in groups)
    if as_json:
        give_json({"count": total, "groups": [group_data(each, moment) for each in groups]})
    elif groups:
        give("\n".join(group_table(groups, moment)))
    say(count(total, "dead letter") if total else "no dead letters")
    tell_unjudged(unjudged)


@command.command("replay")
@bulk_options
@click.option("--rate", type=RateType(), metavar="N/s", help="At most so many in a second: 10/s, 600/m.")
@store_options
@json_option
@common_options
@click.pass_context
def replay(ctx: click.Context, /, **options: Any) -> int:
    """Send dead letters back to the component at which they failed, as fresh messages.

    The pipeline takes them within a second where it runs, and otherwise when it runs next. One that fails again is a dead
    letter again, of the same id. Exit code 1 where an ID was given that is no dead letter any more.
    """
    return anyio.run(_replay, options, ctx.ensure_object(State).json, settings_of(options))


async def _replay(options: dict[str, Any], as_json: bool, settings: Any) -> int:
    missing: list[UUID] = []
    unjudged, rate = Unjudged(), options["rate"]
    replayed, late, empty = 0, 0, 0
    size = 0 if rate is None else max(1, int(rate / BATCHES_PER_SECOND))
    started = anyio.current_time()
    async with opened(settings) as store:
        async for page in chosen(store, options, missing, unjudged):
            whole = [each for each in page if each.data is not None]
            empty += len(page) - len(whole)
            if options["dry_run"]:
                _preview(store, whole, as_json=as_json)
                replayed += len(whole)
                continue
            for at in range(0, len(whole), size or len(whole)):
                if rate is not None:
                    await anyio.sleep(max(0.0, started + replayed / rate - anyio.current_time()))
                batch = whole[at : at + (size or len(whole))]
                done = await store.letters.replay(batch)
                replayed += len(done)
                late += len(batch) - len(done)
    said = "would be replayed" if options["dry_run"] else "replayed"
    say(f"{count(replayed, 'dead letter')} {said}")
    if late:
        say(f"{count(late, 'message')} left alone: no dead letter any more, or changed meanwhile")
    if empty:
        say(
            f"{count(empty, 'dead letter')} left alone: the payload was not kept; give it one with `autocoder dlq edit`"
        )
    tell_unjudged(unjudged)
    if as_json and not options["dry_run"]:
        give_json({"replayed": replayed, "left_alone": late + empty, "missing": [str(each) for each in missing]})
    return 1 if missing or (options["ids"] and late + empty) else 0


@command.command("discard")
@bulk_options
@click.option("--reason", metavar="TEXT", help="Why; kept with the message.")
@click.option("--yes", is_flag=True, help="Do not ask before discarding those that filters find.")
@store_options
@json_option
@common_options
@click.pass_context
def discard(ctx: click.Context, /, **options: Any) -> int:
    """Resolve dead letters without replaying them.

    They are dead letters no more; their rows stay, with a note of who discarded them, when and why, until retention
    removes them. Exit code 1 where an ID was given that is no dead letter any more.
    """
    return anyio.run(_discard, options, ctx.ensure_object(State).json, settings_of(options))


async def _discard(options: dict[str, Any], as_json: bool, settings: Any) -> int:
    missing: list[UUID] = []
    unjudged = Unjudged()
    discarded, late = 0, 0
    async with opened(settings) as store:
        letters = [each async for page in chosen(store, options, missing, unjudged) for each in page]
        if options["dry_run"]:
            _preview(store, letters, as_json=as_json)
            discarded = len(letters)
        else:
            if letters and not options["ids"]:
                _confirm(f"discard {count(len(letters), 'dead letter')}", yes=options["yes"])
            for at in range(0, len(letters), PAGE):  # a short transaction each: a running pipeline commits in between
                done = await store.letters.discard(letters[at : at + PAGE], who=_who(), why=options["reason"])
                discarded += len(done)
            late = len(letters) - discarded
    say(f"{count(discarded, 'dead letter')} {'would be discarded' if options['dry_run'] else 'discarded'}")
    if late:
        say(f"{count(late, 'message')} left alone: no dead letter any more, or changed meanwhile")
    tell_unjudged(unjudged)
    if as_json and not options["dry_run"]:
        give_json({"discarded": discarded, "left_alone": late, "missing": [str(each) for each in missing]})
    return 1 if missing or (options["ids"] and late) else 0


@command.command("edit")
@click.argument("identity", type=click.UUID, metavar="ID")
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Set a field (a.b.0 for inner ones).")
@click.option("--file", metavar="FILE", help="The whole payload as JSON, from a file or - for stdin.")
@click.option("--pipeline-file", metavar="PIPELINE", help="Check the payload by the port's type in this pipeline.")
@click.option("--replay", "then_replay", is_flag=True, help="Replay it when it is mended.")
@store_options
@common_options
def edit(identity: UUID, **options: Any) -> int:
    """Mend the payload of a dead letter: by --set, by --file, or else in $EDITOR.

    VALUE is JSON, or text where it is none. A secret field is masked in the editor and keeps its value unless it is changed.
    """
    if options["changes"] and options["file"] is not None:
        raise UsageError("give either --set or --file, not both")
    return anyio.run(partial(_edit, settings=settings_of(options)), identity, options)


async def _edit(identity: UUID, options: dict[str, Any], *, settings: Any) -> int:
    async with opened(settings) as store:
        letter = await _found(store, identity)
        payload = _mended(letter, store, options)
        data = json.dumps(payload, ensure_ascii=False)
        if storable(data) != data:
            raise UsageError(
                "the payload holds half of a surrogate pair, which no database takes as text; write the whole character, "
                "nothing was changed"
            )
        if options["pipeline_file"] is not None:
            data = _checked(letter, data, options)
        if not await store.letters.edit(letter, data, who=_who()):
            raise UsageError(f"{identity}: somebody else changed it meanwhile; look at it again, nothing was changed")
        say(f"{identity}: edited")
        if options["then_replay"]:
            done = await store.letters.replay([await _found(store, identity)])
            say(f"{identity}: {'replayed' if done else 'was changed meanwhile, and not replayed'}")
            return 0 if done else 1
    return 0


def _mended(letter: Letter, store: Opened, options: dict[str, Any]) -> Any:
    if options["changes"]:
        payload = letter.payload
        for change in options["changes"]:
            payload = with_field(payload, change)
        return payload
    if options["file"] is not None:
        return _parsed(_read(options["file"]), options["file"])
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal for an editor; say what changes with --set or --file")
    shown = masked(letter.payload, store.redact)
    text = click.edit(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", extension=".json")
    if text is None:
        raise UsageError("the editor was left without saving; nothing was changed")
    try:
        return unmasked(_parsed(text, "the edited payload"), shown, letter.payload)
    except ValueError as error:
        raise UsageError(f"the edited payload: {error}; nothing was changed") from None


def _checked(letter: Letter, data: str, options: dict[str, Any]) -> str:
    """The payload as the port's type writes it down; raises UsageError where it does not fit."""
    graph = (
        open_session(options["environment"], database=options["database"]).pipeline(options["pipeline_file"]).compile()
    )
    if graph.name != letter.pipeline or letter.component not in graph.nodes:
        raise UsageError(
            f"{options['pipeline_file']} is the pipeline {graph.name!r}, and the dead letter is of component "
            f"{letter.component!r} of pipeline {letter.pipeline!r}"
        )
    codec = Codec(graph.payload_type(letter.component, letter.port))
    try:
        return codec.encode(codec.decode(data))
    except ValueError as error:
        raise UsageError(
            f"the payload does not fit {letter.component}.{letter.port}: {without_values(error)}; nothing was changed"
        ) from None


def with_field(payload: Any, change: str) -> Any:
    """The payload with one `field=value` of `--set`; a new field may be given to an object, not to what is none."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {change!r} is no FIELD=VALUE")
    try:
        value = parse_json(text)
    except ValueError:
        value = text
    return _with(payload, path.split("."), value, path)


def _with(payload: Any, names: list[str], value: Any, path: str) -> Any:
    if not names:
        return value
    name, *rest = names
    if isinstance(payload, dict) and (name in payload or not rest):
        return {**payload, name: _with(payload.get(name), rest, value, path)}
    if isinstance(payload, list) and name.isdecimal() and int(name) < len(payload):
        return [_with(each, rest, value, path) if at == int(name) else each for at, each in enumerate(payload)]
    raise UsageError(f"--set {path}: the payload has no field {name!r} there; `autocoder dlq show` shows it")


async def _found(store: Opened, identity: UUID) -> Letter:
    letter = await store.letters.find(identity)
    if letter is None:
        raise UsageError(f"{identity}: {absent(await store.letters.status(identity))}")
    return letter


def _preview(store: Opened, letters: list[Letter], *, as_json: bool) -> None:
    moment = now()
    if as_json:
        give_json([letter_data(each, store.redact, moment, full=False) for each in letters])
    elif letters:
        give("\n".join(letter_table(letters, store.redact, moment)))


def _confirm(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"to {what} needs --yes where nobody can be asked; --dry-run shows which ones")
    click.confirm(f"{what}?", abort=True, err=True)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {describe(error)}") from error


def _parsed(text: str, what: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UsageError(f"{what} is no JSON: {error}; nothing was changed") from error
