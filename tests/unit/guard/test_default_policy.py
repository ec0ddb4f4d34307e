from __future__ import annotations

import pytest

from libs.errors import NotFound
from services.guard.domain import Guard
from services.guard.policy_files import load_policies
from tectum.actions.types import (
    KIND_NAMES,
    ActionKind,
    Answer,
    Click,
    Done,
    Drag,
    Fail,
    GoTo,
    KeyChord,
    OpenApp,
    Point,
    SecretRef,
    SetClipboard,
    TypeText,
    UploadFiles,
    Wait,
)
from tectum.protocol.messages import Verdict
from tectum.protocol.types import BlobRef
from tests.unit.guard.plans import PAGE, plan

AT = Point.element("e1")
UPLOAD = UploadFiles(AT, (BlobRef("0" * 64, 3, "text/plain"),), ("a.txt",))


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard(load_policies(None), "default")


@pytest.mark.parametrize(
    ("kind", "url", "verdict", "rule"),
    [
        (Click(AT), PAGE, "allow", "interact-with-local-pages"),
        (Click(AT), "file:///srv/miniwob/a.html", "allow", "interact-with-local-pages"),
        (Click(AT), "fake://counter", "allow", "interact-with-local-pages"),
        (TypeText("hello", AT), PAGE, "allow", "interact-with-local-pages"),
        (Drag((AT, Point.screen(3, 4))), PAGE, "allow", "interact-with-local-pages"),
        (KeyChord(("Enter",)), PAGE, "allow", "interact-with-local-pages"),
        (KeyChord(("Control", "w")), PAGE, "ask", "browser-shortcuts"),
        (Click(AT), "https://example.org/", "deny", "default"),
        (Click(AT), "http://127.0.0.1.evil.example/", "deny", "default"),
        (Click(AT), "", "deny", "default"),
        (Done(), "https://example.org/", "allow", "end-or-look"),
        (Fail("no such button"), "", "allow", "end-or-look"),
        (Answer("42"), PAGE, "allow", "end-or-look"),
        (Wait(0.5), "https://example.org/", "allow", "end-or-look"),
        (GoTo("http://127.0.0.1:8000/other"), PAGE, "allow", "navigate-on-the-same-origin"),
        (GoTo("http://127.0.0.1:9000/other"), PAGE, "ask", "navigate-elsewhere"),
        (GoTo("https://example.org/"), PAGE, "ask", "navigate-elsewhere"),
        (GoTo("file:///etc/passwd"), "file:///srv/a.html", "ask", "navigate-elsewhere"),
        (GoTo("javascript:alert(1)"), PAGE, "deny", "default"),
        (GoTo("chrome://settings"), PAGE, "deny", "default"),
        (UPLOAD, PAGE, "ask", "upload"),
        (UPLOAD, "https://example.org/", "deny", "default"),
        (OpenApp("terminal"), PAGE, "deny", "default"),
        (SetClipboard("x"), PAGE, "allow", "interact-with-local-pages"),
    ],
)
def test_verdicts(guard: Guard, kind: ActionKind, url: str, verdict: str, rule: str) -> None:
    decision = guard.check(plan(kind, url=url))
    assert (decision.verdict.value, decision.rule_id) == (verdict, rule)
    assert decision.reason
    assert bool(decision.question) == (verdict == "ask")


def test_who_may_type_literal_secrets_is_the_executors_to_say(guard: Guard) -> None:
    """The session's `allow_literal_secrets` decides, at the field itself; the guard sees only the plan."""
    assert guard.check(plan(TypeText("hunter2", AT), secret=True)).verdict is Verdict.ALLOW
    assert guard.check(plan(TypeText(SecretRef("pin"), AT), secret=True)).verdict is Verdict.ALLOW


def test_a_decision_says_which_policy_it_came_from(guard: Guard) -> None:
    decision = guard.check(plan())
    policy = guard.policy("default")
    assert (decision.policy, decision.policy_sha256) == ("default", policy.sha256)
    assert len(policy.sha256) == 64


def test_the_default_policy_speaks_of_no_unknown_action(guard: Guard) -> None:
    named = {kind for rule in guard.policy("").rules for kind in rule.actions or ()}
    assert named < set(KIND_NAMES.values())
    # What is left to deny-by-default, on purpose: bodies that no environment of today has.
    assert set(KIND_NAMES.values()) - named == {"press_system_button", "open_app", "operate_window"}


def test_an_unknown_policy_is_an_error_for_a_caller_and_a_denial_for_a_session(
    guard: Guard,
) -> None:
    with pytest.raises(NotFound, match="strict") as caught:
        guard.check(plan(policy="strict"))
    assert caught.value.reason == "POLICY_UNKNOWN"
    decision = guard.decide(plan(policy="strict"))
    assert (decision.verdict, decision.rule_id) == (Verdict.DENY, "policy")
    assert "strict" in decision.reason


def test_a_guard_without_its_default_policy_does_not_start() -> None:
    with pytest.raises(NotFound, match="lax"):
        Guard(load_policies(None), "lax")
