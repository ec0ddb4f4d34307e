"""What happened between steps, in words. Pure."""

from __future__ import annotations

from services.recorder.report.model import NoteView
from services.recorder.report.words import quoted
from tectum.protocol.messages import ClientMessageAccepted, Control, ControlKind, Score

_CONTROL = {
    ControlKind.ENVIRONMENT_LOST: ("Environment lost", "bad"),
    ControlKind.TURN_ENDED: ("Turn ended", "quiet"),
    ControlKind.CLOSED: ("Session closed", "quiet"),
    ControlKind.CLIENT_LOST: ("Caller gone", "warn"),
    ControlKind.CLIENT_RETURNED: ("Caller back", "good"),
}
INTERRUPTS = frozenset({"INTERRUPTED", "INSTRUCTION"})
"""Reasons of a raised epoch by which a person stopped the agent; a close raises it, too."""

_RAISED = {
    "INTERRUPTED": ("Interrupted", "warn"),
    "INSTRUCTION": ("Stopped for a new instruction", "warn"),
    "TAKEN_OVER": ("Taken over by another owner", "warn"),
    "ENVIRONMENT_LOST": ("Held for a fresh environment", "warn"),
    "CLIENT_RETURNED": ("Held for the caller's return", ""),
}


def client_note(message: ClientMessageAccepted, offset_s: float) -> NoteView | None:
    """What the caller said; None for what shows elsewhere."""
    match message.kind:
        case "instruction":
            return NoteView("New instruction", message.text, "quiet", offset_s)
        case "interrupt":
            said = f"The caller said: {quoted(message.text)}" if message.text else "By the caller."
            return NoteView("Stop asked for", said, "warn", offset_s)
        case "feedback":
            title = "The caller is content" if message.approved else "The caller is not content"
            tone = "good" if message.approved else "bad"
            return NoteView(title, message.text, tone, offset_s)
    return None


def control_note(message: Control, offset_s: float) -> NoteView | None:
    """What the owner of the session said; None for what shows elsewhere."""
    if message.kind is ControlKind.EPOCH_RAISED:
        title, tone = _RAISED.get(message.reason, ("Held", ""))
        bodies = ", ".join(f"{r.body.home} {r.state.value}" for r in message.bodies)
        epoch = f"epoch {message.epoch.term}.{message.epoch.n}"
        stood = f"{epoch}; nothing older begins. {bodies}" if bodies else f"{epoch}."
        return NoteView(title, _joined(stood, message.message), tone, offset_s)
    if message.kind not in _CONTROL:
        return None
    title, tone = _CONTROL[message.kind]
    answer = f"It answered {quoted(message.answer)}." if message.answer else ""
    reason = message.reason.replace("_", " ").lower()
    reason = "" if reason == title.lower() else reason
    return NoteView(title, _joined(reason, message.message, answer), tone, offset_s)


def score_note(message: Score, offset_s: float) -> NoteView:
    """What the scorer said."""
    title = "Scored as solved" if message.success else "Scored as not solved"
    text = f"Reward {message.reward:g}, said by the {message.source}."
    return NoteView(title, text, "good" if message.success else "bad", offset_s)


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
