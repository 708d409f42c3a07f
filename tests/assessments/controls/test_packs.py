"""Rule packs and mappings: those that come with the pack hold together, and one's own are told what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pytest
from autocoder_components.assessments.controls.documents import MOST_BYTES, MOST_DEPTH, ControlsError, parse
from autocoder_components.assessments.controls.packs import load_catalogue, token_of
from autocoder_components.assessments.rules import CATALOGUE, KINDS
from hypothesis import given
from hypothesis import strategies as st

OWN = """\
rule_pack: acme
version: "3"
title: What Acme promises
controls:
  no-curl:
    title: Nothing is downloaded at the start
    statement: See the handbook.
    rules: [AC-503]
"""
MAPPING = """\
framework: acme-handbook
version: 2026-11-01
title: Handbook
requirements:
  H.1: [no-curl, secrets-kept-out]
  H.2: []
"""


def file(folder: Path, text: str, name: str = "own.yaml") -> Path:
    path = folder / name
    path.write_text(dedent(text))
    return path


def told(folder: Path, *paths: Path, frameworks: Sequence[str] | None = None) -> list[str]:
    with pytest.raises(ControlsError) as caught:
        load_catalogue(paths, frameworks)
    assert caught.value.exit_code == 78
    return [str(each).replace(f"{folder}/", "") for each in caught.value.problems]


class TestShipped:
    def test_they_hold_together(self) -> None:
        catalogue = load_catalogue()
        assert [each.framework for each in catalogue.frameworks] == [
            *("cis-controls", "iso-27001", "nist-800-53", "owasp-mcp-top-10")
        ]
        asked = {name for each in catalogue.frameworks for names in each.requirements.values() for name in names}
        assert asked == set(catalogue.controls), "every control is asked for by a framework"

    def test_each_rule_that_finds_something_wrong_has_a_control(self) -> None:
        used = {rule for each in load_catalogue().controls.values() for rule in each.rules}
        left = {rule for rule, kind in KINDS.items() if rule not in used and kind is not None}
        # What only advises: a misspelt request, style, what one client tolerates, remarks of a probe.
        assert left == {
            *("AC-001", "AC-103", "AC-104", "AC-201", "AC-210", "AC-214", "AC-217", "AC-219", "AC-306"),
            *("AC-807", "AC-814", "AC-817", "AC-903", "AC-909"),
        } & set(CATALOGUE)

    def test_where_a_rule_names_an_item_of_the_top_ten_the_mapping_agrees(self) -> None:
        catalogue = load_catalogue(frameworks=["owasp-mcp-top-10"])
        (mapping,) = catalogue.frameworks
        rules_of = {
            name: {rule for control in controls for rule in catalogue.controls[control].rules}
            for name, controls in mapping.requirements.items()
        }
        used = {rule for rules in rules_of.values() for rule in rules}
        for rule in CATALOGUE.values():
            if rule.owasp is not None and rule.id in used:
                assert rule.id in rules_of[rule.owasp], rule.id


class TestOwn:
    def test_controls_and_a_mapping_of_ones_own(self, tmp_path: Path) -> None:
        paths = [file(tmp_path, OWN), file(tmp_path, MAPPING, "handbook.yaml")]
        catalogue = load_catalogue(paths, ["acme-handbook"])
        assert [each.framework for each in catalogue.frameworks] == ["acme-handbook"]
        assert catalogue.frameworks[0].version == "2026-11-01"
        assert catalogue.controls["no-curl"].rules == ["AC-503"]
        assert len(load_catalogue(paths).frameworks) == 5

    def test_a_mapping_takes_the_place_of_a_shipped_one(self, tmp_path: Path) -> None:
        own = file(tmp_path, MAPPING.replace("acme-handbook", "iso-27001").replace("no-curl, ", ""))
        (found,) = load_catalogue([own], ["iso-27001"]).frameworks
        assert list(found.requirements) == ["H.1", "H.2"]

    def test_every_problem_of_every_file_at_once(self, tmp_path: Path) -> None:
        broken = file(
            tmp_path,
            """\
            rule_pack: Mine
            version: ""
            title: t
            contrls: {}
            controls:
              ok: {title: t, statement: s, rules: AC-301, subject: machines}
            """,
        )
        assert told(tmp_path, broken, file(tmp_path, "- 1\n", "list.yaml"), tmp_path / "gone.yaml") == [
            "gone.yaml: cannot be read: No such file or directory; check the path",
            "list.yaml:1:1: is neither a rule pack (`rule_pack: name`) nor a mapping (`framework: name`)",
            "own.yaml:1:12: rule_pack: string should match pattern '^[a-z][a-z0-9.\\-]{0,63}$'",
            "own.yaml:2:10: version: string should have at least 1 character",
            "own.yaml:4:1: there is no field 'contrls' here; did you mean 'controls'?",
            "own.yaml:6:39: controls.ok.rules: input should be a valid list",
            "own.yaml:6:56: controls.ok.subject: input should be 'servers' or 'files'",
        ]

    def test_what_is_not_there_is_told_with_what_may_be_meant(self, tmp_path: Path) -> None:
        own = file(tmp_path, OWN.replace("AC-503", "AC-301, AC-5O3"))
        mapping = file(tmp_path, MAPPING.replace("no-curl", "no-crul"), "map.yaml")
        assert told(tmp_path, own, mapping) == [
            "map.yaml:5:9: there is no control 'no-crul'; did you mean 'no-curl'?",
            "own.yaml:8:21: there is no rule 'AC-5O3'; did you mean 'AC-523' or 'AC-513' or 'AC-503'?",
        ]
        assert told(tmp_path, frameworks=["iso-27002"]) == [
            "frameworks: there is no framework 'iso-27002'; did you mean 'iso-27001'?"
        ]

    def test_an_id_that_is_taken(self, tmp_path: Path) -> None:
        own = file(tmp_path, OWN.replace("no-curl", "secrets-kept-out"))
        assert told(tmp_path, own) == [
            "own.yaml:5:3: the control 'secrets-kept-out' is there already; choose another id; mcp-clients.yaml has it"
        ]
        twice = [file(tmp_path, MAPPING.replace("no-curl, ", ""), name) for name in ("a.yaml", "b.yaml")]
        assert told(tmp_path, *twice) == ["b.yaml:1:12: two files map 'acme-handbook'"]

    def test_two_requirements_that_oscal_would_not_tell_apart(self, tmp_path: Path) -> None:
        own = file(tmp_path, MAPPING.replace("no-curl, ", "").replace("H.2", "h.1"))
        assert told(tmp_path, own) == ["own.yaml:6:3: 'h.1' and 'H.1' would have one name in OSCAL"]

    def test_what_nobody_sees_is_refused(self, tmp_path: Path) -> None:
        own = file(tmp_path, OWN.replace("What Acme", "What \u202eAcme"))
        assert told(tmp_path, own) == ["own.yaml:3:8: title: holds a character that nobody sees; take it out"]


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "f.yaml: is empty"),
            ("a: [1", "f.yaml:1:6: is no valid YAML"),
            ("a: 1\na: 2\n", "f.yaml:2:1: 'a' is there twice"),
            ("a: &x 1\nb: *x\n", "f.yaml:1:4: anchors and aliases are not understood"),
            ("a: \x07\n", "f.yaml:1:4: a control character is no YAML text"),
            ("[" * 5000, f"f.yaml:1:{MOST_DEPTH + 1}: is nested deeper than {MOST_DEPTH} levels"),
            ("? [a]\n: b\n", "f.yaml:1:3: a key must be text"),
            ("a: 1\n--- \nb: 2\n", "f.yaml:2:1: is no valid YAML"),
        ],
    )
    def test_what_cannot_be_read_is_told_with_its_place(self, text: str, said: str) -> None:
        with pytest.raises(ControlsError) as caught:
            parse(text, "f.yaml")
        assert str(caught.value).startswith(said)

    def test_nothing_is_more_than_text(self) -> None:
        text = "a: 2026.11\nb: yes\nc: 2026-11-21\nd: !!python/object/apply:os.system [x]\n"
        value, _ = parse(text, "f")
        assert value == {"a": "2026.11", "b": "yes", "c": "2026-11-21", "d": ["x"]}

    def test_a_file_that_is_too_large_or_no_text(self, tmp_path: Path) -> None:
        large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
        large.write_bytes(b"#" * (MOST_BYTES + 1))
        binary.write_bytes(b"a: b\nc: \xff\n")
        assert told(tmp_path, large, binary) == [
            "binary.yaml:2:1: is no UTF-8 text; save it as UTF-8",
            f"large.yaml: is larger than {MOST_BYTES:,} bytes; split the file",
        ]

    @given(st.text(max_size=60))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            parse(text, "f")
        except ControlsError as error:
            assert error.problems


@pytest.mark.parametrize(
    ("name", "token"),
    [("IA-5(7)", "ia-5.7"), ("MCP01:2025", "mcp01-2025"), ("A.5.17", "a.5.17"), ("3.11", "_3.11"), ("x_1", "x_1")],
)
def test_an_identifier_as_a_token(name: str, token: str) -> None:
    assert token_of(name) == token
