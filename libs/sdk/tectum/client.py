"""The client: one connection to a platform, and sessions that survive a lost one."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tectum.protocol.messages import (
    Control,
    ControlKind,
    Decision,
    Outcome,
    Plan,
    Score,
    TurnStarted,
)
from tectum.protocol.types import Body, Epoch
from tectum.session.v1 import session_pb2, session_pb2_grpc
from tectum.wire import from_wire

# grpc-stubs leaves it out.
_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]

DEFAULT_ADDRESS = "127.0.0.1:7400"

_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_UNACKNOWLEDGED_MAX = 256
"""Messages that may wait for their acknowledgement; one more is refused."""
_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 1.0
_LOST = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED}
"""Codes after which the session itself may live on: the stream is opened anew."""


class TectumError(Exception):
    """The platform said no; `reason` is UPPER_SNAKE and stable, `code` the gRPC status."""

    def __init__(
        self, reason: str, message: str, code: grpc.StatusCode, metadata: Mapping[str, str]
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code
        self.metadata = metadata

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> TectumError:
        """What a failed call says, with the reason of its ErrorInfo."""
        status = rpc_status.from_call(cast("grpc.Call", error))
        info = error_details_pb2.ErrorInfo()
        found = any(detail.Unpack(info) for detail in (status.details if status else ()))
        message = error.details() or ""
        reason = info.reason if found else error.code().name
        if not found and "larger than max" in message:  # gRPC itself refuses it, without a reason
            reason = "MESSAGE_TOO_LARGE"
        return cls(reason, message or reason, error.code(), dict(info.metadata))


@dataclass(frozen=True, slots=True)
class Opened:
    """The session stands; also the first answer to a resumption."""

    session_id: str
    resume_token: str
    epoch: Epoch
    bodies: tuple[Body, ...] = ()
    client_seq: int = 0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Everything up to and including `client_seq` is in the log."""

    client_seq: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that cannot be done now; the session goes on."""

    client_seq: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The connection was lost and the session was resumed."""

    seconds: float


Update: TypeAlias = (
    Opened
    | Acknowledged
    | Refused
    | Reconnected
    | TurnStarted
    | Plan
    | Decision
    | Outcome
    | Score
    | Control
)

_UPDATES: dict[str, type[Any]] = {
    "opened": Opened,
    "acknowledged": Acknowledged,
    "refused": Refused,
    "turn_started": TurnStarted,
    "plan": Plan,
    "decision": Decision,
    "outcome": Outcome,
    "score": Score,
    "control": Control,
}


@dataclass(frozen=True, slots=True)
class Agent:
    """How the agent works; `protos/tectum/session/v1/session.proto` says what each field means."""

    strategy: str = ""
    strategy_settings: str = ""
    policy: str = ""
    grace_s: float = 0.0
    max_steps: int = 0
    turn_limit_s: float = 0.0
    lesson: str = ""
    allow_literal_secrets: bool = False
    pause_on_client_lost: bool = False
    stop_on_environment_lost: bool = False

    def message(self) -> session_pb2.Agent:
        """The agent as it goes over the wire."""
        lost = session_pb2.OnClientLost
        gone = session_pb2.OnEnvironmentLost
        return session_pb2.Agent(
            strategy=self.strategy,
            strategy_settings=self.strategy_settings,
            policy=self.policy,
            grace_s=self.grace_s,
            max_steps=self.max_steps,
            turn_limit_s=self.turn_limit_s,
            lesson=self.lesson,
            allow_literal_secrets=self.allow_literal_secrets,
            on_client_lost=lost.ON_CLIENT_LOST_PAUSE
            if self.pause_on_client_lost
            else lost.ON_CLIENT_LOST_CONTINUE,
            on_environment_lost=gone.ON_ENVIRONMENT_LOST_STOP
            if self.stop_on_environment_lost
            else gone.ON_ENVIRONMENT_LOST_FRESH,
        )


@dataclass(slots=True)
class Session:
    """One session. Iterate `updates()`; the other methods may be called meanwhile.

    What is sent is kept until the platform acknowledged it, and is sent again after a reconnection under
    the same number, so that nothing is lost and nothing is done twice.
    """

    _stub: session_pb2_grpc.SessionServiceAsyncStub
    _metadata: tuple[tuple[str, str], ...]
    _open: session_pb2.Open
    _resume_for_s: float
    session_id: str = ""
    resume_token: str = ""
    cursor: str = ""
    _seq: int = 0
    _waiting: deque[session_pb2.ConverseRequest] = field(default_factory=deque)
    _call: Any = None
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closed: bool = False

    async def instruct(self, text: str) -> int:
        """Begin a turn, interrupting the present one; returns the message's number."""
        return await self._send(instruction=session_pb2.Instruction(text=text))

    async def interrupt(self, reason: str = "") -> int:
        """Stop every body; the acknowledgement is a Control update of kind EPOCH_RAISED."""
        return await self._send(interrupt=session_pb2.Interrupt(reason=reason))

    async def approve(self, step: int, *, approved: bool) -> int:
        """Answer a Decision whose verdict is ASK."""
        return await self._send(approval=session_pb2.Approval(step=step, approved=approved))

    async def feedback(self, *, success: bool, comment: str = "") -> int:
        """Say whether the last turn did what was asked."""
        return await self._send(feedback=session_pb2.Feedback(success=success, comment=comment))

    async def close(self) -> int:
        """End the session for good; the answer is a Control update of kind CLOSED."""
        return await self._send(close=session_pb2.Close())

    async def updates(self) -> AsyncIterator[Update]:
        """Everything that happens, until the session is closed; reconnects by itself.

        Raises:
            TectumError: the platform refused, or stayed away for longer than `resume_for_s`.
        """
        while not self._closed:
            try:
                response = await self._call.read()
            except grpc.aio.AioRpcError as error:
                yield await self._reconnect(error)
                continue
            if response is _END:
                if await self._call.code() is grpc.StatusCode.OK:
                    return
                yield await self._reconnect(None)
                continue
            update = self._take(response)
            if update is not None:
                yield update

    async def connect(self) -> Opened:
        """Open the stream and wait for the session to stand.

        Raises:
            TectumError: the platform refused.
        """
        async with self._writing:
            self._call = cast("Any", self._stub).Converse(metadata=self._metadata)
            try:
                await self._call.write(self._first())
                response = await self._call.read()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                response = _END
            if response is _END:
                raise await self._failure()
            opened = from_wire(response.opened, Opened)
            self.session_id, self.resume_token = opened.session_id, opened.resume_token
            self._seq = max(self._seq, opened.client_seq, 1)
            self._acknowledged(opened.client_seq)
            for request in self._waiting:
                await self._call.write(request)
        return opened

    def abandon(self) -> None:
        """Drop the connection without closing the session."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    def _first(self) -> session_pb2.ConverseRequest:
        if not self.session_id:
            return session_pb2.ConverseRequest(client_seq=1, open=self._open)
        return session_pb2.ConverseRequest(
            resume=session_pb2.Resume(
                session_id=self.session_id,
                resume_token=self.resume_token,
                cursor=self.cursor,
                client_id=self._open.client_id,
                secrets=self._open.secrets,
            )
        )

    async def _send(self, **message: Any) -> int:
        if len(self._waiting) >= _UNACKNOWLEDGED_MAX:
            raise TectumError(
                "CLIENT_BUFFER_FULL",
                f"{_UNACKNOWLEDGED_MAX} messages wait for their acknowledgement",
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                {},
            )
        async with self._writing:
            self._seq += 1
            request = session_pb2.ConverseRequest(client_seq=self._seq, **message)
            self._waiting.append(request)
            # On a lost stream the reader notices, reconnects and sends it again.
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._call.write(request)
        return request.client_seq

    def _take(self, response: session_pb2.ConverseResponse) -> Update | None:
        self.cursor = response.cursor or self.cursor
        kind = response.WhichOneof("message")
        if kind is None:  # a newer platform said something that this client does not know
            return None
        update: Update = from_wire(getattr(response, kind), _UPDATES[kind])
        if isinstance(update, Acknowledged | Refused):
            self._acknowledged(update.client_seq)
        elif isinstance(update, Control) and update.kind is ControlKind.CLOSED:
            self._closed = True
        return update

    def _acknowledged(self, client_seq: int) -> None:
        while self._waiting and self._waiting[0].client_seq <= client_seq:
            self._waiting.popleft()

    async def _failure(self) -> TectumError:
        error = grpc.aio.AioRpcError(
            await self._call.code(),
            await self._call.initial_metadata(),
            await self._call.trailing_metadata(),
            await self._call.details(),
            None,
        )
        return TectumError.of(error)

    async def _reconnect(self, error: grpc.aio.AioRpcError | None) -> Reconnected:
        failure = await self._failure() if error is None else TectumError.of(error)
        loop = asyncio.get_running_loop()
        began, wait = loop.time(), _RETRY_FIRST_S
        while failure.code in _LOST and loop.time() - began < self._resume_for_s:
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            wait = min(2 * wait, _RETRY_MOST_S)
            try:
                await self.connect()
            except TectumError as again:
                failure = again
            else:
                return Reconnected(loop.time() - began)
        raise failure


class Platform:
    """One connection; made by `connect`."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.channel = channel
        self.metadata: tuple[tuple[str, str], ...] = (
            (("authorization", f"Bearer {token}"),) if token else ()
        )
        self.sessions = session_pb2_grpc.SessionServiceStub(channel)

    @asynccontextmanager
    async def session(
        self,
        environment: str,
        instruction: str = "",
        *,
        agent: Agent | None = None,
        secrets: Mapping[str, str] | None = None,
        client_id: str = "",
        resume_for_s: float = 30.0,
    ) -> AsyncIterator[Session]:
        """Open a session; leaving the block drops the connection, `Session.close` ends the session.

        Args:
            environment: URI of the environment.
            instruction: Begins a turn at once; empty: the environment's own, else none.
            agent: How the agent works.
            secrets: Values that actions may refer to by name.
            client_id: Names this client across reconnections.
            resume_for_s: How long to try to reconnect, in seconds.

        Raises:
            TectumError: the platform refused.
        """
        session = Session(
            self.sessions,
            self.metadata,
            session_pb2.Open(
                client_id=client_id,
                environment=environment,
                agent=(agent or Agent()).message(),
                instruction=instruction,
                secrets=secrets or {},
            ),
            resume_for_s,
        )
        await session.connect()
        try:
            yield session
        finally:
            session.abandon()


@asynccontextmanager
async def connect(
    address: str = DEFAULT_ADDRESS, *, token: str = "", root_certificate: bytes | None = None
) -> AsyncIterator[Platform]:
    """Connect to a platform.

    Args:
        address: host:port.
        token: Bearer token, where the platform asks for one; sent over TLS only.
        root_certificate: PEM of the authority that signed the platform's certificate; None: plain text,
            which a platform serves on loopback only.

    Raises:
        ValueError: a token without TLS.
    """
    options = [
        ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
        # What is too large the platform refuses, and says so; gRPC on this side would only break off.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    if root_certificate is None:
        if token and not address.startswith(("127.", "localhost", "[::1]")):
            raise ValueError("a token is sent over TLS only: give root_certificate")
        channel = grpc.aio.insecure_channel(address, options)
    else:
        channel = grpc.aio.secure_channel(
            address, grpc.ssl_channel_credentials(root_certificate), options
        )
    async with channel:
        yield Platform(channel, token)
