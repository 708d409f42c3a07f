"""Each option of a request, through the pipelines as they are shipped: what it changes, and that nothing else does."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.assessments.lifecycle.store import open_store
from autocoder_components.assessments.reports.json_report import json_document
from autocoder_components.assessments.tables import SUMMARY_SCOPE

from autocoder import Pipeline
from autocoder.errors import Place
from autocoder.yaml_document import from_python
from tests.assessments.conftest import ROOTED, SOUND, Assess, servers, write
from tests.assessments.lifecycle.conftest import url as both_databases
from tests.assessments.test_components import SHIPPED

url = both_databases
ROOT = Path(__file__).parents[2]
SECRET = {"command": "x", "env": {"API_KEY": "sk-live-8f3kQ0zP2mXv7LwTqN4c"}}
SERVICE = SHIPPED.with_name("assessments.yaml")
ENDS: dict[str, Any] = {
    "inbox": {"with": {"until_empty": True}},
    "due": {"with": {"once": True}},
    "overdue": {"with": {"once": True}},
}
NOW = "2026-11-21T12:00:00Z"
WAIVERS = """\
waivers:
  - rule: AC-511
    server: b
    justification: it is the machine's own agent
    owner: ada@example.org
    expires: 2026-12-31
  - {rule: AC-301, justification: soon, owner: bob@example.org, expires: 2026-11-20}
  - {rule: AC-601, justification: once, owner: bob@example.org, expires: 2026-12-31}
"""


@pytest.fixture
def folder(machine: Path) -> Path:
    """Two servers, of which one is privileged and one holds a secret."""
    write(machine / ".mcp.json", servers(a=SOUND, b=ROOTED, c=SECRET))
    return machine


def run(folder: Path, request: dict[str, Any], **components: Any) -> dict[str, Any]:
    """The shipped pipeline on one request; the JSON that it prints is what comes back."""
    said = {"show": {"with": {"format": "none", "keep": True}}, **components}
    changes = {"components": {"requests": {"with": {"requests": [{"paths": ["."], **request}]}}, **said}}
    pipeline = Pipeline.from_yaml(SHIPPED, overrides=from_python(changes, Place("test")))
    # A database for each run: on the same one the second would find its request done.
    database = folder / f"{len(list(folder.glob('*.db')))}.db"
    assert pipeline.run(database=f"sqlite:///{database}").dead_letters == 0
    (shown,) = pipeline.component("show").printed  # type: ignore[attr-defined]
    return json_document(shown)


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {each["id"]: each["status"] for each in report["compliance"]["controls"]}


class TestCheckCompliance:
    def test_it_maps_outcomes_to_controls_and_changes_nothing_else(self, folder: Path) -> None:
        without, with_it = (run(folder, {"id": "one", "checkCompliance": asked}) for asked in (False, True))
        assert without["compliance"] is None
        found = statuses(with_it)
        assert found["secrets-kept-out"] == found["containers-are-closed"] == "not_satisfied"
        assert found["versions-are-pinned"] == "satisfied"
        assert found["servers-answer"] == found["servers-are-approved"] == "not_assessed"
        for report in (without, with_it):
            report["assessment"] = report["compliance"] = None
        assert with_it == without

    def test_the_type_compliance_makes_every_check_and_judges_the_controls(self, folder: Path) -> None:
        report = run(folder, {"type": "compliance"})
        checks = {(each["server"], each["check"]): each["status"] for each in report["outcomes"]}
        assert {check for _, check in checks} == {"config", "security", "status"}
        # Nothing may be started here, so nobody was asked.
        assert {status for (_, check), status in checks.items() if check == "status"} == {"skipped"}
        assert statuses(report)["servers-answer"] == "not_assessed"
        assert {each["id"] for each in report["compliance"]["frameworks"]} == {
            *("cis-controls", "iso-27001", "nist-800-53", "owasp-mcp-top-10")
        }

    def test_a_check_that_is_switched_off_is_no_pass_of_its_controls(self, folder: Path) -> None:
        found = statuses(run(folder, {"type": "compliance", "checkSecurity": False}))
        assert found["versions-are-pinned"] == found["secrets-kept-out"] == "not_assessed"
        assert found["files-can-be-read"] == "satisfied"

    def test_a_file_that_is_no_json_keeps_everything_open(self, folder: Path) -> None:
        write(folder / "sub" / ".mcp.json", '{"mcpServers": {"x": {"command": "npx" "args": []}}}')
        found = statuses(run(folder, {"checkCompliance": True}))
        assert found["files-can-be-read"] == "not_satisfied"
        assert found["versions-are-pinned"] == "not_assessed"
        assert found["secrets-kept-out"] == "not_satisfied"

    def test_an_inventory_makes_the_approved_servers_known(self, folder: Path) -> None:
        approved = {"security": {"with": {"inventory": ["a", "b", "c"]}}}
        assert statuses(run(folder, {"checkCompliance": True}, **approved))["servers-are-approved"] == "satisfied"

    def test_evidence_is_place_and_hash_and_never_the_secret(self, folder: Path) -> None:
        report = run(folder, {"checkCompliance": True, "generateReport": ["html", "json", "sarif", "oscal", "legacy"]})
        (control,) = [each for each in report["compliance"]["controls"] if each["id"] == "secrets-kept-out"]
        (target, *_) = report["targets"]
        assert {each["sha256"] for each in control["evidence"]} == {target["sha256"]}
        (against, *_) = control["evidence"]
        assert (against["rule"], against["server"], against["file"], against["line"] > 1) == (
            "AC-301",
            "c",
            ".mcp.json",
            True,
        )
        for path in folder.rglob("*"):
            assert not path.is_file() or path.name == ".mcp.json" or b"8f3kQ0zP2mXv7LwTqN4c" not in path.read_bytes()

    @pytest.mark.anyio
    async def test_the_service_does_the_same(self, folder: Path, url: str) -> None:
        async with open_store(url) as store:
            await store.create({"id": "one", "type": "compliance", "paths": ["."], "generateReport": ["oscal"]})
            await store.create(
                {"id": "two", "paths": ["."], "options": {"checkCompliance": True, "generateReport": False}}
            )
            pipeline = Pipeline.from_yaml(SERVICE, overrides=from_python({"components": ENDS}, Place("test")))
            await pipeline.run_async(database=url)
            one, two = [await store.wait_for_completion(each) for each in ("one", "two")]
        assert one.result is not None
        assert two.result is not None
        assert statuses(one.result)["secrets-kept-out"] == statuses(two.result)["secrets-kept-out"] == "not_satisfied"
        assert [each.name for each in (folder / "assessment").iterdir()] == ["one.oscal.json"]


class TestGenerateReport:
    def written(self, folder: Path, asked: Any, **route: Any) -> list[str]:
        run(folder, {} if asked is None else {"generateReport": asked}, **({"route": {"with": route}} if route else {}))
        reports = folder / "assessment"
        return sorted(each.name for each in reports.iterdir()) if reports.exists() else []

    @pytest.mark.parametrize(
        ("asked", "formats", "names"),
        [
            (None, None, ["report.html", "report.sarif"]),
            (True, None, ["report.html", "report.sarif"]),
            (False, None, []),
            ([], None, []),
            ("legacy", None, ["report.legacy.json"]),
            (["oscal", "json"], None, ["report.json", "report.oscal.json"]),
            (None, [], []),
            (None, ["json"], ["report.json"]),
            (True, ["json"], ["report.json"]),
            (True, [], ["report.html", "report.sarif"]),
            (False, ["json"], []),
            (["html"], [], ["report.html"]),
        ],
    )
    def test_the_request_decides_and_else_the_pipeline(
        self, folder: Path, asked: Any, formats: list[str] | None, names: list[str]
    ) -> None:
        route = {} if formats is None else {"formats": formats}
        assert self.written(folder, asked, **route) == names

    def test_a_report_on_controls_has_them(self, folder: Path) -> None:
        assert run(folder, {"generateReport": "oscal"})["compliance"] is not None
        document = json.loads((folder / "assessment" / "report.oscal.json").read_text())
        assert len(document["assessment-results"]["results"]) == 5


class TestSaveResults:
    def rows(self, folder: Path, number: int) -> list[tuple[Any, ...]]:
        with sqlite3.connect(folder / f"{number}.db") as database:
            query = """SELECT assessment_id, score, high_count, report IS NULL, scope = ?,
                (SELECT count(*) FROM assessment_findings f WHERE f.assessment_id = r.assessment_id)
                FROM assessment_results r"""
            return database.execute(query, [SUMMARY_SCOPE]).fetchall()

    def test_without_it_the_row_keeps_the_numbers_alone(self, folder: Path) -> None:
        kept = run(folder, {"id": "kept"})
        gone = run(folder, {"id": "unkept", "saveResults": False})
        assert [each["rule"] for each in gone["findings"]] == [each["rule"] for each in kept["findings"]]
        score, high, found = kept["score"]["value"], kept["score"]["counts"]["high"], len(kept["findings"])
        assert self.rows(folder, 0) == [("kept", score, high, 0, 0, found)]
        assert self.rows(folder, 1) == [("unkept", score, high, 1, 1, 0)]
        assert [b"AC-511" in (folder / f"{each}.db").read_bytes() for each in (0, 1)] == [True, False]


class TestIncludeDetails:
    def test_without_them_there_are_counts_and_failures_and_no_evidence(self, folder: Path) -> None:
        full, brief = (
            run(folder, {"id": "one", "checkCompliance": True, "includeDetails": each}) for each in (True, False)
        )
        assert brief["score"] == full["score"]
        assert {each["evidence"] for each in full["findings"]} != {None}
        assert {each["evidence"] for each in brief["findings"]} == {None}
        assert [each["fingerprint"] for each in brief["findings"]] == [each["fingerprint"] for each in full["findings"]]
        assert {each["status"] for each in brief["outcomes"]} == {"fail"}
        assert brief["compliance"]["counts"] == full["compliance"]["counts"]
        assert {each["status"] for each in brief["compliance"]["controls"]} == {"not_satisfied"}
        assert [each["evidence"] for each in brief["compliance"]["controls"] if each["evidence"]] == []
        for framework in brief["compliance"]["frameworks"]:
            assert {each["status"] for each in framework["requirements"]} <= {"not_satisfied"}

    def test_nor_in_any_report(self, folder: Path) -> None:
        formats = ["html", "json", "sarif", "oscal", "legacy"]
        evidence = {
            each["evidence"] for each in run(folder, {"checkCompliance": True, "generateReport": formats})["findings"]
        } - {None}
        assert evidence
        told = "".join(each.read_text() for each in (folder / "assessment").iterdir())
        assert all(each in told for each in evidence)
        run(folder, {"checkCompliance": True, "generateReport": formats, "includeDetails": False})
        told = "".join(each.read_text() for each in (folder / "assessment").iterdir())
        assert [each for each in evidence if each in told] == []
        assert "relevant-evidence" not in told


class TestWaivers:
    def waived(self, folder: Path, now: str = NOW) -> dict[str, Any]:
        (folder / "waivers.yaml").write_text(WAIVERS)
        return run(folder, {"checkCompliance": True}, controls={"with": {"waivers": "waivers.yaml", "now": now}})

    def test_what_is_covered_does_not_count_and_every_waiver_is_told_of(self, folder: Path) -> None:
        before, after = run(folder, {}), self.waived(folder)
        assert after["score"]["value"] == before["score"]["value"] + 20
        assert after["score"]["counts"]["high"] == before["score"]["counts"]["high"] - 1
        (waived,) = [each for each in after["findings"] if each["waived"]]
        assert (waived["rule"], waived["waiver"]["owner"]) == ("AC-511", "ada@example.org")
        assert [(each["line"], each["state"], each["matched"]) for each in after["waivers"]] == [
            (2, "applied", 1),
            (7, "expired", 1),
            (8, "unmatched", 0),
        ]
        assert statuses(after)["containers-are-closed"] == "waived"
        assert statuses(after)["secrets-kept-out"] == "not_satisfied"
        assert {each["status"] for each in after["outcomes"] if each["server"] == "b"} == {"pass", "waived"}

    def test_the_clock_of_the_environment_decides(self, folder: Path) -> None:
        late, early = self.waived(folder, "2027-01-01T00:00:00Z"), self.waived(folder, "2026-01-01T00:00:00Z")
        assert [each["state"] for each in late["waivers"]] == ["expired"] * 3
        assert [each["state"] for each in early["waivers"]] == ["applied", "applied", "unmatched"]
        assert statuses(late)["containers-are-closed"] == "not_satisfied"


class TestTestingEnvironment:
    def test_its_clock_stands_still(self, folder: Path, assess: Assess, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "config").mkdir()
        shutil.copy(ROOT / "config" / "testing.yaml", folder / "config")
        (folder / "waivers.yaml").write_text(WAIVERS)
        arguments = ("--env", "testing", "--id", "one", "--no-reports", "--compliance", "--waivers", "waivers.yaml")
        first, again = (assess(*arguments, "--format", "oscal") for _ in range(2))
        assert first.out == again.out
        assert "2026-01-01T00:00:00.000000Z" in first.out
        states = [each["state"] for each in assess(*arguments, "--json").json()["waivers"]]
        assert states == ["applied", "applied", "unmatched"]
        monkeypatch.setenv("AUTOCODER_TEST_NOW", "2027-01-01T00:00:00Z")
        states = [each["state"] for each in assess(*arguments, "--json").json()["waivers"]]
        assert states == ["expired"] * 3


class TestCommand:
    def test_waivers_open_a_gate_until_they_expire(self, folder: Path, assess: Assess) -> None:
        write(folder / ".mcp.json", servers(b=ROOTED))
        (folder / "w.yaml").write_text(WAIVERS.replace("2026-12-31", "9000-12-31"))
        (folder / "old.yaml").write_text(WAIVERS.replace("2026-12-31", "2020-12-31"))
        quiet = ("--fail-on", "high", "--no-reports")
        assert assess(*quiet).code == 1
        opened = assess(*quiet, "--waivers", "w.yaml")
        assert opened.code == 0
        assert "1 finding waived, not counted" in opened.out
        assert "waiver w.yaml:8 (AC-601) matches nothing" in opened.out
        closed = assess(*quiet, "--waivers", "old.yaml")
        assert closed.code == 1
        assert "waiver old.yaml:2 (AC-511, server b) expired on 2020-12-31, 1 finding counts again" in closed.out

    def test_what_is_waived_is_not_known_to_a_baseline(self, folder: Path, assess: Assess) -> None:
        write(folder / ".mcp.json", servers(b=ROOTED))
        (folder / "w.yaml").write_text(WAIVERS.replace("2026-12-31", "9000-12-31"))
        assess("--waivers", "w.yaml", "--write-baseline", "known.json", "--no-reports")
        assert assess("--baseline", "known.json", "--fail-on", "high", "--no-reports").code == 1

    def test_a_broken_file_is_told_with_its_line_before_anything_is_assessed(
        self, folder: Path, assess: Assess
    ) -> None:
        (folder / "w.yaml").write_text("waivers:\n  - rule: AC-9\n")
        (folder / "m.yaml").write_text("framework: x\n")
        answer = assess("--waivers", "w.yaml")
        assert (answer.code, answer.out) == (78, "")
        assert "w.yaml:2:5: waivers.0.justification is missing" in answer.err
        answer = assess("--mapping", "m.yaml")
        assert answer.code == 78
        assert "m.yaml:1:1: version is missing" in answer.err
        answer = assess("--framework", "iso-9001")
        assert answer.code == 78
        assert "there is no framework 'iso-9001'; did you mean 'iso-27001'?" in answer.err
        assert not (folder / "assessment").exists()

    def test_controls_as_a_table(self, folder: Path, assess: Assess) -> None:
        answer = assess("--framework", "owasp-mcp-top-10", "--no-reports")
        assert "Controls (28)" in answer.out
        assert "OWASP MCP Top 10 2025: " in answer.out
        assert "not satisfied: secrets-kept-out: " in answer.out
        assert "not assessed: activity-is-recorded: no rule judges it" in answer.out
        assert "ISO/IEC" not in answer.out
        assert "Controls" not in assess("--no-reports").out

    @pytest.mark.parametrize("form", ["oscal", "legacy"])
    def test_the_formats_go_to_standard_output_and_to_files(self, folder: Path, assess: Assess, form: str) -> None:
        answer = assess("--format", form, "--report", form)
        printed = answer.json()
        assert json.loads((folder / "assessment" / f"report.{form}.json").read_text()) == printed
        assert ("assessment-results" in printed) is (form == "oscal")

    def test_no_reports_needs_no_folder_that_can_be_written(self, folder: Path, assess: Assess) -> None:
        (folder / "assessment").write_text("mine")
        assert assess().code == 1
        assert assess("--no-reports").code == 0
