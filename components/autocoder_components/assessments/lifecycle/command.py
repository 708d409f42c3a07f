"""`autocoder assessments`: the service's store from the command line, one operation a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TextIO

import anyio
import click

from autocoder import (
    UsageError,
    common_options,
    give,
    give_json,
    say,
)
from autocoder_components.assessments.lifecycle import output
from autocoder_components.assessments.lifecycle.arguments import MOST_DAYS, MOST_SECONDS
from autocoder_components.assessments.lifecycle.comparing import Comparison, compared
from autocoder_components.assessments.lifecycle.importing import Refused, lines_of
from autocoder_components.assessments.lifecycle.on_store import Number, Seconds, When, as_json, on_store, store_options
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Filters
from autocoder_components.assessments.lifecycle.request_files import RequestFile, rooted
from autocoder_components.assessments.lifecycle.states import AssessmentState, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.lifecycle.validating import CheckReport
from autocoder_components.assessments.moving.command import moving
from autocoder_components.assessments.reports.text import plural
from autocoder_components.assessments.web.command import serve

NO_VERDICT: Final = 1
MOST_TOLD: Final = 20
STATES: Final = tuple(each.value for each in State)
EPILOG: Final = """\b
Examples:
  autocoder assessments create --path ~/projects --wait
  autocoder assessments list --state failed --json | jq '.assessments[].assessment_id'
  autocoder assessments retry --all-failed

\b
Exit codes: 0 done; 1 refused, not found, or waited in vain; 2 usage, or a request
that cannot be stored; 69 the database cannot be reached; 78 invalid configuration.
"""


@click.group("assessments", epilog=EPILOG)
@common_options
def assessments() -> None:
    """Ask the assessment service, and look after what it keeps.

    `create` sends a request to the service, which `autocoder run assessments` is; the other commands work whether it runs
    or not. Everything happens in the settings' database.
    """


assessments.add_command(serve)
assessments.add_command(moving)


@assessments.command("create")
@click.option("--id", "assessment_id", metavar="ID", help="The id; the same request under it again changes nothing.")
@click.option("--path", "paths", multiple=True, metavar="PATH", help="A file or folder to assess; repeatable.")
@click.option("--server", "servers", multiple=True, metavar="GLOB", help="Only servers of such a name; repeatable.")
@click.option("--type", "kind", metavar="TYPE", help="security, health or compliance.  [default: security]")
@click.option("--source", metavar="SOURCE", help="Which service asks: installer or compliance.  [default: compliance]")
@click.option("--priority", type=int, metavar="N", help="1 (first) to 10.  [default: 5]")
@click.option("--timeout", type=Seconds(0), metavar="DURATION", help="How long an attempt may take.")
@click.option("--max-retries", type=int, metavar="N", help="Automatic attempts behind the first.")
@click.option("--file", metavar="FILE", help="Requests as JSON, one a line, from a file or - for stdin.")
@click.option("--wait", "waits", is_flag=True, help="Wait for the verdict of each.")
@click.option(
    "--wait-timeout", type=Seconds(0), default="5m", show_default=True, metavar="DURATION", help="At most so long."
)
@store_options
def create(**options: Any) -> int:
    """Ask for assessments; the ids are printed once they are stored.

    All requests of a file are stored, or none. Relative paths are those of this working folder.
    """
    written = {
        "id": options["assessment_id"],
        "paths": [rooted(each) for each in options["paths"]],
        "server_filter": list(options["servers"]),
        "type": options["kind"],
        **{name: options[name] for name in ("source", "priority", "timeout", "max_retries")},
    }
    request = {name: value for name, value in written.items() if value not in (None, [])}
    if options["file"] is not None and request:
        raise UsageError("--file holds whole requests; leave the other options out")
    file = None if options["file"] is None else RequestFile(options["file"])

    async def work(store: AssessmentStore) -> list[str] | list[AssessmentState]:
        if file is None:
            ids = [await store.create(request)]
        else:
            with file.told_by_line():
                ids = await store.batch_create(file.requests)
        if not options["waits"]:
            return ids
        return [await store.wait_for_completion(each, options["wait_timeout"]) for each in ids]

    made = on_store(options, work)
    if options["waits"]:
        ended = [each for each in made if isinstance(each, AssessmentState)]
        return _told(ended)
    if as_json():
        give_json({"created": made})
    else:
        give("\n".join(map(str, made)))
    return 0


def _told(states: list[AssessmentState]) -> int:
    """Show verdicts; the exit code says whether there is one for each."""
    if as_json():
        give_json({"assessments": [output.state_data(each) for each in states]})
    else:
        give("\n\n".join("\n".join(output.state_lines(each)) for each in states))
    return 0 if all(each.state is State.COMPLETED for each in states) else NO_VERDICT


@assessments.command("wait")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--timeout", type=Seconds(0), default="5m", show_default=True, metavar="DURATION", help="At most so long."
)
@store_options
def wait(ids: tuple[str, ...], **options: Any) -> int:
    """Wait until assessments have ended; exits with 1 where one has no verdict, or did not end in time."""

    async def work(store: AssessmentStore) -> list[AssessmentState]:
        until = anyio.current_time() + options["timeout"]
        return [await store.wait_for_completion(each, max(0.0, until - anyio.current_time())) for each in ids]

    return _told(on_store(options, work))


@assessments.command("show")
@click.argument("assessment_id", metavar="ID")
@store_options
def show(assessment_id: str, **options: Any) -> None:
    """Show one assessment with its result; --json shows all of it."""
    state = on_store(options, lambda store: store.get_state(assessment_id, fresh=True))
    if as_json():
        give_json(output.state_data(state))
    else:
        give("\n".join(output.state_lines(state)))


@assessments.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), metavar="STATE", help="Repeatable.")
@click.option("--type", "assessment_type", metavar="TYPE", help="security, health or compliance.")
@click.option("--source", metavar="SOURCE", help="installer or compliance.")
@click.option("--server", "server_name", metavar="NAME", help="Those that asked for this server alone.")
@click.option("--since", "created_since", type=When(), metavar="TIME", help="Created then or later (ISO 8601).")
@click.option("--before", "created_before", type=When(), metavar="TIME", help="Created before.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="At most so many."
)
@click.option("--after", metavar="NEXT", help="The next page: what the last one ended with.")
@store_options
def list_all(**options: Any) -> None:
    """List assessments, the newest first, without their requests and results: `show` has those."""
    names = ("assessment_type", "source", "server_name", "created_since", "created_before")
    filters = Filters([State(each) for each in options["states"]], **{name: options[name] for name in names})

    page = on_store(
        options, lambda store: store.list_assessments(filters, limit=options["limit"], after=options["after"])
    )
    if as_json():
        give_json({"assessments": [output.data_of(each) for each in page.assessments], "next": page.next})
    elif page.assessments:
        give("\n".join(output.state_table(page.assessments)))
    else:
        say("no assessments")
    if page.next is not None:
        say(f"there are more: --after {page.next}")


@assessments.command("cancel")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--reason", metavar="TEXT", help="Why; the audit trail keeps it.")
@store_options
def cancel(ids: tuple[str, ...], reason: str | None, **options: Any) -> None:
    """Cancel assessments that wait, also for a retry, or are worked on; stops at the first that cannot be."""

    async def work(store: AssessmentStore) -> list[AssessmentState]:
        return [await store.cancel(each, reason) for each in ids]

    _changed(on_store(options, work), "cancelled")


@assessments.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all-failed", is_flag=True, help="All that failed and have attempts left.")
@click.option(
    "--max-retries", type=click.IntRange(0), metavar="N", help="With --all-failed: only below so many retries."
)
@store_options
def retry(ids: tuple[str, ...], **options: Any) -> None:
    """Give failed assessments their next attempt now."""
    if bool(ids) == options["all_failed"]:
        raise UsageError("name the assessments to retry, or give --all-failed")
    if ids and options["max_retries"] is not None:
        raise UsageError("--max-retries is for --all-failed; leave it out where assessments are named")

    async def work(store: AssessmentStore) -> list[AssessmentState]:
        if options["all_failed"]:
            given = await store.batch_retry_failed(options["max_retries"])
            return [await store.get_state(each) for each in given]
        return [await store.retry(each) for each in ids]

    _changed(on_store(options, work), "waiting for the next attempt")


def _changed(states: list[AssessmentState], what: str) -> None:
    if as_json():
        give_json({"assessments": [output.state_data(each) for each in states]})
    else:
        say(f"{plural(len(states), 'assessment')} {what}")


@assessments.command("stats")
@click.option(
    "--window",
    type=Seconds(1, MOST_SECONDS),
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="Of the throughput.",
)
@store_options
def stats(window: float, **options: Any) -> None:
    """Show the aggregates: totals, processing time, throughput, error rate."""
    found = on_store(options, lambda store: store.stats(window=window))
    if as_json():
        give_json(output.data_of(found))
    else:
        give("\n".join(output.stats_lines(found)))


@assessments.command("audit")
@click.argument("assessment_id", required=False, metavar="[ID]")
@click.option("--since", type=When(), metavar="TIME", help="Then or later (ISO 8601 with an offset).")
@click.option("--before", type=When(), metavar="TIME", help="Before then.")
@click.option("--from", "old_state", type=click.Choice(STATES), metavar="STATE", help="Changes from this state.")
@click.option("--to", "new_state", type=click.Choice(STATES), metavar="STATE", help="Changes to this state.")
@click.option("--by", "changed_by", metavar="ACTOR", help="Changes by this actor.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, metavar="N", help="At most so many."
)
@click.option("--after", type=int, default=0, metavar="N", help="Entries behind this one: the next page.")
@store_options
def audit(**options: Any) -> None:
    """Show who changed what, when and why, the oldest first."""
    states = {name: None if options[name] is None else State(options[name]) for name in ("old_state", "new_state")}
    names = ("assessment_id", "since", "before", "changed_by")
    given: dict[str, Any] = {**{name: options[name] for name in names}, **states}
    filters = AuditFilters(**given)
    entries = on_store(options, lambda store: store.audit(filters, limit=options["limit"], after=options["after"]))
    if as_json():
        give_json({"entries": [output.data_of(each) for each in entries]})
    elif entries:
        give("\n".join(output.audit_table(entries)))
    else:
        say("nothing happened")
    if len(entries) == options["limit"]:
        say(f"there may be more: --after {entries[-1].id}")


@assessments.command("cleanup")
@click.option(
    "--retention-days",
    type=Number(0, MOST_DAYS),
    default=30.0,
    show_default=True,
    metavar="DAYS",
    help="Keep so long.",
)
@click.option(
    "--audit-days",
    type=Number(0, MOST_DAYS),
    metavar="DAYS",
    help="Keep the trail of the deleted so long, an hour at least.  [default: for ever]",
)
@store_options
def cleanup(retention_days: float, audit_days: float | None, **options: Any) -> None:
    """Delete what ended long ago, but no failure that awaits its retry.

    The audit trail of what is deleted stays, for --audit-days behind its last entry where that is said. As long as it is
    there, no other assessment gets the id.
    """
    deleted = on_store(options, lambda store: store.cleanup(retention_days, audit_days=audit_days))
    if as_json():
        give_json({"deleted": deleted})
    else:
        say(f"{plural(deleted, 'assessment')} deleted")


@assessments.command("compare")
@click.argument("first", metavar="FIRST")
@click.argument("second", metavar="SECOND")
@store_options
def compare(first: str, second: str, **options: Any) -> int:
    """Show what differs between two verdicts, finding by finding; exits with 1 where something does."""

    async def work(store: AssessmentStore) -> Comparison:
        return compared(await store.get_state(first, fresh=True), await store.get_state(second, fresh=True))

    found = on_store(options, work)
    if as_json():
        give_json(output.data_of(found))
    else:
        give("\n".join(output.comparison_lines(found)))
    return 1 if found.differs else 0


@assessments.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8", errors="surrogateescape"), metavar="FILE")
@click.option("--check", is_flag=True, help="Take nothing over: tell whether all of it is there, as it was.")
@store_options
def import_file(file: TextIO, check: bool, **options: Any) -> int:
    """Take over assessments that an older system exported: JSON Lines from FILE, or - for stdin.

    What had not ended waits here and is done again: the older system must have stopped. Import it again after a crash: what
    is there already is left alone. What failed and was to be tried again gets that retry, though its retries are used up.
    Exits with 1 where lines were refused.
    """
    if check:
        return _checked(file.name, on_store(options, lambda store: store.check_import(lines_of(file))))
    report = on_store(options, lambda store: store.import_legacy(lines_of(file)))
    if as_json():
        give_json(output.data_of(report))
    else:
        _say_lines(file.name, report.refused)
        counts = f"{report.imported} taken over, {report.known} there already, {len(report.refused)} refused"
        more = (
            f"; {report.promised} with one retry more than the export allows: it was promised"
            if report.promised
            else ""
        )
        say(f"{plural(report.read, 'assessment')} read: {counts}{more}")
    return 1 if report.refused else 0


def _checked(name: str, report: CheckReport) -> int:
    if as_json():
        give_json(output.data_of(report))
    else:
        wrong = sorted([*report.missing, *report.differing, *report.refused], key=lambda each: each.line)
        _say_lines(name, wrong)
        counts = f"{report.there} there, {len(report.missing)} missing, {len(report.differing)} different"
        say(f"{plural(report.read, 'assessment')} read: {counts}, {len(report.refused)} refused")
    return 0 if report.is_whole else 1


def _say_lines(name: str, lines: Sequence[Refused]) -> None:
    for each in lines[:MOST_TOLD]:
        say(f"{name}:{each.line}: {each.reason}")
    if len(lines) > MOST_TOLD:
        say(f"... and {len(lines) - MOST_TOLD} more; --json tells all of them")


@assessments.command("health")
@store_options
def health(**options: Any) -> int:
    """Say how the service's store does; exits with 1 where it is not healthy."""
    found = on_store(options, lambda store: store.health())
    if as_json():
        give_json(output.data_of(found))
    else:
        give("\n".join(output.health_lines(found)))
    return 0 if found.status == "healthy" else 1
