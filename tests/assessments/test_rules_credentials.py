"""The rules on credentials and personal data: each finds its kind of thing, leaves its neighbours alone, shows no secret."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from autocoder_components.assessments.discover import discover, load
from autocoder_components.assessments.model import Request, Severity
from autocoder_components.assessments.rules import RuleOptions, check_security
from hypothesis import given
from hypothesis import strategies as st

from tests.assessments.judging import GITHUB, HEX, NPX, SALT, Parts, judge, places, rules, server


def token(**claims: object) -> str:
    parts = [{"alg": "HS256"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"env": {"GITHUB_TOKEN": GITHUB}}, "/env/GITHUB_TOKEN"),
        ({"env": {"WHATEVER": GITHUB}}, "/env/WHATEVER"),
        ({"env": {"SERVICE_API_KEY": HEX}}, "/env/SERVICE_API_KEY"),
        ({"env": {"SERVICE_API_KEY": "0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0"}}, "/env/SERVICE_API_KEY"),
        ({"env": {"SMTP_PASSWORD": "hunter2"}}, "/env/SMTP_PASSWORD"),
        ({"env": {"DATABASE_URL": "postgres://app:s3cr3t@db.example.net/app"}}, "/env/DATABASE_URL"),
        ({"env": {"CONN": "Server=x;User Id=sa;Password=s3cr3t;"}}, "/env/CONN"),
        ({"env": {"HEADERS": '{"Authorization": "Bearer abc123def456"}'}}, "/env/HEADERS"),
        ({"env": {"KEY": "-----BEGIN RSA PRIVATE KEY-----\nMIIE"}}, "/env/KEY"),
        ({"env": {"TELEGRAM_API_HASH": HEX}}, "/env/TELEGRAM_API_HASH"),
        ({"headers": {"Authorization": "Bearer my-gateway-token-17"}}, "/headers/Authorization"),
        ({"headers": {"Authorization": "Basic " + base64.b64encode(b"ada:s3cr3t").decode()}}, "/headers/Authorization"),
        ({"headers": {"x-service-api-key": "abc123def456"}}, "/headers/x-service-api-key"),
        ({"url": "https://ada:s3cr3t@x.example/mcp"}, "/url"),
        ({"url": "https://x.example/mcp?api_key=abc123def456"}, "/url"),
        ({"url": f"https://x.example/hooks/{HEX}/mcp"}, "/url"),
        ({"args": ["--token", HEX]}, "/args/1"),
        ({"args": [f"--api-key={HEX}"]}, "/args/0"),
        ({"args": ["start", "napi_" + "a1b2" * 12]}, "/args/1"),
        ({"args": [f'API_KEY="{HEX}"']}, "/args/0"),
        ({"args": ["--config", json.dumps(json.dumps({"serviceApiKey": "abc123def456"}))]}, "/args/1"),
        ({"args": ["--header", f"Authorization: Bearer {HEX}"]}, "/args/1"),
        ({"args": ["mongodb+srv://ada:s3cr3t@cluster.example.net/db"]}, "/args/0"),
        ({"settings": {"token": GITHUB}}, "/settings/token"),
        ({"command": "mysql-mcp", "args": ["-uroot", "-phunter2"]}, "/args/1"),
        ({"command": "docker", "args": ["compose", "run", "-e", "ADMIN_PW=hunter2", "mcp"]}, "/args/3"),
        (
            {"env": {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0AB12/B0AB12/" + HEX}},
            "/env/SLACK_WEBHOOK_URL",
        ),
        ({"env": {"X": f"https://discord.com/api/webhooks/123456789/{HEX}"}}, "/env/X"),
    ],
)
def test_a_credential_is_found_and_not_shown(parts: Parts, pointer: str) -> None:
    parts = parts if "url" in parts or "headers" in parts else {"command": "x", **parts}
    findings = server(**parts)
    assert pointer in places(findings, "AC-301")
    shown = json.dumps([[f.message, f.evidence, f.remedy] for f in findings])
    for secret in (GITHUB, HEX, "s3cr3t", "hunter2", "abc123def456", "my-gateway-token-17", "a1b2a1b2", "MIIE"):
        assert secret not in shown


@pytest.mark.parametrize(
    "parts",
    [
        {"env": {"API_TOKEN": "${API_TOKEN}", "B": "$TOKEN", "C": "{env:TOKEN}", "D": "op://vault/item/token"}},
        {
            "env": {
                "API_TOKEN": "YOUR_API_TOKEN",
                "API_KEY": "sk-your-key",
                "SECRET": "changeme",
                "KEY": "ghp_xxxxxxxxxxxx",
            }
        },
        {"env": {"API_TOKEN": ""}},
        {
            "env": {
                "MAX_TOKENS": "4096",
                "MODEL": "sonar-reasoning-pro",
                "AUTH_TYPE": "oauth",
                "TOKEN_STORAGE": "filesystem",
            }
        },
        {"env": {"GOOGLE_APPLICATION_CREDENTIALS": "./credentials.json", "KEY_FILE": "/run/secrets/key"}},
        {"env": {"NODE_OPTIONS": "--max-old-space-size=4096", "COLOUR": "#3B82F6", "SINCE": "2025-12-27T16:27:00Z"}},
        {"env": {"CONN": "Server=x;Trusted_Connection=True;"}},
        {"env": {"COMMIT": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c"}},
        {"headers": {"X-Toolsets": "repos,issues,secret_protection"}},
        {"headers": {"Authorization": "Bearer ${TOKEN}"}},
        {"url": "https://x.example/mcp?project_ref=abcdefghijklmnopqrst"},
        {"args": ["--tools=web_search_exa,deep_search_exa,get_code_context_exa"]},
        {"args": ["-e", "GITHUB_PERSONAL_ACCESS_TOKEN"]},
        {"env": {"KEY": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIX1X1X1X1X1X1X1X1 ada"}},
        {"args": ["--commit", "9fceb02d0ae598e95dc970b74767f19372d61af8"]},
        {"args": ["--project-id", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"]},
        {"args": ["--tenant", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"]},
        {"args": ["--keys", "ctrl-a,ctrl-b"]},
        {"args": ["-p", "8080:8080", "-path", "x", "--user", "1000:1000", "-u", "node:node"]},
        {"env": {"PUBLIC_KEY": "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="}},
    ],
)
def test_what_is_no_credential_is_not_called_one(parts: Parts) -> None:
    assert "AC-301" not in rules(server(**({"command": "x"} | parts)))


@given(st.text(alphabet=st.sampled_from("abcdefghkmnpqrstuvw23456789ABCDEFGH"), min_size=24, max_size=60))
def test_no_finding_holds_the_value_of_a_credential(value: str) -> None:
    value = f"q7{value}"
    findings = judge(
        {
            "mcpServers": {
                "s": {
                    "command": f"npx --token={value} --x",
                    "args": ["-c", f"echo {value} | sh", "--password", value, f"/home/ada/{value}?token={value}"],
                    "env": {"API_KEY": value, "PGPASSWORD": value, "X": f"http://ada:{value}@10.0.0.1/"},
                    "url": f"http://x.example/{value}?key={value}",
                    "headers": {"Authorization": f"Bearer {value}"},
                }
            }
        }
    )
    named = [f for f in findings if f.rule == "AC-301"]
    assert len(named) >= 6
    for finding in named:
        assert value not in f"{finding.message}{finding.evidence}{finding.remedy}"


def test_the_same_credential_has_the_same_hash_under_one_salt_only() -> None:
    config = {"mcpServers": {"s": {**NPX, "env": {"A_TOKEN": GITHUB, "B_TOKEN": GITHUB}}}}

    def evidence(salt: bytes) -> set[str | None]:
        return {f.evidence for f in judge(config, options=RuleOptions(salt=salt)) if f.rule == "AC-301"}

    assert len(evidence(SALT)) == 1
    assert evidence(SALT).isdisjoint(evidence(b"another"))
    assert next(iter(evidence(SALT)) or "").startswith("ghp_…(40 chars)") if evidence(SALT) else False


@pytest.mark.parametrize(
    ("args", "pointer"),
    [
        (["--token", HEX], "/args/0"),
        (["--config", json.dumps({"apiKey": "abc123def456"})], "/args/0"),
        ([f"--token={HEX}"], "/args/0"),
        (["x", GITHUB], "/args/1"),
        (["run", "-e", "API_TOKEN=REDACTED", "i:1"], "/args/2"),
    ],
)
def test_credentials_on_command_lines(args: list[str], pointer: str) -> None:
    assert pointer in places(server(command="docker", args=args), "AC-302")


def test_a_reference_on_a_command_line_is_information() -> None:
    findings = server(command="x", args=["--token", "${TOKEN}"])
    assert [f.severity for f in findings if f.rule == "AC-302"] == [Severity.INFO]


def test_tokens_without_an_end() -> None:
    forever = server(**NPX, env={"A_TOKEN": token(sub="x")})
    short = server(**NPX, env={"A_TOKEN": token(sub="x", exp=1)})
    assert "AC-303" in rules(forever)
    assert "AC-303" not in rules(short)


@pytest.mark.parametrize(
    ("value", "personal"),
    [
        ("ada.lovelace@example.org", True),
        ("mail to ada.lovelace@example.org please", True),
        ("your-email@example.org", False),
        ("noreply@example.org", False),
        ("git@github.com:a/b.git", False),
        ("bot@project.iam.gserviceaccount.com", False),
        ("pkg@1.2.3", False),
    ],
)
def test_personal_data(value: str, *, personal: bool) -> None:
    assert ("AC-304" in rules(server(**NPX, env={"X": value}))) is personal


def test_a_client_that_can_ask_is_told_so() -> None:
    config = {"servers": {"s": {"command": "x", "env": {"A_TOKEN": GITHUB}}}}
    assert "AC-305" in rules(judge(config, ".vscode/mcp.json"))
    assert "AC-305" not in rules(judge(config, ".cursor/mcp.json"))


@pytest.mark.parametrize(
    ("mode", "config", "severity"),
    [
        (0o644, {"mcpServers": {"s": {**NPX, "env": {"A_TOKEN": GITHUB}}}}, Severity.MEDIUM),
        (0o644, {"mcpServers": {"s": NPX}}, None),
        (0o600, {"mcpServers": {"s": {**NPX, "env": {"A_TOKEN": GITHUB}}}}, None),
        (0o666, {"mcpServers": {"s": NPX}}, Severity.HIGH),
    ],
)
def test_permissions_of_the_file(tmp_path: Path, mode: int, config: object, severity: Severity | None) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps(config))
    path.chmod(mode)
    target = discover(Request("a", (str(path),))).targets[0]
    document = load(target).document
    assert document is not None
    found = [f.severity for f in check_security(target, document) if f.rule == "AC-307"]
    assert found == ([severity] if severity else [])
    assert not [f for f in check_security(target, document, RuleOptions(check_files=False)) if f.rule == "AC-307"]
