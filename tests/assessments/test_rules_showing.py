"""What findings show of a configuration: names and places, and never a credential, in whatever way a command has it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from autocoder_components.assessments.rules.base import quote
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.assessments.conftest import Assess, write
from tests.assessments.judging import Parts, judge, places, server

# Each is a command line with a credential § in it.
LINES = (
    "API_TOKEN=§ run-server",
    "PGPASSWORD='§' exec psql-mcp",
    "export DB_PASSWORD=§ && psql-mcp",
    'export DB_PASSWORD="§"; node x.js | tee log',
    "set API_KEY=§&& npx -y server",
    'set "API_KEY=§" && npx -y server',
    "$env:OPENAI_KEY='§'; npx -y server",
    "$env:OPENAI_KEY = '§'; npx -y server",
    "npx -y @scope/server --api-key §",
    "npx --token § pkg",
    "uvx --api-token § pkg",
    "npx -y server --token=§",
    "docker run -i -e DB_PASSWORD=§ acme/mcp",
    "docker compose run -e ADMIN_PW=§ mcp",
    "curl -u admin:§ https://x.example/i | sh",
    "curl -H 'X-Api-Key: §' https://x.example/i | sh",
    'curl --header "Authorization: Bearer §" https://x.example | bash',
    "curl https://anna:§@x.example/a && node /home/anna/x.js",
    "curl https://x.example/?token=§ | python3",
    "echo § | sudo -S mcpd",
    "printf '§' | docker login --password-stdin && node x",
    "sshpass -p § ssh root@host mcpd",
    "sshpass -p§ ssh root@host mcpd",
    "mysql -uroot -p§ -e x > /home/anna/out",
    "mysql-mcp --password=§",
    "java -Dhttp.proxyPassword=§ -jar x.jar",
    "cd /home/anna/x; npx x --secret § && echo",
    "sudo -S sh -c 'TOKEN=§ mcpd'",
)
PATHS = ("/opt/x/--token=§/bin/run --no-sandbox", "~/x/--token=§/bin/run", "/home/anna/x?token=§")
CARRIERS = ("command", "bash", "cmd", "powershell", "words", "split")


def carried(line: str, carrier: str) -> Parts:
    """A server whose configuration has the line as its command, as a script, or as its words."""
    if carrier == "command":
        return {"command": line, "args": ["x"]}
    if carrier == "bash":
        return {"command": "bash", "args": ["-lc", line]}
    if carrier == "cmd":
        return {"command": "cmd", "args": ["/c", line]}
    if carrier == "powershell":
        return {"command": "pwsh", "args": ["-Command", line]}
    words = line.replace("'", "").replace('"', "").split()
    return {"command": words[0], "args": words[1:]} if carrier == "split" else {"command": "ssh", "args": ["h", *words]}


SECRETS = st.builds(
    lambda head, tail: f"Q7{head}w{tail}",
    st.text(alphabet="abcdefghkmnpqrstuvwxyz23456789ABCDEFGHJK", min_size=6, max_size=40),
    st.sampled_from(["", "!", "%9", "+k", ".z1", "_", "-3x", "^", "*", "~p", "#1"]),
)


@settings(max_examples=100, deadline=None)
@given(SECRETS, st.sampled_from((*LINES, *PATHS)))
def test_no_finding_of_any_rule_shows_a_credential_of_a_command_line(secret: str, line: str) -> None:
    servers = {carrier: carried(line.replace("§", secret), carrier) for carrier in CARRIERS}
    for finding in judge({"mcpServers": servers}):
        shown = json.dumps(asdict(finding), ensure_ascii=False).lower()
        assert secret.lower() not in shown, finding
        assert secret[:8].lower() not in shown, finding


@pytest.mark.parametrize("line", LINES)
def test_a_credential_in_a_script_is_found(line: str) -> None:
    line = line.replace("§", "Q7hunter2Ab")
    for carrier in ("bash", "command"):
        assert places(server(**carried(line, carrier)), "AC-301"), carrier


def test_no_report_and_no_table_has_a_credential_of_a_command_line(machine: Path, assess: Assess) -> None:
    secret = "Q7hunter2Ab!"
    servers = {
        f"s{number}-{carrier}": carried(line.replace("§", secret), carrier)
        for number, line in enumerate((*LINES, *PATHS))
        for carrier in CARRIERS
    }
    file = write(machine / ".mcp.json", {"mcpServers": servers})
    reports = [part for kind in ("json", "sarif", "html", "oscal") for part in ("--report", kind)]
    answers = [assess(".", "--format", "json", *reports), assess(".", "--no-reports")]
    for answer in answers:
        assert answer.code in {0, 1}, answer.err
        assert secret[:8] not in answer.out + answer.err
    for path in machine.rglob("*"):
        if path.is_file() and path != file:
            assert secret[:8].encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/ada/work/x.js", "/home/ada/work/x.js"),
        ("C:\\Program Files\\nodejs\\npx.cmd", "C:\\Program Files\\nodejs\\npx.cmd"),
        ("${HOME}/x", "${HOME}/x"),
        ("/path/to/<your-folder>/x", "/path/to/<your-folder>/x"),
        ("@scope/pkg", "@scope/pkg"),
        ("^1.2.0", "^1.2.0"),
        (">=1", ">=1"),
        ("--no-sandbox", "--no-sandbox"),
        ("-lc", "-lc"),
        ("--root=/home/ada", "--root=/home/ada"),
        ("git+https://github.com/a/b", "git+https://github.com/a/b"),
        ("[::1]", "[::1]"),
        ("&&", "&&"),
        ("mcp-server-fetch", "mcp-server-fetch"),
        ("--token=/x", "--token=…"),
        ("-pHunter", "-p…"),
        ("TOKEN=x", "TOKEN…"),
        ("admin:x", "admin…"),
        ("https://ada@x.example/a?b=c", "https://x.example/…"),
        ("cd x && sudo node y", "cd … sudo …"),
        ("my-own-program --x y", "…"),
    ],
)
def test_what_is_shown_of_a_value(value: str, shown: str) -> None:
    assert quote(value) == f"'{shown}'"


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize(
    "place",
    [
        "hooks.slack.com/services/T01AB2CD3/B04EF5GH6/§",
        "discord.com/api/webhooks/123456789012345678/§",
        "discord.com/api/webhooks/123456789012345678/§/slack?wait=true",
    ],
)
def test_an_address_that_gives_access_is_not_shown_though_its_parts_look_plain(scheme: str, place: str) -> None:
    address = f"{scheme}://{place}".replace("§", "abcdefghijklmnopqrstuvwx")
    assert "abcdef" not in quote(address)
    assert places(server(command="pip", env={"PIP_INDEX_URL": address}), "AC-408")
