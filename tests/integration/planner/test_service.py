"""The planner as a service of a host: log, memory and a model's endpoint over real sockets."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from libs.blobs.memory import MemoryBlobStore
from libs.clock import SystemClock
from libs.errors import InvalidRequest
from libs.events.memory import MemoryEventLog
from libs.events.messages import decode
from libs.events.topics import OBSERVATIONS, OUTCOMES, PLANS, topic_specs
from libs.host import Host
from libs.rpc.client import PlatformChannel, connect
from libs.rpc.server import PlatformServer, serving
from libs.rpc.settings import RpcSettings
from services.memory.__main__ import running as running_memory
from services.memory.settings import MemorySettings
from services.planner import __main__ as planner_main
from services.planner.settings import PlannerSettings
from tectum.actions.types import Action, Answer, Click, Fail, Point
from tectum.event.v1 import action_pb2, observation_pb2
from tectum.memory.v1 import memory_pb2, memory_pb2_grpc
from tectum.planner.v1 import planner_pb2, planner_pb2_grpc
from tectum.plugins import STRATEGIES
from tectum.protocol.messages import Outcome, OutcomeStatus, Plan, Score, TurnStarted
from tectum.protocol.types import Body, BodyKind, Epoch
from tectum.wire import from_wire, to_wire
from tests.integration.learning_host import Others
from tests.integration.planner.endpoint import acts, endpoint
from tests.integration.planner.samples import exemplar, screen
from tests.integration.recorder_host import Traces

RPC = RpcSettings(address="127.0.0.1:0", drain_s=0)
BODY = Body("gui/0/1-env", 1, BodyKind.GUI, 0)
EPOCH = Epoch(1, 0)


@pytest.fixture
async def log() -> AsyncIterator[MemoryEventLog]:
    log = MemoryEventLog(SystemClock())
    await log.ensure_topics(topic_specs(2))
    yield log
    await log.aclose()


@asynccontextmanager
async def planning_host(
    log: MemoryEventLog, folder: Path, *, memory: bool = True
) -> AsyncIterator[PlatformChannel]:
    """Memory and planner; a channel to their server."""
    async with AsyncExitStack() as stack:
        server = await PlatformServer.bind(RPC)
        channel = connect(server.inner_address, RPC)
        stack.push_async_callback(channel.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        host = Host(
            log=log,
            blobs=MemoryBlobStore(),
            server=server,
            tasks=tasks,
            clock=SystemClock(),
            data_dir=folder,
            address=server.inner_address,
            channel=lambda _: channel,
            traces=Traces("", ()),
        )
        if memory:
            await stack.enter_async_context(running_memory(host, MemorySettings()))
        await stack.enter_async_context(planner_main.running(host, PlannerSettings()))
        await stack.enter_async_context(serving(server, drain_s=0))
        yield channel


def started(settings: dict[str, Any], strategy: str = "model") -> TurnStarted:
    return TurnStarted(
        session_id="s1",
        epoch=EPOCH,
        first_step=1,
        instruction="Pay the basket",
        strategy=strategy,
        body=BODY,
        screen=screen(1),
        strategy_settings=json.dumps(settings),
    )


def outcome(step: int) -> Outcome:
    return Outcome("s1", EPOCH, step, OutcomeStatus.OK, screen=screen(step + 1))


async def plan_of(others: Others, step: int) -> Plan:
    record = await others.wait_for(PLANS, lambda record: decode(record.event).step == step)
    plan = decode(record.event)
    assert isinstance(plan, Plan)
    return plan


async def test_a_turn_is_planned_by_a_model(log: MemoryEventLog, tmp_path: Path) -> None:
    others = Others(log)
    async with planning_host(log, tmp_path) as channel:
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        one = exemplar("taught/1", instruction="Pay the cart")
        kept = memory_pb2.Exemplar(
            exemplar_id=one.exemplar_id,
            lesson=one.lesson,
            instruction=one.instruction,
            verified_by="environment",
        )
        for seen, action in one.steps:
            kept.steps.add(
                screen=to_wire(seen, observation_pb2.Screen),
                action=to_wire(action, action_pb2.Action),
            )
        await memory.WriteExemplar(memory_pb2.WriteExemplarRequest(exemplar=kept))
        replies = [acts("click", "to pay", element="b1"), acts("answer", text="paid")]
        async with endpoint(*replies) as server:
            settings = {"base_url": server.base_url, "model": "tiny"}
            await others.publish((OBSERVATIONS, started(settings)))
            first = await plan_of(others, 1)
            await others.publish(
                (OUTCOMES, Score("s1", 1, 1.0, success=True, source="page")),
                (OUTCOMES, outcome(1)),
            )
            second = await plan_of(others, 2)
    assert first.action == Action(Click(Point.element("b1")))
    assert (first.reason, first.strategy) == ("to pay", "model")
    assert first.exemplar_ids == ("taught/1",)
    assert first.target is not None
    assert first.target.name == "Pay"
    assert second.action == Action(Answer("paid"))
    asked = server.asked[1].messages
    said = [said for _, said in asked]
    assert [text for text in said if text.startswith("Task: ")] == [
        "Task: Pay the cart\nTrajectory:",
        "Task: Pay the basket\nTrajectory:",
    ]
    assert json.loads(said[-2]) == {"reason": "", "action": {"kind": "click", "element": "b1"}}
    assert "[b2] Pay" in said[-1]
    assert "reward" not in str(asked).lower()


async def test_what_a_model_cannot_do_ends_the_turn_with_the_reason(
    log: MemoryEventLog, tmp_path: Path
) -> None:
    async with endpoint() as server:
        gone = server.base_url
    others = Others(log)
    async with planning_host(log, tmp_path):
        await others.publish((OBSERVATIONS, started({"base_url": gone, "model": "tiny"})))
        plan = await plan_of(others, 1)
    assert isinstance(plan.action.kind, Fail)
    assert plan.action.kind.reason.startswith("MODEL_DOWN: expected an answer of http://127.0.0.1")


async def test_the_door_for_direct_calls(log: MemoryEventLog, tmp_path: Path) -> None:
    async with planning_host(log, tmp_path) as channel, endpoint(acts("done")) as server:
        stub: Any = planner_pb2_grpc.PlannerServiceStub(channel)
        listed = await stub.ListStrategies(planner_pb2.ListStrategiesRequest())
        schemas = {info.name: json.loads(info.settings_schema) for info in listed.strategies}
        assert {"constant", "exemplar", "model", "script"} <= schemas.keys()
        assert schemas["model"]["properties"]["exemplars"]["maximum"] == 10
        request = planner_pb2.DecideRequest(
            instruction="x", strategy="model", screen=to_wire(screen(1), observation_pb2.Screen)
        )
        wanted = {"model": "tiny", "base_url": server.base_url}
        request.strategy_settings = json.dumps(wanted)
        decided = await stub.Decide(request)
        assert from_wire(decided.action, Action).name == "done"
        refused = [
            ({**wanted, "base_url": "https://elsewhere.example/v1"}, "MODEL_URL_FORBIDDEN"),
            ({**wanted, "exemplars": 11}, "STRATEGY_SETTINGS_INVALID"),
            (wanted, "MODEL_REFUSED"),
        ]
        for settings, reason in refused:
            request.strategy_settings = json.dumps(settings)
            with pytest.raises(InvalidRequest) as caught:
                await stub.Decide(request)
            assert caught.value.reason == reason


async def test_a_memory_that_is_not_there_is_named(log: MemoryEventLog, tmp_path: Path) -> None:
    async with planning_host(log, tmp_path, memory=False), endpoint() as server:
        others = Others(log)
        settings = {"base_url": server.base_url, "model": "tiny"}
        await others.publish((OBSERVATIONS, started(settings)))
        plan = await plan_of(others, 1)
    assert isinstance(plan.action.kind, Fail)
    assert plan.action.kind.reason.startswith("PEER_FAILED: Method not found")
    assert server.asked == []


async def test_a_broken_plug_in_does_not_keep_the_planner_from_starting(
    log: MemoryEventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant = "services.planner.strategies.constant:plugin"
    points = [
        EntryPoint("constant", constant, STRATEGIES),
        EntryPoint("odd", "no_such_package:plugin", STRATEGIES),
    ]
    monkeypatch.setattr(planner_main, "entry_points", lambda *, group: points)
    others = Others(log)
    async with planning_host(log, tmp_path) as channel:
        stub: Any = planner_pb2_grpc.PlannerServiceStub(channel)
        listed = await stub.ListStrategies(planner_pb2.ListStrategiesRequest())
        assert [info.name for info in listed.strategies] == ["constant"]
        await others.publish((OBSERVATIONS, started({}, "odd")))
        plan = await plan_of(others, 1)
    assert isinstance(plan.action.kind, Fail)
    assert plan.action.kind.reason.startswith(
        "STRATEGY_UNKNOWN: expected a strategy of ['constant']"
    )
    assert "left out because it is broken" in plan.action.kind.reason


async def test_a_wrong_setting_of_the_model_stops_the_start(
    log: MemoryEventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TECTUM_MODEL_ANSWER_S", "-1")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with planning_host(log, tmp_path, memory=False):
            pass
    assert "TECTUM_MODEL_ANSWER_S" in str(caught.value.exceptions[0])


def test_an_idle_planner_has_not_loaded_what_only_a_model_needs() -> None:
    code = (
        "import sys, importlib.metadata as m\n"
        "import services.planner.__main__\n"
        "from services.planner.plugins import load_strategies\n"
        "found, _ = load_strategies(m.entry_points(group='tectum.strategies'))\n"
        "print('model' in found, {'httpx', 'httpcore', 'jsonschema'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True set()"
