"""Channels keep order and bounds; an intake aligns barriers, counts ends and leaves held ports alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoder.message import END, Barrier, End
from autocoder.runtime.channel import Channel, Intake, PortEnd, ranking


def everything(intake: Intake) -> list[Any]:
    """What an intake gives until it has nothing more to give for now."""
    given: list[Any] = []
    while (work := intake.take_nowait()) is not None:
        given.append(work)
        if isinstance(work, End):
            break
    return given


def test_payloads_put_one_by_one_are_taken_together() -> None:
    channel = Channel("c")
    for number in range(5):
        channel.put([number])
    channel.mark(Barrier(1))
    channel.put([5])
    assert [channel.take(), channel.take(), channel.take(), channel.take()] == [[0, 1, 2, 3, 4], Barrier(1), [5], None]


def test_the_same_list_may_go_to_several_channels() -> None:
    one, other, batch = Channel("one"), Channel("other"), [1, 2]
    for channel in (one, other):
        channel.put(batch)
        channel.put([3])
    assert (one.take(), other.take(), batch) == ([1, 2, 3], [1, 2, 3], [1, 2])


@pytest.mark.parametrize("most", [1, 7, 1024, 5000])
def test_a_long_list_is_taken_in_parts_and_in_order(most: int) -> None:
    channel = Channel("c")
    channel.put(range(4000))
    first = channel.take(most)
    channel.put(range(4000, 4010))
    channel.mark(END)
    assert first == list(range(min(most, 4000))) and channel.size == 4010 - min(most, 4000)
    taken, parts = list(first), []
    while isinstance(part := channel.take(most), list):
        parts.append(len(part))
        taken += part
    assert taken == list(range(4010)) and (part, channel.size) == (END, 0)
    assert max(parts) <= most


@pytest.mark.anyio
async def test_a_full_channel_lets_its_producer_wait_until_there_is_room() -> None:
    channel = Channel("c", capacity=3)
    assert not channel.put([1, 2])
    assert channel.put([3, 4])
    with anyio.move_on_after(0.01) as scope:
        await channel.room()
    assert scope.cancelled_caught
    channel.take()
    await channel.room()


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=20), st.integers(1, 6))
def test_dropping_channels_keep_their_bound_and_count_what_they_drop(batches: list[list[int]], capacity: int) -> None:
    sent = [number for batch in batches for number in batch]
    for on_full, keeps in (("drop_newest", sent[:capacity]), ("drop_oldest", sent[max(0, len(sent) - capacity) :])):
        channel = Channel("c", capacity=capacity, on_full=on_full)
        for batch in batches:
            assert not channel.put(batch), "a channel that drops never lets its producer wait"
            assert channel.size <= capacity
        kept: list[int] = []
        while (item := channel.take()) is not None:
            assert isinstance(item, list)
            kept += item
        assert kept == keeps
        assert channel.dropped == len(sent) - len(kept)


def test_priority_goes_first_among_what_waits_but_never_past_a_marker() -> None:
    channel = Channel("c", order_by=ranking("rank"))
    channel.put([{"rank": 3}, {"rank": 1}])
    channel.mark(Barrier(1))
    channel.put([{"rank": 0}])
    taken = [channel.take() for _ in range(3)]
    assert taken == [[{"rank": 1}, {"rank": 3}], Barrier(1), [{"rank": 0}]]


def test_a_late_urgent_message_overtakes_what_still_waits() -> None:
    channel = Channel("c", order_by=ranking("rank"))
    channel.put([{"rank": 5}] * 40)
    channel.take()
    channel.put([{"rank": 1}])
    assert channel.take()[0] == {"rank": 1}  # type: ignore[index]


def test_barriers_are_aligned_and_what_follows_one_waits_for_the_others() -> None:
    left, right = Channel("left"), Channel("right")
    intake = Intake([("left", left), ("right", right)])
    left.put([1])
    left.mark(Barrier(1))
    left.put([2])
    right.put([10])
    assert everything(intake) == [("left", [1]), ("right", [10])]
    right.mark(Barrier(1))
    right.put([20])
    assert everything(intake) == [Barrier(1), ("left", [2]), ("right", [20])]


def test_a_channel_that_ended_counts_as_aligned() -> None:
    left, right = Channel("left"), Channel("right")
    intake = Intake([("left", left), ("right", right)])
    left.mark(END)
    right.mark(Barrier(1))
    found = everything(intake)
    assert [type(each) for each in found] == [Barrier, PortEnd] or [type(each) for each in found] == [PortEnd, Barrier]
    right.mark(END)
    assert [type(each) for each in everything(intake)] == [PortEnd, End]


def test_a_port_ends_when_all_its_channels_have() -> None:
    one, other = Channel("one"), Channel("other")
    intake = Intake([("in", one), ("in", other)])
    one.mark(END)
    assert everything(intake) == []
    other.put([1])
    other.mark(END)
    assert [each if isinstance(each, tuple) else type(each) for each in everything(intake)] == [
        ("in", [1]),
        PortEnd,
        End,
    ]


def test_held_messages_stay_in_their_channel_until_a_barrier_behind_them_is_due() -> None:
    held = {"right"}
    left, right = Channel("left"), Channel("right", capacity=1)
    intake = Intake([("left", left), ("right", right)], lambda port: port in held)
    right.put([10])
    left.put([1])
    assert everything(intake) == [("left", [1])]
    assert right.full
    left.mark(Barrier(1))
    right.mark(Barrier(1))
    assert everything(intake) == [Barrier(1)]
    right.put([20])
    held.clear()
    assert everything(intake) == [("right", [10]), ("right", [20])]


@given(st.data())
def test_any_interleaving_gives_every_message_in_order_in_its_epoch(data: st.DataObject) -> None:
    ports = data.draw(st.integers(1, 4))
    epochs = data.draw(st.integers(0, 4))
    script: list[list[Callable[[Channel], Any]]] = []
    expected: list[list[list[int]]] = []
    for port in range(ports):
        steps: list[Callable[[Channel], Any]] = []
        groups: list[list[int]] = []
        for epoch in range(epochs + 1):
            numbers = [port * 1000 + epoch * 100 + number for number in range(data.draw(st.integers(0, 3)))]
            steps += [lambda channel, n=number: channel.put([n]) for number in numbers]  # type: ignore[misc]
            steps.append(lambda channel, e=epoch: channel.mark(Barrier(e + 1) if e < epochs else END))  # type: ignore[misc]
            groups.append(numbers)
        script.append(steps)
        expected.append(groups)
    channels = [Channel(str(port)) for port in range(ports)]
    intake = Intake([(str(port), channel) for port, channel in enumerate(channels)])
    got: list[list[list[int]]] = [[[]] for _ in range(ports)]
    ended = False
    while any(script) or not ended:
        waiting = [port for port in range(ports) if script[port]]
        if waiting and (data.draw(st.booleans()) or ended):
            port = data.draw(st.sampled_from(waiting))
            script[port].pop(0)(channels[port])
            continue
        work = intake.take_nowait()
        if isinstance(work, Barrier):
            for groups in got:
                groups.append([])
        elif isinstance(work, tuple):
            got[int(work[0])][-1] += work[1]
        elif isinstance(work, End):
            ended = True
        elif work is None and waiting:
            script[waiting[0]].pop(0)(channels[waiting[0]])
    assert got == expected
