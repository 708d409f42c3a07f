"""The assessment as one pipeline: as it is shipped, as environments change it, and with things going wrong in it."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.assessments import (
    CheckSecurity,
    DiscoverTargets,
    JoinOutcomes,
    PlanChecks,
    ProbeServer,
    Requests,
    ScoreFindings,
    ValidateConfig,
)
from autocoder_components.assessments.model import (
    Assessment,
    Check,
    CheckKind,
    Discovery,
    Joined,
    Outcome,
    Place,
    Request,
    Status,
    Target,
)
from autocoder_components.assessments.requests import RequestSpec
from hypothesis import given
from hypothesis import strategies as st

from autocoder import Pipeline, RunSummary
from autocoder.cli.main import execute
from autocoder.errors import Place as At
from autocoder.yaml_document import from_python
from tests.assessments.conftest import ROOTED, SOUND, UNPINNED, Assess, servers, write
from tests.assessments.test_components import SHIPPED
from tests.support import Collect

SECRET = {"command": "x", "env": {"API_KEY": "sk-live-8f3kQ0zP2mXv7LwTqN4c"}}


def run(folder: Path, request: dict[str, Any], **components: Any) -> RunSummary:
    """The shipped pipeline with overrides, on a database `it.db`."""
    changes = {"components": {"requests": {"with": {"requests": [request]}}, **components}}
    pipeline = Pipeline.from_yaml(SHIPPED, overrides=from_python(changes, At("test")))
    return pipeline.run(database=f"sqlite:///{folder / 'it.db'}")


def report(folder: Path) -> Any:
    return json.loads((folder / "assessment" / "report.json").read_text())


JSON_REPORT = {"with": {"formats": ["json"]}}
SILENT = {"with": {"format": "none"}}


class TestShipped:
    def test_it_assesses_writes_keeps_and_prints(self, machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
        write(machine / ".mcp.json", servers(a=SOUND, b=ROOTED))
        summary = run(machine, {"id": "one", "paths": ["."]})
        assert summary.dead_letters == 0
        assert "AC-511  b  .mcp.json:" in capfd.readouterr().out
        assert sorted(each.name for each in (machine / "assessment").iterdir()) == ["report.html", "report.sarif"]
        with sqlite3.connect(machine / "it.db") as database:
            assert database.execute("SELECT assessment_id, score, high_count FROM assessment_results").fetchall() == [
                ("one", 80, 1)
            ]

    def test_what_is_not_understood_is_exit_code_78_before_anything_runs(
        self, machine: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        text = SHIPPED.read_text().replace("requests: [{}]", "requests: [{deepScan: perhaps}]")
        write(machine / "mine.yaml", text)
        assert execute(["run", "mine.yaml"]) == 78
        out, err = capfd.readouterr()
        assert out == ""
        assert "mine.yaml:" in err
        assert "deepScan: must be true or false" in err

    def test_a_filter_that_matches_nothing_is_seen_in_every_report(
        self, machine: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        run(
            machine,
            {"paths": ["."], "serverFilter": ["nobody*"]},
            route={"with": {"formats": ["json", "html", "sarif"]}},
        )
        said = "no server's name matches the filter 'nobody*'"
        assert said in " ".join(capfd.readouterr().out.split())
        for kind in ("json", "html", "sarif"):
            text = (machine / "assessment" / f"report.{kind}").read_text()
            assert said.replace("'", "&#x27;") in text or said in text

    def test_a_path_that_leads_nowhere_is_an_error_and_the_others_are_assessed(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a=ROOTED))
        run(machine, {"paths": ["nowhere.json", ".mcp.json"]}, route=JSON_REPORT, show=SILENT)
        assert [each["rule"] for each in report(machine)["findings"]] == ["AC-511"]
        errors = [each for each in report(machine)["outcomes"] if each["status"] == "error"]
        assert {(each["file"], each["reason"]) for each in errors} == {
            ("nowhere.json", "cannot be read: No such file or directory")
        }

    def test_a_candidate_is_assessed_like_a_file_and_its_text_kept_nowhere(self, machine: Path) -> None:
        candidate = {"text": json.dumps(servers(a=SECRET)), "name": "offer.json"}
        run(machine, {"candidates": [candidate]}, route={"with": {"formats": ["json", "html", "sarif"]}}, show=SILENT)
        assert "AC-301" in {each["rule"] for each in report(machine)["findings"]}
        for path in machine.rglob("*"):
            assert not path.is_file() or b"8f3kQ0zP2mXv7LwTqN4c" not in path.read_bytes(), path


class TestDetails:
    def everything(self, folder: Path, out: str) -> str:
        files = [each for each in folder.rglob("*") if each.is_file() and each.name != ".mcp.json"]
        return out + "".join(each.read_bytes().decode("utf-8", "replace") for each in files)

    def test_without_them_there_is_no_evidence_anywhere(self, machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
        write(machine / ".mcp.json", servers(a=SECRET, b=UNPINNED))
        formats = {"with": {"formats": ["json", "html", "sarif"]}}
        run(machine, {"paths": ["."]}, route=formats, show={"with": {"format": "json"}})
        evidence = {each["evidence"] for each in report(machine)["findings"]} - {None}
        assert evidence
        capfd.readouterr()
        for path in [machine / "it.db", *(machine / "assessment").iterdir()]:
            path.unlink()
        run(machine, {"paths": ["."], "includeDetails": False}, route=formats, show={"with": {"format": "json"}})
        produced = self.everything(machine, capfd.readouterr().out)
        assert {each["rule"] for each in report(machine)["findings"]} >= {"AC-301", "AC-401"}
        assert [each for each in evidence if each in produced] == []


class TestEnvironments:
    CONFIG = """
        pipelines:
          assess:
            components:
              requests: {with: {now: "2026-11-21T08:00:00Z"}}
              security: {with: {inventory: [nobody]}}
              score: {with: {now: "2026-11-21T08:00:01Z"}}
              reports: {with: {folder: elsewhere}}
              route: {with: {formats: [json]}}
              show: {with: {format: none}}
    """

    def test_an_environment_changes_the_pipeline(self, machine: Path, assess: Assess) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        write(machine / "config" / "strict.yaml", self.CONFIG)
        answer = assess(".", "--env", "strict")
        assert (answer.code, answer.out) == (0, "")
        assert not (machine / "assessment").exists()
        found = json.loads((machine / "elsewhere" / "report.json").read_text())
        assert found["assessment"]["started_at"] == "2026-11-21T08:00:00.000000+00:00"
        assert found["assessment"]["finished_at"] == "2026-11-21T08:00:01.000000+00:00"
        assert found["findings"] != []
        again = assess(".", "--env", "strict", "--id", found["assessment"]["id"])
        assert again.code == 0
        assert json.loads((machine / "elsewhere" / "report.json").read_text()) == found

    def test_the_command_line_beats_it_only_where_it_says_something(self, machine: Path, assess: Assess) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        write(machine / "config" / "strict.yaml", self.CONFIG)
        answer = assess(".", "--env", "strict", "--output", "here", "--format", "json")
        assert answer.json()["findings"] != []
        assert [each.name for each in (machine / "here").iterdir()] == ["report.json"]

    def test_an_environment_may_ask_for_several_assessments(self, machine: Path, assess: Assess) -> None:
        write(machine / "a" / ".mcp.json", servers(a=SOUND))
        write(machine / "b" / ".mcp.json", servers(b=ROOTED))
        requests = "[{id: a, paths: [a]}, {id: b, paths: [b]}]"
        write(
            machine / "config" / "two.yaml",
            f"pipelines: {{assess: {{components: {{requests: {{with: {{requests: {requests}}}}}, "
            'reports: {with: {name: "{id}"}}, route: {with: {formats: [json]}}}}}',
        )
        answer = assess("--env", "two", "--fail-on", "high")
        assert answer.code == 1
        assert sorted(each.name for each in (machine / "assessment").iterdir()) == ["a.json", "b.json"]

    def test_an_override_that_fits_nothing_is_refused(self, machine: Path, assess: Assess) -> None:
        write(machine / "config" / "odd.yaml", "pipelines: {assess: {components: {shwo: {with: {format: none}}}}}")
        answer = assess(".", "--env", "odd")
        assert answer.code == 78
        assert "did you mean 'show'" in answer.err


def target(file: str, server: str | None = None, line: int = 1) -> Target:
    return Target("-", file, f"/{file}", "C", "project", "mcpServers", "00", server, Place(file, "", line, 1))


class Fragile(CheckSecurity):
    """A check whose author forgot a case."""

    def process(self, check: Check, /) -> Outcome:
        if check.target.server == "b":
            raise ValueError("b is more than I can bear")
        return super().process(check)


class TestLost:
    def assessed(self, check: CheckSecurity, *, then: int = 0) -> tuple[RunSummary, Assessment]:
        pipeline, got = Pipeline("p"), Collect()
        after = pipeline.add("requests", Requests(requests=[RequestSpec(paths=["."])]))
        plan = pipeline.add("plan", PlanChecks(), after=pipeline.add("discover", DiscoverTargets(), after=after))
        config = pipeline.add("config", ValidateConfig(), after=plan.port(PlanChecks.config))
        security = pipeline.add("security", check, after=plan.port(PlanChecks.security))
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
        pipeline.add("got", got, after=pipeline.add("score", ScoreFindings(), after=joined))
        summary = pipeline.run()
        (assessment,) = got.got
        return summary, assessment

    def test_a_dead_letter_of_a_check_is_an_error_of_its_target_and_the_rest_is_assessed(self, machine: Path) -> None:
        write(machine / ".mcp.json", servers(a=ROOTED, b=SOUND, c=UNPINNED))
        summary, assessment = self.assessed(Fragile())
        assert summary.components["security"].dead_letters == 1
        assert len(assessment.outcomes) == 8
        (lost,) = [each for each in assessment.outcomes if each.status is Status.ERROR]
        assert lost.target is not None
        assert (lost.target.server, lost.kind, lost.reason) == (
            "b",
            CheckKind.SECURITY,
            "the check gave no outcome; the log says why",
        )
        assert [each.rule for each in assessment.findings] == ["AC-511", "AC-401"]
        assert assessment.score.coverage == 7 / 8


class TestJoin:
    """However outcomes arrive, the same assessments come out, and none of them is lost."""

    REQUESTS = tuple(Request(each) for each in ("a", "b", "c"))

    @staticmethod
    def joined(arriving: Sequence[Outcome]) -> tuple[list[str], dict[str, Joined]]:
        """What the component gives, driven as the runtime does: those complete before the end, and all of them."""
        join = JoinOutcomes()
        given: list[Joined] = []
        for each in arriving:
            join.arrived.begin(join.key(each))
            port = each.kind if each.target is not None else "skipped"
            result = getattr(join, f"on_{port}")(each)
            given += [result] if result is not None else []
        early = [each.request.assessment_id for each in given]
        given += join.finish()
        assert join.arrived.keys() == []
        found = {each.request.assessment_id: each for each in given}
        assert len(found) == len(given)
        return early, found

    @staticmethod
    @st.composite
    def planned(draw: st.DrawFn) -> list[Outcome]:
        """The outcomes of up to three assessments, each with targets that look alike."""
        outcomes = []
        for request in TestJoin.REQUESTS[: draw(st.integers(1, 3))]:
            targets = draw(
                st.lists(
                    st.builds(target, st.sampled_from("xy"), st.none() | st.sampled_from("st"), st.integers(1, 2)),
                    max_size=4,
                    unique=True,
                )
            )
            filters = draw(st.lists(st.sampled_from(["f*", "g*"]), max_size=2, unique=True))
            kinds = (CheckKind.CONFIG, CheckKind.SECURITY)
            number = 2 * len(targets) + len(filters)
            statuses = st.sampled_from([Status.PASS, Status.ERROR, Status.SKIPPED])
            outcomes += [Outcome(request, each, kind, draw(statuses), number) for each in targets for kind in kinds]
            outcomes += [
                Outcome(request, None, CheckKind.SKIPPED, Status.ERROR, number, reason=each) for each in filters
            ]
        return outcomes

    @given(planned().flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
    def test_any_order_and_interleaving_gives_the_same(self, pair: tuple[list[Outcome], list[Outcome]]) -> None:
        in_order, shuffled = pair
        early, found = self.joined(shuffled)
        assert found == self.joined(in_order)[1]
        assert sorted(early) == sorted({each.request.assessment_id for each in in_order})
        for name, one in found.items():
            assert sorted(map(repr, one.outcomes)) == sorted(
                repr(each) for each in in_order if each.request.assessment_id == name
            )

    @given(planned().flatmap(lambda some: st.tuples(st.permutations(some), st.integers(0, len(some)))))
    def test_what_never_came_is_an_error_at_the_end(self, cut: tuple[list[Outcome], int]) -> None:
        shuffled, lost = cut
        arriving = shuffled[lost:]
        early, found = self.joined(arriving)
        assert found == self.joined(arriving[::-1])[1]
        came: dict[str, list[Outcome]] = defaultdict(list)
        for each in arriving:
            came[each.request.assessment_id].append(each)
        assert set(found) == set(came)
        for name, one in found.items():
            missing = list(one.outcomes)
            for each in came[name]:
                missing.remove(each)
            assert len(one.outcomes) == came[name][0].planned
            assert (missing == []) is (name in early)
            assert {(each.status, each.reason) for each in missing} <= {
                (Status.ERROR, "the check gave no outcome; the log says why")
            }

    def test_files_stand_by_name_and_servers_as_in_their_file(self) -> None:
        targets = [target("a", None), target("a", "z", 2), target("a", "b", 9), target("b", None)]
        kinds = (CheckKind.CONFIG, CheckKind.SECURITY)
        planned = [Outcome(self.REQUESTS[0], each, kind, Status.PASS, 9) for each in targets for kind in kinds]
        planned.append(Outcome(self.REQUESTS[0], None, CheckKind.SKIPPED, Status.ERROR, 9))
        _, found = self.joined(planned[::-1])
        assert list(found["a"].outcomes) == planned

    def test_many_outcomes_are_joined_once(self) -> None:
        number = 20_000
        outcomes = [
            Outcome(self.REQUESTS[0], target("x", "s", line), CheckKind.CONFIG, Status.PASS, number)
            for line in range(number)
        ]
        early, found = self.joined(outcomes)
        assert early == ["a"]
        assert list(found["a"].outcomes) == outcomes


@st.composite
def discoveries(draw: st.DrawFn) -> Discovery:
    request = Request(
        "a", validate_config=draw(st.booleans()), check_security=draw(st.booleans()), server_filter=("x",)
    )
    targets = draw(st.lists(st.builds(target, st.sampled_from("ab"), st.none() | st.sampled_from("st")), max_size=5))
    return Discovery(request, tuple(targets), draw(st.sampled_from([(), ("x",), ("x", "y")])))


@given(discoveries())
def test_the_planned_number_is_the_number_of_outcomes(discovery: Discovery) -> None:
    def outcomes() -> Iterator[Outcome]:
        for emission in PlanChecks().process(discovery):
            payload = emission.payload
            if isinstance(payload, Check):
                assert emission.port == payload.kind
                yield Outcome(payload.request, payload.target, payload.kind, Status.PASS, payload.planned)
            else:
                yield payload

    planned = list(outcomes())
    assert planned
    assert {each.planned for each in planned} == {len(planned)}
