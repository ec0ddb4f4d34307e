from __future__ import annotations

from dataclasses import replace

from services.guard.domain import Desk, Pending
from services.guard.domain.desk import answered, open_question
from tectum.protocol.messages import Decision, Verdict
from tectum.protocol.types import Epoch
from tests.unit.guard.plans import plan

E0, E1, E2 = Epoch(1, 0), Epoch(1, 1), Epoch(2, 0)


def pending(step: int = 3, epoch: Epoch = E1, session_id: str = "s1") -> Pending:
    asked = plan(step=step, epoch=epoch, session_id=session_id)
    return Pending(
        asked, Decision(session_id, epoch, step, Verdict.ASK, "upload", question="May I?")
    )


def test_an_older_epoch_is_stale_once_a_higher_one_was_seen() -> None:
    desk = Desk(10)
    assert not desk.stale("s1", E0)
    desk.see("s1", E1)
    assert desk.stale("s1", E0)
    assert not desk.stale("s1", E1)
    assert not desk.stale("s1", E2)
    desk.see("s1", E0)
    assert desk.stale("s1", E0), "a late older epoch lowers nothing"


def test_a_higher_epoch_ends_a_question_until_it_is_settled() -> None:
    desk = Desk(10)
    desk.remember("s1", E1, pending())
    assert desk.see("s1", E1) is None
    first, again = desk.see("s1", E2), desk.see("s1", E2)
    assert first is not None
    assert first == again, "a publish that failed is tried again"
    assert (first.decision.verdict, first.decision.reason) == (Verdict.DENY, "EPOCH_RAISED")
    assert first.decision.question == ""
    desk.settle("s1", 3)
    assert desk.see("s1", E2) is None


def test_closing_ends_a_question() -> None:
    desk = Desk(10)
    desk.remember("s1", E1, pending())
    ended = desk.close("s1", E1)
    assert ended is not None
    assert ended.decision.reason == "SESSION_CLOSED"
    assert desk.close("s2", E1) is None


def test_a_question_is_found_by_its_step_only() -> None:
    desk = Desk(10)
    desk.remember("s1", E1, pending(3))
    assert desk.find("s1", 3) == pending(3)
    assert desk.find("s1", 4) is None
    assert desk.find("s2", 3) is None
    desk.settle("s1", 4)
    assert desk.find("s1", 3) is not None


def test_over_the_limit_the_quietest_session_is_forgotten_and_known_to_be() -> None:
    desk = Desk(2)
    for name in ("s1", "s2"):
        desk.remember(name, E1, pending(session_id=name))
    desk.see("s1", E1)
    desk.see("s3", E1)
    assert desk.recalled("s1")
    assert not desk.recalled("s2")
    assert not desk.recalled("s3"), "seen, yet never looked up"
    assert desk.find("s2", 3) is None


def test_the_open_question_is_rebuilt_from_decisions() -> None:
    ask = pending(3).decision
    allowed = answered(pending(3), allowed=True, rule_id="caller", reason="approved").decision
    other = Decision("s1", E1, 2, Verdict.ALLOW)
    assert open_question([]) is None
    assert open_question([other, ask]) == ask
    assert open_question([ask, other]) == ask
    assert open_question([ask, allowed]) is None
    assert open_question([ask, allowed, ask]) is None
    higher = replace(ask, epoch=E2)
    assert open_question([ask, allowed, higher]) == higher
    assert open_question([ask, replace(allowed, epoch=E2)]) == ask
