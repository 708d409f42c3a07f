"""Every form of a report, by its name: one table for the sinks, the command line and the requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from autocoder_components.assessments.model import Assessment, ReportFormat
from autocoder_components.assessments.reports.html import render_html
from autocoder_components.assessments.reports.json_report import render_json
from autocoder_components.assessments.reports.legacy import render_legacy
from autocoder_components.assessments.reports.oscal import render_oscal
from autocoder_components.assessments.reports.sarif import render_sarif
from autocoder_components.assessments.rules import CATALOGUE

RENDER: Final[Mapping[ReportFormat, Callable[[Assessment], str]]] = {
    ReportFormat.HTML: lambda assessment: render_html(assessment, CATALOGUE),
    ReportFormat.JSON: render_json,
    ReportFormat.SARIF: lambda assessment: render_sarif(assessment, CATALOGUE),
    ReportFormat.OSCAL: render_oscal,
    ReportFormat.LEGACY: render_legacy,
}
