"""`autocoder assess`: the assessment pipeline, once, over files and folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import click

from autocoder import (
    AutocoderError,
    ForcedStop,
    Pipeline,
    PipelineError,
    RunSummary,
    common_options,
    json_option,
    open_session,
    pipeline_options,
    run_watched,
    say,
)
from autocoder_components.assessments.baseline import worst_reached, write_baseline
from autocoder_components.assessments.model import Assessment, Finding, Outcome, ReportFormat, Severity, Status
from autocoder_components.assessments.reports.text import plural, visible
from autocoder_components.assessments.requests import Requests
from autocoder_components.assessments.sinks import PrintReport, WriteReports

PIPELINE: Final = "assessments.assess"
REPORTS: Final = tuple(each.value for each in ReportFormat)
FORMATS: Final = ("table", *REPORTS, "none")
OF_CONTROLS: Final = frozenset({ReportFormat.OSCAL})
"""The forms that show controls, so that asking for one asks for them."""
ASKED_FOR: Final = frozenset({"given", "inline"})
"""The scopes of targets that a request names one by one, so that one without a verdict is no accident of a walk."""
EPILOG: Final = """\b
Examples:
  autocoder assess                                what this machine's clients are told
  autocoder assess . --fail-on high               a gate for continuous integration
  autocoder assess . --write-baseline known.json  accept what is there today ...
  autocoder assess . --baseline known.json --fail-on medium       ... and nothing new
  autocoder assess . --format json --no-reports | jq .findings
  autocoder assess . --compliance --waivers waivers.yaml --report oscal

\b
Exit codes: 0 assessed, whatever was found; 1 the gate of --fail-on is closed, nothing
could be assessed, or a report could not be written; 2 usage; 69 the database cannot be
reached; 78 invalid configuration or baseline; 130 or 143 stopped by force.
Ctrl-C finishes the assessment at hand; a second one leaves at once and publishes nothing.
"""


@click.command("assess", epilog=EPILOG)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--server", "servers", multiple=True, metavar="GLOB", help="Only servers of such a name; repeatable.")
@click.option(
    "--fail-on",
    metavar="SEVERITY",
    type=click.Choice([each.value for each in Severity]),
    help="A gate: exit with 1 for a finding of this severity or worse (critical, high, medium, low, info), or when "
    "something asked for could not be judged. With --baseline only new findings count.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    metavar="FORMAT",
    help="What goes to stdout: table, html, json, sarif, oscal, legacy or none.  [default: table]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for the reports.  [default: assessment]",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FORMAT",
    type=click.Choice(REPORTS),
    help="A report to write: html, json, sarif, oscal or legacy; repeatable.  [default: html, sarif]",
)
@click.option("--no-reports", is_flag=True, help="Write no report files.")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Findings that this file knows are not new.",
)
@click.option(
    "--write-baseline",
    "new_baseline",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what was found to this file, as known from now on.",
)
@click.option(
    "--status",
    "ask_servers",
    is_flag=True,
    help="Ask the servers themselves, too, as far as the environment's settings allow programs and hosts.",
)
@click.option(
    "--deep",
    "deep_scan",
    is_flag=True,
    help="Ask the servers for their tools, too, and judge those, as far as the environment's settings allow it.",
)
@click.option("--compliance", is_flag=True, help="Map what is found to controls and frameworks, too.")
@click.option(
    "--framework",
    "frameworks",
    multiple=True,
    metavar="ID",
    help="Only this framework, like owasp-mcp-top-10, nist-800-53, iso-27001, cis-controls; repeatable.",
)
@click.option(
    "--mapping",
    "mappings",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Controls or a mapping of your own (YAML); repeatable.",
)
@click.option(
    "--waivers",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What is accepted, by whom and until when (YAML).",
)
@click.option("--no-details", is_flag=True, help="Counts and failures only, no evidence.")
@click.option("--id", "assessment_id", metavar="ID", help="The assessment's id; one stored under it is replaced.")
@click.option("--database", metavar="URL", help="Where results are kept, instead of the settings' database.")
@pipeline_options
@json_option
@common_options
def assess(**options: Any) -> int:
    """Assess the MCP servers that client configurations name: are they valid, are they safe?

    PATH is a file or folder; none means the client configurations on this machine and below the working folder. Nothing
    that a configuration names is started or contacted, unless --status or --deep asks for it and the settings allow it.
    Findings go to stdout, reports to files, all else to stderr, and the numbers and findings to the database.
    """
    if options["no_reports"] and options["reports"]:
        raise click.UsageError("--report and --no-reports exclude each other; leave one of them out")
    if click.get_current_context().obj.json:
        if options["form"] not in (None, "json"):
            raise click.UsageError(f"--json and --format {options['form']} exclude each other; leave one of them out")
        options["form"] = "json"
    session = open_session(options["environment"], allowed=options["allowed"], database=options["database"])
    pipeline = session.pipeline(PIPELINE, _changes(options))
    try:
        database = session.settings.database.options()
        summary = anyio.run(partial(run_watched, keep=False), pipeline, database)
    except PipelineError as error:
        # Who assesses does not know components: what one of ours says for a person is said as it is.
        if isinstance(error.__cause__, AutocoderError):
            raise error.__cause__ from None
        raise
    assessments = _done(pipeline, summary)
    for assessment in assessments:
        _tell_about(assessment, paths=options["paths"])
    for path in _written(pipeline):
        say(f"report: {path}")
    if options["new_baseline"] is not None and all(map(_judged, assessments)):
        written = write_baseline(options["new_baseline"], [each for one in assessments for each in one.findings])
        say(f"baseline: {options['new_baseline']}, {plural(len(written.known), 'finding')}")
    return max(_verdict(each, options["fail_on"]) for each in assessments)


def _changes(options: dict[str, Any]) -> dict[str, Any]:
    """What the command line changes in the pipeline; what it does not say is the environment's to say."""
    request = _request(options)
    reports: dict[str, Any] = {} if options["output"] is None else {"folder": str(options["output"])}
    if options["no_reports"]:
        reports["early"] = False
    controls = {
        "frameworks": list(options["frameworks"]),
        "mappings": [str(each) for each in options["mappings"]],
        "waivers": None if options["waivers"] is None else str(options["waivers"]),
    }
    show: dict[str, Any] = {"keep": True}
    if options["form"] is not None:
        show["format"] = options["form"]
    score = {} if options["baseline"] is None else {"baseline": str(options["baseline"])}
    return {
        "components": {
            # One request, so that what breaks on it is the end of the run and no dead letter.
            "requests": {"with": {"requests": [request]} if request else {}},
            "discover": {"on_error": "stop"},
            "plan": {"on_error": "stop"},
            "controls": {"with": {name: said for name, said in controls.items() if said}},
            "score": {"with": score},
            "reports": {"with": reports},
            "show": {"with": show},
        }
    }


def _request(options: dict[str, Any]) -> dict[str, Any]:
    """What the command line asks for; empty where it asks for nothing that the environment's request would not."""
    request: dict[str, Any] = {}
    if options["paths"]:
        request["paths"] = list(options["paths"])
    if options["servers"]:
        request["server_filter"] = list(options["servers"])
    if options["ask_servers"]:
        request["check_server_status"] = True
    if options["deep_scan"]:
        request["deep_scan"] = True
    if _asks_for_controls(options):
        request["check_compliance"] = True
    if options["no_details"]:
        request["include_details"] = False
    if options["no_reports"] or options["reports"]:
        request["generate_report"] = list(dict.fromkeys(options["reports"]))
    if options["assessment_id"] is not None:
        request["id"] = options["assessment_id"]
    return request


def _asks_for_controls(options: dict[str, Any]) -> bool:
    shown = {*options["reports"], options["form"]}
    return bool(options["compliance"] or options["frameworks"] or options["mappings"] or shown & OF_CONTROLS)


def _done(pipeline: Pipeline, summary: RunSummary) -> Sequence[Assessment]:
    """The assessments, all that were asked for."""
    requests, shown = pipeline.component("requests"), pipeline.component("show")
    printed = shown.printed if isinstance(shown, PrintReport) else []
    wanted = len(requests.requests) if isinstance(requests, Requests) else 1
    if printed and len(printed) == wanted:
        return printed
    if summary.drained:
        raise ForcedStop(f"stopped when {len(printed)} of {plural(wanted, 'assessment')} were done; run it again")
    raise AutocoderError(f"only {len(printed)} of {plural(wanted, 'assessment')} came to an end; the log says why")


def _written(pipeline: Pipeline) -> Iterable[Path]:
    reports = pipeline.component("reports")
    return dict.fromkeys(reports.written) if isinstance(reports, WriteReports) else ()


def _tell_about(assessment: Assessment, *, paths: Sequence[str]) -> None:
    """What a person wants to know beside the findings."""
    if not all(each.status is Status.NOT_APPLICABLE for each in assessment.outcomes):
        return
    if paths:
        say("No client configuration was found there.")
        return
    say(
        "No client configuration was found on this machine or below this folder. To see what an assessment looks like, "
        "run: autocoder assess examples/clients (the folder comes with the source of autocoder)"
    )


def _verdict(assessment: Assessment, fail_on: str | None) -> int:
    """The exit code of one assessment, with its reason on stderr where it is not 0."""
    if not _judged(assessment):
        say("error: nothing could be assessed; the reasons stand above")
        return 1
    if fail_on is None:
        return 0
    threshold = Severity(fail_on)
    closing = worst_reached(_counting(assessment), threshold)
    if closing:
        new = "new " if assessment.baseline is not None else ""
        worse = " or worse" if threshold is not Severity.CRITICAL else ""
        say(f"the gate is closed: {plural(len(closing), f'{new}finding')} of severity {fail_on}{worse}")
    missing = [each for each in assessment.outcomes if _asked_and_missed(each)]
    if missing:
        made = f"{plural(len(missing), 'check')} asked for could not be made"
        say(f"the gate is closed: {made} ({missing[0].reason or 'no reason given'})")
    refused = [each for each in assessment.outcomes if each.not_allowed]
    for line in _refusals(refused):
        say(f"the gate is closed: {line}")
    return 1 if closing or missing or refused else 0


def _refusals(refused: Sequence[Outcome]) -> Iterable[str]:
    """What was asked for and the environment does not allow, a line for each check: which, why, and where it is allowed."""
    for kind in dict.fromkeys(each.kind for each in refused):
        of_kind = [each for each in refused if each.kind is kind]
        first = of_kind[0]
        server = visible(str(first.target.server)) if first.target is not None else "-"
        which = f"{plural(len(of_kind), f'{kind} check')} asked for, {'the first' if len(of_kind) > 1 else 'that'} of {server}"
        yield f"{which}: {first.reason}, in the settings at pipelines.assess.components.{kind}.with"


def _judged(assessment: Assessment) -> bool:
    """Whether anything got a verdict; that there is nothing to judge is one, too."""
    return any(each.status is not Status.ERROR for each in assessment.outcomes)


def _counting(assessment: Assessment) -> Iterable[Finding]:
    """The findings that a gate looks at: the new ones where there is a baseline."""
    if assessment.baseline is None:
        return assessment.findings
    new = frozenset(assessment.new_fingerprints)
    return (each for each in assessment.findings if each.fingerprint in new)


def _asked_and_missed(outcome: Outcome) -> bool:
    target = outcome.target
    return outcome.status is Status.ERROR and (target is None or target.scope in ASKED_FOR)
