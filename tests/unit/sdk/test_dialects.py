"""Both dialects: what they say survives the round trip, what they cannot say is named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tectum.actions import types as a
from tectum.actions.browsergym import BrowserGym
from tectum.actions.dialect import DialectError
from tectum.actions.pyautogui import SCROLL_PX, Coordinates, PyAutoGui
from tectum.geometry import Box, Size
from tectum.observations.types import Element, Screen, Tab

SCREEN = Screen(
    "o",
    Size(1920, 1080),
    elements=(Element("12", "button", box=Box(100, 50, 20, 10)),),
    tabs=(Tab("one", "u"), Tab("two", "u", active=True)),
)

TEXTS = st.text(max_size=40)
BUTTONS = st.sampled_from(a.MouseButton)
KEYS = st.sampled_from(
    ["Control", "Enter", "ArrowLeft", "F5", " ", "a", "Z", "+", "é", "Shift", "Meta"]
)


def fractions():
    return st.builds(
        lambda x, y: a.Point(a.NormalisedPoint(x, y)), st.floats(0, 1), st.floats(0, 1)
    )


def pixels():
    return st.builds(a.Point.screen, st.floats(0, 1919), st.integers(0, 1079))


def elements():
    return st.builds(a.Point.element, st.text("0123456789abcdef", min_size=1, max_size=8))


def common(points):
    return st.one_of(
        st.builds(a.Hover, points),
        st.builds(a.MouseDown, points, BUTTONS),
        st.builds(a.MouseUp, points, BUTTONS),
        st.builds(a.TypeText, TEXTS),
        st.builds(lambda keys: a.KeyChord(tuple(keys)), st.lists(KEYS, min_size=1, max_size=3)),
        st.builds(a.KeyDown, KEYS),
        st.builds(a.KeyUp, KEYS),
        st.builds(a.Answer, TEXTS),
    )


def pyautogui_kinds(points):
    return st.one_of(
        common(points),
        st.builds(a.Click, points, BUTTONS, st.integers(1, 3)),
        st.builds(lambda p, q, b: a.Drag((p, q), b), points, points, BUTTONS),
        st.builds(
            lambda p, n: a.Scroll(p, 0.0, n * SCROLL_PX), st.none() | points, st.integers(-30, 30)
        ),
        st.builds(lambda p, t: a.SelectOption(p, (t,)), points, TEXTS),
        st.builds(a.LongPress, points),
        st.builds(a.Swipe, points, points),
        st.builds(a.OpenApp, TEXTS),
        st.builds(a.Wait, st.floats(0, 60)),
        st.sampled_from([a.Done(), a.Fail("infeasible")]),
        st.sampled_from(
            [a.PressSystemButton(a.SystemButton.HOME), a.PressSystemButton(a.SystemButton.BACK)]
        ),
    )


@given(pyautogui_kinds(fractions()))
@settings(max_examples=300, deadline=None)
def test_aguvis_round_trip(kind) -> None:
    codec = PyAutoGui()
    assert codec.parse(codec.print(a.Action(kind))) == [a.Action(kind)]


@given(pyautogui_kinds(pixels()))
@settings(max_examples=300, deadline=None)
def test_osworld_round_trip(kind) -> None:
    codec = PyAutoGui(Coordinates.SCREEN)
    assert codec.parse(codec.print(a.Action(kind))) == [a.Action(kind)]


@given(
    st.one_of(
        common(pixels()),
        st.builds(a.Click, pixels(), BUTTONS, st.integers(1, 2)),
        st.builds(
            lambda p, b, n, m: a.Click(p, b, n, tuple(m)),
            elements(),
            BUTTONS,
            st.integers(1, 2),
            st.lists(st.sampled_from(["Alt", "Control", "Shift"]), unique=True),
        ),
        st.builds(a.Hover, elements()),
        st.builds(lambda p, q: a.Drag((p, q)), elements(), elements()),
        st.builds(lambda p, q: a.Drag((p, q)), pixels(), pixels()),
        st.builds(lambda x, y: a.Scroll(None, x, y), st.floats(-999, 999), st.integers(-999, 999)),
        st.builds(lambda t, p: a.TypeText(t, p, clear=True), TEXTS, elements()),
        st.builds(a.Focus, elements()),
        st.builds(a.ClearField, elements()),
        st.builds(
            lambda p, t: a.SelectOption(p, tuple(t)), elements(), st.lists(TEXTS, min_size=1)
        ),
        st.builds(a.GoTo, TEXTS),
        st.builds(a.Fail, TEXTS),
        st.builds(a.OperateTab, st.just(a.TabOperation.FOCUS), st.integers(0, 9)),
        st.sampled_from(
            [
                a.OperateTab(a.TabOperation.NEW),
                a.OperateTab(a.TabOperation.CLOSE, 1),
                a.Navigate(a.HistoryDirection.BACK),
                a.Navigate(a.HistoryDirection.FORWARD),
                a.Wait(1.5),
            ]
        ),
    )
)
@settings(max_examples=300, deadline=None)
def test_browsergym_round_trip(kind) -> None:
    codec = BrowserGym()
    assert codec.parse(
        codec.print(a.Action(kind), SCREEN if isinstance(kind, a.OperateTab) else None), SCREEN
    ) == [a.Action(kind)]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("pyautogui.click(x=0.25, y=0.5)", [a.Click(a.Point(a.NormalisedPoint(0.25, 0.5)))]),
        ("pyautogui.press(['tab', 'enter'])", [a.KeyChord(("Tab",)), a.KeyChord(("Enter",))]),
        ("pyautogui.press(keys='down', presses=2)", [a.KeyChord(("ArrowDown",))] * 2),
        ("pyautogui.hotkey('ctrl', 'c')", [a.KeyChord(("Control", "c"))]),
        ("pyautogui.hotkey(['ctrl', 'c'])", [a.KeyChord(("Control", "c"))]),
        ("pyautogui.write(message='hi')", [a.TypeText("hi")]),
        ("pyautogui.scroll(page=-2)", [a.Scroll(None, 0.0, 200.0)]),
        ("pyautogui.hscroll(1)", [a.Scroll(None, 100.0, 0.0)]),
        (
            "pyautogui.moveTo(0.1, 0.2)\npyautogui.dragTo(0.3, 0.4)",
            [a.Drag((a.Point(a.NormalisedPoint(0.1, 0.2)), a.Point(a.NormalisedPoint(0.3, 0.4))))],
        ),
        ("pyautogui.moveTo(0.1, 0.2); pyautogui.click()", [
            a.Hover(a.Point(a.NormalisedPoint(0.1, 0.2))),
            a.Click(a.Point(a.NormalisedPoint(0.1, 0.2))),
        ]),
        ("browser.select_option(0.1, 0.2, 'Red')", [a.SelectOption(a.Point(a.NormalisedPoint(0.1, 0.2)), ("Red",))]),
        ("mobile.home()", [a.PressSystemButton(a.SystemButton.HOME)]),
        ("mobile.wait(seconds=3)", [a.Wait(3.0)]),
        ("terminate(status='success')", [a.Done()]),
        ("answer('42')", [a.Answer("42")]),
        ("DONE", [a.Done()]),
        ("WAIT", [a.Wait(1.0)]),
        ("FAIL", [a.Fail("infeasible")]),
    ],
)  # fmt: skip
def test_what_models_write_in_pyautogui(text, kinds) -> None:
    assert [action.kind for action in PyAutoGui().parse(text)] == kinds


def test_composites_are_printed_as_the_calls_that_they_are() -> None:
    action = a.Action(a.TypeText("hi", a.Point.element("12"), clear=True, submit=True))
    text = PyAutoGui(Coordinates.SCREEN).print(action, SCREEN)
    assert text.splitlines() == [
        "pyautogui.click(110, 55)",
        "pyautogui.hotkey('ctrl', 'a')",
        "pyautogui.press('delete')",
        "pyautogui.write('hi')",
        "pyautogui.press('enter')",
    ]
    assert BrowserGym().print(action) == "fill('12', 'hi')\nkeyboard_press('Enter')"


@pytest.mark.parametrize("codec", [PyAutoGui(), BrowserGym()])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("__import__('os').system('true')", "DIALECT_SYNTAX"),
        ("click(open('x'))", "DIALECT_SYNTAX"),
        ("x = 1", "DIALECT_SYNTAX"),
        ("click(", "DIALECT_SYNTAX"),
        ("(" * 5000, "DIALECT_SYNTAX"),
        ("click('a')" * 9000, "DIALECT_SYNTAX"),
        ("explode()", "DIALECT_CALL_UNKNOWN"),
        ("click(1, 2, 3, 4, 5, 6, 7)", "DIALECT_ARGUMENTS"),
        ("click(nowhere=1)", "DIALECT_ARGUMENTS"),
        ("scroll('a', 'b')", "DIALECT_ARGUMENTS"),
        ("scroll(1e400, 1)", "DIALECT_ARGUMENTS"),
    ],
)
def test_what_is_not_of_the_dialect_is_refused(codec, text, reason) -> None:
    with pytest.raises(DialectError) as caught:
        codec.parse(text)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("codec", "kind", "named"),
    [
        (PyAutoGui(), a.TypeText(a.SecretRef("pin")), "SecretRef"),
        (PyAutoGui(), a.Pinch(a.Point.screen(1, 1), 2.0), "Pinch"),
        (PyAutoGui(), a.Click(a.Point(a.NormalisedPoint(0, 0)), modifiers=("Shift",)), "Shift"),
        (PyAutoGui(), a.Hover(a.Point.element("12")), "ElementPoint"),
        (PyAutoGui(), a.Drag((a.Point(a.NormalisedPoint(0, 0)),) * 3), "Drag"),
        (PyAutoGui(), a.GoTo("http://127.0.0.1"), "GoTo"),
        (BrowserGym(), a.TypeText(a.SecretRef("pin")), "SecretRef"),
        (BrowserGym(), a.Click(a.Point.element("12"), count=3), "count=3"),
        (BrowserGym(), a.Hover(a.Point(a.NormalisedPoint(0, 0))), "NormalisedPoint"),
        (BrowserGym(), a.LongPress(a.Point.element("12")), "LongPress"),
        (BrowserGym(), a.Done(), "Done"),
    ],
)
def test_what_the_dialect_cannot_say_is_named(codec, kind, named) -> None:
    with pytest.raises(DialectError, match=named) as caught:
        codec.print(a.Action(kind))
    assert caught.value.reason == "ACTION_INEXPRESSIBLE"


def test_every_kind_is_said_or_named() -> None:
    """No kind falls through silently: each dialect prints it or raises the one error."""
    point = a.Point.screen(5, 5)
    samples = {
        a.Click: a.Click(point), a.Hover: a.Hover(point), a.MouseDown: a.MouseDown(point),
        a.MouseUp: a.MouseUp(point), a.Drag: a.Drag((point, point)), a.Scroll: a.Scroll(point, 0, 1),
        a.TypeText: a.TypeText("x"), a.KeyChord: a.KeyChord(("a",)), a.HoldKey: a.HoldKey(("a",), 1),
        a.KeyDown: a.KeyDown("a"), a.KeyUp: a.KeyUp("a"), a.LongPress: a.LongPress(point),
        a.Swipe: a.Swipe(point, point), a.Pinch: a.Pinch(point, 2),
        a.PressSystemButton: a.PressSystemButton(a.SystemButton.RECENTS), a.OpenApp: a.OpenApp("x"),
        a.OperateWindow: a.OperateWindow("x", a.WindowOperation.CLOSE),
        a.SelectOption: a.SelectOption(point, ("x",)), a.SelectText: a.SelectText(point),
        a.Focus: a.Focus(point), a.ClearField: a.ClearField(point),
        a.UploadFiles: a.UploadFiles(point, (), ()), a.GoTo: a.GoTo("x"),
        a.Navigate: a.Navigate(a.HistoryDirection.RELOAD), a.OperateTab: a.OperateTab(a.TabOperation.NEW),
        a.SetClipboard: a.SetClipboard("x"), a.GetClipboard: a.GetClipboard(),
        a.AnswerDialog: a.AnswerDialog(True), a.Wait: a.Wait(1), a.WaitUntilStable: a.WaitUntilStable(),
        a.Screenshot: a.Screenshot(), a.Zoom: a.Zoom(Box(0, 0, 1, 1)), a.Answer: a.Answer("x"),
        a.AskUser: a.AskUser("x"), a.Done: a.Done(), a.Fail: a.Fail("x"),
    }  # fmt: skip
    assert set(samples) == set(a.KIND_NAMES)
    said = 0
    for kind in samples.values():
        for codec in (PyAutoGui(Coordinates.SCREEN), BrowserGym()):
            try:
                said += bool(codec.print(a.Action(kind), SCREEN))
            except DialectError as error:
                assert error.reason == "ACTION_INEXPRESSIBLE"
                assert type(kind).__name__ in str(error)
    assert said > 30
