"""The pages in a browser: headless Chromium, by keyboard, on a phone, in the dark, without script, with hostile text."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.reports.html import render_html
from autocoder_components.assessments.reports.json_report import render_json

from tests.assessments.examples import RULES, example
from tests.assessments.web.conftest import TOKEN, Served, completed, serving
from tests.assessments.web.test_pages import HOSTILE, NAME, REPORTED

playwright = pytest.importorskip("playwright.async_api", reason="needs Playwright (pip install -e '.[test]')")
pytestmark = pytest.mark.anyio

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM: Final = os.environ.get("AUTOCODER_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
PHONE: Final = {"width": 375, "height": 720}
DESK: Final = {"width": 1280, "height": 900}
LONG: Final = "x" * 200
KINDS: Final = ("/?type=security", "/assessments/done", "/assessments/going", "/nothing")
TABBABLE: Final = "a, button, input, select, summary, [tabindex='0']"
WIDTH: Final = "document.documentElement.scrollWidth"
# Whether what has the focus is seen to have it, by an outline of its own or of the label around it.
MARKED: Final = """() => {
  const style = getComputedStyle(document.activeElement);
  const label = document.activeElement.closest("label");
  const around = label ? getComputedStyle(label) : style;
  return [style, around].some((each) => each.outlineStyle !== "none" && parseFloat(each.outlineWidth) >= 2);
}"""
Open = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncIterator[Any]:
    """Chromium for all tests of this file; they are skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium, or AUTOCODER_TEST_CHROMIUM=/path/to/it")
    async with playwright.async_playwright() as driver:
        # The sandbox cannot be had as root, and what is opened here is our own.
        made = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        await made.close()


@pytest.fixture
def tab(browser: Any) -> Open:
    """Opens a tab that fails the test for whatever a page should never do: errors, blocked content, dialogs."""

    @asynccontextmanager
    async def opening(expected: str = "", **options: Any) -> AsyncIterator[Any]:
        wrong: list[str] = []
        context = await browser.new_context(**{"viewport": DESK, "reduced_motion": "reduce", **options})
        context.set_default_timeout(20_000)
        page = await context.new_page()

        def said(message: Any) -> None:
            # A page that answers 404 is told there, too, and is no mistake of the page.
            if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
                wrong.append(message.text)

        async def refuse(dialog: Any) -> None:
            wrong.append(f"dialog: {dialog.message}")
            await dialog.dismiss()

        page.on("console", said)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", refuse)
        yield page
        await context.close()
        assert [each for each in wrong if not expected or expected not in each] == []

    return opening


@pytest.fixture
async def filled(store: AssessmentStore) -> AsyncIterator[Served]:
    """A service with one assessment of each kind, whose texts are as bad as they get."""
    odd = HOSTILE.replace("\x00", "")
    await completed(store, "done", REPORTED)
    await completed(store, "legacy", {"overallScore": 7, "long": LONG, odd: odd})
    await store.create({"id": LONG, "server_filter": f"{NAME}{LONG}"[:250], "paths": [f"/{LONG}/{LONG}"]})
    await store.create({"id": "failed"})
    await store.start_processing("failed")
    await store.fail("failed", f"{odd} {LONG}", retryable=False)
    await store.create({"id": "going"})
    await store.start_processing("going")
    await store.update_progress("going", 30, f"{odd} {LONG}")
    async with serving(store) as served:
        yield served


PLACES: Final = (
    "/",
    "/?state=cancelled",
    "/?type=security",
    "/assessments/done",
    "/assessments/legacy",
    "/assessments/failed",
    "/assessments/going",
    f"/assessments/{LONG}",
    "/nothing",
)


async def test_no_page_is_wider_than_a_phone(filled: Served, tab: Open) -> None:
    async with tab(viewport=PHONE, has_touch=True, is_mobile=True) as page:
        for place in PLACES:
            await page.goto(filled.url + place)
            assert await page.evaluate(WIDTH) <= PHONE["width"], place
        await page.goto(filled.url + "/assessments/done")
        await page.get_by_text("What was asked for").tap()
        assert await page.evaluate(WIDTH) <= PHONE["width"]


async def test_every_page_is_accessible_and_readable(filled: Served, tab: Open) -> None:
    """Judged by axe: names, roles, tables, landmarks, and a contrast of WCAG AA at least, in both colour schemes."""
    async with tab() as page:
        for place in KINDS:
            await page.goto(filled.url + place)
            await judged_by_axe(page)


async def judged_by_axe(page: Any) -> None:
    """Fails for whatever keeps somebody from using the page as it is."""
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="needs axe-playwright-python").Axe()
    everything = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    rules = {"light": {"runOnly": everything}, "dark": {"runOnly": {"type": "rule", "values": ["color-contrast"]}}}
    backgrounds = {"light": "rgb(244, 246, 248)", "dark": "rgb(14, 19, 24)"}
    for scheme, options in rules.items():
        await page.emulate_media(color_scheme=scheme)
        found = await axe.run(page, options=options)
        told = [(each["id"], [node["target"] for node in each["nodes"]]) for each in found.response["violations"]]
        assert told == [], (page.url, scheme)
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == backgrounds[scheme]


async def test_everything_is_reached_by_keyboard_and_seen(filled: Served, tab: Open) -> None:
    async with tab() as page:
        for place in ("/?type=security", "/assessments/done"):
            await page.goto(filled.url + place)
            await page.keyboard.press("Tab")
            skip = page.get_by_role("link", name="Skip to the content")
            assert await page.evaluate("document.activeElement.className") == "skip"
            box = await skip.bounding_box()
            assert box is not None and box["x"] >= 0 and box["y"] >= 0, "it is seen while it has the focus"
            wanted = await page.locator(TABBABLE).filter(visible=True).count()
            seen = set()
            for _ in range(wanted + 12):  # fields for times have parts of their own
                assert await page.evaluate(MARKED), await page.evaluate("document.activeElement.outerHTML")
                seen.add(await page.evaluate("document.activeElement.outerHTML"))
                await page.keyboard.press("Tab")
                if await page.evaluate("document.activeElement === document.body"):
                    break
            assert len(seen) == wanted, place
            await page.goto(filled.url + place)
            await page.keyboard.press("Tab")
            await page.keyboard.press("Enter")
            assert await page.evaluate("document.activeElement.id") == "content"


async def test_the_list_is_narrowed_by_keyboard_without_script(filled: Served, tab: Open) -> None:
    async with tab(java_script_enabled=False) as page:
        await page.goto(filled.url)
        assert await page.get_by_role("rowheader").count() == 5
        await page.get_by_text("Narrow the list").focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("checkbox", name="failed").focus()
        await page.keyboard.press("Space")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/?state=failed*")
        assert await page.get_by_role("rowheader").all_inner_texts() == ["failed"]
        assert await page.get_by_role("checkbox", name="failed").is_checked()
        await page.get_by_role("link", name="failed").focus()
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/assessments/failed")
        assert "alert(1)" in await page.locator(".facts").inner_text(), "told as text"
        assert await page.get_by_role("heading", level=1).inner_text() == "Assessment failed"


async def test_an_assessment_is_followed_to_its_verdict(url: str, store: AssessmentStore, tab: Open) -> None:
    await store.create({"id": "one"})
    await store.start_processing("one")
    async with serving(store, look=0.05) as served, tab() as page, open_store(url) as elsewhere:
        await page.goto(f"{served.url}/assessments/one")
        await elsewhere.update_progress("one", 40, "looking at <b>files</b>")
        await page.get_by_text("40 %, looking at <b>files</b>").wait_for()
        assert await page.locator("progress").evaluate("(bar) => bar.value") == 40
        await elsewhere.complete("one", REPORTED)
        await page.get_by_role("heading", name="Findings").wait_for()
        drawn = await page.get_by_role("img", name="Score 41 of 100").locator("text").all_text_contents()
        assert drawn == ["41", "of 100"]


async def test_whoever_reads_is_told_and_not_moved(url: str, store: AssessmentStore, tab: Open) -> None:
    await store.create({"id": "one"})
    async with serving(store, look=0.05) as served, tab() as page, open_store(url) as elsewhere:
        await page.goto(f"{served.url}/assessments/one")
        await page.get_by_text("What was asked for").click()
        await elsewhere.cancel("one")
        await page.get_by_role("status").get_by_text("This assessment has changed.").wait_for()
        assert await page.locator("details").evaluate("(details) => details.open")
        await page.get_by_role("link", name="Show it").click()
        await page.locator(".top .badge", has_text="cancelled").wait_for()


async def test_people_log_in_and_out(store: AssessmentStore, tab: Open) -> None:
    await completed(store, "one", REPORTED)
    async with serving(store, token=TOKEN) as served, tab(viewport=PHONE) as page:
        await page.goto(f"{served.url}/assessments/one")
        await page.get_by_label("Token").fill("wrong-wrong-wrong-wrong")
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").get_by_text("not the token").wait_for()
        assert await page.evaluate(WIDTH) <= PHONE["width"]
        await judged_by_axe(page)
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_url("**/assessments/one")
        assert await page.evaluate("document.cookie") == "", "scripts cannot read the session"
        await page.get_by_role("button", name="Log out").click()
        await page.wait_for_url("**/login")
        await page.goto(served.url)
        assert page.url.endswith("/login")


async def test_a_script_that_got_in_would_not_run(filled: Served, tab: Open) -> None:
    """What the escaping stops, the policy stops once more."""
    async with tab("violates the following Content Security Policy directive") as page:
        await page.goto(filled.url + "/assessments/done")
        assert await page.evaluate("[...document.scripts].every((each) => each.src.startsWith(location.origin))")
        blocked = await page.evaluate(
            """() => new Promise((done) => {
              document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
              const added = document.createElement("script");
              added.textContent = "window.ran = true";
              document.body.append(added);
            })"""
        )
        assert blocked == "script-src-elem"
        assert await page.evaluate("window.ran") is None


@pytest.mark.parametrize("of_report", [False, True])
async def test_what_is_shown_can_be_taken_along_as_json(
    filled: Served, tab: Open, tmp_path: Path, of_report: bool
) -> None:
    place = filled.url + "/assessments/done"
    if of_report:
        report = tmp_path / "report.html"
        report.write_text(render_html(example(), RULES), encoding="utf-8")
        place = report.as_uri()
    async with tab() as page:
        await page.goto(place)
        async with page.expect_download() as waiting:
            await page.get_by_role("link", name="Download it").click()
        download = await waiting.value
        taken = json.loads(await anyio.Path(await download.path()).read_bytes())
    name = example().request.assessment_id if of_report else "done"
    assert download.suggested_filename == f"{name}.json"
    assert taken == json.loads(render_json(example())) if of_report else taken["result"]["score"] == REPORTED["score"]
