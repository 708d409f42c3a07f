"""What stands beside the database of a store where the settings say so: a cache that processes share, a copy that is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from autocoder import Database
from autocoder_components.assessments.lifecycle.replica import Replica
from autocoder_components.assessments.lifecycle.shared_cache import open_redis
from autocoder_components.assessments.settings import ServiceSettings


@asynccontextmanager
async def open_levels(database: Database, service: ServiceSettings | None) -> AsyncIterator[dict[str, Any]]:
    """The arguments `shared` and `replica` of AssessmentStore that settings ask for, for the length of a block.

    Neither has to answer, now or later. Raises UsageError where a URL cannot be read or an extra is missing.
    """
    levels: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        if service is not None and service.redis is not None:
            url = service.redis.get_secret_value()
            levels["shared"] = await stack.enter_async_context(open_redis(url, database, service.redis_prefix))
        if service is not None and service.replica is not None:
            levels["replica"] = Replica(service.replica.get_secret_value(), database, service.replica_lag)
            stack.push_async_callback(levels["replica"].close)
        yield levels
