"""All four call kinds hide bugs, keep reasons and refuse what cannot be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from libs.errors import NotFound
from libs.rpc.server import running_server
from libs.rpc.settings import RpcSettings

_KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


async def _unary(request: Any, context: Any) -> bytes:
    return _answer(request if isinstance(request, bytes) else await anext(request))


async def _stream(request: Any, context: Any) -> AsyncIterator[bytes]:
    yield b"first"
    yield _answer(request if isinstance(request, bytes) else await anext(request))


async def _writing(request: Any, context: Any) -> None:
    await context.write(b"first")
    await context.write(_answer(request if isinstance(request, bytes) else await anext(request)))


def _answer(request: bytes) -> bytes:
    if request == b"missing":
        raise NotFound("THING_NOT_FOUND", "expected a thing, got none", name="thing-7")
    if request == b"bug":
        raise KeyError("secret")
    return b"done"


def _parse(data: bytes) -> bytes:
    if data == b"garbage":
        raise ValueError("secret bytes")
    return data


class _Service(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        kind = details.method.rsplit("/", 1)[1]
        make = getattr(grpc, f"{kind.removesuffix('_writing')}_rpc_method_handler")
        behaviour: Any = _unary
        if "_stream" in kind:
            behaviour = _writing if kind.endswith("_writing") else _stream
        return make(behaviour, request_deserializer=_parse)


async def _call(kind: str, request: bytes) -> list[bytes]:
    settings = RpcSettings(address="127.0.0.1:0", max_message_bytes=1024, drain_s=0)
    async with (
        running_server(
            lambda server: server.add_generic_rpc_handlers((_Service(),)), settings
        ) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        method = getattr(channel, kind.removesuffix("_writing"))(f"/t.T/{kind}")
        call = method(iter([request]) if kind.startswith("stream") else request, timeout=5)
        if "_stream" in kind:
            return [response async for response in call]
        return [await call]


def _info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


@pytest.mark.parametrize("kind", [*_KINDS, "unary_stream_writing", "stream_stream_writing"])
@pytest.mark.parametrize(
    ("request_bytes", "code", "reason"),
    [
        (b"missing", grpc.StatusCode.NOT_FOUND, "THING_NOT_FOUND"),
        (b"bug", grpc.StatusCode.INTERNAL, "INTERNAL_ERROR"),
        (b"garbage", grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED"),
        (b"x" * 1025, grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE"),
    ],
)
async def test_boundary(
    kind: str, request_bytes: bytes, code: grpc.StatusCode, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _call(kind, request_bytes)
    assert caught.value.code() is code
    assert _info(caught.value).reason == reason
    assert _info(caught.value).domain == "tectum"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", _KINDS)
async def test_good_calls_pass(kind: str) -> None:
    assert (await _call(kind, b"fine"))[-1] == b"done"


async def test_a_synchronous_handler_is_refused() -> None:
    class Blocking(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")

    settings = RpcSettings(address="127.0.0.1:0", drain_s=0)
    async with (
        running_server(
            lambda server: server.add_generic_rpc_handlers((Blocking(),)), settings
        ) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/t.T/Any")(b"", timeout=5)
