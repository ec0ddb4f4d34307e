"""Actions of the pointer in a browser."""

from __future__ import annotations

import math
from typing import Literal

from services.gui.environments.hand import Hand, Place, Refused
from services.gui.environments.keys import hold, key_name, let_go
from tectum.actions.types import (
    Click,
    Drag,
    ElementPoint,
    Hover,
    LongPress,
    MouseButton,
    MouseDown,
    MouseUp,
    Point,
    Scroll,
    Swipe,
)

Button = Literal["left", "middle", "right"]

_DRAG_STEP_PX = 12.0
"""jQuery UI and HTML5 drags begin after a few pixels and follow moves, not jumps."""

_DRAG_STEPS_MAX = 40
_PAST_MIDDLE = 0.12
"""How far past the middle of what is dropped on, as a fraction of its size."""

_PATH_MAX = 256
_HOLD_S_MAX = 10.0


def _button(button: MouseButton) -> Button:
    return button.value


async def press(hand: Hand, button: Button, *, count: int = 1) -> None:
    """Press a button of the mouse and remember that it is down."""

    async def down() -> None:
        hand.pressed.buttons.append(button)
        await hand.tab.page.mouse.down(button=button, click_count=count)

    await hand.input(down())


async def release(hand: Hand, button: Button, *, count: int = 1) -> None:
    """Release a button of the mouse."""
    await hand.input(hand.tab.page.mouse.up(button=button, click_count=count))
    if button in hand.pressed.buttons:
        hand.pressed.buttons.remove(button)


async def click_at(hand: Hand, place: Place, button: Button = "left", *, count: int = 1) -> None:
    """Move to `place` and click `count` times."""
    await hand.move(place)
    for number in range(1, count + 1):
        await press(hand, button, count=number)
        await release(hand, button, count=number)
        if hand.tab.dialog is not None:
            return


async def click(hand: Hand, kind: Click) -> str:
    """Click with modifiers held."""
    if not 1 <= kind.count <= 3:
        raise Refused("ACTION_MALFORMED", f"expected count from 1 to 3, got {kind.count}")
    modifiers = [key_name(key) for key in kind.modifiers]
    place = await hand.reach(kind.at)
    if place.element_id and await _is_option(hand, place.element_id):
        raise Refused(
            "OPTION_NEEDS_SELECT",
            f"element {place.element_id!r} is an option: use select_option with its label",
        )
    for key in modifiers:
        await hold(hand, key)
    await click_at(hand, place, _button(kind.button), count=kind.count)
    for key in reversed(modifiers):
        await let_go(hand, key)
    return ""


async def _is_option(hand: Hand, element_id: str) -> bool:
    field = await hand.tab.world.call("field", element_id)
    if not field or field["tag"] != "option":
        return False
    parent = None if hand.seen is None else hand.seen.find(element_id)
    return parent is None or parent.box is None


async def hover(hand: Hand, kind: Hover) -> str:
    """Move the pointer there."""
    await hand.move(await hand.reach(kind.at))
    return ""


async def mouse_down(hand: Hand, kind: MouseDown) -> str:
    """Press and keep pressed."""
    await hand.move(await hand.reach(kind.at))
    await press(hand, _button(kind.button))
    return ""


async def mouse_up(hand: Hand, kind: MouseUp) -> str:
    """Move and release."""
    await hand.move(await _place_to_drop(hand, kind.at))
    await release(hand, _button(kind.button))
    return ""


async def _place_to_drop(hand: Hand, at: Point, start: Place | None = None) -> Place:
    """What is dragged lies under the pointer, so a place to drop on need not receive it.

    Where no place in the element is asked for, the pointer coming from `start` goes a little past its
    middle: a list that is sorted by dragging moves an item aside only once its middle is passed.
    """
    if isinstance(at.frame, ElementPoint):
        whole = await hand.tab.world.call("whole", at.frame.element_id)
        if whole is None:
            raise Refused("ELEMENT_GONE", f"element {at.frame.element_id!r} is not in the page")
        first = whole["first"]
        left, top, width, height = (first[key] for key in ("left", "top", "width", "height"))
        offset = at.frame.offset
        if offset is not None:
            return Place(left + offset.x * width, top + offset.y * height)
        x, y = left + width / 2, top + height / 2
        if start is None:
            return Place(x, y)
        way = math.hypot(x - start.x, y - start.y) or 1.0
        return Place(
            x + _PAST_MIDDLE * width * (x - start.x) / way,
            y + _PAST_MIDDLE * height * (y - start.y) / way,
        )
    return await hand.reach(at)


async def drag(hand: Hand, kind: Drag) -> str:
    """Press at the first point, pass through the others, release at the last."""
    if not 2 <= len(kind.path) <= _PATH_MAX:
        raise Refused("ACTION_MALFORMED", f"expected 2 to 256 points, got {len(kind.path)}")
    start = await hand.reach(kind.path[0])
    places = [await _place_to_drop(hand, point, start) for point in kind.path[1:]]
    await hand.move(start)
    await press(hand, _button(kind.button))
    at = start
    for place in places:
        for step in _steps(at, place):
            await hand.move(step)
        at = place
    # A drop target takes notice of a move over it, so the last place gets two.
    await hand.move(at)
    await release(hand, _button(kind.button))
    return ""


def _steps(start: Place, end: Place) -> list[Place]:
    distance = max(abs(end.x - start.x), abs(end.y - start.y))
    count = max(1, min(_DRAG_STEPS_MAX, round(distance / _DRAG_STEP_PX)))
    return [
        Place(start.x + (end.x - start.x) * n / count, start.y + (end.y - start.y) * n / count)
        for n in range(1, count + 1)
    ]


async def swipe(hand: Hand, kind: Swipe) -> str:
    """A drag with the left button, as a finger would."""
    return await drag(hand, Drag((kind.start, kind.end)))


async def long_press(hand: Hand, kind: LongPress) -> str:
    """Press, wait, release."""
    if not 0 <= kind.duration_s <= _HOLD_S_MAX:
        raise Refused("ACTION_MALFORMED", f"expected 0 to 10 s, got {kind.duration_s}")
    await hand.move(await hand.reach(kind.at))
    await press(hand, "left")
    await hand.pause(kind.duration_s)
    await release(hand, "left")
    return ""


async def scroll(hand: Hand, kind: Scroll) -> str:
    """Turn the wheel over `at`, or over the middle of the screen."""
    page = hand.tab.page
    if kind.at is not None:
        await hand.move(await hand.reach(kind.at))
    else:
        size = page.viewport_size or {"width": 2, "height": 2}
        await hand.move(Place(size["width"] / 2, size["height"] / 2))
    scale = hand.settings.scale
    await hand.input(page.mouse.wheel(kind.dx / scale, kind.dy / scale))
    return ""
