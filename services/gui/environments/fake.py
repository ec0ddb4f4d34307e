"""`fake://`: a small form without a browser, for tests and for timing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from tectum.actions.frames import FrameError, to_screen
from tectum.actions.types import (
    KIND_NAMES,
    TERMINAL,
    Action,
    ElementPoint,
    Point,
    Screenshot,
    SecretRef,
    TypeText,
    Wait,
    WaitUntilStable,
)
from tectum.geometry import Box, Size
from tectum.observations.types import Element, Screen
from tectum.plugins import ActResult, EnvironmentScore, Gate, OpenOptions, PluginError
from tectum.protocol.messages import OutcomeStatus
from tectum.protocol.types import BlobRef

_SIZE = Size(400, 300)
_WITNESSES_MAX = 1000
_SECRET = "pin"  # noqa: S105 - the name of a field, not a secret


@dataclass(slots=True)
class FakeWitness:
    """What really reached a fake environment, kept apart from what it says."""

    opened: int = 0
    closed: int = 0
    inputs: int = 0
    actions: list[str] = field(default_factory=list)
    """Wire names of the actions begun, in order."""
    input_times: list[float] = field(default_factory=list)
    """When each primitive input happened, seconds of the monotonic clock."""


witnesses: dict[str, FakeWitness] = {}
"""By the name in `fake://?witness=NAME`; for tests in the same process."""


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """What the URI says; every field is a query option of its name."""

    steps: int = 0
    """Clicks on Next until the episode ends with reward 1; 0: it never ends."""
    primitives: int = 1
    """Inputs of every action but typing, which has one for each character."""
    delay_ms: float = 0.0
    """How long each input takes."""
    elements: int = 0
    """Further elements on the screen."""
    shot_bytes: int = 0
    """Size of the screenshot; 0: none."""
    witness: str = ""
    instruction: str = "Press Next."
    lost_after: int = 0
    """The environment is gone after so many actions; 0: never."""


class FakeEnvironment:
    """One form: a counter, a button Next, a text field, a secret field and a checkbox."""

    def __init__(self, options: FakeOptions, given: OpenOptions, witness: FakeWitness) -> None:
        self._options = options
        self._given = given
        self._witness = witness
        self._pressed = 0
        self._checked = False
        self._values = {"name": "", _SECRET: ""}
        self._focused = ""
        self._observed = 0
        self._acted = 0

    @property
    def instruction(self) -> str:
        """What the URI says."""
        return self._options.instruction

    async def observe(self) -> Screen:
        """The form as it is."""
        self._observed += 1
        return Screen(
            observation_id=str(self._observed),
            size=_SIZE,
            screenshot=await self._shoot(),
            elements=(*self._form(), *self._more()),
            url="fake://",
            title="Form",
            focused_id=self._focused,
        )

    async def _shoot(self) -> BlobRef | None:
        size = self._options.shot_bytes
        if not size:
            return None
        data = (f"screen {self._pressed} {self._values['name']} ".encode() * size)[:size]
        digest = await self._given.blobs.put(data, "application/octet-stream")
        return BlobRef(digest, size, "application/octet-stream")

    def _form(self) -> tuple[Element, ...]:
        return (
            Element("count", "text", text=f"Pressed {self._pressed}", box=Box(10, 10, 200, 20)),
            Element("next", "button", "Next", text="Next", box=Box(10, 40, 80, 24)),
            Element("name", "textbox", "Name", self._values["name"], box=Box(10, 80, 200, 24)),
            Element(_SECRET, "textbox", "Pin", states=("secret",), box=Box(10, 120, 200, 24)),
            Element(
                "agree", "checkbox", "I agree", box=Box(10, 160, 20, 20),
                states=("checked",) if self._checked else (),
            ),
        )  # fmt: skip

    def _more(self) -> tuple[Element, ...]:
        return tuple(
            Element(f"row{n}", "text", text=f"Row {n}", box=Box(220, 10 + n % 280, 100, 10))
            for n in range(self._options.elements)
        )

    async def act(self, action: Action, seen: Screen | None, gate: Gate) -> ActResult:
        """Carry it out, input by input."""
        self._acted += 1
        if self._options.lost_after and self._acted > self._options.lost_after:
            raise PluginError("ENVIRONMENT_LOST", "the fake environment is gone, as it was told")
        if type(action.kind) not in _ACTIONS:
            return _failed("ACTION_UNSUPPORTED", f"a fake screen cannot carry out {action.name!r}")
        try:
            touched = self._touched(action, seen)
            refusal = self._refusal(action)
        except FrameError as error:
            return _failed(error.reason, str(error))
        if refusal is not None:
            return refusal
        self._witness.actions.append(action.name)
        if isinstance(action.kind, TypeText):
            await self._type(action.kind, gate)
        elif isinstance(action.kind, Wait):
            await asyncio.sleep(min(action.kind.duration_s, 60.0))
        elif not isinstance(action.kind, Screenshot | WaitUntilStable):
            for _ in range(self._options.primitives):
                await self._input(gate)
            self._click(self._element_at(action, seen))
        ended = bool(self._options.steps) and self._pressed >= self._options.steps
        return ActResult(ended=ended, touched=touched)

    def _refusal(self, action: Action) -> ActResult | None:
        kind = action.kind
        if not isinstance(kind, TypeText):
            return None
        if isinstance(kind.source, SecretRef):
            if kind.source.name not in self._given.secrets:
                return _failed("SECRET_UNKNOWN", f"there is no secret {kind.source.name!r}")
        elif self._target(kind.into) == _SECRET and not self._given.allow_literal_secrets:
            return _failed("SECRET_NEEDS_REFERENCE", "expected a secret's name, got the text")
        return None

    def _touched(self, action: Action, seen: Screen | None) -> tuple[Box, ...]:
        at = _point(action)
        if at is None or seen is None:
            return ()
        place = to_screen(at, seen)
        return (Box(place.x, place.y, 1.0, 1.0),)

    def _element_at(self, action: Action, seen: Screen | None) -> str:
        at = _point(action)
        if at is None:
            return ""
        if isinstance(at.frame, ElementPoint):
            return at.frame.element_id
        if seen is None:
            return ""
        place = to_screen(at, seen)
        boxes = ((element.id, element.box) for element in self._form())
        return next((id_ for id_, box in boxes if box and box.contains(place.x, place.y)), "")

    def _target(self, into: Point | None) -> str:
        if into is not None and isinstance(into.frame, ElementPoint):
            return into.frame.element_id
        return self._focused or "name"

    async def _type(self, kind: TypeText, gate: Gate) -> None:
        source = kind.source
        text = self._given.secrets[source.name] if isinstance(source, SecretRef) else source
        target = self._target(kind.into)
        self._focused = target
        if kind.clear:
            self._values[target] = ""
        for character in text:
            await self._input(gate)
            self._values[target] = self._values.get(target, "") + character

    async def _input(self, gate: Gate) -> None:
        async with gate.input():
            if self._options.delay_ms:
                await asyncio.sleep(self._options.delay_ms / 1000)
            self._witness.inputs += 1
            self._witness.input_times.append(time.monotonic())

    def _click(self, target: str) -> None:
        if target == "next":
            self._pressed += 1
        elif target == "agree":
            self._checked = not self._checked
        elif target in self._values:
            self._focused = target

    async def score(self) -> EnvironmentScore | None:
        """Reward 1 once Next was pressed often enough."""
        if not self._options.steps:
            return None
        done = self._pressed >= self._options.steps
        return EnvironmentScore(1.0 if done else 0.0, success=done)

    async def aclose(self) -> None:
        """Note that it is closed."""
        self._witness.closed += 1


def _point(action: Action) -> Point | None:
    at = getattr(action.kind, "at", None) or getattr(action.kind, "into", None)
    return at if isinstance(at, Point) else None


def _failed(reason: str, message: str) -> ActResult:
    return ActResult(OutcomeStatus.FAILED, reason, message)


_NOT_HERE = {"open_app", "operate_window", "press_system_button", "upload_files", "pinch"}
_ACTIONS = frozenset(
    kind for kind, name in KIND_NAMES.items() if name not in _NOT_HERE and kind not in TERMINAL
)


class FakeProvider:
    """Opens `fake://?steps=5&primitives=3&delay_ms=0`."""

    scheme = "fake"
    summary = "A small form without a browser, for tests and for timing."
    examples: Sequence[str] = ("fake://", "fake://?steps=5&primitives=3&delay_ms=0")
    actions = _ACTIONS

    async def destroy_leftovers(self, owner: str) -> None:
        """A form leaves nothing behind."""

    async def open(self, uri: str, options: OpenOptions) -> FakeEnvironment:
        """Make a form.

        Raises:
            PluginError: URI_MALFORMED.
        """
        said = _parse(uri)
        witness = FakeWitness()
        if said.witness:
            if said.witness not in witnesses and len(witnesses) >= _WITNESSES_MAX:
                witnesses.pop(next(iter(witnesses)))
            witness = witnesses.setdefault(said.witness, witness)
        witness.opened += 1
        return FakeEnvironment(said, options, witness)

    async def aclose(self) -> None:
        """Nothing is shared."""


def _parse(uri: str) -> FakeOptions:
    parts = urlsplit(uri)
    if parts.scheme != "fake" or parts.netloc or parts.path not in ("", "/"):
        raise PluginError("URI_MALFORMED", f"expected fake://?option=value, got {uri!r}")
    said = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = FakeOptions()
    try:
        values = {name: type(getattr(known, name))(value) for name, value in said.items()}
        made = FakeOptions(**values)
    except (AttributeError, ValueError) as error:
        raise PluginError(
            "URI_MALFORMED", f"fake:// does not understand {uri!r}: {error}"
        ) from None
    if not (0 <= made.primitives <= 10_000 and 0 <= made.elements <= 5_000 and made.steps >= 0):
        raise PluginError("URI_MALFORMED", f"an option of {uri!r} is out of range")
    return made


def provider() -> FakeProvider:
    """The entry point."""
    return FakeProvider()
