"""The chapters of the demo, each with what a witness counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.demo.desk import Desk, Errand, errand, lesson
from deploy.process import RunningPlatform, platform
from tectum.cli.console import console
from tectum.client import Acknowledged, Agent, Platform, Session, Update
from tectum.demonstrations import Demonstration, parse_lesson
from tectum.episodes import Episode, run_episode, teach
from tectum.event.v1 import control_pb2, observation_pb2, outcome_pb2, plan_pb2
from tectum.protocol.messages import (
    Control,
    ControlKind,
    Decision,
    Outcome,
    OutcomeStatus,
    Plan,
    TurnStarted,
)
from tectum.recorder.v1 import recorder_pb2, recorder_pb2_grpc
from tectum.session.v1 import session_pb2

TASKS = (
    "click-button", "click-checkboxes-large", "click-tab-2-hard", "click-menu", "choose-list", "enter-text-2",
    "enter-date", "login-user-popup", "email-inbox-reply", "form-sequence-3", "simple-algebra", "highlight-text",
)  # fmt: skip
"""MiniWoB++ tasks of the demo, one for each way to find the element that is meant."""

UNSEEN_SEED = 1000
_AT_ONCE = 2
"""Episodes at the same time: as many as the smallest machine has cores."""
_QUIET_S = 1.5
"""How long the witness listens after an interrupt was acknowledged."""
_DESK_LESSON = "parcel-desk"


@dataclass(frozen=True, slots=True)
class Chapter:
    """One line of the demo's table."""

    what: str
    well: bool
    steps: int
    seconds: float
    note: str = ""


class Story:
    """Runs the chapters against one platform and keeps what came of them."""

    def __init__(self, platform: Platform, desk: Desk) -> None:
        self.platform = platform
        self.chapters: list[Chapter] = []
        self.session_ids: list[str] = []
        self._desk = desk
        self._solved = self._tasks = self._stale = self._lost = 0
        self._overheads_ms: list[float] = []
        self._seen: dict[str, set[tuple[str, int]]] = {}

    async def learn(self, folder: Path) -> None:
        """Teach every task from its demonstrations, and the errand at the parcel desk."""
        began = time.monotonic()
        lessons: list[tuple[str, Demonstration, bool]] = []
        for task in TASKS:
            taught = parse_lesson(yaml.safe_load((folder / f"{task}.yaml").read_text()), task)
            lessons += [
                (taught.name, demonstration, False) for demonstration in taught.demonstrations
            ]
        for task_errand, environment in lesson(self._desk, (1, 2, 3)):
            steps = tuple(task_errand.steps)
            demonstration = Demonstration(environment, (), task_errand.instruction, steps)
            lessons.append((_DESK_LESSON, demonstration, True))
        turn = asyncio.Semaphore(_AT_ONCE)
        learnt: list[Episode] = []

        async def one(name: str, demonstration: Demonstration, verified: bool) -> None:
            async with turn:
                episode = await teach(self.platform, name, demonstration, verified=verified)
            learnt.append(episode)
            if not episode.success:
                console.print(
                    f"  not learnt: {name}: {episode.reason} {episode.message}", style="red"
                )

        async with asyncio.TaskGroup() as group:
            for entry in lessons:
                group.create_task(one(*entry))
        well = all(episode.success for episode in learnt)
        steps_done = sum(episode.steps for episode in learnt)
        what = f"learns {len(TASKS) + 1} tasks from {len(learnt)} demonstrations"
        self._tell(Chapter(what, well, steps_done, time.monotonic() - began))

    async def work(self) -> None:
        """Solve every task on a seed that no demonstration showed."""
        for task in TASKS:
            await self._solve(f"miniwob://{task}?seed={UNSEEN_SEED}", task)

    async def _solve(self, environment: str, name: str) -> None:
        agent = Agent(max_steps=40, allow_literal_secrets=True)
        updates: list[Update] = []
        episode = await run_episode(
            self.platform, environment, agent=agent, on_update=updates.append
        )
        self._remember(episode.session_id, updates)
        self._tasks += 1
        self._solved += episode.success
        self._overheads_ms += episode.overheads_ms
        note = episode.instruction if episode.success else f"{episode.reason} {episode.message}"
        self._tell(Chapter(name, episode.success, episode.steps, episode.seconds, note[:90]))

    async def interrupt(self) -> None:
        """Stop an errand half-way from another connection; the page counts what it feels afterwards."""
        task = errand(11, 9)
        began = time.monotonic()
        updates: list[Update] = []
        acknowledged, answer = 0.0, session_pb2.InterruptResponse()
        async with self._errand(task) as session:
            async for update in session.updates():
                updates.append(update)
                if _acted(updates) == 3 and not acknowledged:
                    answer = await self.platform.sessions.Interrupt(
                        session_pb2.InterruptRequest(session_id=session.session_id, reason="stop"),
                        metadata=self.platform.metadata,
                    )
                    acknowledged = time.time()
                    await asyncio.sleep(_QUIET_S)
                    await session.close()
        stale = self._desk.inputs_after(acknowledged)
        self._stale += stale
        self._remember(session.session_id, updates)
        stamped = sum(self._desk.stamps(self._desk.instances()[-1]).values())
        states = ", ".join(_state_name(report.state) for report in answer.bodies)
        note = f"{stamped} of {len(task.wanted)} done, then {states}; inputs afterwards: {stale}"
        well = stale == 0 and 0 < stamped < len(task.wanted) and bool(answer.bodies)
        self._tell(Chapter("is interrupted", well, _acted(updates), time.monotonic() - began, note))

    async def lose(
        self, first: RunningPlatform, data_dir: Path, settings: Mapping[str, str]
    ) -> None:
        """Kill the platform in mid-episode, start it again, and let the session come back."""
        task = errand(12, 6)
        began, finished = time.monotonic(), False
        updates: list[Update] = []
        with ExitStack() as second:
            async with self._errand(task) as session:
                killed = False
                async for update in session.updates():
                    updates.append(update)
                    if _acted(updates) == 3 and not killed:
                        killed = True
                        await asyncio.to_thread(first.kill)
                        await asyncio.to_thread(second.enter_context, platform(data_dir, settings))
                    if isinstance(update, Control) and update.kind is ControlKind.TURN_ENDED:
                        finished = self._desk.done(task, self._desk.instances()[-1])
                        await session.feedback(success=finished)
                        await session.close()
            await asyncio.to_thread(second.close)
        self._remember(session.session_id, updates)
        kinds = [update.kind for update in updates if isinstance(update, Control)]
        well = finished and ControlKind.ENVIRONMENT_LOST in kinds
        note = "resumed, told ENVIRONMENT_LOST, " + (
            "finished afresh" if finished else "not finished"
        )
        self._tell(
            Chapter("survives kill -9", well, _acted(updates), time.monotonic() - began, note)
        )

    async def audit(self) -> None:
        """Look for everything that callers were told in what was recorded."""
        recorder = recorder_pb2_grpc.RecorderServiceStub(self.platform.channel)
        for session_id, told in self._seen.items():
            request = recorder_pb2.GetTrajectoryRequest(session_id=session_id)
            recorded: set[tuple[str, int]] = set()
            async for part in recorder.GetTrajectory(request, metadata=self.platform.metadata):
                if part.WhichOneof("part") == "event":
                    recorded.add(_recorded(part.event))
            self._lost += len(told - recorded)

    def result(self) -> dict[str, float | int]:
        """The figures of result.json, all but the wall time."""
        ordered = sorted(self._overheads_ms)
        return {
            "tasks": self._tasks,
            "solved": self._solved,
            "wall_s": 0.0,
            "step_overhead_ms_p50": round(ordered[len(ordered) // 2], 2) if ordered else 0.0,
            "stale_actions": self._stale,
            "duplicate_effects": self._desk.repeated(),
            "lost_events": self._lost,
        }

    def _errand(self, task: Errand) -> AbstractAsyncContextManager[Session]:
        return self.platform.session(
            self._desk.url(task), task.instruction, agent=Agent(max_steps=60), resume_for_s=60.0
        )

    def _remember(self, session_id: str, updates: list[Update]) -> None:
        self.session_ids.append(session_id)
        self._seen[session_id] = {found for update in updates for found in _told(update)}

    def _tell(self, chapter: Chapter) -> None:
        self.chapters.append(chapter)
        mark = "✓" if chapter.well else "✗"
        console.print(f"{mark} {chapter.what}  {chapter.note}", markup=False)


def _acted(updates: list[Update]) -> int:
    """How many steps were carried out."""
    return sum(isinstance(u, Outcome) and u.status is OutcomeStatus.OK for u in updates)


def _state_name(number: int) -> str:
    return control_pb2.BodyState.Name(number).removeprefix("BODY_STATE_")  # type: ignore[arg-type]


def _told(update: Update) -> list[tuple[str, int]]:
    """What an update says must be on record: a kind of event and its number."""
    match update:
        case Plan(step=step) | Outcome(step=step) | Decision(step=step):
            return [(type(update).__name__, step)]
        case TurnStarted(attempt=attempt):
            return [("TurnStarted", attempt)]
        case Acknowledged(client_seq):
            return [("ClientMessageAccepted", number) for number in range(1, client_seq + 1)]
    return []


_RECORDED: dict[str, tuple[Any, str]] = {
    "Plan": (plan_pb2.Plan, "step"),
    "Decision": (plan_pb2.Decision, "step"),
    "Outcome": (outcome_pb2.Outcome, "step"),
    "TurnStarted": (observation_pb2.TurnStarted, "attempt"),
    "ClientMessageAccepted": (observation_pb2.ClientMessageAccepted, "client_seq"),
}


def _recorded(event: recorder_pb2.RecordedEvent) -> tuple[str, int]:
    name = event.attributes["type"].rpartition(".")[2]
    if name not in _RECORDED:
        return (name, 0)
    wire, number = _RECORDED[name]
    return (name, int(getattr(wire.FromString(event.data), number)))
