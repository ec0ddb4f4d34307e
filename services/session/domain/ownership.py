"""Which sessions this replica owns, and how it comes to own them (rules 1 to 4)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import Counter
from weakref import WeakValueDictionary

from libs.errors import Conflict, DependencyDown, NotFound, Overloaded, PlatformError, WrongState
from services.session.domain.admission import dump_agent, load_agent
from services.session.domain.background import Background
from services.session.domain.directory import Directory
from services.session.domain.history import last_state, read_history
from services.session.domain.ledger import Ledger
from services.session.domain.messages import Open
from services.session.domain.owner import Owner, Parts
from services.session.domain.session import Session
from services.session.domain.view import TOPICS
from tectum.protocol.messages import ControlKind, SessionState, SessionStatus
from tectum.protocol.types import Epoch

_log = logging.getLogger(__name__)


class Ownership:
    """Creates sessions, takes them over, and closes those that nobody owns."""

    def __init__(
        self,
        parts: Parts,
        background: Background,
        directory: Directory,
        rng: random.Random,
    ) -> None:
        self._parts = parts
        self._background = background
        self._directory = directory
        self._rng = rng
        self._sessions: dict[str, Session] = {}
        self._opening: Counter[str] = Counter()
        self._taking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def find(self, session_id: str) -> Session | None:
        """The session, if it is owned here."""
        return self._sessions.get(session_id)

    def admit(self, tenant: str) -> None:
        """Refuse a session too many.

        Raises:
            Overloaded: TOO_MANY_SESSIONS.
        """
        limits, opening = self._parts.limits, self._opening
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

    async def state(self, tenant: str, session_id: str) -> SessionState:
        """The last word on a session of this tenant.

        Raises:
            NotFound: SESSION_NOT_FOUND.
        """
        state = await last_state(self._parts.log, self._parts.codec, session_id)
        if state is None or state.tenant != tenant:
            raise NotFound("SESSION_NOT_FOUND", f"no session {session_id!r}")
        return state

    async def create(self, tenant: str, request: Open, token: str, traceparent: str) -> Session:
        """Write a new session down before anything is done for it."""
        self._opening[tenant] += 1
        try:
            return await self._background.to_end(self._create, tenant, request, token, traceparent)
        finally:
            self._opening[tenant] -= 1

    async def _create(self, tenant: str, request: Open, token: str, traceparent: str) -> Session:
        """Write the session down before anything is done for it."""
        session_id = self._parts.new_id()
        starts = {
            topic: await self._parts.log.end_offset(
                topic, await self._parts.log.partition_of(topic, session_id)
            )
            for topic in TOPICS
        }
        producer = await self._parts.log.producer(f"session/{session_id}")
        state = SessionState(
            session_id=session_id,
            tenant=tenant,
            epoch=Epoch(1, 0),
            environment=request.environment,
            instruction=request.instruction,
            agent=dump_agent(request.agent),
            resume_token_sha256=sha256(token),
            opened_at=self._parts.clock.now().timestamp(),
            starts=starts,
            owner_address=self._parts.address,
            secret_names=tuple(sorted(request.secrets)),
            traceparent=traceparent,
        )
        ledger = Ledger(producer, self._parts.codec, self._parts.clock, self._parts.limits, state)
        with self._parts.traced(traceparent):
            await ledger.save()
        owner = Owner(
            self._parts,
            ledger,
            taken_at=self._parts.clock.monotonic(),
            agent=request.agent,
            taken_over=False,
        )
        owner.bodies.secrets = dict(request.secrets)
        session = self._enter(owner)
        session.lost_at = self._parts.clock.monotonic()  # Until a stream is attached.
        session.ready(None)
        with self._parts.traced(traceparent):
            await ledger.control(
                ControlKind.OPENED,
                environment=state.environment,
                instruction=state.instruction,
                agent=state.agent,
                lesson=request.agent.lesson,
            )
        return session

    async def owned(self, session_id: str) -> Session:
        """The session at this replica, taken over if it is not here; raises as `_take`."""
        return await self._background.to_end(self._owned, session_id)

    async def _owned(self, session_id: str) -> Session:
        lock = self._taking.get(session_id)
        if lock is None:
            lock = self._taking[session_id] = asyncio.Lock()
        async with lock:
            session = self._sessions.get(session_id)
            return session if session is not None else await self._take(session_id)

    async def _take(self, session_id: str) -> Session:
        """Take the term: fence, read, write term + 1, and only then use it (rules 1 and 4).

        Raises:
            DependencyDown: NOT_OWNER, another replica was faster; the log is down.
            WrongState: SESSION_CLOSED.
        """
        producer = await self._parts.log.producer(f"session/{session_id}")
        state = await last_state(self._parts.log, self._parts.codec, session_id)
        if state is None or state.status is SessionStatus.CLOSED:
            raise WrongState("SESSION_CLOSED", f"{session_id} is closed")
        ledger = Ledger(producer, self._parts.codec, self._parts.clock, self._parts.limits, state)
        epoch = Epoch(state.epoch.term + 1, 0)
        try:
            await ledger.save(epoch=epoch, owner_address=self._parts.address)
        except Conflict:
            raise _faster(session_id) from None
        owner = Owner(
            self._parts,
            ledger,
            taken_at=self._parts.clock.monotonic(),
            agent=load_agent(state.agent),
            taken_over=True,
        )
        session = self._enter(owner)
        try:
            history = await read_history(self._parts.log, self._parts.codec, state)
        except PlatformError as error:
            owner.drop(error)
            self._leave(session)
            raise
        if not self._parts.rules.folds_cursor():
            history.cursors = dict(state.cursors)
        session.lost_at = self._parts.clock.monotonic()
        session.ready(history)
        session.spawn(session.restore, history)
        return session

    def _enter(self, owner: Owner) -> Session:
        session = Session(owner)
        self._sessions[owner.session_id] = session
        session.spawn(self._attended, session)
        return session

    async def _attended(self, session: Session) -> None:
        try:
            await session.drive()
        finally:
            self._leave(session)

    def _leave(self, session: Session) -> None:
        if self._sessions.get(session.owner.session_id) is session:
            del self._sessions[session.owner.session_id]

    async def close_abandoned(self) -> None:
        """Sessions whose owner died, and whose client did not come back, are closed and so sealed."""
        ttl_s = self._parts.limits.resume_ttl_s
        while True:
            # Two replicas that look at the same moment would take the session from each other.
            await asyncio.sleep(ttl_s / 4 * self._rng.uniform(0.8, 1.2))
            for session_id in self._directory.silent(ttl_s):
                if session_id not in self._sessions:
                    await self._abandon(session_id)

    async def _abandon(self, session_id: str) -> None:
        try:
            session = await self.owned(session_id)
            await self._background.apart(session.owner, session.owner.close, "ABANDONED")
        except PlatformError as error:
            _log.warning(
                "could not close an abandoned session",
                extra={"session_id": session_id, "reason": error.reason},
            )


def sha256(token: str) -> str:
    """What is stored of a resume token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _faster(session_id: str) -> PlatformError:
    return DependencyDown("NOT_OWNER", f"another replica took {session_id}; resume it")
