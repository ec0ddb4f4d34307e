"""Bounded thread pools."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from libs.errors import Overloaded
from libs.offload import Offload


@pytest.fixture
async def offload() -> AsyncIterator[Offload]:
    offload = Offload("test", threads=2, waiting=1)
    yield offload
    await offload.aclose()


async def test_calls_run_elsewhere_and_answer(offload: Offload) -> None:
    assert await offload.run(threading.get_ident) != threading.get_ident()
    assert await offload.run(int, "ff", base=16) == 255
    with pytest.raises(ValueError, match="invalid literal"):
        await offload.run(int, "x")


async def test_one_too_many_is_refused_and_room_comes_back(offload: Offload) -> None:
    gate = threading.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(offload.run(gate.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="3 calls") as caught:
            await offload.run(int)
        assert caught.value.reason == "OFFLOAD_FULL"
        gate.set()
    assert all(task.result() for task in running)
    assert await offload.run(int) == 0


async def test_a_cancelled_call_that_runs_keeps_its_place_until_it_ends(offload: Offload) -> None:
    gate = threading.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(offload.run(gate.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in running:
            task.cancel()
        await asyncio.sleep(0.01)
        # Two run on in their threads; the one that waited is gone: room for one, not for two.
        last = tasks.create_task(offload.run(int))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await offload.run(int)
        gate.set()
    assert last.result() == 0
