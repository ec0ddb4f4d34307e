"""Every coordinate frame becomes screen pixels here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

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
from tectum.observations.types import Screen

_EDGE_PX = 1e-6
"""Rounding that is forgiven at an edge; a hundred thousand times finer than a pointer can aim."""


class FrameError(ValueError):
    """A point that means no place on the screen; `reason` is UPPER_SNAKE."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def to_screen(point: Point, screen: Screen, marks: Mapping[int, str] | None = None) -> ScreenPoint:
    """Return where `point` lies in pixels of the screenshot: 0 <= x < width, 0 <= y < height.

    Args:
        point: A place in any frame.
        screen: The observation that the point was chosen on.
        marks: Element ids by mark number, for points of a set-of-marks overlay.

    Raises:
        FrameError: POINT_OUTSIDE_SCREEN, POINT_MALFORMED, ELEMENT_UNKNOWN, ELEMENT_WITHOUT_BOX,
        MARK_UNKNOWN.
    """
    match point.frame:
        case ScreenPoint(x, y):
            return _on_screen(x, y, screen.size, point)
        case NormalisedPoint(x, y):
            return _on_screen(*_in_box(x, y, _whole(screen.size), point), screen.size, point)
        case ModelPoint():
            return _on_screen(*_from_model(point.frame, screen.size), screen.size, point)
        case ElementPoint(element_id, offset):
            return _on_screen(*_in_element(element_id, offset, screen, point), screen.size, point)
        case MarkPoint(mark_id):
            known = marks or {}
            if mark_id not in known:
                raise FrameError(
                    "MARK_UNKNOWN", f"expected one of the marks {sorted(known)}, got {mark_id}"
                )
            return to_screen(Point(ElementPoint(known[mark_id])), screen)


def to_model(
    at: ScreenPoint, screen: Size, *, size: Size, resize: ResizeRule, crop: Box | None = None
) -> ModelPoint:
    """Return where a model that was shown this picture sees `at`; the inverse of `to_screen` for
    such points.

    Raises:
        FrameError: POINT_OUTSIDE_SCREEN where `at` was cropped away.
    """
    shown = crop or _whole(screen)
    if not shown.contains(at.x, at.y):
        raise FrameError("POINT_OUTSIDE_SCREEN", f"expected a point inside {shown}, got {at}")
    scale_x, scale_y, pad_x, pad_y = _resize(shown, size, resize)
    return ModelPoint(
        (at.x - shown.x) * scale_x + pad_x, (at.y - shown.y) * scale_y + pad_y, size, resize, crop
    )


def smart_resize(
    screen: Size, *, factor: int = 28, min_pixels: int = 3136, max_pixels: int = 12_845_056
) -> Size:
    """Return the picture size that Qwen2-VL's processors stretch a screenshot to.

    Both sides become multiples of `factor`, the area is brought between the limits and the
    aspect is kept
    as far as that allows. Source: Qwen2-VL's image processor (`smart_resize`), whose defaults
    these are.
    """
    height = max(factor, round(screen.height / factor) * factor)
    width = max(factor, round(screen.width / factor) * factor)
    if height * width > max_pixels:
        shrink = (screen.height * screen.width / max_pixels) ** 0.5
        height = max(factor, int(screen.height / shrink / factor) * factor)
        width = max(factor, int(screen.width / shrink / factor) * factor)
    elif height * width < min_pixels:
        grow = (min_pixels / (screen.height * screen.width)) ** 0.5
        height = -int(-screen.height * grow // factor) * factor
        width = -int(-screen.width * grow // factor) * factor
    return Size(width, height)


def _whole(size: Size) -> Box:
    return Box(0.0, 0.0, float(size.width), float(size.height))


def _in_box(x: float, y: float, box: Box, point: Point) -> tuple[float, float]:
    if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
        raise FrameError(
            "POINT_OUTSIDE_SCREEN", f"expected fractions from 0 to 1, got {point.frame!r}"
        )
    return _inside(box.x + x * box.width, box), _inside_y(box.y + y * box.height, box)


def _inside(x: float, box: Box) -> float:
    """A fraction of exactly 1 means the last pixel, not the first one outside."""
    return min(x, max(box.x, box.x + box.width - 1.0))


def _inside_y(y: float, box: Box) -> float:
    return min(y, max(box.y, box.y + box.height - 1.0))


def _in_element(
    element_id: str, offset: NormalisedPoint | None, screen: Screen, point: Point
) -> tuple[float, float]:
    element = screen.find(element_id)
    if element is None:
        raise FrameError(
            "ELEMENT_UNKNOWN",
            f"expected an element of {screen.observation_id!r}, got {element_id!r}",
        )
    if element.box is None:
        raise FrameError(
            "ELEMENT_WITHOUT_BOX", f"element {element_id!r} ({element.role}) is not on the screen"
        )
    if offset is None:
        return element.box.centre
    return _in_box(offset.x, offset.y, element.box, point)


def _from_model(point: ModelPoint, screen: Size) -> tuple[float, float]:
    shown = point.crop or _whole(screen)
    if min(shown.width, shown.height, point.size.width, point.size.height) <= 0:
        raise FrameError(
            "POINT_MALFORMED", f"expected a picture and a crop with an area, got {point!r}"
        )
    scale_x, scale_y, pad_x, pad_y = _resize(shown, point.size, point.resize)
    x = (point.x - pad_x) / scale_x
    y = (point.y - pad_y) / scale_y
    if not (-_EDGE_PX <= x <= shown.width + _EDGE_PX and -_EDGE_PX <= y <= shown.height + _EDGE_PX):
        raise FrameError(
            "POINT_OUTSIDE_SCREEN",
            f"expected a point inside the picture, not its padding, got {point!r}",
        )
    return _inside(shown.x + max(0.0, x), shown), _inside_y(shown.y + max(0.0, y), shown)


def _resize(shown: Box, size: Size, rule: ResizeRule) -> tuple[float, float, float, float]:
    """Scale in x and y, padding left and top."""
    scale_x, scale_y = size.width / shown.width, size.height / shown.height
    if rule is ResizeRule.STRETCH:
        return scale_x, scale_y, 0.0, 0.0
    scale = min(scale_x, scale_y)
    if rule is ResizeRule.PAD_END:
        return scale, scale, 0.0, 0.0
    return (
        scale,
        scale,
        max(0.0, size.width - shown.width * scale) / 2,
        max(0.0, size.height - shown.height * scale) / 2,
    )


def _on_screen(x: float, y: float, size: Size, point: Point) -> ScreenPoint:
    if not (0.0 <= x < size.width and 0.0 <= y < size.height):
        raise FrameError(
            "POINT_OUTSIDE_SCREEN",
            f"expected a point on the {size.width}x{size.height} screen,"
            f" got {point.frame!r} = ({x:.1f}, {y:.1f})",
        )
    return ScreenPoint(x, y)
