"""Serves the application with uvicorn until it is told to stop; needs the extra `web`."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.applications import Starlette

from autocoder import ForcedStop
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.web.app import make_app
from autocoder_components.assessments.web.impatience import ImpatientProtocol
from autocoder_components.assessments.web.options import WebOptions
from autocoder_components.assessments.web.service import Service

GRACE_SECONDS = 10
IDLE_SECONDS = 30
MOST_CONNECTIONS = 4096
LONGEST_HEAD = 32 * 1024


class _Server(uvicorn.Server):
    """uvicorn without its handling of signals, which would end the process by the signal once everything is over."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(app: Starlette) -> uvicorn.Server:
    """A server for the application that leaves signals alone; `serve(sockets=...)` it, and set `should_exit` to end it."""

    class Protocol(ImpatientProtocol):
        head_seconds = app.state.service.options.head_seconds

    return _Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # it would write queries down
            server_header=False,
            proxy_headers=False,  # an address that anybody may claim is worse than that of the proxy
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            limit_concurrency=MOST_CONNECTIONS,
            h11_max_incomplete_event_size=LONGEST_HEAD,
        )
    )


async def serve(
    store: AssessmentStore, options: WebOptions, listener: socket.socket, *, ready: Callable[[], None] | None = None
) -> None:
    """Answer on a listening socket until SIGTERM or SIGINT, and then until everything under way is answered.

    The first signal ends long polls and streams at once; what is still not answered after GRACE_SECONDS is broken off.
    `ready` is called when requests are answered. A second signal stops by force: raises ForcedStop. Main thread only.
    """
    app = make_app(store, options)
    server = make_server(app)
    stopped: list[signal.Signals] = []
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as forced:
            await tasks.start(_listen, server, app.state.service, stopped, forced)
            if ready is not None:
                ready()
            try:
                await server.serve(sockets=[listener])
            except Exception as error:  # raised below: out of the group it would come wrapped in another
                failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if len(stopped) > 1:
        stop = ForcedStop(f"stopped by force by a second {stopped[-1].name}; some requests were not answered")
        stop.exit_code = 128 + stopped[-1]
        raise stop


async def _listen(
    server: uvicorn.Server,
    service: Service,
    stopped: list[signal.Signals],
    forced: anyio.CancelScope,
    *,
    task_status: TaskStatus[None],
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for number in received:
            stopped.append(number)
            service.stopping.set()
            server.should_exit = True
            if len(stopped) > 1:
                server.force_exit = True
                forced.cancel()
                return
