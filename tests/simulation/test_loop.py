"""The deterministic loop: order from the seed, time that jumps, processes that stop, die and drift."""

import asyncio
import time

import pytest

from tests.simulation.loop import SimLoop, SimulationEscapeError, SimulationStuckError
from tests.simulation.node import Node


def _play(seed: int) -> tuple[list[tuple[str, int]], int]:
    loop, said = SimLoop(seed), []

    async def chatter(node: Node) -> None:
        for turn in range(5):
            said.append((node.name, turn))
            await asyncio.sleep(0)

    async def main() -> None:
        for task in [node.spawn(chatter(node)) for node in (loop.node("a"), loop.node("b"))]:
            await task

    loop.run(main(), loop.node("main"))
    digest = loop.digest
    loop.close()
    return said, digest


def test_a_seed_fixes_the_interleaving_and_seeds_differ() -> None:
    assert _play(1) == _play(1)
    assert len({digest for _, digest in map(_play, range(20))}) == 20
    orders = {tuple(said) for said, _ in map(_play, range(20))}
    assert len(orders) > 5


def test_asyncio_works_on_virtual_time() -> None:
    loop, begun = SimLoop(0), time.monotonic()
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def feed() -> None:
        for number in range(3):
            await asyncio.sleep(1000)
            await queue.put(number)

    async def main() -> list[int]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(500):
                await asyncio.Event().wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed())
            return [await queue.get() for _ in range(3)]

    assert loop.run(main(), loop.node("main")) == [0, 1, 2]
    assert loop.now == pytest.approx(3500)
    assert time.monotonic() - begun < 10
    loop.close()


def test_a_paused_node_fires_everything_late_and_in_order() -> None:
    loop, fired = SimLoop(0), []
    node, world = loop.node("n", rate=1.5, offset_s=100.0), loop.node("world")

    async def sleeper(length_s: float) -> None:
        await asyncio.sleep(length_s)
        fired.append((length_s, loop.now))

    async def main() -> None:
        tasks = [node.spawn(sleeper(length_s)) for length_s in (3.0, 1.5)]
        loop.at(0.5, node.pause, node=world)
        loop.at(10.0, node.resume, node=world)
        for task in tasks:
            await task

    loop.run(main(), world)
    assert fired == [(1.5, 10.0), (3.0, 10.0)]
    loop.close()


def test_a_killed_node_runs_no_finally_block() -> None:
    loop, said = SimLoop(0), []
    node, world = loop.node("n"), loop.node("world")

    async def victim() -> None:
        try:
            said.append("begun")
            await asyncio.sleep(5)
        finally:
            said.append("finally")

    async def main() -> None:
        node.spawn(victim())
        await asyncio.sleep(1)
        node.kill()
        await asyncio.sleep(100)

    loop.run(main(), world)
    assert said == ["begun"]
    loop.close()


def test_a_fuse_strikes_between_two_callbacks_of_one_instant() -> None:
    loop, said = SimLoop(0), []
    node, world = loop.node("n"), loop.node("world")

    async def victim() -> None:
        for turn in range(10):
            said.append(turn)
            await asyncio.sleep(0)

    async def main() -> None:
        node.light(4, node.kill)
        node.spawn(victim())
        await asyncio.sleep(1)

    loop.run(main(), world)
    assert said == [0, 1, 2, 3]
    loop.close()


def test_clocks_drift_and_timers_follow_their_own_clock() -> None:
    loop = SimLoop(0)
    fast = loop.node("fast", rate=2.0, offset_s=7.0)

    async def nap() -> float:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(10)
        return asyncio.get_running_loop().time() - begun

    async def main() -> float:
        return await fast.spawn(nap())

    assert loop.run(main(), loop.node("world")) == pytest.approx(10)
    assert loop.now == pytest.approx(5)
    loop.close()


def test_deadlock_and_livelock_are_told() -> None:
    loop = SimLoop(0)
    with pytest.raises(SimulationStuckError, match="deadlock"):
        loop.run(asyncio.Event().wait(), loop.node("main"))
    loop.close()
    loop = SimLoop(0, step_limit=1000)

    async def spin() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(SimulationStuckError, match="livelock"):
        loop.run(spin(), loop.node("main"))
    loop.close()


def test_there_are_no_threads_and_no_sockets() -> None:
    loop = SimLoop(0)

    async def main() -> None:
        with pytest.raises(NotImplementedError):
            await asyncio.open_connection("127.0.0.1", 1)
        with pytest.raises(SimulationEscapeError):
            await asyncio.to_thread(time.monotonic)

    loop.run(main(), loop.node("main"))
    loop.close()
