"""GuiService and ExecutorService over a real socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from libs.blobs.port import blob_key
from libs.errors import DependencyDown, InvalidRequest, NotFound, Overloaded
from services.gui.settings import GuiSettings
from tectum.event.v1 import action_pb2, outcome_pb2
from tectum.executor.v1 import executor_pb2, executor_pb2_grpc
from tectum.gui.v1 import gui_pb2 as pb
from tectum.gui.v1 import gui_pb2_grpc
from tests.integration.gui.host import gui_host

pytestmark = pytest.mark.timeout(60)
# 60 s: one of these tests starts Chromium, on a machine that may be busy.


def press(element_id: str) -> action_pb2.Action:
    at = action_pb2.Point(element=action_pb2.ElementPoint(element_id=element_id))
    click = action_pb2.Click(at=at, button=action_pb2.MOUSE_BUTTON_LEFT, count=1)
    return action_pb2.Action(click=click)


async def test_a_screen_of_one_s_own(tmp_path: Path) -> None:
    async with gui_host(tmp_path) as (host, channel):
        stub: Any = gui_pb2_grpc.GuiServiceStub(channel)
        listed = (await stub.ListEnvironments(pb.ListEnvironmentsRequest())).environments
        assert {"browser", "fake", "miniwob"} <= {info.scheme for info in listed}
        for info in listed:
            assert info.summary
            assert info.examples
            assert {"click", "type_text", "answer", "done", "fail"} <= set(info.actions)
        opened = await stub.OpenScreen(
            pb.OpenScreenRequest(environment="fake://?steps=2&shot_bytes=100")
        )
        assert opened.instruction == "Press Next."
        shot = opened.screen.screenshot
        assert len(await host.blobs.get(blob_key(shot.sha256))) == shot.size_bytes == 100
        mine = opened.screen_id
        first = (await stub.Act(pb.ActRequest(screen_id=mine, action=press("next")))).outcome
        assert (first.status, first.ended) == (outcome_pb2.OUTCOME_STATUS_OK, False)
        assert (await stub.Observe(pb.ObserveRequest(screen_id=mine))).screen.elements[
            0
        ].text == "Pressed 1"
        unknown = (await stub.Act(pb.ActRequest(screen_id=mine, action=press("nobody")))).outcome
        assert (unknown.status, unknown.reason) == (
            outcome_pb2.OUTCOME_STATUS_FAILED,
            "ELEMENT_UNKNOWN",
        )
        last = (await stub.Act(pb.ActRequest(screen_id=mine, action=press("next")))).outcome
        assert last.ended
        score = (await stub.CloseScreen(pb.CloseScreenRequest(screen_id=mine))).score
        assert (score.success, score.source) == (True, "environment")
        with pytest.raises(NotFound) as gone:
            await stub.Observe(pb.ObserveRequest(screen_id=mine))
        assert gone.value.reason == "SCREEN_NOT_FOUND"


async def test_wrong_requests_have_reasons(tmp_path: Path) -> None:
    async with gui_host(tmp_path, GuiSettings(environments_max=1)) as (_, channel):
        stub: Any = gui_pb2_grpc.GuiServiceStub(channel)
        for uri, error, reason in (
            ("", InvalidRequest, "URI_MALFORMED"),
            ("phone://", NotFound, "ENVIRONMENT_UNKNOWN"),
            ("fake://?x=1", InvalidRequest, "URI_MALFORMED"),
            ("miniwob://no-such-task", NotFound, "TASK_UNKNOWN"),
            ("browser://file:///etc/passwd", InvalidRequest, "URI_MALFORMED"),
        ):
            with pytest.raises(error) as refused:
                await stub.OpenScreen(pb.OpenScreenRequest(environment=uri))
            assert refused.value.reason == reason
        opened = await stub.OpenScreen(pb.OpenScreenRequest(environment="fake://"))
        with pytest.raises(InvalidRequest) as malformed:
            await stub.Act(pb.ActRequest(screen_id=opened.screen_id, action=action_pb2.Action()))
        assert malformed.value.reason == "ACTION_MALFORMED"
        with pytest.raises(Overloaded) as full:
            await stub.OpenScreen(pb.OpenScreenRequest(environment="fake://"))
        assert full.value.reason == "TOO_MANY_ENVIRONMENTS"


async def test_an_idle_screen_is_closed(tmp_path: Path) -> None:
    async with gui_host(tmp_path, GuiSettings(idle_s=1, sweep_s=0.05)) as (_, channel):
        stub: Any = gui_pb2_grpc.GuiServiceStub(channel)
        opened = await stub.OpenScreen(pb.OpenScreenRequest(environment="fake://"))
        with pytest.raises(NotFound) as gone:
            while True:
                await asyncio.sleep(1.3)
                await stub.Observe(pb.ObserveRequest(screen_id=opened.screen_id))
        assert gone.value.reason == "SCREEN_NOT_FOUND"


async def test_a_page_that_nobody_serves(tmp_path: Path) -> None:
    async with gui_host(tmp_path) as (_, channel):
        stub: Any = gui_pb2_grpc.GuiServiceStub(channel)
        with pytest.raises(DependencyDown) as down:
            await stub.OpenScreen(
                pb.OpenScreenRequest(environment="browser://http://127.0.0.1:1/"), timeout=30
            )
        assert down.value.reason == "PAGE_UNREACHABLE"


async def test_the_service_is_an_executor(tmp_path: Path) -> None:
    async with gui_host(tmp_path, GuiSettings(ordinal=1)) as (_, channel):
        stub: Any = executor_pb2_grpc.ExecutorServiceStub(channel)
        opened = await stub.OpenHome(
            executor_pb2.OpenHomeRequest(
                session_id="s1",
                environment="fake://?instruction=Hello",
                owner_address="127.0.0.1:1",
                opening_id="o1",
                attempt=1,
            )
        )
        assert (opened.instruction, opened.body.partition) == ("Hello", 1)
        assert opened.body.home.startswith("gui/1/")
        seen = await stub.ObserveHome(
            executor_pb2.ObserveHomeRequest(
                session_id="s1", home=opened.body.home, incarnation=opened.body.incarnation
            )
        )
        assert seen.screen.title == "Form"
        await stub.CloseHome(executor_pb2.CloseHomeRequest(session_id="s1", home=opened.body.home))
        with pytest.raises(NotFound) as lost:
            await stub.ObserveHome(
                executor_pb2.ObserveHomeRequest(
                    session_id="s1", home=opened.body.home, incarnation=opened.body.incarnation
                )
            )
        assert lost.value.reason == "ENVIRONMENT_LOST"
