"""Redis as the level of the cache that processes share. It is optional, and the database stays the truth.

What makes a stale entry lose: each begins with its age (when the assessment was created, its version, when it was updated),
and a script refuses whatever is older than what is there. Who changed an assessment leaves its age behind, so that what
another process had read before cannot come back. An entry is told for so long *from the moment the reading of the database
began*, by the clock of Redis: a process that was stopped between reading and remembering remembers nothing. Where Redis does
not answer, it costs one line of the log and one short wait every few seconds; entries of what can change have expired by then.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import anyio
import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.exc import DBAPIError

from autocoder import Database, UsageError
from autocoder_components.assessments.lifecycle import cache
from autocoder_components.assessments.lifecycle.states import AssessmentState
from autocoder_components.assessments.lifecycle.stored import read, size_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
TIMEOUT_SECONDS: Final = 0.25
"""The longest wait for one answer."""
AGAIN_SECONDS: Final = 5.0
"""How long Redis is left alone behind a failure; longer than anything that can change is kept there."""
MOST_BYTES: Final = 256 * 1024
"""A longer state is not shared."""
MOST_CONNECTIONS: Final = 10
MOST_SAID: Final = 200
"""So many characters of an error are told."""
MASK: Final = "***"
GONE: Final = "9007199254740991:0:0\n"
"""An age above every other, for what is deleted or changed in ways that are not known here."""
_logger: Final = logging.getLogger("autocoder.assessments")
_states: Final = TypeAdapter(AssessmentState)
_IDENTITY: Final = sa.text(
    "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()"
)

_OLDER: Final = """
local function is_older(known)
  if not known then return false end
  local created, version, updated = string.match(known, '^(%d+):(%d+):(%d+)\\n')
  if not created then return false end
  local there = {tonumber(created), tonumber(version), tonumber(updated)}
  local new = {string.match(ARGV[1], '^(%d+):(%d+):(%d+)\\n')}
  for place = 1, 3 do
    local one, other = tonumber(new[place]), there[place]
    if one ~= other then return one < other end
  end
  return false
end
"""
# KEYS[1]; the entry, and until when it may be told (milliseconds, by the clock of Redis).
PUT: Final = f"""{_OLDER}
local moment = redis.call('TIME')
local left = tonumber(ARGV[2]) - (moment[1] * 1000 + math.floor(moment[2] / 1000))
if left <= 0 or is_older(redis.call('GET', KEYS[1])) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', math.max(left, redis.call('PTTL', KEYS[1])))
return 1
"""
# KEYS[1]; an age alone, and for how long nothing older is taken (milliseconds).
MARK: Final = f"""{_OLDER}
if is_older(redis.call('GET', KEYS[1])) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


def header_of(state: AssessmentState) -> str:
    """The age of a state, as entries begin with it: whole microseconds."""
    return f"{_micros(state.created_at)}:{state.version}:{_micros(state.updated_at)}\n"


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def shown_url(url: str) -> str:
    """The URL of a Redis without its password and options, for people."""
    parts = urlsplit(url)
    holder, at, host = parts.netloc.rpartition("@")
    user, colon, _ = holder.partition(":")
    return f"{parts.scheme}://{user}{colon}{MASK if colon else ''}{at}{host}{parts.path}"


async def space_of(database: Database) -> str:
    """What tells the entries of this database from those of others on the same Redis: its server's number, not its name."""
    parts = [database.url]
    if database.path is not None:
        parts += [socket.gethostname(), str(await anyio.Path(database.path).resolve())]
    else:
        with suppress(DBAPIError):  # not everybody may ask; the URL is left
            async with database.reading() as connection:
                parts += [str(each) for each in (await connection.execute(_IDENTITY)).one()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class RedisLevel:
    """The shared level. None of its methods raises for what Redis does or does not do."""

    def __init__(
        self, client: Redis, url: str, prefix: str, space: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.hits = self.misses = 0
        self._client, self._clock = client, clock
        self._shown, self._password = shown_url(url), urlsplit(url).password or ""
        self._begin = f"{prefix}:assessments:1:{space}:"
        self._put, self._mark = client.register_script(PUT), client.register_script(MARK)
        self._left_alone_until = 0.0
        self._is_away = False

    async def get(self, assessment_id: str) -> tuple[AssessmentState | None, int | None]:
        """See `SharedLevel`."""

        async def ask() -> tuple[AssessmentState | None, int]:
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.time()
                pipeline.get(self._key(assessment_id))
                (seconds, micros), entry = await pipeline.execute()
            return _state_in(entry, assessment_id), int(seconds) * 1000 + int(micros) // 1000

        answer = await self._asked(ask)
        if answer is None:
            return None, None
        state, moment = answer
        self.hits, self.misses = self.hits + (state is not None), self.misses + (state is None)
        return state, moment

    async def put(self, state: AssessmentState, moment: int | None) -> None:
        """See `SharedLevel`. What holds a configuration given inline is not shared: it may hold credentials."""
        if (
            moment is None
            or size_of(state.request) + size_of(state.result) > MOST_BYTES
            or state.request.get("candidates")
        ):
            return
        try:
            entry = header_of(state).encode() + _states.dump_json(_readable(state))
        except ValueError:  # text that is no UTF-8
            return
        if len(entry) <= MOST_BYTES:
            until = moment + round(cache.seconds_to_keep(state) * 1000)
            await self._asked(lambda: self._put(keys=[self._key(state.assessment_id)], args=[entry, until]))

    async def changed(self, *states: AssessmentState) -> None:
        """See `SharedLevel`."""
        await self._left_behind({each.assessment_id: header_of(each) for each in states})

    async def created(self, moment: datetime, *assessment_ids: str) -> None:
        """See `SharedLevel`."""
        await self._left_behind(dict.fromkeys(assessment_ids, f"{_micros(moment)}:0:0\n"))

    async def forget(self, *assessment_ids: str) -> None:
        """See `SharedLevel`."""
        await self._left_behind(dict.fromkeys(assessment_ids, GONE))

    async def _left_behind(self, headers: Mapping[str, str]) -> None:
        """Leave the ages of these assessments behind, in one trip."""

        milliseconds = round(cache.ACTIVE_SECONDS * 1000)

        async def ask() -> Any:
            async with self._client.pipeline(transaction=False) as pipeline:
                for each, header in headers.items():
                    await self._mark(keys=[self._key(each)], args=[header, milliseconds], client=pipeline)
                return await pipeline.execute()

        if headers:
            await self._asked(ask)

    def _key(self, assessment_id: str) -> str:
        return f"{self._begin}{assessment_id}"

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        moment = self._clock()
        if moment < self._left_alone_until:
            return None
        if self._is_away:
            self._left_alone_until = moment + AGAIN_SECONDS  # one tries, the others do not wait for it
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                answer = await ask()
        except Exception as error:
            # Whatever it is: what listens there may be no Redis, and redis-py raises IndexError or RecursionError for the
            # answers of some. What was asked for is stored by then.
            self._left_alone_until = self._clock() + AGAIN_SECONDS
            if not self._is_away:
                self._is_away = True
                said = next(iter(str(error).splitlines()), "")[:MOST_SAID] or type(error).__name__
                for secret in filter(None, (self._password, unquote(self._password))):
                    said = said.replace(secret, MASK)
                _logger.warning(
                    "the shared cache %s cannot be used: %s; the database answers instead, and it is tried again every "
                    "%g s",
                    self._shown,
                    said,
                    AGAIN_SECONDS,
                )
            return None
        if self._is_away:
            self._is_away, self._left_alone_until = False, 0.0
            _logger.info("the shared cache %s is back", self._shown)
        return answer


def _readable(state: AssessmentState) -> AssessmentState:
    return replace(state, request=read(state.request), result=None if state.result is None else read(state.result))


def _state_in(entry: bytes | None, assessment_id: str) -> AssessmentState | None:
    """The state of an entry; None for an age alone, and for what another program or version left there."""
    body = b"" if entry is None else entry.partition(b"\n")[2]
    if not body:
        return None
    try:
        state = _states.validate_json(body)
    except ValueError:
        return None
    return state if state.assessment_id == assessment_id else None


@asynccontextmanager
async def open_redis(url: str, database: Database, prefix: str = "autocoder") -> AsyncIterator[RedisLevel]:
    """The shared level of a database on a Redis, for the length of a block; whether it answers is found out when it is asked.

    Raises UsageError where the URL cannot be read or the extra `redis` is not installed.
    """
    try:
        from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415  an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("a shared cache needs redis; install it with: pip install 'autocoder[redis]'") from error
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MOST_CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )
        pool.connection_class(**pool.connection_kwargs)  # connects nowhere, and refuses an option that it does not know
        shown_url(url)
    except (ValueError, TypeError):
        raise UsageError("the URL of the shared cache cannot be read; write redis://:password@host:6379/0") from None
    client = Redis.from_pool(pool)
    try:
        yield RedisLevel(client, url, prefix, await space_of(database))
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(TIMEOUT_SECONDS), suppress(Exception):
            await client.aclose()
