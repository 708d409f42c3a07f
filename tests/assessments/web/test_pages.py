"""The pages as they are sent: nothing that comes from outside becomes markup, and nobody reads without having logged in."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.reports.text import visible
from autocoder_components.assessments.web.markup import LONGEST, Html, element, joined, said, text
from autocoder_components.assessments.web.verdict import MOST_FINDINGS, MOST_LINES, verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.assessments.conftest import ROOTED, UNPINNED, servers, write
from tests.assessments.lifecycle.shipped import serve as run_pipeline
from tests.assessments.web.conftest import PREFIX, TOKEN, Served, completed, serving

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&lt;\u202e\x00\x1b[31m javascript:alert(3)"


NAME = "".join(filter(str.isprintable, HOSTILE))
"""As much of it as the name of a server may have."""


class Page(HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands there twice: {attrs}"
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "br", "hr", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@given(st.text(), st.text())
def test_no_text_becomes_markup(content: str, attribute: str) -> None:
    page = Page(element("p", content, said(content), title=attribute, data_x=attribute))
    assert [tag for tag, _ in page.tags] == ["p", "bdi"]
    assert page.text == 2 * _shown(content)
    assert page.tags[0][1] == {"title": _shown(attribute), "data-x": _shown(attribute)}
    assert page.open == []


def _shown(content: str) -> str:
    seen = visible(content)
    return seen if len(seen) <= LONGEST else f"{seen[: LONGEST - 1]}…"


def test_what_is_put_together_from_markup_is_text_again() -> None:
    made = element("b", "x")
    assert isinstance(made, Html) and text(made) is made
    assert text(f"{made}!") == "&lt;b&gt;x&lt;/b&gt;!", "joining strings loses the mark, so it is escaped"
    assert joined([made, "<", None, 7]) == "<b>x</b>&lt;7"
    assert element("p", title=Html('"<')) == '<p title="&quot;&lt;"></p>'
    assert element("input", required=True, checked=False, value=None) == "<input required>"


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)
REPORT = st.fixed_dictionaries(
    {"format": st.just("autocoder-assessment-report")},
    optional={
        "score": st.fixed_dictionaries(
            {
                "value": st.none() | st.integers(-5, 105),
                "coverage": st.floats(0, 1),
                "judged": st.integers(0, 9),
                "planned": st.integers(0, 9),
                "counts": st.dictionaries(st.sampled_from(["critical", "high", "info", "odd"]), st.integers(-1, 9)),
            }
        )
        | JSON,
        "findings": st.lists(
            st.fixed_dictionaries(
                {
                    "rule": st.text(),
                    "severity": st.sampled_from(["critical", "high", "medium", "low", "info"]),
                    "file": st.text(),
                    "line": st.integers(),
                    "column": st.integers(),
                    "server": st.none() | st.text(),
                    "message": st.text(),
                    "remedy": st.text(),
                    "evidence": st.none() | st.text(),
                }
            ),
            max_size=3,
        )
        | JSON,
        "outcomes": JSON,
    },
)


@pytest.mark.parametrize("status", [[], {}, 1, None])
def test_a_report_with_an_outcome_of_an_odd_status_is_shown_as_it_is(status: object) -> None:
    page = verdict({**REPORTED, "outcomes": [{"check": "status", "status": status}]})
    assert 'class="card json"' in page


@given(REPORT | st.dictionaries(st.text(), JSON))
def test_no_result_is_too_odd_to_be_shown(result: dict[str, Any]) -> None:
    """Results are imported from elsewhere: a report of ours, nearly one, or anything."""
    page = Page(verdict(result))
    allowed = "section h2 div p ul li span b bdi code pre svg circle text table thead tbody tr th td details summary"
    assert {tag for tag, _ in page.tags} <= set(allowed.split())
    assert page.open == []


REPORTED: dict[str, Any] = {
    "format": "autocoder-assessment-report",
    "version": 1,
    "score": {
        "value": 41,
        "coverage": 0.5,
        "judged": 1,
        "planned": 2,
        "counts": {"high": 1, "low": 1},
        "rule_pack": "1",
    },
    "findings": [
        {
            "rule": "AC-101",
            "severity": severity,
            "owasp": "MCP01:2025",
            "file": HOSTILE,
            "line": 3,
            "column": 5,
            "pointer": "",
            "server": HOSTILE,
            "message": HOSTILE,
            "remedy": HOSTILE,
            "evidence": HOSTILE,
            "fingerprint": "x",
            "new": True,
            "waived": False,
        }
        for severity in ("low", "high")
    ],
    "outcomes": [
        {"file": HOSTILE, "server": HOSTILE, "check": "status", "status": "error", "findings": [], "reason": HOSTILE},
        {"file": HOSTILE, "server": None, "check": "config", "status": "pass", "findings": [], "reason": None},
    ],
    "targets": [],
    "compliance": {
        "rule_packs": ["1"],
        "counts": {"satisfied": 0, "not_satisfied": 1, "waived": 0, "not_applicable": 0, "not_assessed": 2},
        "controls": [{"id": HOSTILE, "title": HOSTILE, "status": "not_satisfied", "reason": HOSTILE, "evidence": []}],
        "frameworks": [
            {
                "id": "x",
                "title": HOSTILE,
                "version": "1",
                "counts": {"not_satisfied": 1},
                "requirements": [{"id": HOSTILE, "status": "not_assessed", "controls": [], "reason": HOSTILE}],
            }
        ],
    },
    "waivers": [
        {
            "covers": HOSTILE,
            "state": "expired",
            "matched": 0,
            "justification": HOSTILE,
            "owner": HOSTILE,
            "expires": "2026-01-01",
        }
    ],
}


@pytest.mark.anyio
async def test_hostile_text_stays_text_wherever_it_is_shown(store: AssessmentStore, served: Served) -> None:
    odd_id = "\"><script>alert(1)</script>'&amp;"
    asked = {"id": odd_id, "paths": [HOSTILE.replace("\x00", "")], "server_filter": NAME}
    await store.create(asked)
    await store.start_processing(odd_id)
    await store.update_progress(odd_id, 50, HOSTILE.replace("\x00", ""))
    going = await served.client.get("/")
    place = next(each["href"] for each in Page(going.text).all("a") if "script" in str(each.get("href")))
    pages = [going, await served.client.get(str(place))]
    await store.complete(odd_id, REPORTED)
    await store.create({"id": "failed"})
    await store.start_processing("failed")
    await store.fail("failed", HOSTILE.replace("\x00", ""), retryable=False)
    await completed(store, "legacy", {HOSTILE: HOSTILE})
    pages += [await served.client.get(path) for path in (str(place), "/assessments/failed", "/assessments/legacy")]
    pages += [await served.client.get(f"/{HOSTILE.replace(chr(0), '').encode().hex()}<script>")]
    pages += [
        await served.client.get(f"/?{urlencode({'server': HOSTILE[:50]})}"),
        await served.client.get("/?state=<script>"),
    ]
    for answer in pages:
        page = Page(answer.text)
        (script,) = page.all("script")
        assert script.keys() == {"src", "defer"} and str(script["src"]).startswith("/static/")
        assert page.all("img") == page.all("style") == page.all("iframe") == []
        for tag, attributes in page.tags:
            assert not [each for each in attributes if each.startswith("on") or each == "style"], (tag, attributes)
            for name in ("href", "src", "action"):
                assert str(attributes.get(name, "/")).startswith(("/", "#")), (tag, attributes)
        assert "\u202e" not in answer.text and "\x1b" not in answer.text and "\x00" not in answer.text
        assert page.open == []
    assert "alert(2)" in Page(pages[2].text).text, "it is shown, as text"


@pytest.mark.anyio
async def test_of_a_large_result_no_more_is_made_than_a_page_shows(store: AssessmentStore, served: Served) -> None:
    low, high = ({**REPORTED["findings"][0], "severity": each, "fingerprint": each} for each in ("low", "high"))
    many = [*[low] * MOST_FINDINGS, high, {"severity": "low"}]
    passed = {"status": "pass", "of a later version": True}
    await completed(store, "many", {**REPORTED, "findings": many, "outcomes": [*REPORTED["outcomes"], passed]})
    page = Page((await served.client.get("/assessments/many")).text)
    items = [str(each.get("class")) for each in page.all("li") if str(each.get("class")).startswith("finding ")]
    assert len(items) == MOST_FINDINGS and items[:2] == ["finding high", "finding low"]
    assert "And 2 more; the JSON has all of them." in page.text
    assert "1 check came to no verdict" in page.text
    await completed(store, "odd", {"rows": ["x"] * 3 * MOST_LINES, "zebra": 1})
    text = Page((await served.client.get("/assessments/odd")).text).text
    assert text.count('"x"') == MOST_LINES - 1 and "…" in text and "zebra" not in text


@pytest.mark.anyio
async def test_one_assessment_is_told_whole(store: AssessmentStore, served: Served) -> None:
    await completed(store, "one", REPORTED)
    page = Page((await served.client.get("/assessments/one")).text)
    assert [each["aria-label"] for each in page.all("svg")] == ["Score 41 of 100"]
    assert "1 high finding to mend first." in page.text
    assert "50 % covered: 1 of 2 checks judged. Rules" in page.text
    items = [str(each.get("class")) for each in page.all("li")]
    assert [each for each in items if each.startswith("finding")] == ["finding high", "finding low"], "the worst first"
    assert re.search(r"Create\s+pending.*Start\s+pending becomes  → processing.*Complete", page.text, re.DOTALL)
    assert "1 check came to no verdict" in page.text
    assert "1 not satisfied, 2 not assessed. A control is satisfied only where" in page.text
    assert page.text.index("Waivers") < page.text.index("expired") < page.text.index("2026-01-01")
    assert "data-events" not in page.all("main")[0], "there is nothing to follow"
    await store.create({"id": "two"})
    (main,) = Page((await served.client.get("/assessments/two")).text).all("main")
    assert main["data-events"] == f"{PREFIX}/two/events"


@pytest.mark.anyio
async def test_what_the_pipeline_makes_is_shown_as_the_report_it_is(
    machine: Path, url: str, store: AssessmentStore, served: Served
) -> None:
    """A result whose shape had changed would be shown as JSON."""
    write(machine / ".mcp.json", servers(a=UNPINNED, b=ROOTED))
    await store.create({"id": "one", "paths": ["."], "type": "compliance"})
    await run_pipeline(url)
    page = Page((await served.client.get("/assessments/one")).text)
    state = await store.get_state("one", fresh=True)
    assert state.result is not None
    headings = [each for each in ("Verdict", "Findings", "Controls", "Timeline") if f"{each}" in page.text]
    assert headings == ["Verdict", "Findings", "Controls", "Timeline"]
    assert "Result" not in page.text
    shown = [each for each in page.all("li") if str(each.get("class")).startswith("finding ")]
    assert len(shown) == len(state.result["findings"]) > 1
    assert all(each["title"] in page.text for each in state.result["compliance"]["controls"])


@pytest.mark.anyio
async def test_a_page_of_what_is_not_there_is_a_page(served: Served) -> None:
    for path, status in (("/assessments/nobody", 404), ("/nothing", 404), ("/?limit=0", 400), ("/?after=x", 400)):
        answer = await served.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        page = Page(answer.text)
        assert page.all("main") and {"href": "/"} in page.all("a")
    wrong = await served.client.put("/")
    assert (wrong.status_code, sorted(wrong.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])


@pytest.mark.anyio
async def test_the_list_says_when_there_is_nothing_and_keeps_the_form(store: AssessmentStore, served: Served) -> None:
    first = Page((await served.client.get("/")).text)
    assert "No assessments yet" in first.text and "autocoder assessments create" in first.text
    await store.batch_create([{"id": f"n{at}", "server_filter": "git"} for at in range(3)])
    # As a browser sends a form in which only two fields were filled in.
    query = "state=failed&type=&source=&server=&since=2026-01-01T00%3A00&before="
    page = Page((await served.client.get(f"/?{query}")).text)
    assert "Nothing here" in page.text
    boxes = {str(each["value"]): "checked" in each for each in page.all("input") if each.get("type") == "checkbox"}
    assert boxes == {"pending": False, "processing": False, "completed": False, "failed": True, "cancelled": False}
    assert [each["value"] for each in page.all("input") if each.get("name") == "since"] == ["2026-01-01T00:00"]
    place: str | None = "/?limit=1&server=git&state=pending"
    seen = []
    while place is not None:
        page = Page((await served.client.get(place)).text)
        seen += [str(each["href"]) for each in page.all("a") if str(each["href"]).startswith("/assessments/")]
        place = next((str(each["href"]) for each in page.all("a") if each.get("rel") == "next"), None)
        assert place is None or "server=git" in place
    assert seen == ["/assessments/n2", "/assessments/n1", "/assessments/n0"]


@pytest.mark.anyio
async def test_files_of_the_pages_are_kept_for_ever_and_change_their_address(served: Served) -> None:
    page = Page((await served.client.get("/")).text)
    for place in [*(str(each["href"]) for each in page.all("link")), str(page.all("script")[0]["src"])]:
        answer = await served.client.get(place)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        digest = place.split("/")[2]
        assert (await served.client.get(place.replace(digest, digest[::-1]))).status_code == 404
    style = (await served.client.get(str(page.all("link")[0]["href"]))).text
    assert "prefers-color-scheme: dark" in style and ".timeline" in style


@pytest.mark.anyio
async def test_people_log_in_with_the_token_and_out_again(store: AssessmentStore) -> None:
    await store.create({"id": "one"})
    async with serving(store, token=TOKEN) as served:
        client = served.client
        for path in ("/", "/assessments/one?x=1", "/nothing"):
            sent_away = await client.get(path)
            assert sent_away.status_code == 303
        assert (await client.get("/")).headers["location"] == "/login"
        there = (await client.get("/assessments/one?x=1")).headers["location"]
        assert there == "/login?next=%2Fassessments%2Fone%3Fx%3D1"
        form = Page((await client.get(there)).text)
        assert [each["value"] for each in form.all("input") if each["name"] == "next"] == ["/assessments/one?x=1"]
        for wrong in ("", TOKEN + "x", TOKEN.upper(), "x" * 9000):
            failed = await client.post("/login", data={"token": wrong, "next": "/"})
            assert failed.status_code == (413 if len(wrong) > 8192 else 403)
            assert "set-cookie" not in failed.headers
        inside = await client.post("/login", data={"token": TOKEN, "next": "/assessments/one"})
        assert (inside.status_code, inside.headers["location"]) == (303, "/assessments/one")
        cookie = inside.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
        assert "Secure" not in cookie and "Domain" not in cookie and TOKEN not in cookie
        assert (await client.get("/assessments/one")).status_code == 200
        assert (await client.get(f"{PREFIX}/one")).status_code == 200, "its links lead there"
        for path in (PREFIX, f"{PREFIX}/one/cancel"):
            assert (await client.post(path, json={})).status_code == 401, "a session reads, and changes nothing"
        missing = await client.get("/nothing")
        assert (missing.status_code, "Log out" in missing.text) == (404, True)
        out = await client.post("/logout")
        assert (out.status_code, out.headers["location"]) == (303, "/login")
        assert (await client.get("/")).status_code == 303
    assert (await store.get_state("one", fresh=True)).state == "pending"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "", "javascript:alert(1)", "/\t/evil"],
)
async def test_nobody_is_sent_elsewhere_by_logging_in(store: AssessmentStore, elsewhere: str) -> None:
    async with serving(store, token=TOKEN) as served:
        answer = await served.client.post("/login", data={"token": TOKEN, "next": elsewhere})
        assert answer.headers["location"] == "/"


@pytest.mark.anyio
async def test_behind_https_the_cookie_is_for_https_and_this_host_alone(store: AssessmentStore) -> None:
    async with serving(store, token=TOKEN, secure=True, hosts=frozenset({"assessments.example.org"})) as served:
        headers = {"Host": "assessments.example.org", "Origin": "https://assessments.example.org"}
        answer = await served.client.post("/login", data={"token": TOKEN}, headers=headers)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-autocoder=") and "Secure" in cookie and "Path=/" in cookie
        session = {"Host": "assessments.example.org", "Cookie": cookie.partition(";")[0]}
        assert (await served.client.get("/", headers=session)).status_code == 200


@pytest.mark.anyio
async def test_without_a_token_there_is_nothing_to_log_in_to(served: Served) -> None:
    for answer in (await served.client.get("/login"), await served.client.post("/login", data={"token": "x"})):
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "set-cookie" not in answer.headers
