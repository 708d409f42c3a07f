"""What a message is known by does not change with its attempts: its row, and its idempotency key (I4)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from autocoder import ErrorPolicy, Pipeline, RetryPolicy, Sink, Transformer
from autocoder.codec import Codec
from autocoder.database import open_database
from autocoder.declaration import ChannelOptions, CommitPolicy
from autocoder.message import Barrier
from autocoder.runtime.channel import Channel
from autocoder.runtime.inlet import Inlet, Taken
from autocoder.runtime.region import Epoch, Region
from autocoder.store.schema import prepare
from autocoder.store.store import Store
from tests.support import Numbers

ODD_ONES_FAIL = 2


class Post(Sink[int]):
    """Notes every attempt with its key; refuses odd numbers, and with `stops` everything from the second attempt on."""

    heals: bool = True

    def check(self) -> None:
        self.keys: dict[int, list[str]] = {}

    async def write(self, batch: Sequence[int], keys: Sequence[str], /) -> None:
        for number, key in zip(batch, keys, strict=True):
            self.keys.setdefault(number, []).append(key)
        if len(batch) > 1 or (batch[0] % 2 and not (self.heals and len(self.keys[batch[0]]) > ODD_ONES_FAIL)):
            raise ConnectionError("no answer")


class Pass(Transformer[int, int], concurrency=3):
    """With calls in flight."""

    async def process(self, number: int, /) -> int:
        return number


def ran(database: str, sink: Post, channel: ChannelOptions, attempts: int) -> Pipeline:
    pipeline = Pipeline("posts")
    at = pipeline.add("pass", Pass(), after=pipeline.add("numbers", Numbers(upto=6)))
    policy = ErrorPolicy(RetryPolicy(attempts=attempts, backoff=0.001, on=("ConnectionError",)))
    pipeline.add("post", sink, after=at, channel=channel, on_error=policy)
    pipeline.run(database=database)
    return pipeline


@pytest.mark.parametrize("channel", [ChannelOptions(), ChannelOptions(durable=True)], ids=["memory", "durable"])
def test_every_attempt_has_the_key_of_the_first(tmp_path: Path, channel: ChannelOptions) -> None:
    file, first, again = tmp_path / "x.db", Post(heals=False), Post()
    ran(f"sqlite:///{file}", first, channel, attempts=3)
    connection = sqlite3.connect(file)
    replay = "UPDATE port_messages SET status = 'pending', parked = 1, error_type = NULL WHERE status = 'dead_letter'"
    assert connection.execute(replay).rowcount == 3
    connection.commit()
    connection.close()
    ran(f"sqlite:///{file}", again, channel, attempts=9)
    assert {number: len(keys) for number, keys in first.keys.items()} == {0: 2, 1: 4, 2: 2, 3: 4, 4: 2, 5: 4}
    assert {number: len(set(keys)) for number, keys in first.keys.items()} == dict.fromkeys(range(6), 1)
    assert {number: set(keys) for number, keys in again.keys.items()} == {n: set(first.keys[n]) for n in (1, 3, 5)}


def test_of_equal_objects_each_has_a_row() -> None:
    taken = Taken()
    taken.add([1, 2, 3], [7, "x", 7])
    assert [taken.find(7), taken.find(7), taken.find(7), taken.find("y"), taken.find("x")] == [1, 3, None, None, 2]
    taken.add([4], [7])
    assert (taken.find(7), taken.find(7)) == (4, None)


@pytest.mark.anyio
async def test_a_row_is_looked_for_on_its_own_side_of_a_barrier(tmp_path: Path) -> None:
    async def nothing(_: Epoch) -> None:
        """No commit."""

    async with open_database(f"sqlite:///{tmp_path}/x.db") as database:
        await prepare(database)
        store, channel = Store(database, "p"), Channel("x")
        region = Region("r", CommitPolicy(), nothing, nothing)
        inlet = Inlet(store, "c", "in", channel, Codec(int | None), region, traced=False)
        async with database.transaction() as connection:
            insert = "INSERT INTO port_messages (pipeline, target_component, port_name, source_component, message_data,"
            for data in ("1", "null", "garbage", "2"):
                await connection.exec_driver_sql(f"{insert} created_at) VALUES ('p','c','in','','{data}', 0)")
        await inlet.run()
        assert channel.take() == [1, None, 2]
        done = inlet.start_barrier(Barrier(1))
        assert [sorted(each.seqs) for each in done.settled] == [[1, 2, 3, 4]]
        assert (inlet.taken.find(2), inlet.taken.find(None), inlet.taken.find(None)) == (4, 2, None)
        inlet.met()
        assert inlet.taken.find(1) is None
