"""MemoryService over a real socket, learning through the real recorder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.clock import SystemClock
from libs.errors import AlreadyExists, InvalidRequest, NotFound
from libs.events.memory import MemoryEventLog
from libs.events.topics import CONTROL, OBSERVATIONS, OUTCOMES, PLANS, TRAJECTORIES, topic_specs
from services.memory.reactor import GROUP
from tectum.actions.types import Done, TypeText, Wait
from tectum.event.v1 import observation_pb2
from tectum.memory.v1 import memory_pb2 as pb
from tectum.memory.v1 import memory_pb2_grpc
from tectum.protocol.messages import Control, ControlKind, Outcome, Plan, Score, TrajectorySealed
from tectum.wire import to_wire
from tests.integration.learning_host import Others, learning_host
from tests.unit.memory.sessions import E0, exemplar, score, screen, step, turn

TOPIC_OF = {Plan: PLANS, Outcome: OUTCOMES, Score: OUTCOMES}


@pytest.fixture
async def log() -> AsyncIterator[MemoryEventLog]:
    log = MemoryEventLog(SystemClock())
    await log.ensure_topics(topic_specs(2))
    yield log
    await log.aclose()


def session(lesson: str, *, success: bool) -> list[tuple[str, Any]]:
    """What the topics get of a session that taught."""
    told: list[tuple[str, Any]] = [
        (CONTROL, Control("s1", E0, ControlKind.OPENED, lesson=lesson, tenant="t")),
        (OBSERVATIONS, turn()),
    ]
    steps = [*step(1), *step(2, Wait(0.1)), *step(3, TypeText("x")), *step(4, Done())]
    told += [(TOPIC_OF[type(message)], message) for message in steps]
    told.append((OUTCOMES, score(success=success)))
    told.append((CONTROL, Control("s1", E0, ControlKind.CLOSED, reason="DONE")))
    return told


async def learned(log: MemoryEventLog) -> None:
    """Return once memory has committed everything that was sealed."""
    async with asyncio.timeout(10):
        for partition in range(await log.partitions(TRAJECTORIES)):
            end = await log.end_offset(TRAJECTORIES, partition)
            while await log.committed(GROUP, TRAJECTORIES, partition) < end:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def test_a_session_that_taught_becomes_an_exemplar_once(
    log: MemoryEventLog, tmp_path: Path
) -> None:
    others = Others(log)
    async with learning_host(log, tmp_path) as channel:
        stub: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        await others.publish(*session("click", success=True))
        await others.wait_for(TRAJECTORIES, lambda record: True)
        await learned(log)
        request = pb.SearchExemplarsRequest(instruction="Click Ok", by_lesson=True)
        request.screen.CopyFrom(to_wire(screen("o0"), observation_pb2.Screen))
        (match,) = (await stub.SearchExemplars(request)).matches
        kept = match.exemplar
        assert (kept.lesson, kept.session_id, kept.verified_by) == ("click", "s1", "environment")
        assert [s.action.WhichOneof("kind") for s in kept.steps] == ["click", "type_text", "done"]
        assert [s.screen.observation_id for s in kept.steps] == ["o0", "o2", "o3"]
        assert match.similarity == pytest.approx(1.0, abs=1e-5)
        history = await stub.GetHistory(pb.GetHistoryRequest(site="shop.example", last=3))
        assert [text.splitlines()[0] for text in history.turns] == ["Task: Click Ok"]
        # The same news once more, as after a crash of the recorder.
        await others.publish(
            (TRAJECTORIES, TrajectorySealed("s1", "t", "key", success=True, lesson="click"))
        )
        await learned(log)
        assert len((await stub.ListExemplars(pb.ListExemplarsRequest())).exemplars) == 1
    async with learning_host(log, tmp_path) as channel:
        stub = memory_pb2_grpc.MemoryServiceStub(channel)
        got = await stub.GetExemplar(pb.GetExemplarRequest(exemplar_id=kept.exemplar_id))
        assert got.exemplar == kept


@pytest.mark.parametrize(("lesson", "success"), [("click", False), ("", True)])
async def test_a_session_that_failed_or_did_not_teach_leaves_history_only(
    log: MemoryEventLog, tmp_path: Path, lesson: str, *, success: bool
) -> None:
    others = Others(log)
    async with learning_host(log, tmp_path) as channel:
        stub: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        await others.publish(*session(lesson, success=success))
        await others.wait_for(TRAJECTORIES, lambda record: True)
        await learned(log)
        assert len((await stub.ListExemplars(pb.ListExemplarsRequest())).exemplars) == 0
        history = await stub.GetHistory(pb.GetHistoryRequest(site="shop.example", last=1))
        assert f"Result: {'success' if success else 'failure'}" in history.turns[0]


async def test_news_of_a_trajectory_that_is_gone_stops_nothing(
    log: MemoryEventLog, tmp_path: Path
) -> None:
    async with learning_host(log, tmp_path) as channel:
        stub: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        lost = TrajectorySealed("s0", "t", "key", success=True, lesson="click")
        await Others(log).publish((TRAJECTORIES, lost))
        await learned(log)
        assert len((await stub.ListExemplars(pb.ListExemplarsRequest())).exemplars) == 0
    dead = await log.end_offset(TRAJECTORIES + ".dlq", 0)
    assert dead == 0


async def test_the_door_for_direct_calls(log: MemoryEventLog, tmp_path: Path) -> None:
    async with learning_host(log, tmp_path) as channel:
        stub: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        message = to_wire(exemplar("a"), pb.Exemplar)
        written = await stub.WriteExemplar(pb.WriteExemplarRequest(exemplar=message))
        assert written.exemplar_id == "a"
        with pytest.raises(AlreadyExists) as exists:
            await stub.WriteExemplar(pb.WriteExemplarRequest(exemplar=message))
        assert exists.value.reason == "EXEMPLAR_EXISTS"
        message.verified_by = "hearsay"
        with pytest.raises(InvalidRequest) as unverified:
            await stub.WriteExemplar(pb.WriteExemplarRequest(exemplar=message))
        assert unverified.value.reason == "EXEMPLAR_NOT_VERIFIED"
        message.steps[0].ClearField("action")
        with pytest.raises(InvalidRequest) as empty:
            await stub.WriteExemplar(pb.WriteExemplarRequest(exemplar=message))
        assert empty.value.reason == "EXEMPLAR_EMPTY"
        with pytest.raises(InvalidRequest) as nothing:
            await stub.Forget(pb.ForgetRequest())
        assert nothing.value.reason == "FORGET_WHAT"
        assert (await stub.Forget(pb.ForgetRequest(lesson="click"))).forgotten == 1
        with pytest.raises(NotFound) as gone:
            await stub.GetExemplar(pb.GetExemplarRequest(exemplar_id="a"))
        assert gone.value.reason == "EXEMPLAR_NOT_FOUND"
        with pytest.raises(InvalidRequest) as history:
            await stub.GetHistory(pb.GetHistoryRequest(site="a", last=4))
        assert history.value.reason == "LAST_OUT_OF_RANGE"
        with pytest.raises(InvalidRequest) as malformed:
            await stub.SearchExemplars(
                pb.SearchExemplarsRequest(instruction="x", screen=observation_pb2.Screen(url="u"))
            )
        assert malformed.value.reason == "SCREEN_MALFORMED"
