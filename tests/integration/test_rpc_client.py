"""Deadlines go on, errors come back, retries stay within their budget, and one trace goes through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.errors import (
    Conflict,
    DeadlineExceeded,
    DependencyDown,
    InvalidRequest,
    NotFound,
    Overloaded,
    PlatformError,
    WrongState,
)
from libs.rpc.call import current_deadline, remaining_s, within
from libs.rpc.channels import Channels
from libs.rpc.client import PlatformChannel, connect, is_idempotent
from libs.rpc.interceptors import DEADLINE_KEY
from libs.rpc.server import PlatformServer, running_server
from libs.rpc.settings import RpcSettings
from libs.telemetry.setup import TelemetrySettings, running_telemetry
from libs.telemetry.trace import span
from tectum.session.v1 import session_pb2, session_pb2_grpc

_SETTINGS = RpcSettings(
    address="127.0.0.1:0", drain_s=0, backoff_s=0.001, max_message_bytes=100_000
)
# gRPC rounds time-outs up on the wire, to as much as a hundredth.
_ROUNDING_S = 0.2
_GET = session_pb2.GetSessionRequest


class _Sessions(session_pb2_grpc.SessionServiceServicer):
    """Raises the errors it is given, one a call, then answers."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.calls = 0
        self.deadline_s: float | None = None
        self.next: Any = None
        self.nap_s = 0.0

    async def _serve(self) -> None:
        self.calls += 1
        self.deadline_s = remaining_s()
        if self.failures:
            raise self.failures.pop(0)
        if self.next is not None:
            await self.next.GetSession(_GET())
        await asyncio.sleep(self.nap_s)

    async def GetSession(self, request: Any, context: Any) -> Any:
        await self._serve()
        return session_pb2.GetSessionResponse()

    async def Interrupt(self, request: Any, context: Any) -> Any:
        await self._serve()
        return session_pb2.InterruptResponse()

    async def Converse(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for request in request_iterator:
            if request.HasField("close"):
                await self._serve()
                return
            yield session_pb2.ConverseResponse(cursor=str(request.client_seq))


@asynccontextmanager
async def _serving(
    settings: RpcSettings = _SETTINGS,
) -> AsyncIterator[tuple[_Sessions, PlatformServer]]:
    servicer = _Sessions()
    async with running_server(
        lambda server: session_pb2_grpc.add_SessionServiceServicer_to_server(servicer, server),
        settings,
    ) as server:
        yield servicer, server


@asynccontextmanager
async def _connected(
    settings: RpcSettings = _SETTINGS,
) -> AsyncIterator[tuple[_Sessions, Any, PlatformChannel]]:
    async with (
        _serving(settings) as (servicer, server),
        connect(server.address, settings) as channel,
    ):
        yield servicer, session_pb2_grpc.SessionServiceStub(channel), channel


@pytest.mark.parametrize(
    "error",
    [
        NotFound("THING_NOT_FOUND", "expected a thing", name="thing-7"),
        WrongState("CLOSED", "it is closed", since="noon"),
        Conflict("STALE", "somebody else was faster"),
        InvalidRequest("FIELD_WRONG", "expected 1 to 3, got 7", field="count"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_come_back_as_they_were(error: PlatformError) -> None:
    async with _connected() as (servicer, stub, _):
        servicer.failures = [error]
        with pytest.raises(type(error)) as caught:
            await stub.GetSession(_GET())
    assert (caught.value.reason, str(caught.value)) == (error.reason, str(error))
    assert caught.value.metadata == error.metadata


async def test_a_time_to_wait_comes_back() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.failures = [Overloaded("BUSY", "too much", retry_after_s=2.5, tenant="alpha")]
        with pytest.raises(Overloaded) as caught:
            await stub.GetSession(_GET())
    assert (caught.value.retry_after_s, caught.value.metadata) == (2.5, {"tenant": "alpha"})


async def test_a_bug_of_the_peer_is_a_dependency_down_and_not_retried() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.failures = [KeyError("secret")]
        with pytest.raises(DependencyDown) as caught:
            await stub.GetSession(_GET())
        assert servicer.calls == 1
    assert caught.value.reason == "PEER_FAILED"
    assert caught.value.metadata["code"] == "INTERNAL"
    assert caught.value.metadata["incident"] in str(caught.value)


async def test_metadata_that_is_too_long_does_not_replace_the_error() -> None:
    async with _connected() as (servicer, stub, _):
        long = {f"key{number}": "x" * 5_000 for number in range(50)}
        servicer.failures = [InvalidRequest("FIELD_WRONG", "y" * 50_000, **long)]
        with pytest.raises(InvalidRequest) as caught:
            await stub.GetSession(_GET())
    assert caught.value.reason == "FIELD_WRONG"


@pytest.mark.parametrize("size", [150_000, 900_000])
async def test_an_oversized_message_has_its_reason(size: int) -> None:
    """Below gRPC's own limit the boundary answers, above it the client translates."""
    async with _connected() as (_, _, _):
        pass
    async with _serving() as (_, server):
        big = RpcSettings(address="127.0.0.1:0", max_message_bytes=2**21)
        async with connect(server.address, big) as channel:
            stub = session_pb2_grpc.SessionServiceStub(channel)
            with pytest.raises(InvalidRequest) as caught:
                await stub.GetSession(_GET(session_id="x" * size))
    assert caught.value.reason == "MESSAGE_TOO_LARGE"


async def test_idempotent_calls_are_retried() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.failures = [DependencyDown("DISK_DOWN", "no answer") for _ in range(2)]
        await stub.GetSession(_GET(), timeout=10)
        assert servicer.calls == 3


async def test_other_calls_are_not() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.failures = [DependencyDown("DISK_DOWN", "no answer")]
        with pytest.raises(DependencyDown) as caught:
            await stub.Interrupt(session_pb2.InterruptRequest())
        assert servicer.calls == 1
    assert caught.value.reason == "DISK_DOWN"


async def test_retries_end_with_the_attempts_and_with_the_budget() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.failures = [DependencyDown("DISK_DOWN", "no answer") for _ in range(100)]
        counts = []
        for _ in range(6):
            before = servicer.calls
            with pytest.raises(DependencyDown):
                await stub.GetSession(_GET(), timeout=30)
            counts.append(servicer.calls - before)
    # Ten tokens; from the fifth failure on at most half are left, and nothing is tried again.
    assert counts == [3, 2, 1, 1, 1, 1]


async def test_a_retry_that_would_miss_the_deadline_is_left_out() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.failures = [DependencyDown("DISK_DOWN", "no answer") for _ in range(2)]
        with pytest.raises(DependencyDown):
            await stub.GetSession(_GET(), timeout=0.15)  # The peer asks to wait for 0.2 s.
        assert servicer.calls == 1


def test_what_the_proto_marks_is_idempotent() -> None:
    service = "/tectum.session.v1.SessionService"
    assert is_idempotent(f"{service}/GetSession")
    assert is_idempotent(f"{service}/CloseSession")
    assert not is_idempotent(f"{service}/Interrupt")
    assert not is_idempotent("/unknown.Service/GetSession")
    assert not is_idempotent(f"{service}/Unknown")


async def test_nobody_there_is_unavailable() -> None:
    async with connect("127.0.0.1:1", _SETTINGS) as channel:
        with pytest.raises(DependencyDown):
            await session_pb2_grpc.SessionServiceStub(channel).GetSession(_GET())


async def test_the_callers_deadline_goes_on_and_the_default_holds() -> None:
    async with (
        _connected() as (last, stub, channel),
        _connected() as (first, door, _),
    ):
        first.next = stub
        await door.GetSession(_GET(), timeout=3)
        assert first.deadline_s is not None
        assert last.deadline_s is not None
        assert 0 < last.deadline_s <= first.deadline_s + _ROUNDING_S <= 3 + 2 * _ROUNDING_S
        await door.GetSession(_GET())
        assert first.deadline_s <= _SETTINGS.timeout_s + _ROUNDING_S
        with within(2):
            await door.GetSession(_GET(), timeout=60)
        assert last.deadline_s <= first.deadline_s + _ROUNDING_S <= 2 + 2 * _ROUNDING_S
        with within(0), pytest.raises(DeadlineExceeded):
            await door.GetSession(_GET())
        assert channel.get_state() is grpc.ChannelConnectivity.READY


async def test_time_that_is_over_is_said() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.nap_s = 30
        with pytest.raises(DeadlineExceeded):
            await stub.GetSession(_GET(), timeout=0.05)


async def test_the_chains_deadline_is_kept_by_the_server() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.nap_s = 30
        soon = (datetime.now(UTC) + timedelta(seconds=0.1)).isoformat()
        with pytest.raises(DeadlineExceeded) as caught:
            await stub.GetSession(_GET(), metadata=[(DEADLINE_KEY, soon)])
        assert caught.value.reason == "DEADLINE_EXCEEDED"
        assert servicer.deadline_s is not None
        assert servicer.deadline_s <= 0.1 + _ROUNDING_S
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        with pytest.raises(DeadlineExceeded):
            await stub.GetSession(_GET(), metadata=[(DEADLINE_KEY, past)])
        assert servicer.calls == 1
        for wrong in ("soon", "2026-01-01T00:00:00"):
            with pytest.raises(InvalidRequest) as refused:
                await stub.GetSession(_GET(), metadata=[(DEADLINE_KEY, wrong)])
            assert refused.value.reason == "DEADLINE_MALFORMED"


def test_blocks_within_blocks_keep_the_shorter_time() -> None:
    assert current_deadline() is None
    with within(100):
        outer = current_deadline()
        with within(200):
            assert current_deadline() == outer
        with within(1):
            assert (current_deadline() or 0) < (outer or 0)
            assert (current_deadline() or 0) > time.monotonic()
    assert current_deadline() is None


def _ask(number: int) -> session_pb2.ConverseRequest:
    return session_pb2.ConverseRequest(client_seq=number)


async def test_streams_go_both_ways_and_their_errors_are_ours() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.failures = [NotFound("THING_NOT_FOUND", "no thing")]
        call = stub.Converse()
        for number in (1, 2):
            await call.write(_ask(number))
            assert (await call.read()).cursor == str(number)
        close = session_pb2.ConverseRequest(close=session_pb2.Close())
        await call.write(close)
        with pytest.raises(NotFound) as caught:
            await call.read()
        assert caught.value.reason == "THING_NOT_FOUND"
        with pytest.raises(NotFound):
            await call.write(close)
        assert await call.code() is grpc.StatusCode.NOT_FOUND

        async def requests() -> AsyncIterator[Any]:
            yield _ask(7)

        assert [answer.cursor async for answer in stub.Converse(requests())] == ["7"]


async def test_a_stream_that_is_iterated_says_our_errors() -> None:
    async with _connected() as (servicer, stub, _):
        servicer.failures = [NotFound("THING_NOT_FOUND", "no thing")]
        close = session_pb2.ConverseRequest(close=session_pb2.Close())
        cursors = []
        with pytest.raises(NotFound):
            async for answer in stub.Converse(iter([_ask(1), close])):
                cursors.append(answer.cursor)
        assert cursors == ["1"]


async def test_one_trace_goes_through_client_and_servers(tmp_path: Path) -> None:
    async with (
        running_telemetry(TelemetrySettings(), tmp_path) as store,
        _connected() as (_, stub, _),
        _connected() as (first, door, _),
    ):
        first.next = stub
        with span("turn", session_id="s1"):
            await door.GetSession(_GET())
        found = await store.spans("s1")
    method = "tectum.session.v1.SessionService/GetSession"
    assert [one.name for one in found] == ["turn", method, method]
    assert [one.parent_span_id for one in found] == ["", found[0].span_id, found[1].span_id]


async def test_a_failed_call_is_marked_in_its_span(tmp_path: Path) -> None:
    async with (
        running_telemetry(TelemetrySettings(), tmp_path) as store,
        _connected() as (servicer, stub, _),
    ):
        servicer.failures = [NotFound("THING_NOT_FOUND", "the user's secret")]
        with span("turn", session_id="s1"), pytest.raises(NotFound):
            await stub.GetSession(_GET())
        found = await store.spans("s1")
    assert found[1].status == "ERROR THING_NOT_FOUND"
    assert found[1].attributes["rpc.grpc.status_code"] == "5"
    assert "secret" not in str(found)


async def test_channels_go_by_name_and_are_shared(tmp_path: Path) -> None:
    async with _serving() as (servicer, server):
        channels = Channels(_SETTINGS, own_address=server.address)
        try:
            assert channels("session") is channels("memory") is channels(server.address)
            await session_pb2_grpc.SessionServiceStub(channels("session")).GetSession(_GET())
            assert servicer.calls == 1
        finally:
            await channels.aclose()
        with pytest.raises(NotFound) as caught:
            Channels(_SETTINGS, peers={"session": server.address})("memory")
        assert caught.value.reason == "SERVICE_UNKNOWN"
