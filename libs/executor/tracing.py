"""What an executor's work looks like in a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.trace import Span, Status, StatusCode

from libs.events.port import Record
from libs.events.traced import handling
from libs.executor.port import Performed
from libs.telemetry import names
from libs.telemetry.trace import Attributes, span, tracer
from tectum.actions.types import KIND_NAMES
from tectum.protocol.messages import Outcome, OutcomeStatus, Plan


@contextmanager
def taking(record: Record, plan: Plan, executor: str) -> Iterator[None]:
    """From an action's turn in its home's lane until its outcome is in the log."""
    with handling(record, f"executor/{executor}") as handled:
        handled.set_attribute(names.STEP, plan.step)
        handled.set_attribute(names.HOME, plan.body.home)
        yield


def asking_lease(plan: Plan) -> AbstractContextManager[Span]:
    """An action waits for a lease of its epoch."""
    return span(names.ASK_LEASE, {names.STEP: plan.step})


def writing_started(plan: Plan) -> AbstractContextManager[Span]:
    """From publishing STARTED until it is known who was first."""
    return span(names.WRITE_STARTED, {names.STEP: plan.step})


@contextmanager
def executing(plan: Plan) -> Iterator[Span]:
    """One action at the last link, with what it waited and looked for afterwards."""
    tool = f"{plan.body.kind.value}.{KIND_NAMES[type(plan.action.kind)]}"
    attributes: Attributes = {
        names.GEN_AI_OPERATION: names.EXECUTE_TOOL,
        names.GEN_AI_TOOL: tool,
        names.GEN_AI_TOOL_CALL: f"{plan.session_id}/{plan.step}",
        names.STEP: plan.step,
    }
    with span(f"{names.EXECUTE_TOOL} {tool}", attributes) as made:
        yield made


def came(executed: Span, result: Outcome | Performed) -> None:
    """Note what came of an action, just after it came: the last link says how long it settled and looked."""
    said = result if isinstance(result, Outcome) else result.result
    if said.status is not OutcomeStatus.OK:
        executed.set_attribute(names.ERROR_TYPE, said.reason)
        executed.set_status(Status(StatusCode.ERROR, said.reason))
    if isinstance(result, Outcome) or not executed.is_recording():
        return
    now = time.time_ns()
    looked_at = now - int(result.observing_ms * 1e6)
    settled_at = looked_at - int(result.result.settling_ms * 1e6)
    for name, start, end in (
        (names.SETTLE, settled_at, looked_at),
        (names.OBSERVE, looked_at, now),
    ):
        if end > start:
            tracer().start_span(name, start_time=start).end(end)
