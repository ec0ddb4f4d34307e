"""Each kind of error has its code and details, and comes back as what it was."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2

from libs.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    DependencyDown,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    PlatformError,
    Unauthenticated,
    WrongState,
)
from libs.rpc.interceptors import service_of
from libs.rpc.retry import RetryBudget
from libs.rpc.status import CODES, from_rpc_error, retry_after_s, to_internal_status, to_status

_EXTRAS = {
    InvalidRequest: [details_pb2.BadRequest],
    NotFound: [details_pb2.ResourceInfo],
    AlreadyExists: [details_pb2.ResourceInfo],
    WrongState: [details_pb2.PreconditionFailure],
    Conflict: [],
    Overloaded: [details_pb2.RetryInfo, details_pb2.QuotaFailure],
    DependencyDown: [details_pb2.RetryInfo],
    DeadlineExceeded: [],
    PermissionDenied: [],
    Unauthenticated: [],
}


def _sent(status: grpc.Status) -> list[any_pb2.Any]:
    ((key, value),) = status.trailing_metadata
    assert key == "grpc-status-details-bin"
    return list(status_pb2.Status.FromString(value).details)


def _received(status: grpc.Status) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), metadata, status.details, None)


@pytest.mark.parametrize("kind", list(CODES), ids=lambda kind: kind.__name__)
def test_details_and_the_way_back(kind: type[PlatformError]) -> None:
    error = kind("THING_WRONG", "expected a thing", name="thing-7", field="thing", tenant="alpha")
    status = to_status(error, domain="tectum")
    info, *extras = _sent(status)
    found = details_pb2.ErrorInfo()
    assert info.Unpack(found)
    assert (found.reason, found.domain) == ("THING_WRONG", "tectum")
    assert dict(found.metadata) == error.metadata
    assert [detail.TypeName() for detail in extras] == [
        expected.DESCRIPTOR.full_name for expected in _EXTRAS[kind]
    ]
    back = from_rpc_error(_received(status))
    assert type(back) is kind
    assert (back.reason, str(back), back.metadata) == (error.reason, str(error), error.metadata)


def test_details_say_what_they_are_about() -> None:
    _, extra = _sent(to_status(NotFound("SESSION_NOT_FOUND", "none", name="s1"), domain="t"))
    resource = details_pb2.ResourceInfo()
    assert extra.Unpack(resource)
    assert (resource.resource_type, resource.resource_name) == ("session", "s1")
    _, extra = _sent(to_status(InvalidRequest("WRONG", "1 to 3", field="count"), domain="t"))
    request = details_pb2.BadRequest()
    assert extra.Unpack(request)
    assert request.field_violations[0].field == "count"


@pytest.mark.parametrize("seconds", [0.001, 0.5, 2.25, 3_600.0])
def test_the_time_to_wait_survives(seconds: float) -> None:
    error = Overloaded("BUSY", "busy", retry_after_s=seconds)
    received = _received(to_status(error, domain="t"))
    assert retry_after_s(received) == pytest.approx(seconds)
    back = from_rpc_error(received)
    assert isinstance(back, Overloaded)
    assert back.retry_after_s == pytest.approx(seconds)


def test_an_error_that_refines_another_has_its_row() -> None:
    class Missing(NotFound):
        """A test's own."""

    status = to_status(Missing("THING_NOT_FOUND", "none"), domain="t")
    assert status.code is grpc.StatusCode.NOT_FOUND


def test_a_bug_shows_its_incident_only() -> None:
    status = to_internal_status("abc123", domain="t")
    back = from_rpc_error(_received(status))
    assert (status.code, back.reason) == (grpc.StatusCode.INTERNAL, "PEER_FAILED")
    assert back.metadata == {"code": "INTERNAL", "incident": "abc123"}


@pytest.mark.parametrize(
    ("code", "details", "kind", "reason"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, "", DependencyDown, "PEER_FAILED"),
        (grpc.StatusCode.CANCELLED, "", DependencyDown, "PEER_FAILED"),
        (grpc.StatusCode.UNAVAILABLE, "refused", DependencyDown, "UNAVAILABLE"),
        (grpc.StatusCode.OUT_OF_RANGE, "", InvalidRequest, "OUT_OF_RANGE"),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (5 vs. 4)",
            InvalidRequest,
            "MESSAGE_TOO_LARGE",
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", Overloaded, "RESOURCE_EXHAUSTED"),
    ],
)
def test_statuses_that_grpc_made_itself(
    code: grpc.StatusCode, details: str, kind: type[PlatformError], reason: str
) -> None:
    bare = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details, None)
    error = from_rpc_error(bare)
    assert (type(error), error.reason) == (kind, reason)


def test_a_status_that_contradicts_its_details_counts() -> None:
    status = to_status(NotFound("THING_NOT_FOUND", "none"), domain="t")
    metadata = grpc.aio.Metadata(*status.trailing_metadata)
    lying = grpc.aio.AioRpcError(
        grpc.StatusCode.ABORTED, grpc.aio.Metadata(), metadata, "other", None
    )
    assert isinstance(from_rpc_error(lying), Conflict)


def test_the_budget_recovers_slowly() -> None:
    budget = RetryBudget(tokens=4.0)
    assert [budget.failed() for _ in range(4)] == [True, False, False, False]
    for _ in range(20):
        budget.succeeded()
    assert not budget.failed()
    for _ in range(100):
        budget.succeeded()
    assert budget.failed()


def test_services_have_short_names() -> None:
    assert service_of("/tectum.session.v1.SessionService/Converse") == "session"
    assert service_of("/grpc.reflection.v1alpha.ServerReflection/X") == "grpc.reflection.v1alpha"
    assert service_of("/Bare/X") == ""
