"""Translate between the wire and the session domain; nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from opentelemetry import trace

from libs.errors import DependencyDown, InvalidRequest
from libs.events.messages import TYPE_PREFIX
from libs.rpc.call import current_tenant
from libs.telemetry import names
from libs.telemetry.trace import current_traceparent
from services.session.domain.messages import (
    Acknowledged,
    ClientMessage,
    Heard,
    Opened,
    Refused,
)
from services.session.domain.sessions import Sessions
from services.session.ports import LeaseAsk, Record
from tectum.event.v1 import control_pb2
from tectum.session.v1 import session_pb2, session_pb2_grpc
from tectum.wire import from_wire, to_wire

_ANSWERS = {Opened: "opened", Acknowledged: "acknowledged", Refused: "refused"}
_EVENTS = {
    f"{TYPE_PREFIX}{field.message_type.name}": field.name
    for field in session_pb2.ConverseResponse.DESCRIPTOR.oneofs_by_name["message"].fields
    if field.message_type is not None and field.message_type.file.package == "tectum.event.v1"
}


class SessionServicer(session_pb2_grpc.SessionServiceServicer):
    """The door for callers."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def Converse(  # type: ignore[override] # grpc.aio's reader-writer style
        self, request_iterator: AsyncIterator[session_pb2.ConverseRequest], context: Any
    ) -> None:
        """One session, both ways."""
        called = trace.get_current_span()

        async def send(heard: Heard) -> None:
            if isinstance(heard.body, Opened):
                called.set_attribute(names.GEN_AI_CONVERSATION, heard.body.session_id)
            try:
                await context.write(response_of(heard))
            except grpc.aio.InternalError as error:
                # The client went away in the middle of a write; its cancellation is still on the way.
                raise DependencyDown("CLIENT_GONE", "the client's stream broke") from error

        requests, parent = _messages(request_iterator), current_traceparent()
        await self._sessions.converse(current_tenant(), requests, send, parent)

    async def Interrupt(
        self, request: session_pb2.InterruptRequest, context: Any
    ) -> session_pb2.InterruptResponse:
        """Stop from another connection."""
        tenant, session_id = current_tenant(), request.session_id
        raised = await self._sessions.interrupt(tenant, session_id, request.reason)
        return to_wire(raised, session_pb2.InterruptResponse)

    async def GetSession(
        self, request: session_pb2.GetSessionRequest, context: Any
    ) -> session_pb2.GetSessionResponse:
        """The last word on a session."""
        state = await self._sessions.get(current_tenant(), request.session_id)
        wire = to_wire(state, control_pb2.SessionState)
        return session_pb2.GetSessionResponse(state=wire)

    async def ListSessions(
        self, request: session_pb2.ListSessionsRequest, context: Any
    ) -> session_pb2.ListSessionsResponse:
        """Newest first."""
        tenant, size = current_tenant(), request.page_size
        states, token = await self._sessions.list_page(tenant, size, request.page_token)
        wires = [to_wire(state, control_pb2.SessionState) for state in states]
        return session_pb2.ListSessionsResponse(states=wires, next_page_token=token)

    async def CloseSession(
        self, request: session_pb2.CloseSessionRequest, context: Any
    ) -> session_pb2.CloseSessionResponse:
        """Ends the session for good."""
        tenant, session_id = current_tenant(), request.session_id
        await self._sessions.close_session(tenant, session_id, request.reason)
        return session_pb2.CloseSessionResponse()


class LeaseServicer(session_pb2_grpc.LeaseServiceServicer):
    """The door for executors."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def AskLease(
        self, request: session_pb2.AskLeaseRequest, context: Any
    ) -> session_pb2.AskLeaseResponse:
        """Grant a lease, or say why not."""
        grant = await self._sessions.ask_lease(from_wire(request, LeaseAsk))
        return to_wire(grant, session_pb2.AskLeaseResponse)


def response_of(heard: Heard) -> session_pb2.ConverseResponse:
    """A record's bytes are the response's: nothing is decoded on the way down."""
    response = session_pb2.ConverseResponse(cursor=heard.cursor)
    body = heard.body
    if isinstance(body, Record):
        getattr(response, _EVENTS[body.event.type]).ParseFromString(body.event.data)
    else:
        slot = getattr(response, _ANSWERS[type(body)])
        slot.CopyFrom(to_wire(body, type(slot)))
        slot.SetInParent()
    return response


async def _messages(
    requests: AsyncIterator[session_pb2.ConverseRequest],
) -> AsyncIterator[ClientMessage]:
    async for request in requests:
        try:
            message = from_wire(request, ClientMessage)
        except ValueError as error:
            raise InvalidRequest("MESSAGE_MALFORMED", str(error)) from None
        yield message
