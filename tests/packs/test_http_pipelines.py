"""http.Get and http.Post: what their configuration refuses and never tells, and both in pipelines."""

from __future__ import annotations

import inspect
import logging
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from autocoder_components.http import Get, Post, RefusedError

from autocoder import ConfigurationError, Pipeline, PipelineError, Source
from autocoder.registry import Registry
from tests.packs.http_server import SECRET, Reply, Request, Server, as_json, read

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Get(url="ftp://host/hunter2"), "must begin with http:// or https://"),
        (lambda: Get(url="hunter2"), "must begin with http:// or https://"),
        (lambda: Get(url="http://h:port/hunter2"), "cannot be read"),
        (lambda: Get(url="http://h", cursor_field="id"), "go together"),
        (lambda: Get(url="http://h", headers={"if-none-match": "hunter2"}), "if-none-match is set by the component"),
        (lambda: Post(url="http://h", headers={"Idempotency-Key": "hunter2"}), "is set by the component"),
        (lambda: Post(url="http://h", headers={"A": "hunter2\r\nB: 1"}), "the value of A holds a line break"),
        (lambda: Post(url="http://h", headers={"A b": "hunter2"}), "'A b' is no name of a header"),
        (lambda: Post(url="http://h", timeout={"conect": 1}), "conect"),
        (lambda: Post(url="http://h", retry={"cap": float("inf")}), "finite number"),
        (lambda: Post(url="http://h", retry={"attempts": 0}), "greater than or equal to 1"),
    ],
)
def test_bad_configuration_is_refused_without_its_secrets(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_url_is_judged_with_the_other_fields() -> None:
    text = """
pipeline: p
components:
  numbers: {use: flow.Generate, with: {count: 3, value: "i"}}
  page: {use: http.Post, from: numbers, with: {url: "ftp://me:hunter2@host/x", requests: 0}}
"""
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_yaml(text)
    problems = [str(each) for each in caught.value.problems]
    assert any("url: the url must begin with http:// or https:// and name a host" in each for each in problems)
    assert any("requests: must be greater than or equal to 1" in each for each in problems)
    assert "hunter2" not in str(problems)


async def test_no_secret_is_told_or_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.reply = lambda _: Reply(403)
    url = server.url.replace("http://", "http://me:hunter2@") + "/x?token=hunter2"
    get = Get(url=url, headers=SECRET, retry={"attempts": 1})
    with caplog.at_level(logging.DEBUG), pytest.raises(RefusedError) as caught:
        await read(get)
    assert "/x" in caplog.text
    assert "hunter2" not in caplog.text
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(get.headers)
    assert "hunter2" in server.requests[0].path


def test_without_the_extra_the_cure_is_named() -> None:
    code = (
        "import sys; sys.modules['httpx2'] = None\n"
        "from autocoder_components.http import Get\n"
        "try: Get(url='http://h')\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'autocoder[http]'" in done.stdout


def test_the_library_is_not_imported_before_a_component_is_made() -> None:
    code = "import sys, autocoder_components.http; print('httpx2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("component", [Get, Post])
async def test_the_example_in_the_documentation_runs(component: type[Get[Any] | Post], server: Server) -> None:
    server.reply = lambda _: as_json([{"n": 1}])
    (example,) = re.findall(r"```yaml\n(.*?)```", inspect.getdoc(component) or "", re.DOTALL)
    environ = {"RELEASES_URL": server.url, "PAGER_URL": server.url, "PAGER_TOKEN": "hunter2"}
    summary = await Pipeline.from_yaml(example, environ=environ).run_async()
    assert summary.messages_out > 0
    assert summary.dead_letters == 0
    assert all(each.description for each in component.config_model().model_fields.values())


PAGES = """
pipeline: pages
components:
  tickets: {use: flow.Generate, with: {count: 40, value: "{'ticket': i}"}}
  page: {use: http.Post, from: tickets, with: {url: "${URL}", retry: {attempts: 2, backoff: 0}}}
"""


async def test_a_refused_message_becomes_a_dead_letter_of_the_pipeline(server: Server) -> None:
    server.reply = lambda request: Reply(422 if request.json["ticket"] == 7 else 200)
    letters: list[Any] = []
    pipeline = Pipeline.from_yaml(PAGES, environ={"URL": server.url})
    summary = await pipeline.run_async(on_dead_letter=letters.append)
    assert [letter.payload for letter in letters] == [{"ticket": 7}]
    assert summary.components["page"].dead_letters == 1
    assert Counter(request.json["ticket"] for request in server.requests) == Counter(range(40))


@pytest.mark.parametrize("kept", [False, True])
async def test_each_attempt_of_a_refused_message_is_one_request(server: Server, kept: bool, tmp_path: Path) -> None:
    server.reply = lambda request: Reply(422 if request.json["ticket"] in (7, 8) else 200)
    policy = "  page: {on_error: {retry: {attempts: 3, backoff: 1ms}}, "
    pipeline = Pipeline.from_yaml(PAGES.replace("  page: {", policy), environ={"URL": server.url})
    summary = await pipeline.run_async(database=f"sqlite:///{tmp_path}/kept.db" if kept else None)
    assert summary.components["page"].dead_letters == 2
    assert Counter(request.json["ticket"] for request in server.requests) == Counter([*range(40), 7, 7, 8, 8])


async def test_a_second_run_sends_the_same_keys(server: Server) -> None:
    for _ in range(2):
        await Pipeline.from_yaml(PAGES, environ={"URL": server.url}).run_async()
    keys = Counter(request.headers["idempotency-key"] for request in server.requests)
    assert len(keys) == 40
    assert set(keys.values()) == {2}


async def test_a_server_that_is_away_stops_the_pipeline(server: Server) -> None:
    server.reply = lambda _: Reply(503)
    with pytest.raises(
        PipelineError, match=r"component 'page'.*failed after 2 attempts: the server answered 503"
    ) as no:
        await Pipeline.from_yaml(PAGES, environ={"URL": server.url}).run_async()
    assert no.value.exit_code == 69


def test_a_run_against_a_server_that_is_not_there_leaves_with_69(tmp_path: Path) -> None:
    text = (
        "pipeline: p\ncomponents:\n  read: {use: http.Get, with: {url: '${URL}', retry: {attempts: 2, backoff: 0}}}\n"
        "  done: {use: flow.Discard, from: read}\n"
    )
    (tmp_path / "p.yaml").write_text(text)
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", "from autocoder.cli.main import main; main()", "run", "p.yaml"],
            cwd=tmp_path, env={**os.environ, "URL": f"http://me:hunter2@{host}/x?token=hunter2"},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 69
    assert f"GET http://{host}/x failed after 2 attempts: no connection" in done.stderr
    assert "check the url, and whether the server runs" in done.stderr
    assert "hunter2" not in done.stderr


async def test_answers_that_the_server_does_not_tell_apart_have_keys_of_their_own(server: Server) -> None:
    def reply(request: Request) -> Reply:
        return as_json({"n": 1}) if request.method == "GET" else Reply()

    server.reply = reply
    text = """
pipeline: relay
components:
  read: {use: http.Get, with: {url: "${URL}", every: 0.001}}
  send: {use: http.Post, from: read, with: {url: "${URL}"}}
commit: {messages: 1}
"""
    pipeline = Pipeline.from_yaml(text, environ={"URL": server.url})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run_async)
        with anyio.fail_after(20):
            while sum(request.method == "POST" for request in server.requests) < 4:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    keys = [request.headers["idempotency-key"] for request in server.requests if request.method == "POST"]
    assert len(set(keys)) == len(keys)


async def test_a_pipeline_reads_and_sends(server: Server) -> None:
    server.reply = lambda request: as_json([{"n": n} for n in range(100)]) if request.method == "GET" else Reply(204)
    text = """
pipeline: relay
components:
  read: {use: http.Get, with: {url: "${URL}"}}
  send: {use: http.Post, from: read, with: {url: "${URL}", batch: true}}
"""
    await Pipeline.from_yaml(text, environ={"URL": server.url}, registry=Registry.installed()).run_async()
    sent = [each["n"] for request in server.requests if request.method == "POST" for each in request.json]
    assert sorted(sent) == list(range(100))
    assert issubclass(Get, Source)
