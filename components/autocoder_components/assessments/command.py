"""`autocoder assess`: the assessment pipeline, once, over files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import click

from autocoder import Pipeline, UsageError, common_options, open_session, pipeline_options, run_watched
from autocoder_components.assessments.baseline import Baseline, read_baseline, worst_reached, write_baseline
from autocoder_components.assessments.model import Assessment, Severity, Status
from autocoder_components.assessments.sinks import PrintReport, WriteReports

PIPELINE = "assessments.assessments"
FORMATS = ("table", "json", "sarif", "html", "none")


@click.command("assess")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="GLOB",
    help="Assess only servers whose name matches; may be repeated.",
)
@click.option(
    "--fail-on",
    type=click.Choice([each.value for each in Severity]),
    help="Exit with 1 for a finding of this severity or worse (with --baseline: a new one).",
)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="What goes to stdout."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("assessment"),
    show_default=True,
    help="The folder for the reports.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Choice(["html", "sarif", "json"]),
    default=("html", "sarif"),
    show_default=True,
    help="A report to write; may be repeated.",
)
@click.option("--no-reports", is_flag=True, help="Write no report files.")
@click.option("--baseline", type=click.Path(path_type=Path, dir_okay=False), help="What was found before is not new.")
@click.option(
    "--write-baseline", "new_baseline", type=click.Path(path_type=Path, dir_okay=False), help="Write what was found."
)
@click.option("--no-details", is_flag=True, help="Counts and failures only, no evidence.")
@click.option(
    "--id",
    "assessment_id",
    metavar="ID",
    help="The id of this assessment; saved again under it, it replaces the old one.",
)
@click.option("--database", metavar="URL", help="Where the results are kept, instead of the settings' database.")
@pipeline_options
@common_options
def assess(**options: Any) -> int:
    """Assess the MCP servers that client configurations name: are they valid, are they safe?

    PATH is a file or folder; none means the client configurations on this machine and below the working folder. Nothing that
    a configuration names is ever started. Reports go to files, findings to stdout, all else to stderr.
    """
    baseline = _baseline(options)
    session = open_session(options["environment"], allowed=options["allowed"], database=options["database"])
    pipeline = session.pipeline(PIPELINE, _changes(options))
    anyio.run(run_watched, pipeline, session.settings.database.url.get_secret_value())
    (assessment,) = _gathered(pipeline)
    _tell(assessment, pipeline, used_default=not options["paths"])
    if options["new_baseline"] is not None:
        write_baseline(options["new_baseline"], assessment.findings)
    if options["fail_on"] is None:
        return 0
    closing = worst_reached(assessment.findings, Severity(options["fail_on"]), baseline)
    if closing:
        new = "new " if baseline is not None else ""
        click.echo(f"the gate --fail-on {options['fail_on']} is closed by {len(closing)} {new}findings", err=True)
    return 1 if closing else 0


def _baseline(options: dict[str, Any]) -> Baseline | None:
    return None if options["baseline"] is None else read_baseline(options["baseline"])


def _changes(options: dict[str, Any]) -> dict[str, Any]:
    """What the command line changes in the pipeline."""
    request: dict[str, Any] = {"paths": list(options["paths"]), "server_filter": list(options["servers"])}
    if options["no_details"]:
        request["include_details"] = False
    if options["assessment_id"] is not None:
        request["id"] = options["assessment_id"]
    formats = [] if options["no_reports"] else list(dict.fromkeys(options["reports"]))
    components: dict[str, Any] = {
        "requests": {"with": {"requests": [request]}},
        "reports": {"with": {"folder": str(options["output"]), "formats": formats}},
        "show": {"with": {"format": options["form"]}},
    }
    if options["baseline"] is not None:
        components["score"] = {"with": {"baseline": str(options["baseline"])}}
    return {"components": components}


def _gathered(pipeline: Pipeline) -> list[Assessment]:
    shown = pipeline.component("show")
    if not isinstance(shown, PrintReport) or len(shown.printed) != 1:
        raise UsageError("the assessment was stopped before it was done; nothing was reported")
    return shown.printed


def _tell(assessment: Assessment, pipeline: Pipeline, *, used_default: bool) -> None:
    """What a person wants to know beside the findings: where the reports are, what to do on an empty machine."""
    reports = pipeline.component("reports")
    for path in reports.written if isinstance(reports, WriteReports) else ():
        click.echo(f"report: {path}", err=True)
    if all(each.status is Status.NOT_APPLICABLE for each in assessment.outcomes) and used_default:
        click.echo(
            "No client configuration was found on this machine or below this folder. To see what an assessment looks like, "
            "run: autocoder assess examples/clients (the folder comes with the source of autocoder)",
            err=True,
        )
