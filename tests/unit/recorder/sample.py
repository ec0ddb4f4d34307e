"""Sessions as the platform would have published them, with small painted screenshots."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from PIL import Image, ImageDraw

from libs.events.messages import encode
from libs.events.port import Event, Record
from libs.events.topics import ACTIONS_GUI, CONTROL, DECISIONS, OBSERVATIONS, OUTCOMES, PLANS
from tectum.actions.types import (
    Action,
    Click,
    Done,
    Fail,
    Point,
    SecretRef,
    TypeText,
    UploadFiles,
)
from tectum.geometry import Box, Size
from tectum.observations.types import Element, Screen
from tectum.protocol.messages import (
    ActionIssued,
    ClientMessageAccepted,
    Control,
    ControlKind,
    Decision,
    Outcome,
    OutcomeStatus,
    Plan,
    Score,
    Started,
    Target,
    TurnStarted,
    Verdict,
)
from tectum.protocol.types import BlobRef, Body, BodyKind, BodyReport, BodyState, Epoch

BODY = Body("gui/0/7-a1", 7, BodyKind.GUI, 0, "127.0.0.1:1")
START = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@dataclass
class Story:
    """Writes the events of one session, each a little later than the one before."""

    session_id: str
    at: datetime = START
    epoch: Epoch = field(default_factory=lambda: Epoch(1, 0))
    published: list[tuple[str, Event]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    screen: Screen | None = None
    step: int = 0

    def say(self, topic: str, message: Any, *, after_ms: float = 1.0, name: str = "") -> None:
        self.at += timedelta(milliseconds=after_ms)
        event_id = f"{self.session_id}/{name or len(self.published)}"
        event = encode(message, event_id=event_id, subject=self.session_id, at=self.at)
        self.published.append((topic, event))

    def records(self) -> Iterator[Record]:
        """The events at places in a log of one partition for each topic."""
        offsets: dict[str, int] = {}
        for topic, event in self.published:
            offset = offsets.get(topic, 0)
            offsets[topic] = offset + 1
            yield Record(topic, 0, offset, self.session_id, event, event.time)

    def control(self, kind: ControlKind, **fields: Any) -> None:
        self.say(CONTROL, Control(self.session_id, self.epoch, kind, **fields))

    def open(self, environment: str, instruction: str, screen: Screen, **fields: Any) -> None:
        agent = '{"strategy":"exemplar"}'
        self.control(
            ControlKind.OPENED,
            environment=environment,
            instruction=instruction,
            agent=agent,
            tenant="local",
            **fields,
        )
        self.turn(instruction, screen)

    def turn(self, instruction: str, screen: Screen, *, attempt: int = 1) -> None:
        self.screen = screen
        turn = TurnStarted(
            self.session_id, self.epoch, self.step + 1, instruction, "exemplar", BODY, screen,
            attempt=attempt,
        )  # fmt: skip
        self.say(OBSERVATIONS, turn, after_ms=180)

    def plan(self, action: Action, reason: str, **fields: Any) -> Plan:
        assert self.screen is not None
        self.step += 1
        plan = Plan(
            self.session_id, self.epoch, self.step, action, BODY, reason=reason,
            exemplar_ids=("lesson-login/2",), observation_id=self.screen.observation_id,
            strategy="exemplar", thinking_ms=11.5, policy="default", **fields,
        )  # fmt: skip
        self.say(PLANS, plan, after_ms=13)
        return plan

    def decide(self, verdict: Verdict, rule: str = "loopback-pages", **fields: Any) -> Decision:
        decision = Decision(self.session_id, self.epoch, self.step, verdict, rule, **fields)
        self.say(DECISIONS, decision, after_ms=1.4)
        return decision

    def allowed(self, plan: Plan) -> None:
        decision = self.decide(Verdict.ALLOW)
        self.say(ACTIONS_GUI, ActionIssued(plan, decision), after_ms=0.2)
        started = Started(self.session_id, self.epoch, self.step, BODY.home, 7)
        self.say(OUTCOMES, started, after_ms=1.1)

    def outcome(self, status: OutcomeStatus, screen: Screen | None, **fields: Any) -> None:
        self.screen = screen or self.screen
        times: dict[str, Any] = {"acting_ms": 34.0, "settling_ms": 92.0, "observing_ms": 21.0}
        outcome = Outcome(
            self.session_id, self.epoch, self.step, status, screen=screen, home=BODY.home, **times, **fields
        )  # fmt: skip
        self.say(OUTCOMES, outcome, after_ms=148)

    def did(self, action: Action, reason: str, screen: Screen, box: Box, **fields: Any) -> None:
        self.allowed(self.plan(action, reason, **fields))
        self.outcome(OutcomeStatus.OK, screen, touched=(box,))

    def end(self, *, success: bool, reward: float) -> None:
        self.allowed(self.plan(Action(Done()), "Nothing is left to do."))
        self.say(OUTCOMES, Score(self.session_id, 1, reward, success, "environment"))
        self.outcome(OutcomeStatus.OK, self.screen, ended=True)
        self.control(ControlKind.TURN_ENDED, reason="DONE")
        self.close("DONE")

    def close(self, reason: str) -> None:
        self.control(ControlKind.CLOSED, reason=reason)

    def paint(self, name: str, size: tuple[int, int], boxes: dict[str, Box], head: str) -> Screen:
        image = Image.new("RGB", size, "#ffffff")
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 0, size[0], 50 if size[0] < 300 else 64), fill="#f4f3c8")
        draw.multiline_text((6, 6), head, fill="#333333")
        for label, box in boxes.items():
            corners = (box.x, box.y, box.x + box.width, box.y + box.height)
            draw.rounded_rectangle(corners, 3, fill="#e8eefc", outline="#7186c7")
            draw.text((box.x + 6, box.y + box.height / 2 - 6), label, fill="#1d2b53")
        out = io.BytesIO()
        image.save(out, "PNG")
        data = out.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        self.pictures[sha256] = data
        elements = tuple(
            Element(f"e{n}", "button", name=label, box=box)
            for n, (label, box) in enumerate(boxes.items())
        )
        return Screen(
            f"{self.session_id}/{name}", Size(*size), screenshot=BlobRef(sha256, len(data), "image/png"),
            elements=elements, url="http://127.0.0.1/page.html", title=name,
        )  # fmt: skip


def solved(session_id: str = "s-solved") -> Story:
    story = Story(session_id)
    name, password, login = Box(10, 70, 120, 22), Box(10, 110, 120, 22), Box(10, 150, 60, 24)
    head = "Log in as “kim” and\npress Login."

    def screen(n: int, first: str, second: str) -> Screen:
        boxes = {first: name, second: password, "Login": login}
        return story.paint(
            f"screen {n}", (160, 210), boxes, head.replace("“", '"').replace("”", '"')
        )

    story.open(
        "miniwob://login-user?seed=1003", "Log in as “kim” and press Login.", screen(0, " ", "")
    )
    story.did(
        Action(TypeText("kim", into=Point.element("e0"), clear=True)),
        "The first gap of the instruction goes into the field labelled Username.",
        screen(1, "kim", ""), name, target=Target("e0", "textbox", "Username"),
    )  # fmt: skip
    story.did(
        Action(TypeText(SecretRef("password"), into=Point.element("e1"))),
        "The field is secret, so its value is a reference.",
        screen(2, "kim", "*****"), password, target=Target("e1", "textbox", "Password", secret=True),
    )  # fmt: skip
    story.did(
        Action(Click(Point.element("e2"))),
        "All slots are used: submit comes last.",
        screen(3, "kim", "welcome"), login, target=Target("e2", "button", "Login"),
    )  # fmt: skip
    story.end(success=True, reward=0.83)
    return story


def troubled(session_id: str = "s-troubled") -> Story:
    """Asks, is interrupted, loses its environment, comes back and gives up."""
    story = Story(session_id, at=START + timedelta(minutes=4))
    size = (1280, 800)
    boxes = {"Choose a file": Box(400, 300, 220, 40), "Send": Box(400, 380, 120, 40)}
    first = story.paint("form", size, boxes, "Reports")
    story.open("browser://127.0.0.1/reports", "Upload <b>report.pdf</b> & send it", first)
    ref = BlobRef(hashlib.sha256(b"report").hexdigest(), 6, "application/pdf")
    story.pictures[ref.sha256] = b"report"
    plan = story.plan(
        Action(UploadFiles(Point.element("e0"), (ref,), ("report.pdf",))),
        "The only file input of the page.",
        target=Target("e0", "button", "Choose a file"),
    )
    question = "May the agent upload report.pdf to 127.0.0.1?"
    story.decide(Verdict.ASK, "uploads-ask", question=question)
    approval = ClientMessageAccepted(session_id, "client", 2, "approval", step=1, approved=True)
    story.say(OBSERVATIONS, approval, after_ms=2_600)
    story.allowed(plan)
    story.outcome(OutcomeStatus.OK, first, touched=(boxes["Choose a file"],))
    story.plan(Action(Click(Point.screen(460, 400))), "Send what was chosen.")
    interrupt = ClientMessageAccepted(session_id, "client", 3, "interrupt", text="wait a moment")
    story.say(OBSERVATIONS, interrupt)
    story.epoch = Epoch(1, 1)
    report = BodyReport(BODY, BodyState.CONFIRMED)
    story.control(ControlKind.EPOCH_RAISED, reason="INTERRUPTED", bodies=(report,))
    story.control(
        ControlKind.ENVIRONMENT_LOST, reason="ENVIRONMENT_LOST", message="the browser was killed"
    )
    story.epoch = Epoch(2, 0)
    story.turn("Upload <b>report.pdf</b> & send it", first, attempt=2)
    plan = story.plan(Action(Click(Point.screen(460, 400))), "Send what was chosen.")
    story.decide(Verdict.DENY, "default", reason="no rule allows a click at bare coordinates here")
    story.outcome(
        OutcomeStatus.FAILED, first, reason="DENIED", message="The guard did not let it through."
    )
    story.allowed(
        story.plan(Action(Fail("no allowed way to send the form")), "Twice without effect.")
    )
    story.outcome(OutcomeStatus.OK, first, ended=True)
    story.control(ControlKind.TURN_ENDED, reason="FAILED")
    story.close("FAILED")
    return story
