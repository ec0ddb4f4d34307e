"""What holds for every test: a category, no blocking call on the loop, nothing left running."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

CATEGORIES = ("unit", "contract", "integration", "simulation", "e2e", "faults")
_TESTS = Path(__file__).parent
# Long enough for what ends by itself (a gRPC handler after its server, a pool's last thread).
_GRACE_S = 3.0
# The loop's own pool ends with the loop, gRPC's poller with the process.
_KEPT_THREADS = ("asyncio_", "Thread-1 (_poll_wrapper)", "pytest_timeout", "execnet")


# Hundreds of examples in a test that starts nothing; seconds, and on a busy machine many of them.
_PROPERTY_S = 120
# How long an example takes says how busy the machine is. The same examples each time: a gate must not depend on
# luck; to look for new ones: `pytest --hypothesis-profile=default`.
hypothesis_settings.register_profile(
    "tectum", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("tectum")


# As long as this call is not answered by a shutdown, gRPC keeps its poller: without it the last channel
# that goes joins that thread, wherever on the loop the collector meets it.
grpc.aio.init_grpc_aio()  # type: ignore[attr-defined] # Public, but not in the stubs.


def misplaced(path: Path, tests: Path) -> str | None:
    """Why a test file may not lie where it does; None if it may."""
    parts = path.relative_to(tests).parts
    if len(parts) > 1 and parts[0] in CATEGORIES:
        return None
    return f"{path}: expected it in a folder of {', '.join(CATEGORIES)} below {tests.name}/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse files outside of the categories; watch the tasks of every asynchronous test."""
    for item in items:
        if item.path.is_relative_to(_TESTS) and (why := misplaced(item.path, _TESTS)):
            raise pytest.UsageError(why)
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            # First in, last out: what the other fixtures start must have ended by then.
            item.fixturenames.insert(0, "no_task_is_left")
        made = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if made and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_PROPERTY_S))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail where a thread that the test started is still alive after it."""
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + _GRACE_S
    while (left := _threads_beside(before)) and time.monotonic() < end:
        time.sleep(0.01)
    if left:
        pytest.fail(f"threads left running: {sorted(left)}", pytrace=False)


def _threads_beside(before: set[threading.Thread]) -> list[str]:
    return [
        thread.name
        for thread in threading.enumerate()
        if thread not in before
        and thread.is_alive()
        and not thread.name.startswith(_KEPT_THREADS)
        and "_poll_wrapper" not in thread.name
    ]


@pytest.fixture
async def no_task_is_left() -> AsyncIterator[None]:
    """Fail where a task that the test started still runs after it and its fixtures."""
    before = asyncio.all_tasks()
    yield
    loop = asyncio.get_running_loop()
    end = loop.time() + _GRACE_S
    own = asyncio.current_task()
    # Other people's tasks have no event to wait for.
    while (left := asyncio.all_tasks() - before - {own}) and loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    if left:
        pytest.fail(f"tasks left running: {sorted(map(repr, left))}", pytrace=False)


@pytest.fixture(autouse=True)
def no_blocking_calls_on_the_loop() -> Iterator[BlockBuster]:
    """Fail a call in libs or services that blocks the event loop."""
    with blockbuster_ctx(scanned_modules=["libs", "services"]) as guard:
        yield guard
