"""Opening, acting, holding, losing, idling: the GUI domain over fake screens."""

from __future__ import annotations

import pytest

from libs.errors import DependencyDown, InvalidRequest, NotFound, Overloaded
from services.gui.domain import Environments, OwnScreens, platform_error
from services.gui.environments.fake import FakeEnvironment, FakeProvider, witnesses
from tectum.actions.types import (
    Action,
    Answer,
    Click,
    Done,
    Fail,
    OpenApp,
    Point,
    SecretRef,
    TypeText,
)
from tectum.plugins import OpenOptions, PluginError
from tectum.protocol.messages import OutcomeStatus
from tests.unit.gui.parts import LimitedGate, SetClock, environments

NEXT = Action(Click(Point.element("next")))


async def opened(parts: Environments, uri: str = "fake://", **secrets: str) -> str:
    home = await parts.open("s", uri, secrets, allow_literal_secrets=False)
    return home.environment_id


async def test_opening_shows_the_screen_and_the_instruction() -> None:
    parts = environments()
    home = await parts.open("s", "fake://?instruction=Do+it", {}, allow_literal_secrets=False)
    assert home.instruction == "Do it"
    assert home.screen is not None
    assert home.screen.find("next") is not None


@pytest.mark.parametrize(
    ("uri", "error", "reason"),
    [
        ("nonsense", InvalidRequest, "URI_MALFORMED"),
        ("fake://" + "x" * 5000, InvalidRequest, "URI_MALFORMED"),
        ("fake://?unheard=1", InvalidRequest, "URI_MALFORMED"),
        ("fake://?steps=many", InvalidRequest, "URI_MALFORMED"),
        ("phone://", NotFound, "ENVIRONMENT_UNKNOWN"),
    ],
)
async def test_what_cannot_be_opened_is_refused(
    uri: str, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error) as refused:
        await opened(environments(), uri)
    assert refused.value.reason == reason  # type: ignore[attr-defined]


async def test_the_number_of_environments_is_limited_and_comes_back() -> None:
    parts = environments(most=2)
    first = await opened(parts)
    for _ in range(3):
        with pytest.raises(InvalidRequest):
            await opened(parts, "fake://?unheard=1")
    await opened(parts)
    with pytest.raises(Overloaded) as full:
        await opened(parts)
    assert full.value.reason == "TOO_MANY_ENVIRONMENTS"
    await parts.destroy(first)
    await opened(parts)


async def test_a_step_acts_looks_and_scores_at_the_end() -> None:
    parts = environments()
    home = await opened(parts, "fake://?steps=2&primitives=3&witness=steps")
    gate = LimitedGate()
    first = await parts.perform(home, NEXT, gate)
    assert (first.result.status, first.result.ended, first.score) == (OutcomeStatus.OK, False, None)
    assert first.screen is not None
    assert first.screen.elements[0].text == "Pressed 1"
    last = await parts.perform(home, NEXT, gate)
    assert last.result.ended
    assert last.score is not None
    assert last.score.success
    assert (gate.passed, witnesses["steps"].inputs) == (6, 6)


@pytest.mark.parametrize(
    ("kind", "result"), [(Done(), ""), (Fail("no way"), "no way"), (Answer("42"), "42")]
)
async def test_a_terminal_action_ends_the_episode_untouched(kind: object, result: str) -> None:
    parts = environments()
    home = await opened(parts, "fake://?steps=1")
    gate = LimitedGate(limit=0)
    done = await parts.perform(home, Action(kind), gate)  # type: ignore[arg-type]
    assert (done.result.status, done.result.ended, done.result.result) == (
        OutcomeStatus.OK,
        True,
        result,
    )
    assert done.score is not None
    assert not done.score.success


async def test_a_hold_in_the_middle_interrupts_and_shows_what_is() -> None:
    parts = environments()
    home = await opened(parts, "fake://?witness=middle")
    typed = await parts.perform(
        home, Action(TypeText("abcdef", Point.element("name"))), LimitedGate(limit=2)
    )
    assert (typed.result.status, typed.result.reason) == (OutcomeStatus.INTERRUPTED, "HELD")
    assert typed.screen is not None
    name = typed.screen.find("name")
    assert name is not None
    assert (name.value, witnesses["middle"].inputs) == ("ab", 2)


async def test_a_hold_before_the_first_input_lets_it_out() -> None:
    parts = environments()
    home = await opened(parts, "fake://?witness=before")
    with pytest.raises(PluginError) as held:
        await parts.perform(home, NEXT, LimitedGate(limit=0))
    assert held.value.reason == "HELD"
    assert witnesses["before"].inputs == 0


async def test_an_environment_that_is_lost_says_so() -> None:
    parts = environments()
    home = await opened(parts, "fake://?lost_after=1")
    await parts.perform(home, NEXT, LimitedGate())
    with pytest.raises(NotFound) as lost:
        await parts.perform(home, NEXT, LimitedGate())
    assert lost.value.reason == "ENVIRONMENT_LOST"
    await parts.destroy(home)
    with pytest.raises(NotFound):
        await parts.perform(home, NEXT, LimitedGate())
    await parts.destroy(home)


async def test_refused_actions_touch_nothing() -> None:
    parts = environments()
    home = await opened(parts, "fake://?witness=refused", door="open sesame")
    pin = Point.element("pin")
    for kind, reason in (
        (OpenApp("x"), "ACTION_UNSUPPORTED"),
        (Click(Point.screen(4000, 1)), "POINT_OUTSIDE_SCREEN"),
        (Click(Point.element("nobody")), "ELEMENT_UNKNOWN"),
        (TypeText("1234", pin), "SECRET_NEEDS_REFERENCE"),
        (TypeText(SecretRef("window"), pin), "SECRET_UNKNOWN"),
    ):
        done = await parts.perform(home, Action(kind), LimitedGate())
        assert (done.result.status, done.result.reason) == (OutcomeStatus.FAILED, reason)
    assert witnesses["refused"].inputs == 0
    done = await parts.perform(home, Action(TypeText(SecretRef("door"), pin)), LimitedGate())
    assert done.result.status is OutcomeStatus.OK
    assert witnesses["refused"].inputs == len("open sesame")
    assert "sesame" not in repr(done)


async def test_closing_destroys_everything() -> None:
    parts = environments()
    await opened(parts, "fake://?witness=closing")
    await opened(parts, "fake://?witness=closing")
    await parts.aclose()
    assert (witnesses["closing"].opened, witnesses["closing"].closed) == (2, 2)


async def test_one_s_own_screen_is_closed_when_idle() -> None:
    clock = SetClock()
    parts = environments(clock=clock)
    screens = OwnScreens(parts, clock, idle_s=10)
    used = (await screens.open("ann", "fake://")).environment_id
    left = (await screens.open("ann", "fake://?witness=left")).environment_id
    clock.at += 8
    await screens.observe("ann", used)
    clock.at += 8
    assert await screens.close_idle() == 1
    assert witnesses["left"].closed == 1
    assert (await screens.act("ann", used, NEXT)).result.status is OutcomeStatus.OK
    with pytest.raises(NotFound) as gone:
        await screens.observe("ann", left)
    assert gone.value.reason == "SCREEN_NOT_FOUND"


async def test_nobody_sees_another_tenant_s_screen() -> None:
    clock = SetClock()
    screens = OwnScreens(environments(clock=clock), clock, idle_s=10)
    mine = (await screens.open("ann", "fake://?steps=1")).environment_id
    for call in (
        screens.observe("bob", mine),
        screens.act("bob", mine, NEXT),
        screens.close("bob", mine),
    ):
        with pytest.raises(NotFound) as hidden:
            await call
        assert hidden.value.reason == "SCREEN_NOT_FOUND"
    assert (await screens.act("ann", mine, NEXT)).result.ended
    score = await screens.close("ann", mine)
    assert score is not None
    assert score.success


async def test_a_lost_screen_of_one_s_own_is_gone() -> None:
    clock = SetClock()
    screens = OwnScreens(environments(clock=clock, most=1), clock, idle_s=10)
    mine = (await screens.open("ann", "fake://?lost_after=1")).environment_id
    await screens.act("ann", mine, NEXT)
    with pytest.raises(NotFound) as gone:
        await screens.act("ann", mine, NEXT)
    assert gone.value.reason == "SCREEN_NOT_FOUND"
    await screens.open("ann", "fake://")


class Broken(FakeProvider):
    """Opens nothing."""

    async def open(self, uri: str, options: OpenOptions) -> FakeEnvironment:
        raise PluginError("BROWSER_MISSING", "there is none")


async def test_a_missing_browser_is_a_dependency_that_is_down() -> None:
    parts = environments(providers={"fake": Broken()}, most=1)
    for _ in range(3):
        with pytest.raises(DependencyDown) as down:
            await opened(parts)
        assert down.value.reason == "BROWSER_MISSING"


def test_every_reason_has_an_error() -> None:
    assert isinstance(platform_error(PluginError("URI_MALFORMED", "-")), InvalidRequest)
    assert isinstance(platform_error(PluginError("BROWSER_GONE", "-")), NotFound)
    assert isinstance(platform_error(PluginError("PAGE_UNREACHABLE", "-")), DependencyDown)
