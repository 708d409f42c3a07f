"""One-step durable work: enqueue, do a step, keep its result; against DBOS and pgqueuer on the same database.

Ours is the pipeline of the durable hop. The peers do their usual form of the same: a queue of workflows of one step, a queue
of jobs whose handler inserts the result.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure
from tests.benchmarks.orders import BATCH, CREATE_RESULTS, ORDER, Order, orders, price, run_pipeline
from tests.benchmarks.postgres import postgres

MESSAGES = 20_000
WORKFLOWS = 200
JOBS = 5000


@contextmanager
def dbos(url: str) -> Iterator[Callable[[], None]]:
    """DBOS on this database; the function enqueues WORKFLOWS workflows of one step and waits for their results."""
    from dbos import DBOS, DBOSConfig

    DBOS(config=DBOSConfig(name="bench", system_database_url=url, log_level="ERROR"))

    @DBOS.step()
    def step(order: dict[str, Any]) -> dict[str, Any]:
        return price(Order(**order)).model_dump()

    @DBOS.workflow()
    def workflow(order: dict[str, Any]) -> dict[str, Any]:
        return step(order)

    DBOS.launch()
    queue = DBOS.register_queue("bench", polling_interval_sec=0.01)

    def work() -> None:
        given = orders(0, WORKFLOWS)
        handles = [queue.enqueue(workflow, each.model_dump()) for each in given]
        found = [each.get_result()["total"] for each in handles]
        assert found == [price(each).total for each in given], found

    try:
        yield work
    finally:
        DBOS.destroy(destroy_registry=True)


async def pgqueuer(url: str, jobs: int) -> None:
    import asyncpg
    from pgqueuer import AsyncpgPoolDriver, Job, PgQueuer
    from pgqueuer.types import QueueExecutionMode

    async with asyncpg.create_pool(url, min_size=2, max_size=5) as pool:
        queuer = PgQueuer(AsyncpgPoolDriver(pool))
        await queuer.qm.queries.install()
        await pool.execute(CREATE_RESULTS)

        @queuer.entrypoint("price")
        async def handle(job: Job) -> None:
            priced = price(ORDER.validate_json(job.payload or b""))
            row = (priced.number, priced.customer, priced.total)
            await pool.execute("INSERT INTO results VALUES ($1, $2, $3)", *row)

        payloads: list[bytes | None] = [ORDER.dump_json(each) for each in orders(0, jobs)]
        await queuer.qm.queries.enqueue(["price"] * jobs, payloads, [0] * jobs)
        await queuer.qm.run(batch_size=100, mode=QueueExecutionMode.drain)
        assert await pool.fetchval("SELECT count(*) FROM results") == jobs


def against(name: str, fresh: Callable[[], str], others: list[Contender], absent: str) -> Result:
    messages = max(BATCH, OPTIONS.sized(MESSAGES))
    with dbos(fresh()) if not absent else no_dbos() as workflows:
        return measure(
            f"one-step durable work on {name}",
            [
                Contender("autocoder", lambda: run_pipeline(messages, fresh()), messages),
                Contender("DBOS, a queue of one-step workflows", workflows, WORKFLOWS, absent),
                *others,
            ],
            [Bar("DBOS, a queue of one-step workflows", least=100)],
            rounds=5,
        )


@contextmanager
def no_dbos() -> Iterator[None]:
    yield None


def absence(package: str) -> str:
    return "" if importlib.util.find_spec(package) else f"{package} is not installed"


def run() -> list[Result]:
    logging.getLogger("pgqueuer").setLevel(logging.ERROR)
    jobs = OPTIONS.sized(JOBS)
    with tempfile.TemporaryDirectory() as folder, postgres() as fresh:
        numbers = count()
        missing = absence("pgqueuer")
        queue = Contender(
            "pgqueuer, a job inserts its result",
            None if missing else lambda: asyncio.run(pgqueuer(fresh(), jobs)),
            jobs,
            missing,
        )
        return [
            against("SQLite", lambda: f"sqlite:///{Path(folder) / f'{next(numbers)}.db'}", [], absence("dbos")),
            against("PostgreSQL", fresh, [queue], absence("dbos")),
        ]
