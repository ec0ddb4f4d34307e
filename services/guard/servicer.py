"""Translate between the wire and the guard's domain; nothing else."""

from __future__ import annotations

from typing import Any

from libs.errors import InvalidRequest
from services.guard.domain import Guard
from tectum.event.v1 import plan_pb2
from tectum.guard.v1 import guard_pb2, guard_pb2_grpc
from tectum.protocol.messages import Plan
from tectum.wire import from_wire, to_wire


class GuardServicer(guard_pb2_grpc.GuardServiceServicer):
    """The guard's door for direct calls."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def Check(self, request: guard_pb2.CheckRequest, context: Any) -> guard_pb2.CheckResponse:
        """Decide about one plan without issuing it."""
        decision = self._guard.check(_plan(request.plan))
        return guard_pb2.CheckResponse(decision=to_wire(decision, plan_pb2.Decision))

    async def ListPolicies(
        self, request: guard_pb2.ListPoliciesRequest, context: Any
    ) -> guard_pb2.ListPoliciesResponse:
        """Every policy with its rules."""
        return guard_pb2.ListPoliciesResponse(
            policies=[
                guard_pb2.PolicyInfo(name=p.name, sha256=p.sha256, source=p.source)
                for p in self._guard.policies()
            ]
        )


def _plan(message: plan_pb2.Plan) -> Plan:
    try:
        return from_wire(message, Plan)
    except ValueError as error:
        raise InvalidRequest(
            "PLAN_MALFORMED", f"expected a plan with action and body, got: {error}"
        ) from None
