"""Each component of the assessment alone, and in small pipelines of their own."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import autocoder_components.assessments as pack
import pytest
import yaml
from autocoder_components.assessments import (
    CheckSecurity,
    DiscoverTargets,
    JoinOutcomes,
    PlanChecks,
    PrintReport,
    ProbeServer,
    RenderReport,
    Requests,
    RouteReports,
    ScoreFindings,
    ValidateConfig,
    WriteReports,
)
from autocoder_components.assessments.baseline import write_baseline
from autocoder_components.assessments.checking import SaltError
from autocoder_components.assessments.model import (
    Assessment,
    Check,
    CheckKind,
    ReportFormat,
    ReportOrder,
    Request,
    Status,
)
from autocoder_components.assessments.reports.publish import PublishError
from autocoder_components.assessments.requests import RequestSpec

from autocoder import Component, Pipeline, PipelineError
from tests.assessments.conftest import ROOTED, SOUND, UNPINNED, servers, write
from tests.assessments.examples import example
from tests.support import Collect

SHIPPED = Path(pack.__file__ or "").with_name("pipelines") / "assess.yaml"
COMPONENTS: list[type[Component]] = [
    each for each in (getattr(pack, name) for name in pack.__all__) if ".lifecycle." not in each.__module__
]


def request(*paths: Path | str, **options: Any) -> Request:
    return RequestSpec(id="a", paths=[str(each) for each in paths], **options).request("2026-11-21T08:00:00+00:00")


def checks(asked: Request) -> list[Check]:
    emissions = PlanChecks().process(DiscoverTargets().process(asked))
    return [each.payload for each in emissions if isinstance(each.payload, Check)]


async def opened(component: Any) -> Any:
    await component.open()
    return component


@pytest.mark.parametrize("kind", COMPONENTS, ids=lambda kind: kind.__name__)
def test_the_example_in_the_docstring_runs(kind: type[Component], machine: Path) -> None:
    block = re.search(r"```yaml\n(.*?)```", kind.__doc__ or "", re.DOTALL)
    assert block is not None
    write(machine / "projects" / ".mcp.json", servers(notes=UNPINNED))
    write_baseline(machine / "approved.json", [])
    pipeline = yaml.safe_load(SHIPPED.read_text())
    pipeline["components"]["requests"]["with"] = {"requests": [{"paths": ["projects"]}]}
    said = yaml.safe_load("".join(re.sub(r"^    ", "", line) for line in block.group(1).splitlines(keepends=True)))
    pipeline["components"] |= said
    summary = Pipeline.from_yaml(yaml.safe_dump(pipeline)).run(database=f"sqlite:///{machine / 'it.db'}")
    assert summary.dead_letters == 0
    assert summary.components["show"].taken == 1


class TestDiscoverTargets:
    def test_alone_in_a_pipeline(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a=SOUND, b=SOUND))
        pipeline, got = Pipeline("p"), Collect()
        requests = pipeline.add("requests", Requests(requests=[RequestSpec(paths=["."])]))
        pipeline.add("got", got, after=pipeline.add("discover", DiscoverTargets(), after=requests))
        pipeline.run()
        assert [each.server for each in got.got[0].targets] == [None, "a", "b"]

    def test_it_leaves_the_loop_to_others(self) -> None:
        assert DiscoverTargets.default_run_in == "thread"


class TestPlanChecks:
    def outcomes(self, asked: Request) -> list[Any]:
        return [(each.port, each.payload) for each in PlanChecks().process(DiscoverTargets().process(asked))]

    def test_every_target_gets_both_checks(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        planned = self.outcomes(request("."))
        assert [(port, each.target.server, each.planned) for port, each in planned] == [
            ("config", None, 4),
            ("security", None, 4),
            ("config", "a", 4),
            ("security", "a", 4),
        ]

    @pytest.mark.parametrize(("off", "kind"), [("validate_config", "config"), ("check_security", "security")])
    def test_what_is_switched_off_is_skipped_with_the_reason(self, machine: Path, off: str, kind: str) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        planned = self.outcomes(request(".", **{off: False}))
        skipped = [each for port, each in planned if port == "skipped"]
        assert len(planned) == skipped[0].planned == 4
        assert [(each.kind, each.status, each.reason) for each in skipped] == [
            (kind, Status.SKIPPED, "switched off in the request")
        ] * 2

    @pytest.mark.parametrize(
        ("options", "kinds"),
        [
            ({}, ["config", "security", "config", "security"]),
            ({"check_server_status": True}, ["config", "security", "config", "security", "status"]),
            ({"type": "health"}, ["config", "config", "status"]),
            ({"type": "health", "check_security": True, "validate_config": False}, ["security", "security", "status"]),
        ],
    )
    def test_the_type_says_which_checks_there_are_and_the_options_add_and_take_away(
        self, machine: Path, options: dict[str, Any], kinds: list[str]
    ) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        planned = self.outcomes(request(".", **options))
        assert [port for port, _ in planned if port != "skipped"] == kinds
        assert {each.planned for _, each in planned} == {len(planned)}

    def test_what_the_type_asks_for_and_the_request_does_not_is_skipped_once_a_server(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a=SOUND, b=SOUND))
        planned = self.outcomes(request(".", type="health", check_server_status=False))
        skipped = [each for port, each in planned if port == "skipped"]
        assert [(each.target.server, each.kind, each.status) for each in skipped] == [
            ("a", "status", Status.SKIPPED),
            ("b", "status", Status.SKIPPED),
        ]

    def test_a_filter_that_matches_nothing_is_an_error_of_the_whole(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        planned = self.outcomes(request(".", server_filter=["A", "nobody*"]))
        assert {each.planned for _, each in planned} == {5} == {len(planned)}
        (skipped,) = [each for port, each in planned if port == "skipped"]
        assert (skipped.target, skipped.status) == (None, Status.ERROR)
        assert skipped.reason == "no server's name matches the filter 'nobody*'"
        assert [(each.rule, each.message) for each in skipped.findings] == [
            ("AC-001", "No server's name matches the filter 'nobody*'")
        ]

    def test_nothing_to_assess_is_said_not_passed(self, machine: Path) -> None:
        ((port, outcome),) = self.outcomes(request("."))
        assert (port, outcome.status, outcome.planned) == ("skipped", Status.NOT_APPLICABLE, 1)


class TestChecks:
    def test_each_judges_its_own_part(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a={**UNPINNED, "colour": "red"}))
        found = {
            kind: {finding.rule for check in checks(request(".")) for finding in component.process(check).findings}
            for kind, component in (
                ("config", anyio.run(opened, ValidateConfig())),
                ("security", anyio.run(opened, CheckSecurity())),
            )
        }
        assert found == {"config": {"AC-203"}, "security": {"AC-401"}}

    def test_a_file_that_cannot_be_read_or_has_changed_is_an_error_never_a_pass(self, machine: Path) -> None:
        path = write(machine / ".mcp.json", servers(a=SOUND))
        planned = checks(request("."))
        write(path, servers(a=UNPINNED))
        component = anyio.run(opened, CheckSecurity())
        outcomes = [component.process(check) for check in planned]
        assert {each.status for each in outcomes} == {Status.ERROR}
        assert {each.reason for each in outcomes} == {"the file has changed since it was discovered; assess it again"}

    def test_rules_that_break_are_an_error_that_says_where_but_not_on_what(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a={"command": "x", "env": {"API_KEY": "sk-live-8f3kQ0zP2mXv7LwT"}}))
        component = CheckSecurityWithoutKey()
        anyio.run(component.open)
        outcomes = [component.process(each) for each in checks(request(".")) if each.kind is CheckKind.SECURITY]
        assert [each.status for each in outcomes] == [Status.PASS, Status.ERROR]
        reason = outcomes[1].reason or ""
        assert re.search(r"the rules broke on this configuration \(\w+Error at \w+\.py:\d+\)", reason)
        assert "8f3kQ0" not in reason

    def test_without_details_no_evidence_is_made(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a={"command": "x", "env": {"API_KEY": "sk-live-8f3kQ0zP2mXv7LwT"}}))
        component = anyio.run(opened, CheckSecurity())

        def evidence(details: bool) -> set[str | None]:
            asked = checks(request(".", include_details=details))
            return {finding.evidence for check in asked for finding in component.process(check).findings}

        assert evidence(True) - {None}
        assert evidence(False) == {None}

    def test_an_inventory_makes_what_is_not_in_it_a_finding(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a=SOUND, b={"command": "npx", "args": ["-y", "other@1.0.0"]}))

        def found(inventory: list[str] | None) -> set[tuple[str | None, str]]:
            component = anyio.run(opened, CheckSecurity(inventory=inventory))
            outcomes = [component.process(check) for check in checks(request("."))]
            return {(finding.server, finding.rule) for each in outcomes for finding in each.findings}

        added = found(["a"]) - found(None)
        assert {server for server, _ in added} == {"b"}


class CheckSecurityWithoutKey(CheckSecurity):
    """Its rules break wherever they hash a secret."""

    async def open(self) -> None:
        await super().open()
        self._options = replace(self._options, salt=None)  # type: ignore[arg-type]


class TestSalt:
    def test_it_is_made_once_for_its_owner_alone(self, machine: Path) -> None:
        file = machine / "deep" / "er" / "key"
        anyio.run(CheckSecurity(salt_file=file).open)
        first = file.read_bytes()
        anyio.run(CheckSecurity(salt_file=file).open)
        assert len(first) == 32
        assert file.read_bytes() == first
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [each.name for each in file.parent.iterdir()] == ["key"]

    def test_a_short_one_is_refused_with_the_cure(self, machine: Path) -> None:
        (machine / "key").write_bytes(b"short")
        with pytest.raises(SaltError, match="holds 5 bytes where 32 are wanted; delete it"):
            anyio.run(CheckSecurity(salt_file=machine / "key").open)

    def test_a_place_that_cannot_hold_it_is_refused_with_the_cure(self, machine: Path) -> None:
        (machine / "file").write_text("")
        with pytest.raises(SaltError, match="give another salt_file"):
            anyio.run(CheckSecurity(salt_file=machine / "file" / "key").open)


class TestScoreFindings:
    def pipeline(self, **fields: Any) -> Assessment:
        pipeline, got = Pipeline("p"), Collect()
        after = pipeline.add("requests", Requests(requests=[RequestSpec(paths=["."])], now="2026-11-21T08:00:00Z"))
        plan = pipeline.add("plan", PlanChecks(), after=pipeline.add("discover", DiscoverTargets(), after=after))
        config = pipeline.add("config", ValidateConfig(), after=plan.port(PlanChecks.config))
        security = pipeline.add("security", CheckSecurity(), after=plan.port(PlanChecks.security))
        status = pipeline.add("status", ProbeServer(), after=plan.port(PlanChecks.status))
        deep = pipeline.add("deep", ValidateConfig(), after=plan.port(PlanChecks.deep))  # nobody asks for it here
        ends = {
            "config": config,
            "security": security,
            "status": status,
            "deep": deep,
            "skipped": plan.port(PlanChecks.skipped),
        }
        joined = pipeline.add("join", JoinOutcomes(), after=ends)
        pipeline.add("got", got, after=pipeline.add("score", ScoreFindings(**fields), after=joined))
        pipeline.run()
        (assessment,) = got.got
        assert isinstance(assessment, Assessment)
        return assessment

    def test_the_whole_chain_in_python(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a=SOUND, b=ROOTED))
        assessment = self.pipeline()
        assert (assessment.score.value, assessment.score.coverage) == (80, 1.0)
        assert [each.rule for each in assessment.findings] == ["AC-511"]
        assert assessment.baseline is None

    def test_a_baseline_tells_new_from_known(self, machine: Path) -> None:
        path = write(machine / ".mcp.json", servers(a=UNPINNED))
        write_baseline(machine / "known.json", self.pipeline().findings)
        assert self.pipeline(baseline=Path("known.json")).new_fingerprints == ()
        write(path, servers(a=UNPINNED, b=ROOTED))
        assessment = self.pipeline(baseline=Path("known.json"))
        assert [each.rule for each in assessment.findings if each.fingerprint in assessment.new_fingerprints] == [
            "AC-511"
        ]

    def test_an_assessment_never_ends_before_it_started(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        assessment = self.pipeline(now="2020-01-01T00:00:00Z")
        assert assessment.finished_at == assessment.started_at


class TestWriteReports:
    async def written(self, assessments: Sequence[Assessment], formats: Sequence[str], **fields: Any) -> WriteReports:
        sink, route, render = (
            WriteReports(**fields),
            RouteReports(formats=list(map(ReportFormat, formats))),
            RenderReport(),
        )
        await sink.open()
        emitted = [each.payload for one in assessments for each in route.process(one)]
        reports = [render.process(each) for each in emitted if isinstance(each, ReportOrder)]
        if reports:
            await sink.write(reports)
        return sink

    def test_each_format_in_its_file(self, machine: Path) -> None:
        sink = anyio.run(lambda: self.written([example()], formats=[*ReportFormat, "json"]))
        written = ["html", "json", "sarif", "oscal.json", "legacy.json"]
        assert sorted(each.name for each in (machine / "reports").iterdir()) == sorted(
            f"report.{each}" for each in written
        )
        assert [str(each) for each in sink.written] == [f"reports/report.{each}" for each in written]
        assert json.loads((machine / "reports" / "report.json").read_text())["score"]["value"] == 30

    @pytest.mark.parametrize(
        "text", ["a/b", "../x", "${HOME}", "a b", "naïve", "x" * 255, "漢" * 255, "a:b", "~", "..", "."]
    )
    def test_an_id_in_a_name_stays_in_the_folder_and_apart_from_others(self, machine: Path, text: str) -> None:
        ids = [text, text.replace("/", "_"), "plain"]
        named = [
            replace(example(), request=replace(example().request, assessment_id=each)) for each in dict.fromkeys(ids)
        ]
        anyio.run(lambda: self.written(named, name="{id}", formats=["json"]))
        files = list((machine / "reports").iterdir())
        assert len(files) == len(named)
        assert {json.loads(each.read_text())["assessment"]["id"] for each in files} == set(ids)
        assert sorted(each.name for each in machine.iterdir()) == ["reports"]

    @pytest.mark.parametrize("other", ["x.legacy", "x.oscal", "X.LEGACY", "a_b-c14cddc0"])
    def test_no_report_has_the_name_of_another_one(self, machine: Path, other: str) -> None:
        named = [
            replace(example(), request=replace(example().request, assessment_id=each)) for each in ("x", "a/b", other)
        ]
        anyio.run(lambda: self.written(named, name="{id}", formats=[*ReportFormat]))
        names = [each.name.lower() for each in (machine / "reports").iterdir()]
        assert len(set(names)) == len(names) == 3 * len(ReportFormat)
        assert not any(each.startswith(".") for each in names)

    def test_without_formats_no_folder_is_made(self, machine: Path) -> None:
        anyio.run(lambda: self.written([example()], formats=[]))
        assert list(machine.iterdir()) == []

    def test_a_folder_that_is_a_file_is_refused_before_anything_is_assessed(self, machine: Path) -> None:
        (machine / "reports").write_text("mine")
        with pytest.raises(PublishError, match="it is no folder; choose another folder"):
            anyio.run(WriteReports().open)

    def test_a_refusal_of_the_operating_system_stops_the_run(self, machine: Path) -> None:
        (machine / "reports" / "report.json").mkdir(parents=True)
        write(machine / ".mcp.json", servers(a=SOUND))
        shipped = yaml.safe_load(SHIPPED.read_text())
        shipped["components"]["reports"]["with"] = {"folder": "reports"}
        shipped["components"]["route"]["with"] = {"formats": ["json"]}
        with pytest.raises(PipelineError, match="it is a folder; name a file in it"):
            Pipeline.from_yaml(yaml.safe_dump(shipped)).run(database=f"sqlite:///{machine / 'it.db'}")


class TestPrintReport:
    @pytest.mark.parametrize("form", ["json", "sarif", "oscal", "legacy"])
    def test_a_document_and_nothing_else(self, form: str, capfd: pytest.CaptureFixture[str]) -> None:
        sink = PrintReport(format=form)
        anyio.run(sink.open)
        sink.write([example()])
        out = capfd.readouterr().out
        json.loads(out)
        assert out.endswith("}\n")
        assert not out.endswith("\n\n")
        assert sink.printed == []

    def test_none_prints_nothing_and_keeps_where_it_is_told_to(self, capfd: pytest.CaptureFixture[str]) -> None:
        sink = PrintReport(format="none", keep=True)
        anyio.run(sink.open)
        sink.write([example()])
        assert capfd.readouterr().out == ""
        assert sink.printed == [example()]
