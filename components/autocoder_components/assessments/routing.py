"""From an assessment to its reports: which are wanted, and how they are made."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from autocoder import Emission, Out, Splitter, Transformer
from autocoder_components.assessments.model import Assessment, Report, ReportFormat, ReportOrder, Request
from autocoder_components.assessments.reports.rendering import RENDER

USUAL = (ReportFormat.HTML, ReportFormat.SARIF)


class RouteReports(Splitter[Assessment]):
    """Send each assessment on to what keeps and shows it, and an order to RenderReport for each report that is wanted.

    The request decides (`generateReport`: formats, true or false); where it says nothing, the formats of the pipeline are made.

    ```yaml
    route:  {use: assessments.RouteReports, from: score, with: {formats: [html, json]}}
    render: {use: assessments.RenderReport, from: route.reports}
    ```
    """

    reports = Out(ReportOrder)
    results = Out(Assessment)

    formats: list[ReportFormat] = Field(
        default=list(USUAL), description="html, json, sarif, oscal (assessment results), legacy; empty: none"
    )

    def process(self, assessment: Assessment, /) -> Iterator[Emission]:
        yield self.results(assessment)
        for each in self._wanted(assessment.request):
            yield self.reports(ReportOrder(assessment, each))

    def _wanted(self, request: Request) -> list[ReportFormat]:
        asked = request.generate_report
        if asked is None:
            return list(dict.fromkeys(self.formats))
        if isinstance(asked, bool):
            return list(dict.fromkeys(self.formats or USUAL)) if asked else []
        return [ReportFormat(each) for each in dict.fromkeys(asked)]


class RenderReport(Transformer[ReportOrder, Report], run_in="thread"):
    """Make the reports that are ordered: HTML for people, JSON for programs, SARIF, OSCAL, the older services' result.

    In a thread, for a large one takes seconds. The same assessment gives the same bytes.

    ```yaml
    render: {use: assessments.RenderReport, from: route.reports}
    ```
    """

    def process(self, order: ReportOrder, /) -> Report:
        request = order.assessment.request
        return Report(request.assessment_id, order.format, RENDER[order.format](order.assessment), request.attempt)
