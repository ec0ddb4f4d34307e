"""One port: health, reflection, refusals at start, authentication, limits, drain."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from libs.errors import InvalidRequest, WrongState
from libs.rpc.call import Caller, current_tenant, within
from libs.rpc.client import connect
from libs.rpc.edge import Edge
from libs.rpc.server import PlatformServer, running_server
from libs.rpc.settings import RpcSettings
from tectum.session.v1 import session_pb2, session_pb2_grpc

_SERVICE = "tectum.session.v1.SessionService"


class _Sessions(session_pb2_grpc.SessionServiceServicer):
    """Answers with the tenant; `slow` waits until told."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.leave = asyncio.Event()

    async def GetSession(self, request: Any, context: Any) -> Any:
        if request.session_id == "slow":
            self.entered.set()
            await self.leave.wait()
        answer = session_pb2.GetSessionResponse()
        answer.state.tenant = current_tenant()
        return answer


def _register(servicer: _Sessions) -> Callable[[grpc.aio.Server], None]:
    return lambda server: session_pb2_grpc.add_SessionServiceServicer_to_server(servicer, server)


@asynccontextmanager
async def _serving(
    **settings: Any,
) -> AsyncIterator[tuple[_Sessions, PlatformServer, grpc.aio.Channel]]:
    servicer = _Sessions()
    made = RpcSettings(address="127.0.0.1:0", drain_s=0, **settings)
    async with (
        running_server(_register(servicer), made) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield servicer, server, channel


def _tokens(path: Path) -> Path:
    entries = {
        "alpha": {"tenant": "alpha", "scopes": ["session"]},
        "beta": {"tenant": "beta", "scopes": ["memory"]},
        "admin": {"tenant": "gamma", "scopes": ["*"]},
    }
    path.write_text(
        json.dumps({hashlib.sha256(k.encode()).hexdigest(): v for k, v in entries.items()})
    )
    return path


def _info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return info


async def test_every_service_has_health_and_reflection() -> None:
    async with _serving() as (_, _, channel):
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", _SERVICE, "grpc.health.v1.Health"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="*")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        async for listed in stub.ServerReflectionInfo(iter([ask]), timeout=5):
            found = {service.name for service in listed.list_services_response.service}
    assert {_SERVICE, "grpc.health.v1.Health"} <= found


async def test_a_method_that_nobody_wrote_is_unimplemented() -> None:
    async with _serving() as (_, _, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await session_pb2_grpc.SessionServiceStub(channel).ListSessions(
                session_pb2.ListSessionsRequest(), timeout=5
            )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_second_server_on_the_port_is_refused() -> None:
    async with _serving() as (_, server, _):
        with pytest.raises(WrongState) as caught:
            await PlatformServer.bind(RpcSettings(address=server.address))
    assert caught.value.reason == "PORT_IN_USE"
    assert server.address in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http2", "127.0.0.1:99999"])
async def test_an_address_that_is_none_is_said(address: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await PlatformServer.bind(RpcSettings(address=address))
    assert caught.value.reason in {"ADDRESS_WRONG", "EDGE_NOT_SECURED"}
    assert address in str(caught.value)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0", ":0"])
@pytest.mark.parametrize("given", [(), ("tls",), ("tokens",)])
async def test_an_open_edge_is_refused(
    address: str, given: tuple[str, ...], tmp_path: Path
) -> None:
    parts: dict[str, Any] = {}
    if "tls" in given:
        parts |= {"tls_certificate": tmp_path / "c.pem", "tls_key": tmp_path / "k.pem"}
    if "tokens" in given:
        parts |= {"tokens": _tokens(tmp_path / "tokens.json")}
    with pytest.raises(InvalidRequest) as caught:
        await PlatformServer.bind(RpcSettings(address=address, **parts))
    assert caught.value.reason == "EDGE_NOT_SECURED"


async def test_half_a_key_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await PlatformServer.bind(RpcSettings(address="127.0.0.1:0", tls_key=tmp_path / "k.pem"))
    assert caught.value.reason == "EDGE_NOT_SECURED"


async def test_tls_and_tokens_open_the_edge(tmp_path: Path) -> None:
    key, certificate = tmp_path / "k.pem", tmp_path / "c.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    rest = ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [*openssl, *rest, *names, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    settings = RpcSettings(
        address="0.0.0.0:0",
        drain_s=0,
        tls_certificate=certificate,
        tls_key=key,
        tokens=_tokens(tmp_path / "tokens.json"),
    )
    roots = grpc.ssl_channel_credentials(certificate.read_bytes())
    request = session_pb2.GetSessionRequest()
    async with running_server(_register(_Sessions()), settings) as server:
        async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", roots) as channel:
            stub = session_pb2_grpc.SessionServiceStub(channel)
            bearer = (("authorization", "Bearer alpha"),)
            answer = await stub.GetSession(request, timeout=5, metadata=bearer)
            assert answer.state.tenant == "alpha"
        trusting = Edge(roots=certificate.read_bytes(), token="alpha")
        async with connect(f"127.0.0.1:{server.port}", settings, trusting) as ours:
            answer = await session_pb2_grpc.SessionServiceStub(ours).GetSession(request)
            assert answer.state.tenant == "alpha"
        async with connect(
            server.inner_address, settings, trusting, inner_token=server.inner_token
        ) as ours:
            with within(5, caller=Caller("gamma")):
                answer = await session_pb2_grpc.SessionServiceStub(ours).GetSession(request)
            assert answer.state.tenant == "gamma"
        async with grpc.aio.insecure_channel(server.inner_address) as inner:
            stub = session_pb2_grpc.SessionServiceStub(inner)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetSession(request, timeout=5)
            assert _info(caught.value).reason == "TOKEN_MISSING"
            own = (("authorization", f"Bearer {server.inner_token}"), ("tectum-tenant", "beta"))
            answer = await stub.GetSession(request, timeout=5, metadata=own)
            assert answer.state.tenant == "beta"
    assert server.inner_address != server.address


@pytest.mark.parametrize(
    ("authorization", "outcome"),
    [
        (None, "TOKEN_MISSING"),
        ("Basic alpha", "TOKEN_WRONG"),
        ("Bearer omega", "TOKEN_WRONG"),
        ("Bearer ", "TOKEN_WRONG"),
        ("Bearer beta", "SCOPE_MISSING"),
        ("Bearer alpha", "alpha"),
        ("bearer admin", "gamma"),
    ],
)
async def test_tokens(authorization: str | None, outcome: str, tmp_path: Path) -> None:
    async with _serving(tokens=_tokens(tmp_path / "tokens.json")) as (_, _, channel):
        # The tenant of a caller that is not the platform comes from its token alone.
        metadata = [("tectum-tenant", "stolen")]
        if authorization is not None:
            metadata.append(("authorization", authorization))
        call = session_pb2_grpc.SessionServiceStub(channel).GetSession(
            session_pb2.GetSessionRequest(), timeout=5, metadata=metadata
        )
        if outcome.isupper():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert _info(caught.value).reason == outcome
            assert "omega" not in str(caught.value)
        else:
            assert (await call).state.tenant == outcome
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == 1


async def test_without_tokens_everybody_is_local() -> None:
    async with _serving() as (_, _, channel):
        stub = session_pb2_grpc.SessionServiceStub(channel)
        answer = await stub.GetSession(session_pb2.GetSessionRequest(), timeout=5)
    assert answer.state.tenant == "local"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"clear text token": {"tenant": "a", "scopes": []}}',
        '{"%s": {"tenant": 3}}',
    ],
)
async def test_a_wrong_tokens_file_stops_the_start(content: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(content.replace("%s", "a" * 64))
    with pytest.raises(InvalidRequest) as caught:
        await PlatformServer.bind(RpcSettings(address="127.0.0.1:0", tokens=path))
    assert caught.value.reason == "TOKENS_FILE_WRONG"
    assert "clear text token" not in str(caught.value)


async def test_too_many_calls_are_refused_with_a_time_to_wait() -> None:
    async with _serving(concurrent_calls=1) as (servicer, _, channel):
        stub = session_pb2_grpc.SessionServiceStub(channel)
        first = stub.GetSession(session_pb2.GetSessionRequest(session_id="slow"), timeout=10)
        await servicer.entered.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetSession(session_pb2.GetSessionRequest(), timeout=5)
        servicer.leave.set()
        await first
        await stub.GetSession(session_pb2.GetSessionRequest(), timeout=5)
    assert _info(caught.value).reason == "TOO_MANY_CALLS"
    status = rpc_status.from_call(caught.value)
    kinds = [detail.TypeName() for detail in status.details]
    assert kinds == ["google.rpc.ErrorInfo", "google.rpc.RetryInfo", "google.rpc.QuotaFailure"]


async def test_draining_lets_calls_finish_and_refuses_new_ones() -> None:
    async with _serving() as (servicer, server, channel):
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=_SERVICE), timeout=10)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stub = session_pb2_grpc.SessionServiceStub(channel)
        slow = stub.GetSession(session_pb2.GetSessionRequest(session_id="slow"), timeout=10)
        await servicer.entered.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.stop(10))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetSession(session_pb2.GetSessionRequest(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            servicer.leave.set()
            assert (await slow).state.tenant == "local"


_SERVE = """
import asyncio
from libs.rpc.server import running_server, termination
from libs.rpc.settings import RpcSettings

async def main():
    with termination() as stop:
        async with running_server(lambda server: None, RpcSettings.load()) as server:
            print(server.address, flush=True)
            await stop.wait()
    print("drained", flush=True)

asyncio.run(main())
"""


def _process(**variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        env={"PATH": os.defpath, "PYTHONPATH": ".:libs/sdk", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(number: signal.Signals) -> None:
    with _process(TECTUM_RPC_ADDRESS="127.0.0.1:0") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("127.0.0.1:")
            process.send_signal(number)
            assert process.stdout.readline() == "drained\n"
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_an_unknown_setting_stops_the_start() -> None:
    with _process(TECTUM_RPC_ADRESS="127.0.0.1:0") as process:
        _, errors = process.communicate(timeout=15)
        assert process.returncode != 0
    assert "TECTUM_RPC_ADRESS" in errors
