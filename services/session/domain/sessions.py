"""All sessions of one replica: who is admitted, who owns, who listens."""

from __future__ import annotations

import asyncio
import hmac
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from libs.errors import (
    InvalidRequest,
    PermissionDenied,
    PlatformError,
    WrongState,
)
from libs.events.topics import SESSIONS
from services.session.domain.admission import (
    Bucket,
    check_client_id,
    check_message,
    check_open,
)
from services.session.domain.background import Background
from services.session.domain.directory import Directory
from services.session.domain.limits import SessionLimits
from services.session.domain.messages import (
    Acknowledged,
    ClientMessage,
    Heard,
    Interrupted,
    Open,
    Opened,
    Refused,
    Resume,
)
from services.session.domain.owner import Parts
from services.session.domain.ownership import Ownership, sha256
from services.session.domain.rules import SessionRules
from services.session.domain.session import Session
from services.session.domain.stream import Stream
from services.session.domain.view import View, unpack
from services.session.ports import (
    Clock,
    Codec,
    EventLog,
    ExecutorGateway,
    LeaseAsk,
    LeaseGrant,
    Record,
)
from tectum.protocol.messages import SessionState, SessionStatus

_log = logging.getLogger(__name__)
Send = Callable[[Heard], Awaitable[None]]
DEFAULT_CLIENT = "client"


class Sessions:
    """One replica of the session service. `run` carries its background work."""

    def __init__(
        self,
        *,
        log: EventLog,
        executors: ExecutorGateway,
        codec: Codec,
        clock: Clock,
        rng: random.Random,
        new_id: Callable[[], str],
        new_token: Callable[[], str],
        address: str,
        limits: SessionLimits | None = None,
        rules: SessionRules | None = None,
        traced: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._log = log
        self._codec = codec
        self._clock = clock
        self._new_token = new_token
        self._address = address
        self._limits = limits or SessionLimits()
        self._background = Background()
        parts = Parts(
            log=log,
            executors=executors,
            codec=codec,
            clock=clock,
            limits=self._limits,
            rules=rules or SessionRules(),
            address=address,
            new_id=new_id,
            spawn=self._background.spawn,
            on_fault=self._background.fault,
            traced=traced,
        )
        self._directory = Directory(clock, self._limits.listed_max)
        self._ownership = Ownership(parts, self._background, self._directory, rng)
        self._streams: dict[str, list[Stream]] = {}
        self.following = asyncio.Event()
        """Set by the reactor once it will hear whatever is appended."""

    @property
    def faults(self) -> list[Exception]:
        """What nobody expected, newest last."""
        return self._background.faults

    async def run(self) -> None:
        """Watch turns, clients and abandoned sessions until cancelled."""
        await self._background.run(self._ownership.close_abandoned())

    def heard(self, record: Record) -> None:
        """Take note of a record that the reactor read; never waits."""
        if record.topic == SESSIONS:
            state = self._codec.decode(record.event)
            known = state if isinstance(state, SessionState) else None
            self._directory.heard(record.event.subject, known)
            return
        session = self._ownership.find(record.event.subject)
        if session is not None:
            session.heard(record)
        for stream in self._streams.get(record.event.subject, ()):
            stream.offer(record)

    # Streams.

    async def converse(
        self,
        tenant: str,
        requests: AsyncIterator[ClientMessage],
        send: Send,
        traceparent: str = "",
    ) -> None:
        """Serve one stream until the session closes, the client leaves, or a newer stream replaces it.

        Cancelling it is the loss of the client. A client that only stops sending goes on hearing, and
        the session closes with its turn. A session that it opens belongs to the trace of `traceparent`.

        Raises:
            PlatformError: as SessionService.Converse lists.
        """
        await self._started()
        first = await anext(requests, None)
        match first:
            case ClientMessage(message=Open()):
                await self._open(tenant, first, requests, send, traceparent)
            case ClientMessage(message=Resume() as resume):
                await self._resume(tenant, resume, requests, send)
            case _:
                raise InvalidRequest(
                    "OPEN_EXPECTED", "expected open or resume as the first message"
                )

    async def _open(
        self,
        tenant: str,
        first: ClientMessage,
        requests: AsyncIterator[ClientMessage],
        send: Send,
        traceparent: str,
    ) -> None:
        request = first.message
        if not isinstance(request, Open):
            raise InvalidRequest("OPEN_EXPECTED", "expected open as the first message")
        check_open(request, self._limits)
        self._ownership.admit(tenant)
        client_id, token = request.client_id or DEFAULT_CLIENT, self._new_token()
        session = await self._ownership.create(tenant, request, token, traceparent)
        owner = session.owner
        stream = self._stream(session.owner.ledger.state, owner.ledger.state.starts, send)
        session.attach(stream)
        session.lost_at = None
        try:
            message = ClientMessage(1, request)
            await self._background.apart(owner, session.accept, client_id, message)
            await self._background.apart(owner, session.turning.first, request.instruction)
        except PlatformError as error:
            session.spawn(owner.close, error.reason)
            raise
        except BaseException:
            session.detach(stream)
            raise
        await self._serve(session, stream, client_id, token, requests)

    async def _resume(
        self, tenant: str, request: Resume, requests: AsyncIterator[ClientMessage], send: Send
    ) -> None:
        check_client_id(request.client_id)
        state = await self._ownership.state(tenant, request.session_id)
        if not hmac.compare_digest(sha256(request.resume_token), state.resume_token_sha256):
            raise PermissionDenied(
                "RESUME_TOKEN_WRONG", f"expected the resume token of {state.session_id}"
            )
        positions = unpack(request.cursor) if request.cursor else dict(state.starts)
        stream = self._stream(state, positions, send)
        client_id = request.client_id or DEFAULT_CLIENT
        if state.status is SessionStatus.CLOSED:
            await self._replay(state, stream, client_id, request.resume_token)
            return
        session = await self._ownership.owned(state.session_id)
        if request.secrets:
            session.owner.bodies.secrets = dict(request.secrets)
        session.attach(stream)
        session.spawn(session.returned)
        await self._serve(session, stream, client_id, request.resume_token, requests)

    async def _serve(
        self,
        session: Session,
        stream: Stream,
        client_id: str,
        token: str,
        requests: AsyncIterator[ClientMessage],
    ) -> None:
        owner = session.owner
        opened = Opened(
            session_id=owner.session_id,
            resume_token=token,
            epoch=owner.epoch,
            bodies=owner.ledger.saved.bodies,
            client_seq=session.cursors.get(client_id, 0),
        )
        failure: PlatformError | None = None
        self._streams.setdefault(owner.session_id, []).append(stream)
        try:
            await stream.answer(Heard(opened))
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(stream.show()),
                    tasks.create_task(stream.tell()),
                    tasks.create_task(self._listen(session, stream, client_id, requests)),
                ]
                await stream.until_ended()
                for task in work:
                    task.cancel()
        except* PlatformError as group:
            failure = _first(group)
        finally:
            self._forget(owner.session_id, stream)
            session.detach(stream)
        if failure is not None:
            raise failure

    async def _listen(
        self,
        session: Session,
        stream: Stream,
        client_id: str,
        requests: AsyncIterator[ClientMessage],
    ) -> None:
        limits = self._limits
        bucket = Bucket(limits.messages_per_s, limits.message_burst, self._clock.monotonic())
        async for message in requests:
            bucket.take(self._clock.monotonic())
            if isinstance(message.message, Open | Resume):
                raise InvalidRequest("OPEN_UNEXPECTED", "expected open or resume only once")
            check_message(message.message, limits)
            try:
                known = await self._background.apart(
                    session.owner, session.accept, client_id, message
                )
            except WrongState as error:
                # The stream goes on to CLOSED: a message that crossed it must not cut it off.
                await stream.answer(Heard(Refused(message.client_seq, error.reason, str(error))))
            else:
                await stream.answer(Heard(Acknowledged(known)))
        if session.stream is stream:
            session.left_at = self._clock.monotonic()
        session.owner.wake.set()

    async def _replay(
        self, state: SessionState, stream: Stream, client_id: str, token: str
    ) -> None:
        """A closed session says once more what the client missed, up to CLOSED."""
        opened = Opened(
            session_id=state.session_id,
            resume_token=token,
            epoch=state.epoch,
            client_seq=state.cursors.get(client_id, 0),
        )
        await stream.answer(Heard(opened))
        await stream.show()

    # What other services and connections ask for.

    async def ask_lease(self, ask: LeaseAsk) -> LeaseGrant:
        """Answer an executor; raises as LeaseService.AskLease lists."""
        session = self._ownership.find(ask.session_id)
        if session is not None:
            return await session.owner.grant(ask)
        state = self._directory.find(ask.session_id)
        if state is not None and state.status is SessionStatus.CLOSED:
            raise WrongState("SESSION_CLOSED", f"{ask.session_id} is closed")
        raise WrongState("NOT_OWNER", f"{ask.session_id!r} is not owned by {self._address}")

    async def interrupt(self, tenant: str, session_id: str, reason: str) -> Interrupted:
        """Stop every body, from whichever connection; this replica takes the session if need be.

        Raises:
            NotFound: SESSION_NOT_FOUND.
            WrongState: SESSION_CLOSED.
            Overloaded: TOO_MANY_INTERRUPTS.
            DependencyDown: NOT_OWNER, LOG_DOWN.
        """
        await self._started()
        await self._ownership.state(tenant, session_id)
        session = await self._ownership.owned(session_id)
        session.owner.check()
        return await self._background.apart(session.owner, session.owner.interrupt, reason)

    async def close_session(self, tenant: str, session_id: str, reason: str) -> None:
        """End the session for good; nothing, where it is closed.

        Raises:
            NotFound: SESSION_NOT_FOUND.
            DependencyDown: NOT_OWNER, LOG_DOWN.
        """
        await self._started()
        state = await self._ownership.state(tenant, session_id)
        if state.status is SessionStatus.CLOSED:
            return
        session = await self._ownership.owned(session_id)
        await self._background.apart(session.owner, session.owner.close, reason or "CLOSED")

    async def get(self, tenant: str, session_id: str) -> SessionState:
        """The last word on a session.

        Raises:
            NotFound: SESSION_NOT_FOUND.
        """
        return await self._ownership.state(tenant, session_id)

    async def list_page(
        self, tenant: str, page_size: int, page_token: str
    ) -> tuple[Sequence[SessionState], str]:
        """Newest first, and the token of the next page.

        Raises:
            InvalidRequest: PAGE_SIZE_INVALID, PAGE_TOKEN_INVALID.
        """
        return self._directory.page(tenant, page_size, page_token)

    # Background.

    async def _started(self) -> None:
        if not self._background.running:
            raise WrongState("NOT_RUNNING", "expected run() to be running")
        await self.following.wait()

    def _stream(self, state: SessionState, positions: Mapping[str, int], send: Send) -> Stream:
        limits = self._limits
        view = View(self._log, self._codec, state.session_id, positions, limits.view_records_max)
        return Stream(view, send)

    def _forget(self, session_id: str, stream: Stream) -> None:
        streams = self._streams.get(session_id, [])
        if stream in streams:
            streams.remove(stream)
        if not streams:
            self._streams.pop(session_id, None)


def _first(group: BaseExceptionGroup[PlatformError]) -> PlatformError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, PlatformError):
        raise TypeError(f"expected a PlatformError, got {found!r}")
    return found
