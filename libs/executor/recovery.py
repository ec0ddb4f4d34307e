"""What a fresh incarnation does before anything else (rule 11)."""

from __future__ import annotations

from dataclasses import dataclass

from libs.events.messages import decode
from libs.events.port import EventLog
from libs.events.topics import EXECUTORS, OUTCOMES
from libs.executor.port import LastLink
from libs.executor.rules import ExecutorRules
from libs.executor.writer import Writer
from libs.telemetry.trace import continuing
from tectum.protocol.messages import ExecutorCheckpoint, Outcome, OutcomeStatus, Started


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where the journal's tail begins, and what was closed."""

    ends: dict[int, int]
    """By partition of tectum.outcomes."""
    unknown: int


async def recover(
    *, name: str, log: EventLog, link: LastLink, writer: Writer, rules: ExecutorRules
) -> Recovered:
    """Destroy what the predecessor left, read outcomes to the end, report UNKNOWN for its open steps.

    The writer's producer was taken before, so the predecessor can append nothing more: what is open at the
    end of the log stays open. Nothing it left can begin after its last link was destroyed, so UNKNOWN is safe.
    """
    if rules.destroys_leftovers():
        await link.destroy_leftovers()
    start = await _checkpoint(name, log)
    ends: dict[int, int] = {}
    unknown = 0
    for partition in range(await log.partitions(OUTCOMES)):
        ends[partition] = await log.end_offset(OUTCOMES, partition)
        begun = await _open(name, log, partition, start.get(str(partition), 0), ends[partition])
        for started, traceparent in begun:
            if started.incarnation < writer.incarnation:
                unknown += 1
                with continuing(traceparent):
                    await writer.outcome(_unknown(started))
    return Recovered(ends, unknown)


async def _open(
    name: str, log: EventLog, partition: int, start: int, end: int
) -> list[tuple[Started, str]]:
    """First STARTED of each step of this executor's homes without an outcome, with its traceparent; oldest first."""
    begun: dict[tuple[str, int], tuple[Started, str]] = {}
    first: set[tuple[str, int]] = set()
    async for record in log.read(OUTCOMES, partition, start=start, end=end):
        message = decode(record.event, screens=False)
        if isinstance(message, Started):
            step = (message.session_id, message.step)
            if step not in first and message.home.startswith(f"{name}/"):
                first.add(step)
                begun[step] = message, record.event.traceparent
        elif isinstance(message, Outcome):
            begun.pop((message.session_id, message.step), None)
    return list(begun.values())


async def _checkpoint(name: str, log: EventLog) -> dict[str, int]:
    partition = await log.partition_of(EXECUTORS, name)
    found: dict[str, int] = {}
    async for record in log.read(EXECUTORS, partition, key=name):
        message = decode(record.event)
        if isinstance(message, ExecutorCheckpoint):
            found = dict(message.outcomes)
    return found


def _unknown(started: Started) -> Outcome:
    return Outcome(
        session_id=started.session_id,
        epoch=started.epoch,
        step=started.step,
        status=OutcomeStatus.UNKNOWN,
        reason="ENVIRONMENT_LOST",
        message=f"begun by incarnation {started.incarnation} of its executor, which is gone",
        home=started.home,
        incarnation=started.incarnation,
    )
