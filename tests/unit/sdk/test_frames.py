"""Points in every frame, over random screens, scale factors, crops and resize rules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tectum.actions.frames import FrameError, smart_resize, to_model, to_screen
from tectum.actions.types import (
    ElementPoint,
    MarkPoint,
    ModelPoint,
    NormalisedPoint,
    Point,
    ResizeRule,
    ScreenPoint,
)
from tectum.geometry import Box, Size
from tectum.observations.types import Element, Screen

SIDES = st.integers(40, 4000)
FRACTIONS = st.floats(0, 1, allow_nan=False)


@st.composite
def shown_pictures(draw):
    """A screen, a crop of it with an area, a picture size and a rule."""
    screen = Size(draw(SIDES), draw(SIDES))
    left, top = draw(st.integers(0, screen.width - 10)), draw(st.integers(0, screen.height - 10))
    crop = Box(
        left,
        top,
        draw(st.integers(10, screen.width - left)),
        draw(st.integers(10, screen.height - top)),
    )
    return (
        screen,
        draw(st.sampled_from([None, crop])),
        Size(draw(SIDES), draw(SIDES)),
        draw(st.sampled_from(ResizeRule)),
    )


def screen_of(size: Size, *elements: Element, scale: float = 1.0) -> Screen:
    return Screen("o", size, elements=elements, scale=scale)


@given(shown_pictures(), FRACTIONS, FRACTIONS)
@settings(max_examples=400, deadline=None)
def test_what_a_model_points_at_is_what_it_was_shown(shown, across, down) -> None:
    size, crop, picture, rule = shown
    box = crop or Box(0, 0, size.width, size.height)
    aimed = ScreenPoint(box.x + across * (box.width - 1), box.y + down * (box.height - 1))
    point = to_model(aimed, size, size=picture, resize=rule, crop=crop)
    assert 0 <= point.x <= picture.width
    assert 0 <= point.y <= picture.height
    back = to_screen(Point(point), screen_of(size))
    assert back.x == pytest.approx(aimed.x, abs=1e-6)
    assert back.y == pytest.approx(aimed.y, abs=1e-6)


@given(SIDES, SIDES, FRACTIONS, FRACTIONS, st.sampled_from([1.0, 1.25, 1.5, 2.0, 3.0]))
@settings(max_examples=200, deadline=None)
def test_fractions_and_elements_do_not_depend_on_the_scale_factor(
    width, height, across, down, scale
) -> None:
    size = Size(round(width * scale), round(height * scale))
    box = Box(0.25 * size.width, 0.5 * size.height, 0.5 * size.width, 0.25 * size.height)
    screen = screen_of(size, Element("e", "button", box=box), scale=scale)
    at = to_screen(Point(NormalisedPoint(across, down)), screen)
    assert at.x == pytest.approx(min(across * size.width, size.width - 1))
    assert at.y == pytest.approx(min(down * size.height, size.height - 1))
    inside = to_screen(Point(ElementPoint("e", NormalisedPoint(across, down))), screen)
    assert box.x <= inside.x <= box.x + box.width
    assert box.y <= inside.y <= box.y + box.height
    assert to_screen(Point.element("e"), screen) == ScreenPoint(*box.centre)


@pytest.mark.parametrize("rule", ResizeRule)
@pytest.mark.parametrize("size", [Size(200, 120), Size(90, 240)])
def test_a_real_resized_picture_shows_the_dot_where_the_conversion_says(rule, size) -> None:
    screen, crop, dot = Size(640, 480), Box(100, 60, 400, 300), (312, 178)
    shot = Image.new("L", (screen.width, screen.height), 0)
    shot.paste(255, (dot[0] - 6, dot[1] - 6, dot[0] + 6, dot[1] + 6))
    cut = shot.crop((100, 60, 500, 360))
    if rule is ResizeRule.STRETCH:
        seen = cut.resize((size.width, size.height), Image.Resampling.BOX)
    else:
        factor = min(size.width / 400, size.height / 300)
        small = cut.resize((round(400 * factor), round(300 * factor)), Image.Resampling.BOX)
        seen = Image.new("L", (size.width, size.height), 0)
        centred = rule is ResizeRule.LETTERBOX
        seen.paste(
            small,
            ((size.width - small.width) // 2, (size.height - small.height) // 2)
            if centred
            else (0, 0),
        )
    bright = seen.point(lambda value: 255 if value > 127 else 0).getbbox()
    assert bright is not None
    middle = (bright[0] + bright[2]) / 2, (bright[1] + bright[3]) / 2
    back = to_screen(Point(ModelPoint(*middle, size, rule, crop)), screen_of(screen))
    tolerance = 400 / min(size.width, size.height)  # a pixel of the small picture
    assert abs(back.x - dot[0]) <= tolerance
    assert abs(back.y - dot[1]) <= tolerance


def test_aguvis_golden() -> None:
    assert to_screen(Point(NormalisedPoint(0.25, 0.5)), screen_of(Size(1920, 1080))) == ScreenPoint(
        480, 540
    )


def test_ui_tars_thousandths_are_a_stretched_picture() -> None:
    point = Point(ModelPoint(500, 250, Size(1000, 1000)))
    at = to_screen(point, screen_of(Size(1920, 1080)))
    assert at.x == pytest.approx(960)
    assert at.y == pytest.approx(270)


@pytest.mark.parametrize(
    ("screen", "expected"),
    [
        (Size(1920, 1080), Size(1932, 1092)),
        (Size(1280, 800), Size(1288, 812)),
        (Size(10, 10), Size(56, 56)),
    ],
)
def test_smart_resize(screen, expected) -> None:
    assert smart_resize(screen) == expected


@given(SIDES, SIDES)
@settings(deadline=None)
def test_smart_resize_keeps_its_limits(width, height) -> None:
    size = smart_resize(Size(width, height), max_pixels=1_000_000)
    assert size.width % 28 == size.height % 28 == 0
    assert 3136 <= size.width * size.height <= 1_000_000 or min(width, height) * 30 < max(
        width, height
    )


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        (Point.screen(100, 5), "POINT_OUTSIDE_SCREEN"),
        (Point.screen(-1, 5), "POINT_OUTSIDE_SCREEN"),
        (Point(NormalisedPoint(1.01, 0)), "POINT_OUTSIDE_SCREEN"),
        (Point(NormalisedPoint(float("nan"), 0)), "POINT_OUTSIDE_SCREEN"),
        (Point(ModelPoint(5, 1, Size(100, 50), ResizeRule.LETTERBOX)), "POINT_OUTSIDE_SCREEN"),
        (Point(ModelPoint(99, 10, Size(100, 50), ResizeRule.PAD_END)), "POINT_OUTSIDE_SCREEN"),
        (Point(ModelPoint(1, 1, Size(0, 50))), "POINT_MALFORMED"),
        (Point.element("nobody"), "ELEMENT_UNKNOWN"),
        (Point.element("option"), "ELEMENT_WITHOUT_BOX"),
        (Point(MarkPoint(7)), "MARK_UNKNOWN"),
    ],
)
def test_a_point_that_means_no_place_is_refused_by_name(point, reason) -> None:
    with pytest.raises(FrameError) as caught:
        to_screen(point, screen_of(Size(100, 100), Element("option", "option")), {1: "option"})
    assert caught.value.reason == reason


def test_a_mark_is_its_element() -> None:
    screen = screen_of(Size(100, 100), Element("e", "button", box=Box(10, 20, 30, 40)))
    assert to_screen(Point(MarkPoint(3)), screen, {3: "e"}) == ScreenPoint(25, 40)
