"""GuardService over a real socket, and the guard as a service of a host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.clock import SystemClock
from libs.errors import InvalidRequest, NotFound
from libs.events.memory import MemoryEventLog
from libs.events.messages import decode
from libs.events.topics import ACTIONS_GUI, PLANS, topic_specs
from services.guard.settings import GuardSettings
from tectum.event.v1 import plan_pb2
from tectum.guard.v1 import guard_pb2 as pb
from tectum.guard.v1 import guard_pb2_grpc
from tectum.wire import to_wire
from tests.integration.learning_host import Others, learning_host
from tests.unit.guard.plans import BODY, plan


@pytest.fixture
async def log() -> AsyncIterator[MemoryEventLog]:
    log = MemoryEventLog(SystemClock())
    await log.ensure_topics(topic_specs(BODY.partition + 1))
    yield log
    await log.aclose()


async def test_check_decides_and_issues_nothing(log: MemoryEventLog, tmp_path: Path) -> None:
    async with learning_host(log, tmp_path) as channel:
        stub: Any = guard_pb2_grpc.GuardServiceStub(channel)
        message = to_wire(plan(), plan_pb2.Plan)
        decision = (await stub.Check(pb.CheckRequest(plan=message))).decision
        assert decision.verdict == plan_pb2.VERDICT_ALLOW
        (policy,) = (await stub.ListPolicies(pb.ListPoliciesRequest())).policies
        assert (policy.name, policy.sha256) == ("default", decision.policy_sha256)
        assert "interact-with-local-pages" in policy.source
        message.policy = "lax"
        with pytest.raises(NotFound) as unknown:
            await stub.Check(pb.CheckRequest(plan=message))
        assert unknown.value.reason == "POLICY_UNKNOWN"
        message.ClearField("action")
        with pytest.raises(InvalidRequest) as malformed:
            await stub.Check(pb.CheckRequest(plan=message))
        assert malformed.value.reason == "PLAN_MALFORMED"
    assert await log.end_offset(ACTIONS_GUI, BODY.partition) == 0


async def test_a_plan_on_the_log_is_issued(log: MemoryEventLog, tmp_path: Path) -> None:
    others = Others(log)
    async with learning_host(log, tmp_path):
        await others.publish((PLANS, plan()))
        record = await others.wait_for(ACTIONS_GUI, lambda record: True)
    assert decode(record.event).plan == plan()
    assert record.partition == BODY.partition


async def test_policies_of_a_folder_are_served_and_bad_ones_stop_the_start(
    log: MemoryEventLog, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "none.yaml").write_text("version: 1\nrules:\n  - {id: no, verdict: deny}\n", "utf-8")
    settings = GuardSettings(policies_dir=folder, default_policy="none")
    async with learning_host(log, tmp_path, settings) as channel:
        stub: Any = guard_pb2_grpc.GuardServiceStub(channel)
        message = to_wire(plan(), plan_pb2.Plan)
        decision = (await stub.Check(pb.CheckRequest(plan=message))).decision
        assert (decision.policy, decision.rule_id) == ("none", "no")
    (folder / "none.yaml").write_text("version: 1\nrules:\n  - {id: no}\n", "utf-8")
    with pytest.raises(ExceptionGroup) as caught:
        async with learning_host(log, tmp_path, settings):
            pass
    (error,) = caught.value.exceptions
    assert isinstance(error, InvalidRequest)
    assert str(error).startswith("none.yaml, line 3: ")
