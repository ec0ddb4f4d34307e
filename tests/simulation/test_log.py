"""The simulated log does what the port says, and the worst that the port allows."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from libs.errors import Conflict, DependencyDown
from libs.events.port import Cleanup, Event, Record, TopicSpec
from tests.contract.event_log_contract import (
    EVENT_BYTES_MAX,
    TOPICS,
    EventLogContract,
    HandClock,
)
from tests.simulation.broker import Broker
from tests.simulation.log import SimEventLog
from tests.simulation.node import Node
from tests.simulation.world import Weather, World

_CALM = Weather(tail=0, drop=0, duplicate=0, log_tail=0, lost_ack=0)
_SPECS = (TopicSpec("t", 2), TopicSpec("c", 1, Cleanup.COMPACT))


def _event(number: int, key: str = "k") -> Event:
    return Event(f"e{number}", "type", key, b"data", datetime(2026, 1, 1, tzinfo=UTC))


def _play(
    body: Callable[[World, Broker, Node], Awaitable[None]], weather: Weather = _CALM, seed: int = 0
) -> None:
    world = World(seed, weather)
    broker = Broker(world)
    broker.ensure(_SPECS)
    world.loop.run(body(world, broker, world.loop.node("n")), world.here)
    assert world.loop.errors == []
    world.over = True
    world.loop.close()


async def _drain(log: SimEventLog, group: str, topic: str, count: int) -> list[Record]:
    found: list[Record] = []
    async with log.subscribe(group, [topic]) as subscription:
        while len(found) < count:
            found.extend(await subscription.fetch())
    return found


def test_what_a_dead_sender_had_under_way_is_appended_all_the_same() -> None:
    async def body(world: World, broker: Broker, node: Node) -> None:
        async def send() -> None:
            producer = await SimEventLog(broker, node).producer("p")
            node.light(1, node.kill)
            await producer.publish("t", _event(1))

        node.spawn(send())
        await asyncio.sleep(1)
        assert not node.alive
        assert [record.event.id for record in broker.records("t")] == ["e1"]

    _play(body)


def test_a_fenced_producer_appends_nothing_more_not_even_what_was_under_way() -> None:
    async def body(world: World, broker: Broker, node: Node) -> None:
        log = SimEventLog(broker, node)
        old = await node.spawn(log.producer("p"))
        await node.spawn(log.producer("p"))
        with pytest.raises(Conflict, match="incarnation 1, was fenced"):
            await node.spawn(old.publish("t", _event(1)))
        with pytest.raises(Conflict):
            await node.spawn(old.prove())
        assert broker.records("t") == []

    _play(body)


def test_a_lost_acknowledgement_is_an_error_although_the_record_stands() -> None:
    async def body(world: World, broker: Broker, node: Node) -> None:
        producer = await node.spawn(SimEventLog(broker, node).producer("p"))
        with pytest.raises(DependencyDown):
            await node.spawn(producer.publish("t", _event(1)))
        assert len(broker.records("t")) == 1

    _play(body, Weather(lost_ack=1.0))


def test_an_outage_appends_nothing_and_ends() -> None:
    async def body(world: World, broker: Broker, node: Node) -> None:
        producer = await node.spawn(SimEventLog(broker, node).producer("p"))
        broker.outage(3.0)
        with pytest.raises(DependencyDown):
            await node.spawn(producer.publish("t", _event(1)))
        await asyncio.sleep(4)
        await node.spawn(producer.publish("t", _event(2)))
        assert [record.event.id for record in broker.records("t")] == ["e2"]

    _play(body)


def test_order_of_one_producer_survives_any_delay() -> None:
    async def body(world: World, broker: Broker, node: Node) -> None:
        producer = await node.spawn(SimEventLog(broker, node).producer("p"))

        async def send() -> None:
            async with asyncio.TaskGroup() as tasks:
                for number in range(50):
                    tasks.create_task(producer.publish("t", _event(number)))

        await node.spawn(send())
        ids = [record.event.id for record in broker.records("t")]
        assert ids == [f"e{number}" for number in range(50)]
        seqs = [record.event.seq for record in broker.records("t")]
        assert seqs == sorted(set(seqs))

    _play(body, Weather(log_tail=0.5))


def test_an_evicted_member_hears_it_and_what_it_did_not_commit_comes_again() -> None:
    async def body(world: World, broker: Broker, node: Node) -> None:
        log = SimEventLog(broker, node)
        producer = await node.spawn(log.producer("p"))
        for number in range(4):
            await node.spawn(producer.publish("t", _event(number)))

        async def consume() -> None:
            async with log.subscribe("g", ["t"]) as subscription:
                first: list[Record] = []
                while len(first) < 4:
                    first.extend(await subscription.fetch())
                await subscription.commit("t", first[0].partition, 2)
                broker.evict(broker.members()[0], "test")
                with pytest.raises(Conflict, match="evicted"):
                    await subscription.fetch()
            again = await _drain(log, "g", "t", 2)
            assert [record.offset for record in again] == [2, 3]

        await node.spawn(consume())

    _play(body)


def test_a_group_shares_partitions_and_loses_nothing() -> None:
    async def body(world: World, broker: Broker, node: Node) -> None:
        log = SimEventLog(broker, node)
        producer = await node.spawn(log.producer("p"))
        seen: set[str] = set()

        async def member(name: str) -> None:
            other = world.loop.node(name)
            await other.spawn(take(SimEventLog(broker, other)))

        async def take(mine: SimEventLog) -> None:
            async with mine.subscribe("g", ["t"]) as subscription:
                while len(seen) < 40:
                    async with asyncio.timeout(1.0):
                        for record in await subscription.fetch():
                            seen.add(record.event.id)
                            await subscription.commit(
                                record.topic, record.partition, record.offset + 1
                            )

        async def send() -> None:
            for number in range(40):
                await producer.publish("t", _event(number, f"k{number}"))

        await node.spawn(send())
        async with asyncio.TaskGroup() as tasks:
            for name in ("a", "b"):
                tasks.create_task(_quietly(member(name)))
        assert len(seen) == 40

    _play(body)


async def _quietly(work: Awaitable[None]) -> None:
    try:
        await work
    except TimeoutError:
        return


def test_compaction_keeps_the_last_word_of_each_key() -> None:
    async def body(world: World, broker: Broker, node: Node) -> None:
        log = SimEventLog(broker, node)
        producer = await node.spawn(log.producer("p"))
        for number, key in enumerate("abab"):
            await node.spawn(producer.publish("c", _event(number, key)))
        broker.compact()

        async def read() -> list[str]:
            return [record.event.id async for record in log.read("c", 0)]

        assert await node.spawn(read()) == ["e2", "e3"]
        assert await node.spawn(log.end_offset("c", 0)) == 4

    _play(body)


_CONTRACT = EventLogContract()
_ELSEWHERE = {
    "test_a_cancelled_fetch_takes_nothing_away": "commits ahead of fetching, which no consumer does",
    "test_a_member_that_does_not_call_is_evicted": "processes are evicted when they stand still",
    "test_an_event_comes_back_as_it_was_with_its_origin": "records carry the world's time",
    "test_closing_wakes_readers_and_refuses_calls": "simulated logs end with their process",
    "test_compaction_keeps_the_latest_of_each_key": "compaction strikes when a fault says so",
    "test_a_tombstone_removes_its_key_and_goes_when_old": "tombstones go at once",
    "test_retention_deletes_what_is_old_and_gives_no_offset_twice": "there is no retention",
    "test_the_partition_is_kafkas": "it has parameters; the function is the real one",
    "test_malformed_events_are_refused_by_attribute": "it has parameters; the function is the real one",
}
"""Parts of the contract that this fake leaves to the real adapters, each with why."""


def _clauses() -> list[str]:
    return [name for name in dir(_CONTRACT) if name.startswith("test_") and name not in _ELSEWHERE]


@pytest.mark.parametrize("clause", _clauses())
def test_it_keeps_the_contract_of_the_real_logs(clause: str) -> None:
    method = getattr(_CONTRACT, clause)
    wanted = inspect.signature(method).parameters

    async def body(world: World, broker: Broker, node: Node) -> None:
        broker.ensure(TOPICS)
        broker.max_event_bytes = EVENT_BYTES_MAX
        log = SimEventLog(broker, node)
        given: dict[str, object] = {"log": log, "clock": HandClock()}
        if "producer" in wanted:
            given["producer"] = await node.spawn(log.producer("p"))
        await node.spawn(method(**{name: given[name] for name in wanted}))

    _play(body)
