"""A turn from its instruction to its end; interrupt; close."""

from __future__ import annotations

import asyncio

from services.session.domain.messages import Close, Instruction, Interrupt, Opened
from tectum.protocol.messages import ControlKind, Outcome, TurnStarted
from tectum.protocol.types import BodyState
from tests.platform_fakes import FakeLink, platform


async def test_open_instruct_step_interrupt_close() -> None:
    link = FakeLink()
    async with platform() as made:
        await made.executor(link)
        sessions = await made.replica()
        client = await made.opened(sessions)
        opened = client.said[0]
        assert isinstance(opened, Opened)
        ended = await client.control(ControlKind.TURN_ENDED)
        assert ended.reason == "DONE"
        assert len(link.touches) == 2

        link.release = asyncio.Event()
        link.inside.clear()
        client.say(Instruction("again"))
        await link.inside.wait()
        client.say(Interrupt("stop"))
        link.release.set()
        raised = await client.control(ControlKind.EPOCH_RAISED, reason="INTERRUPTED")
        assert [report.state for report in raised.bodies] == [BodyState.CONFIRMED]
        touched = len(link.touches)
        client.say(Close())
        closed = await client.control(ControlKind.CLOSED)
        assert closed.reason == "CLIENT"
        await client.done.wait()
        assert client.error is None
        assert len(link.touches) == touched
        assert link.environments == {}
        assert sessions.faults == []
        outcomes = await made.of("tectum.outcomes", opened.session_id, Outcome)
        assert len({o.step for o in outcomes}) == len(outcomes) == 4
        assert len(await made.of("tectum.observations", opened.session_id, TurnStarted)) == 2
