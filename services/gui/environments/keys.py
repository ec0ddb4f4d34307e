"""Actions of the keyboard in a browser."""

from __future__ import annotations

from services.gui.environments.hand import Hand, Refused
from tectum.actions.types import HoldKey, KeyChord, KeyDown, KeyUp

_KEYS_MAX = 8
_HOLD_S_MAX = 10.0

_NAMED = frozenset(
    {
        "Alt",
        "AltGraph",
        "ArrowDown",
        "ArrowLeft",
        "ArrowRight",
        "ArrowUp",
        "Backspace",
        "CapsLock",
        "ContextMenu",
        "Control",
        "Delete",
        "End",
        "Enter",
        "Escape",
        "Home",
        "Insert",
        "Meta",
        "NumLock",
        "PageDown",
        "PageUp",
        "Pause",
        "PrintScreen",
        "ScrollLock",
        "Shift",
        "Tab",
    }
) | {f"F{number}" for number in range(1, 13)}

_OTHER = {"Ctrl": "Control", "Esc": "Escape", "Return": "Enter", "Space": " ", "Del": "Delete",
          "Up": "ArrowUp", "Down": "ArrowDown", "Left": "ArrowLeft", "Right": "ArrowRight",
          "Cmd": "Meta", "Super": "Meta", "Win": "Meta", "Option": "Alt"}  # fmt: skip


def key_name(key: str) -> str:
    """Return the W3C name of a key.

    Raises:
        Refused: KEY_UNKNOWN.
    """
    if len(key) == 1 or key in _NAMED:
        return key
    title = key[:1].upper() + key[1:].lower()
    found = _OTHER.get(title) or next((n for n in _NAMED if n.lower() == key.lower()), "")
    if not found:
        raise Refused(
            "KEY_UNKNOWN",
            f"expected one character or a W3C key name such as Enter or ArrowLeft, got {key!r}",
        )
    return found


async def hold(hand: Hand, key: str) -> None:
    """Press a key and remember that it is down."""

    async def down() -> None:
        hand.pressed.keys.append(key)
        await hand.tab.page.keyboard.down(_physical(hand, key))

    await hand.input(down())


async def let_go(hand: Hand, key: str) -> None:
    """Release a key."""
    await hand.input(hand.tab.page.keyboard.up(_physical(hand, key)))
    if key in hand.pressed.keys:
        hand.pressed.keys.remove(key)


def _physical(hand: Hand, key: str) -> str:
    """The key itself where Shift is held, so that it says what it says on a keyboard."""
    if "Shift" not in hand.pressed.keys or len(key) != 1 or not key.isascii():
        return key
    if key.isalpha():
        return f"Key{key.upper()}"
    return f"Digit{key}" if key.isdigit() else key


def _names(keys: tuple[str, ...]) -> list[str]:
    if not 1 <= len(keys) <= _KEYS_MAX:
        raise Refused("ACTION_MALFORMED", f"expected 1 to {_KEYS_MAX} keys, got {len(keys)}")
    return [key_name(key) for key in keys]


async def chord(hand: Hand, keys: list[str]) -> None:
    """Press the keys in order and release them in the other order."""
    for key in keys:
        await hold(hand, key)
    for key in reversed(keys):
        await let_go(hand, key)


async def key_chord(hand: Hand, kind: KeyChord) -> str:
    """Press keys together; a chord of the clipboard works on this environment's own."""
    keys = _names(kind.keys)
    if _of_clipboard({*keys, *hand.pressed.keys}):
        async with hand.around.clipboard.lent():
            await chord(hand, keys)
    else:
        await chord(hand, keys)
    return ""


def _of_clipboard(keys: set[str]) -> bool:
    if keys & {"Control", "Meta"}:
        return bool({key.lower() for key in keys} & {"c", "x", "v", "insert"})
    return "Shift" in keys and bool(keys & {"Insert", "Delete"})


async def hold_key(hand: Hand, kind: HoldKey) -> str:
    """Hold keys for a while."""
    if not 0 <= kind.duration_s <= _HOLD_S_MAX:
        raise Refused("ACTION_MALFORMED", f"expected 0 to 10 s, got {kind.duration_s}")
    keys = _names(kind.keys)
    for key in keys:
        await hold(hand, key)
    await hand.pause(kind.duration_s)
    for key in reversed(keys):
        await let_go(hand, key)
    return ""


async def key_down(hand: Hand, kind: KeyDown) -> str:
    """Press and keep pressed."""
    await hold(hand, key_name(kind.key))
    return ""


async def key_up(hand: Hand, kind: KeyUp) -> str:
    """Release."""
    await let_go(hand, key_name(kind.key))
    return ""
