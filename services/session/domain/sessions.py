"""All sessions of one replica: who is admitted, who owns, who listens."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import hmac
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TypeVar

from libs.errors import (
    Conflict,
    DependencyDown,
    InvalidRequest,
    NotFound,
    Overloaded,
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
    dump_agent,
    load_agent,
)
from services.session.domain.directory import Directory
from services.session.domain.history import last_state, read_history
from services.session.domain.ledger import Ledger
from services.session.domain.limits import SessionLimits
from services.session.domain.messages import (
    Acknowledged,
    ClientMessage,
    Heard,
    Interrupted,
    Open,
    Opened,
    Resume,
)
from services.session.domain.owner import Owner, Parts
from services.session.domain.rules import SessionRules
from services.session.domain.session import Session
from services.session.domain.stream import Stream
from services.session.domain.view import TOPICS, View, unpack
from services.session.ports import (
    Clock,
    Codec,
    EventLog,
    ExecutorGateway,
    LeaseAsk,
    LeaseGrant,
    Record,
)
from tectum.protocol.messages import ControlKind, SessionState, SessionStatus
from tectum.protocol.types import Epoch

_log = logging.getLogger(__name__)
T = TypeVar("T")
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
    ) -> None:
        self._log = log
        self._codec = codec
        self._clock = clock
        self._rng = rng
        self._new_id = new_id
        self._new_token = new_token
        self._address = address
        self._limits = limits or SessionLimits()
        self._parts = Parts(
            log=log,
            executors=executors,
            codec=codec,
            clock=clock,
            limits=self._limits,
            rules=rules or SessionRules(),
            address=address,
            new_id=new_id,
            spawn=self._spawn,
            on_fault=self._fault,
        )
        self._directory = Directory(clock, self._limits.listed_max)
        self._sessions: dict[str, Session] = {}
        self._streams: dict[str, list[Stream]] = {}
        self._opening: Counter[str] = Counter()
        self._taking: dict[str, asyncio.Lock] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._context: contextvars.Context | None = None
        self.following = asyncio.Event()
        """Set by the reactor once it will hear whatever is appended."""
        self.faults: list[Exception] = []
        """What nobody expected, newest last; at most 16."""

    async def run(self) -> None:
        """Watch turns, clients and abandoned sessions until cancelled."""
        # Background work outlives the calls that start it: it must not inherit a caller's deadline.
        self._context = contextvars.copy_context()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._close_abandoned()
        finally:
            self._tasks = None

    def heard(self, record: Record) -> None:
        """Take note of a record that the reactor read; never waits."""
        if record.topic == SESSIONS:
            state = self._codec.decode(record.event)
            known = state if isinstance(state, SessionState) else None
            self._directory.heard(record.event.subject, known)
            return
        session = self._sessions.get(record.event.subject)
        if session is not None:
            session.heard(record)
        for stream in self._streams.get(record.event.subject, ()):
            stream.offer(record)

    # Streams.

    async def converse(
        self, tenant: str, requests: AsyncIterator[ClientMessage], send: Send
    ) -> None:
        """Serve one stream until the session closes, the client leaves, or a newer stream replaces it.

        Cancelling it is the loss of the client. A client that only stops sending goes on hearing, and
        the session closes with its turn.

        Raises:
            PlatformError: as SessionService.Converse lists.
        """
        await self._started()
        first = await anext(requests, None)
        match first:
            case ClientMessage(message=Open()):
                await self._open(tenant, first, requests, send)
            case ClientMessage(message=Resume() as resume):
                await self._resume(tenant, resume, requests, send)
            case _:
                raise InvalidRequest(
                    "OPEN_EXPECTED", "expected open or resume as the first message"
                )

    async def _open(
        self, tenant: str, first: ClientMessage, requests: AsyncIterator[ClientMessage], send: Send
    ) -> None:
        request = first.message
        if not isinstance(request, Open):
            raise InvalidRequest("OPEN_EXPECTED", "expected open as the first message")
        check_open(request, self._limits)
        self._admit(tenant)
        client_id, token = request.client_id or DEFAULT_CLIENT, self._new_token()
        self._opening[tenant] += 1
        try:
            session = await self._create(tenant, request, token)
        finally:
            self._opening[tenant] -= 1
        owner = session.owner
        stream = self._stream(session.owner.ledger.state, owner.ledger.state.starts, send)
        session.attach(stream)
        try:
            message = ClientMessage(1, request)
            await self._apart(owner, session.accept(client_id, message))
            await self._apart(owner, session.turning.first(request.instruction))
        except PlatformError as error:
            session.spawn(owner.close(error.reason))
            raise
        except BaseException:
            session.detach(stream)
            raise
        await self._serve(session, stream, client_id, token, requests)

    async def _create(self, tenant: str, request: Open, token: str) -> Session:
        """Write the session down before anything is done for it."""
        session_id = self._new_id()
        starts = {
            topic: await self._log.end_offset(
                topic, await self._log.partition_of(topic, session_id)
            )
            for topic in TOPICS
        }
        producer = await self._log.producer(f"session/{session_id}")
        state = SessionState(
            session_id=session_id,
            tenant=tenant,
            epoch=Epoch(1, 0),
            environment=request.environment,
            instruction=request.instruction,
            agent=dump_agent(request.agent),
            resume_token_sha256=_sha256(token),
            opened_at=self._clock.now().timestamp(),
            starts=starts,
            owner_address=self._address,
            secret_names=tuple(sorted(request.secrets)),
        )
        ledger = Ledger(producer, self._codec, self._clock, self._limits, state)
        await ledger.save()
        owner = Owner(
            self._parts,
            ledger,
            taken_at=self._clock.monotonic(),
            agent=request.agent,
            taken_over=False,
        )
        owner.bodies.secrets = dict(request.secrets)
        session = self._enter(owner)
        session.ready(None)
        await ledger.control(
            ControlKind.OPENED,
            environment=state.environment,
            instruction=state.instruction,
            agent=state.agent,
            lesson=request.agent.lesson,
        )
        return session

    async def _resume(
        self, tenant: str, request: Resume, requests: AsyncIterator[ClientMessage], send: Send
    ) -> None:
        check_client_id(request.client_id)
        state = await self._state(tenant, request.session_id)
        if not hmac.compare_digest(_sha256(request.resume_token), state.resume_token_sha256):
            raise PermissionDenied(
                "RESUME_TOKEN_WRONG", f"expected the resume token of {state.session_id}"
            )
        positions = unpack(request.cursor) if request.cursor else dict(state.starts)
        stream = self._stream(state, positions, send)
        client_id = request.client_id or DEFAULT_CLIENT
        if state.status is SessionStatus.CLOSED:
            await self._replay(state, stream, client_id, request.resume_token)
            return
        session = await self._owned(state.session_id)
        if request.secrets:
            session.owner.bodies.secrets = dict(request.secrets)
        session.attach(stream)
        session.spawn(session.returned())
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
            known = await self._apart(session.owner, session.accept(client_id, message))
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
        session = self._sessions.get(ask.session_id)
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
        await self._state(tenant, session_id)
        session = await self._owned(session_id)
        session.owner.check()
        return await self._apart(session.owner, session.owner.interrupt(reason))

    async def close_session(self, tenant: str, session_id: str, reason: str) -> None:
        """End the session for good; nothing, where it is closed.

        Raises:
            NotFound: SESSION_NOT_FOUND.
            DependencyDown: NOT_OWNER, LOG_DOWN.
        """
        await self._started()
        state = await self._state(tenant, session_id)
        if state.status is SessionStatus.CLOSED:
            return
        session = await self._owned(session_id)
        await self._apart(session.owner, session.owner.close(reason or "CLOSED"))

    async def get(self, tenant: str, session_id: str) -> SessionState:
        """The last word on a session.

        Raises:
            NotFound: SESSION_NOT_FOUND.
        """
        return await self._state(tenant, session_id)

    async def list_page(
        self, tenant: str, page_size: int, page_token: str
    ) -> tuple[Sequence[SessionState], str]:
        """Newest first, and the token of the next page.

        Raises:
            InvalidRequest: PAGE_SIZE_INVALID, PAGE_TOKEN_INVALID.
        """
        return self._directory.page(tenant, page_size, page_token)

    # Owning.

    def _admit(self, tenant: str) -> None:
        limits, opening = self._limits, self._opening
        own = {i for i, s in self._sessions.items() if s.owner.tenant == tenant}
        mine = len(self._directory.open_of(tenant) | own) + opening[tenant]
        everybody = len(self._directory.open_of(None) | set(self._sessions)) + opening.total()
        if mine >= limits.sessions_per_tenant_max or everybody >= limits.sessions_max:
            raise Overloaded(
                "TOO_MANY_SESSIONS",
                f"at most {limits.sessions_per_tenant_max} sessions of a tenant and "
                f"{limits.sessions_max} in all",
                retry_after_s=2.0,
                tenant=tenant,
            )

    async def _state(self, tenant: str, session_id: str) -> SessionState:
        state = await last_state(self._log, self._codec, session_id)
        if state is None or state.tenant != tenant:
            raise NotFound("SESSION_NOT_FOUND", f"no session {session_id!r}")
        return state

    async def _owned(self, session_id: str) -> Session:
        """The session at this replica, taken over if it is not here."""
        lock = self._taking.setdefault(session_id, asyncio.Lock())
        try:
            async with lock:
                session = self._sessions.get(session_id)
                return session if session is not None else await self._take(session_id)
        finally:
            if not lock.locked():
                self._taking.pop(session_id, None)

    async def _take(self, session_id: str) -> Session:
        """Take the term: fence, read, write term + 1, and only then use it (rules 1 and 4).

        Raises:
            DependencyDown: NOT_OWNER, another replica was faster; the log is down.
            WrongState: SESSION_CLOSED.
        """
        producer = await self._log.producer(f"session/{session_id}")
        state = await last_state(self._log, self._codec, session_id)
        if state is None or state.status is SessionStatus.CLOSED:
            raise WrongState("SESSION_CLOSED", f"{session_id} is closed")
        ledger = Ledger(producer, self._codec, self._clock, self._limits, state)
        epoch = Epoch(state.epoch.term + 1, 0)
        try:
            await ledger.save(epoch=epoch, owner_address=self._address)
        except Conflict:
            raise _faster(session_id) from None
        owner = Owner(
            self._parts,
            ledger,
            taken_at=self._clock.monotonic(),
            agent=load_agent(state.agent),
            taken_over=True,
        )
        session = self._enter(owner)
        try:
            history = await read_history(self._log, self._codec, state)
        except PlatformError as error:
            owner.drop(error)
            self._leave(session)
            raise
        if not self._parts.rules.folds_cursor():
            history.cursors = dict(state.cursors)
        session.lost_at = self._clock.monotonic()
        session.ready(history)
        session.spawn(session.restore(history))
        return session

    def _enter(self, owner: Owner) -> Session:
        session = Session(owner)
        self._sessions[owner.session_id] = session
        session.spawn(self._attended(session))
        return session

    async def _attended(self, session: Session) -> None:
        try:
            await session.drive()
        finally:
            self._leave(session)

    def _leave(self, session: Session) -> None:
        if self._sessions.get(session.owner.session_id) is session:
            del self._sessions[session.owner.session_id]

    async def _close_abandoned(self) -> None:
        """Sessions whose owner died, and whose client did not come back, are closed and so sealed."""
        ttl_s = self._limits.resume_ttl_s
        while True:
            # Two replicas that look at the same moment would take the session from each other.
            await asyncio.sleep(ttl_s / 4 * self._rng.uniform(0.8, 1.2))
            for session_id in self._directory.silent(ttl_s):
                if session_id not in self._sessions:
                    await self._abandon(session_id)

    async def _abandon(self, session_id: str) -> None:
        try:
            session = await self._owned(session_id)
            await self._apart(session.owner, session.owner.close("ABANDONED"))
        except PlatformError as error:
            _log.warning(
                "could not close an abandoned session",
                extra={"session_id": session_id, "reason": error.reason},
            )

    # Background.

    async def _started(self) -> None:
        if self._tasks is None:
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

    async def _apart(self, owner: Owner, work: Coroutine[None, None, T]) -> T:
        """Run to the end in the background, whoever waits for it: half an interrupt helps nobody."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def carry() -> None:
            try:
                result = await work
            except PlatformError as error:
                if isinstance(error, Conflict) or error.reason == "LOG_DOWN":
                    owner.drop(error)
                if not done.done():
                    done.set_exception(owner.gone or error)
            else:
                if not done.done():
                    done.set_result(result)

        self._spawn(owner.guarded(carry()))
        return await done

    def _spawn(self, work: Awaitable[object]) -> None:
        """Run beside everything else, in the context of `run`; nothing, once that has ended."""
        if self._tasks is None or self._context is None:
            if isinstance(work, Coroutine):
                work.close()
            return
        self._tasks.create_task(_awaited(work), context=self._context.copy())

    def _fault(self, error: Exception) -> None:
        self.faults = [*self.faults[-15:], error]


async def _awaited(work: Awaitable[object]) -> None:
    await work


def _faster(session_id: str) -> PlatformError:
    return DependencyDown("NOT_OWNER", f"another replica took {session_id}; resume it")


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _first(group: BaseExceptionGroup[PlatformError]) -> PlatformError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, PlatformError):
        raise TypeError(f"expected a PlatformError, got {found!r}")
    return found
