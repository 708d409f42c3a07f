"""How a run ends: failures named, everything closed, no task left, signals obeyed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from autocoder import Batch, ErrorPolicy, Pipeline, PipelineError, Sink, Source, Transformer, UsageError
from tests.support import Collect, Double, Numbers

calls: list[str] = []


class Hooked(Transformer[int, int]):
    """Notes its hooks, and fails where it is told to."""

    name: str
    fail: str = ""

    def _hook(self, hook: str) -> None:
        calls.append(f"{hook} {self.name}")
        if self.fail == hook:
            raise RuntimeError(f"cannot {hook}")

    async def open(self) -> None:
        self._hook("open")

    def process(self, number: int, /) -> int:
        if number == 3:
            self._hook("process")
        return number

    async def close(self) -> None:
        self._hook("close")


def hooked_run(fail: str) -> PipelineError:
    calls.clear()
    pipeline = Pipeline("hooked")
    at = pipeline.add("numbers", Numbers(upto=10))
    at = pipeline.add("first", Hooked(name="first"), after=at)
    at = pipeline.add("second", Hooked(name="second", fail=fail), after=at, on_error=ErrorPolicy(then="stop"))
    at = pipeline.add("third", Hooked(name="third"), after=at)
    pipeline.add("sink", Collect(), after=at)
    with pytest.raises(PipelineError) as caught:
        pipeline.run()
    return caught.value


def test_a_failing_open_closes_only_what_was_opened() -> None:
    error = hooked_run("open")
    assert str(error) == "pipeline 'hooked', component 'second': open failed: RuntimeError: cannot open"
    assert calls == ["open first", "open second", "close first"]


def test_a_failing_process_names_port_and_payload() -> None:
    error = hooked_run("process")
    assert str(error) == (
        "pipeline 'hooked', component 'second', port 'in': process failed: RuntimeError: cannot process; payload: 3"
    )
    assert calls[-3:] == ["close third", "close second", "close first"]


def test_a_failing_close_is_reported_after_the_others_were_closed() -> None:
    error = hooked_run("close")
    assert str(error) == "pipeline 'hooked', component 'second': close failed: RuntimeError: cannot close"
    assert calls[-3:] == ["close third", "close second", "close first"]


class Broken(Source[int]):
    """Fails half way."""

    async def read(self, resume: Any, /) -> AsyncIterator[Batch[int]]:
        yield Batch([1])
        raise OSError("the disk is gone")


@pytest.mark.parametrize("signals", [False, True])
def test_what_stopped_the_run_comes_alone(signals: bool) -> None:
    pipeline = Pipeline("broken")
    pipeline.add("sink", Collect(), after=pipeline.add("source", Broken()))

    async def main() -> None:
        with pytest.raises(PipelineError, match="the disk is gone"):
            await pipeline.run_async(signals=signals)

    anyio.run(main)


class Unwritable(Sink[int]):
    """Refuses everything as a full disk does; notes what it was asked to do."""

    def check(self) -> None:
        self.finished = False

    async def write(self, batch: Sequence[int], /) -> None:
        raise OSError(28, "No space left on device")

    async def finish(self) -> None:
        self.finished = True


def test_a_failing_source_names_itself() -> None:
    pipeline = Pipeline("broken")
    pipeline.add("sink", Collect(), after=pipeline.add("source", Broken()))
    with pytest.raises(PipelineError, match=r"component 'source', port 'out': read failed: OSError: the disk is gone$"):
        pipeline.run()


def test_a_sink_that_the_system_refuses_stops_the_run_and_is_not_published() -> None:
    pipeline, sink = Pipeline("full"), Unwritable()
    pipeline.add("sink", sink, after=pipeline.add("numbers", Numbers(upto=5)))
    with pytest.raises(
        PipelineError, match=r"component 'sink', port 'in': write failed: .*No space left on device; payload: 0"
    ):
        pipeline.run()
    assert not sink.finished


class Login(Transformer[int, int]):
    """Has a secret and lets it slip."""

    password: SecretStr

    def process(self, number: int, /) -> int:
        raise ValueError(f"no access with {self.password.get_secret_value()}")


def test_a_secret_of_the_configuration_reaches_no_error(caplog: pytest.LogCaptureFixture) -> None:
    for then in ("stop", "dead_letter"):
        pipeline = Pipeline.from_yaml(
            f"""
            pipeline: secretive
            components:
              numbers: {{use: "tests.support:Numbers", with: {{upto: 1}}}}
              login: {{use: "{__name__}:Login", from: numbers, with: {{password: "${{DB_PASSWORD}}"}}, on_error: {then}}}
              sink: {{use: "tests.support:Collect", from: login}}
            """,
            environ={"DB_PASSWORD": "correct-horse"},
        )
        try:
            pipeline.run()
        except PipelineError as error:
            assert "no access with ***" in str(error)
    assert "no access with ***" in caplog.text
    assert "correct-horse" not in caplog.text


@pytest.mark.anyio
async def test_a_failure_cancels_the_others_and_leaves_no_task() -> None:
    class Forever(Source[int]):
        async def read(self, resume: Any, /) -> AsyncIterator[Batch[int]]:
            yield Batch([1])
            await anyio.sleep_forever()

    before = len(anyio.get_running_tasks())
    pipeline = Pipeline("cancelled")
    forever = pipeline.add("forever", Forever())
    broken = pipeline.add("broken", Broken())
    pipeline.add("sink", Collect(), after=[forever, broken])
    with pytest.raises(PipelineError):
        await pipeline.run_async()
    assert len(anyio.get_running_tasks()) == before
    with pytest.raises(PipelineError):
        await pipeline.run_async()


@pytest.mark.anyio
async def test_cancelling_a_run_closes_everything() -> None:
    calls.clear()
    pipeline = Pipeline("cut")
    at = pipeline.add("numbers", Numbers(upto=10_000_000, size=1))
    at = pipeline.add("hooked", Hooked(name="only"), after=at)
    pipeline.add("sink", Collect(), after=at)
    with anyio.move_on_after(0.05):
        await pipeline.run_async()
    assert calls[0] == "open only"
    assert calls[-1] == "close only"


@pytest.mark.anyio
async def test_one_pipeline_object_runs_once_at_a_time() -> None:
    pipeline = Pipeline("twice")
    pipeline.add("sink", Collect(), after=pipeline.add("numbers", Numbers(upto=10_000_000, size=1)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run_async)
        await anyio.sleep(0.02)
        with pytest.raises(UsageError, match="running already"):
            await pipeline.run_async()
        pipeline.drain()


def test_pipelines_run_beside_each_other_in_one_loop() -> None:
    async def main() -> list[int]:
        sinks = [Collect() for _ in range(8)]
        async with anyio.create_task_group() as tasks:
            for sink in sinks:
                pipeline = Pipeline("one of many")
                doubled = pipeline.add("double", Double(), after=pipeline.add("numbers", Numbers(upto=100)))
                pipeline.add("sink", sink, after=doubled)
                tasks.start_soon(pipeline.run_async)
        return [sum(sink.got) for sink in sinks]

    assert anyio.run(main) == [9900] * 8


PROGRAM = textwrap.dedent("""
    import sys, time, anyio
    from autocoder import Batch, ForcedStop, Pipeline, Source, Sink, Transformer

    class Ticks(Source[int]):
        async def read(self, resume, /):
            number = 0
            while True:
                yield Batch([number]); number += 1
                await anyio.sleep(0.01)

    class Show(Sink[int]):
        async def write(self, batch, /):
            print("got", len(batch), flush=True)
            while {stuck}: await anyio.sleep(1)

        async def close(self):
            print("closed", flush=True)

    pipeline = Pipeline("ticks")
    pipeline.add("show", Show(), after=pipeline.add("ticks", Ticks()))
    async def main():
        return await pipeline.run_async(signals=True)
    try:
        print("drained", anyio.run(main).drained)
    except ForcedStop as stop:
        print("forced", stop.exit_code)
""")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("stuck", [False, True])
def test_the_first_signal_drains_and_the_second_stops(
    tmp_path: Path, number: signal.Signals, code: int, stuck: bool
) -> None:
    script = tmp_path / "ticks.py"
    script.write_text(PROGRAM.format(stuck=stuck))
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("got")
        process.send_signal(number)
        if stuck:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            process.send_signal(number)
        rest = process.stdout.read()
    assert rest.endswith(f"closed\nforced {code}\n" if stuck else "closed\ndrained True\n")
