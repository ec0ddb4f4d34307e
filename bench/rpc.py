"""Calls a second through the platform's whole server boundary, as a share of bare grpc.aio's.

One client, bare, calls two servers in one process by turns: a bare grpc.aio server, and the platform's with
deadline, error boundary, authentication and tracing. The rounds are short and alternate, so that what else
the machine does hits both; the figure is the median of the ratios of neighbouring rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from libs.rpc.server import running_server
from libs.rpc.settings import RpcSettings
from libs.telemetry.setup import TelemetrySettings, running_telemetry
from tectum.session.v1 import session_pb2, session_pb2_grpc

_TOKEN = "bench-token"  # noqa: S105 - of a server that lives for this run
_SESSION = "0123456789abcdef"
# So many at once keep the process busy, which shows the boundary's cost; one alone would mostly wait.
_CALLERS = 8


async def _get_session(
    request: session_pb2.GetSessionRequest, context: Any
) -> session_pb2.GetSessionResponse:
    return session_pb2.GetSessionResponse()


def _handlers() -> tuple[grpc.GenericRpcHandler[Any, Any], ...]:
    handler = grpc.unary_unary_rpc_method_handler(
        _get_session,
        request_deserializer=session_pb2.GetSessionRequest.FromString,
        response_serializer=session_pb2.GetSessionResponse.SerializeToString,
    )
    service = "tectum.session.v1.SessionService"
    return (grpc.method_handlers_generic_handler(service, {"GetSession": handler}),)


@asynccontextmanager
async def _bare() -> AsyncIterator[str]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(_handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def _ours(folder: Path, sampled: float) -> AsyncIterator[str]:
    tokens = folder / "tokens.json"
    sha256 = hashlib.sha256(_TOKEN.encode()).hexdigest()
    tokens.write_text(json.dumps({sha256: {"tenant": "bench", "scopes": ["session"]}}))
    settings = RpcSettings(address="127.0.0.1:0", tokens=tokens, drain_s=0)
    async with (
        running_telemetry(TelemetrySettings(sampled=sampled), folder) as store,
        running_server(
            lambda server: server.add_generic_rpc_handlers(_handlers()), settings
        ) as server,
    ):
        yield server.address
        if store.dropped:
            raise RuntimeError(f"{store.dropped} spans were dropped: the figure would be too good")


async def _round(stub: Any, calls: int, metadata: Any) -> tuple[float, float]:
    """Calls a second of the wall clock, and of this process's CPU."""
    request = session_pb2.GetSessionRequest(session_id=_SESSION)

    async def caller() -> None:
        for _ in range(calls // _CALLERS):
            await stub.GetSession(request, timeout=30, metadata=metadata)

    wall, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as callers:
        for _ in range(_CALLERS):
            callers.create_task(caller())
    return calls / (time.perf_counter() - wall), calls / (time.process_time() - cpu)


async def measure(sampled: float, *, rounds: int, calls: int) -> dict[str, Any]:
    """Ratios of ours to bare, one for each pair of rounds."""
    metadata = (("authorization", f"Bearer {_TOKEN}"),)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        async with (
            _bare() as bare,
            _ours(Path(folder), sampled) as ours,
            grpc.aio.insecure_channel(bare) as bare_channel,
            grpc.aio.insecure_channel(ours) as our_channel,
        ):
            stubs = [
                session_pb2_grpc.SessionServiceStub(channel)
                for channel in (bare_channel, our_channel)
            ]
            for stub in stubs:
                await _round(stub, calls, metadata)
            for number in range(rounds):
                order = (0, 1) if number % 2 == 0 else (1, 0)
                found = {which: await _round(stubs[which], calls, metadata) for which in order}
                pairs.append((found[0], found[1]))
    wall = [our[0] / plain[0] for plain, our in pairs]
    cpu = [our[1] / plain[1] for plain, our in pairs]
    quarters = statistics.quantiles(wall, n=4)
    return {
        "sampled": sampled,
        "ratio": round(statistics.median(wall), 3),
        "ratio_quartiles": [round(quarters[0], 3), round(quarters[2], 3)],
        "ratio_cpu": round(statistics.median(cpu), 3),
        "bare_calls_per_s": round(statistics.median(plain[0] for plain, _ in pairs)),
        "our_calls_per_s": round(statistics.median(our[0] for _, our in pairs)),
        "callers": _CALLERS,
        "rounds": rounds,
        "calls_per_round": calls,
    }


def main(arguments: list[str]) -> int:
    """Measure with every call traced and with 1 % of them; exit code 1 below the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--calls", type=int, default=400, help="in each round")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args(arguments)
    targets = {1.0: 0.5, 0.01: 0.6}
    results = [
        asyncio.run(measure(sampled, rounds=options.rounds, calls=options.calls))
        | {"target": target}
        for sampled, target in targets.items()
    ]
    table = Table(title="One gRPC call through all interceptors, against bare grpc.aio")
    for heading in ("traced", "ratio", "quartiles", "by CPU time", "target", "bare /s", "ours /s"):
        table.add_column(heading, justify="right")
    for one in results:
        low, high = one["ratio_quartiles"]
        table.add_row(
            f"{one['sampled']:.0%}",
            f"{one['ratio']:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{one['ratio_cpu']:.2f}",
            f"{one['target']:.2f}",
            str(one["bare_calls_per_s"]),
            str(one["our_calls_per_s"]),
        )
    Console().print(table)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"rpc": results}, indent=2) + "\n")
    return 0 if all(one["ratio"] >= one["target"] for one in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
