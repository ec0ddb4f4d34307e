"""The one mapping between platform errors and gRPC statuses, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2
from grpc_status import rpc_status

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

CODES: dict[type[PlatformError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    Conflict: grpc.StatusCode.ABORTED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DependencyDown: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
}

INTERNAL_REASON = "INTERNAL_ERROR"

# gRPC peers accept 8 KiB of metadata by default, and a status travels in it twice (text and details,
# three times with the details' description): what is longer would replace the error by another one.
_MESSAGE_CHARS_MAX = 1_000
_METADATA_VALUE_CHARS_MAX = 200
_METADATA_ITEMS_MAX = 8

_DEPENDENCY_RETRY_S = 0.2


def _short(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"


def _retry_info(seconds: float) -> details_pb2.RetryInfo:
    delay = duration_pb2.Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1e9) % 10**9)
    return details_pb2.RetryInfo(retry_delay=delay)


def _bad_request(error: PlatformError) -> list[Message]:
    violation = details_pb2.BadRequest.FieldViolation(
        field=error.metadata.get("field", ""),
        description=_short(str(error), _METADATA_VALUE_CHARS_MAX),
    )
    return [details_pb2.BadRequest(field_violations=[violation])]


def _resource(error: PlatformError) -> list[Message]:
    kind = error.reason.removesuffix("_NOT_FOUND").removesuffix("_EXISTS").lower()
    return [
        details_pb2.ResourceInfo(
            resource_type=kind,
            resource_name=_short(error.metadata.get("name", ""), _METADATA_VALUE_CHARS_MAX),
        )
    ]


def _precondition(error: PlatformError) -> list[Message]:
    violation = details_pb2.PreconditionFailure.Violation(
        type=error.reason,
        subject=_short(error.metadata.get("name", ""), _METADATA_VALUE_CHARS_MAX),
        description=_short(str(error), _METADATA_VALUE_CHARS_MAX),
    )
    return [details_pb2.PreconditionFailure(violations=[violation])]


def _quota(error: PlatformError) -> list[Message]:
    wait_s = error.retry_after_s if isinstance(error, Overloaded) else 1.0
    violation = details_pb2.QuotaFailure.Violation(
        subject=error.metadata.get("tenant", error.reason),
        description=_short(str(error), _METADATA_VALUE_CHARS_MAX),
    )
    return [_retry_info(wait_s), details_pb2.QuotaFailure(violations=[violation])]


def _dependency(error: PlatformError) -> list[Message]:
    return [_retry_info(_DEPENDENCY_RETRY_S)]


_EXTRAS: dict[type[PlatformError], Callable[[PlatformError], list[Message]]] = {
    InvalidRequest: _bad_request,
    NotFound: _resource,
    AlreadyExists: _resource,
    WrongState: _precondition,
    Overloaded: _quota,
    DependencyDown: _dependency,
}


def _family(cls: type[PlatformError]) -> type[PlatformError]:
    """The row of the table: the class itself, or the nearest one that it refines."""
    for ancestor in cls.__mro__:
        if ancestor in CODES:
            return ancestor
    raise LookupError(f"{cls.__name__} has no row in libs.rpc.status.CODES")


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def to_status(error: PlatformError, *, domain: str) -> grpc.Status:
    """Return the rich status that a servicer aborts with: always an ErrorInfo, then the row's details."""
    family = _family(type(error))
    kept = list(error.metadata.items())[:_METADATA_ITEMS_MAX]
    metadata = {key: _short(value, _METADATA_VALUE_CHARS_MAX) for key, value in kept}
    info = details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=metadata)
    extras = _EXTRAS[family](error) if family in _EXTRAS else []
    code: int = CODES[family].value[0]
    return rpc_status.to_status(
        status_pb2.Status(
            code=code,
            message=_short(str(error), _MESSAGE_CHARS_MAX),
            details=[_packed(detail) for detail in (info, *extras)],
        )
    )


def to_internal_status(incident: str, *, domain: str) -> grpc.Status:
    """Return the opaque status of a bug; the log has the rest under `incident`."""
    info = details_pb2.ErrorInfo(
        reason=INTERNAL_REASON, domain=domain, metadata={"incident": incident}
    )
    code: int = grpc.StatusCode.INTERNAL.value[0]
    return rpc_status.to_status(
        status_pb2.Status(code=code, message=f"internal error {incident}", details=[_packed(info)])
    )


_CLASSES = {code: cls for cls, code in CODES.items()} | {
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest
}
_PEER_FAILED = "PEER_FAILED"


def from_rpc_error(error: grpc.aio.AioRpcError) -> PlatformError:
    """Return the platform error that a status was made of, or the nearest to one that gRPC made itself.

    A bug of the peer (INTERNAL, UNKNOWN, UNIMPLEMENTED, DATA_LOSS) or a call that it cut off (CANCELLED)
    becomes DependencyDown with reason PEER_FAILED and the code's name.
    """
    details = _details_of(error)
    info = details_pb2.ErrorInfo()
    retry = details_pb2.RetryInfo()
    for detail in details:
        detail.Unpack(info)
        detail.Unpack(retry)
    message = error.details() or ""
    metadata = dict(info.metadata)
    code = error.code()
    if (
        code is grpc.StatusCode.RESOURCE_EXHAUSTED
        and not info.reason
        and "larger than max" in message
    ):
        return InvalidRequest("MESSAGE_TOO_LARGE", message)
    cls = _CLASSES.get(code)
    if cls is None:
        return DependencyDown(_PEER_FAILED, message, **{"code": code.name, **metadata})
    reason = info.reason or code.name
    if cls is Overloaded:
        wait_s = retry.retry_delay.ToNanoseconds() / 1e9 or 1.0
        return Overloaded(reason, message, retry_after_s=wait_s, **_safe(metadata))
    return cls(reason, message, **_safe(metadata))


def retry_after_s(error: grpc.aio.AioRpcError) -> float:
    """Seconds that the peer asks to wait before another try; 0 where it says nothing."""
    retry = details_pb2.RetryInfo()
    for detail in _details_of(error):
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToNanoseconds() / 1e9)
    return 0.0


def _safe(metadata: dict[str, str]) -> dict[str, str]:
    """Without the names that the error classes' own parameters have."""
    own = {"reason", "message", "retry_after_s"}
    return {f"{key}_" if key in own else key: value for key, value in metadata.items()}


def _details_of(error: Any) -> list[any_pb2.Any]:
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # A peer whose details contradict its status: the status counts.
        return []
    return [] if status is None else list(status.details)
