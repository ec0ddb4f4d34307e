"""What a manifest says about a session, folded from its events."""

from __future__ import annotations

from services.recorder.domain.manifest import Manifest, Segment
from services.recorder.events import StoredEvent
from tectum.actions.types import Action, UploadFiles
from tectum.protocol.messages import (
    Control,
    ControlKind,
    Outcome,
    Plan,
    Score,
    TurnStarted,
)
from tectum.protocol.types import BlobRef


class Facts:
    """Folds events in the order of the record; small whatever the length of the session."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._opened: Control | None = None
        self._closed: Control | None = None
        self._instructions: dict[str, None] = {}
        self._score: Score | None = None
        self._steps: set[int] = set()
        self._blobs: dict[str, BlobRef] = {}
        self._first_ns: int | None = None
        self._cursors: dict[str, int] = {}
        self.traceparent = ""
        """Of the event that closed the session."""

    def add(self, event: StoredEvent, message: object | None) -> None:
        """Take one event; `message` as a Decode gave it."""
        if self._first_ns is None or event.appended_ns < self._first_ns:
            self._first_ns = event.appended_ns
        place = f"{event.topic}/{event.partition}"
        self._cursors[place] = max(self._cursors.get(place, 0), event.offset + 1)
        match message:
            case Control():
                self._control(message, event)
            case TurnStarted():
                self._instruct(message.instruction)
                self._refer(message.screen.screenshot)
            case Plan():
                self._act(message.action)
            case Outcome():
                self._steps.add(message.step)
                if message.screen is not None:
                    self._refer(message.screen.screenshot)
            case Score():
                self._score = message

    def manifest(
        self,
        segments: tuple[Segment, ...],
        *,
        sealed_at: float,
        privacy_level: str,
    ) -> Manifest:
        """What was folded, as a manifest of `segments`; `sealed_at` in seconds since the Unix epoch."""
        opened, closed, score = self._opened, self._closed, self._score
        return Manifest(
            session_id=self._session_id,
            tenant=opened.tenant if opened else "",
            segments=segments,
            blobs=tuple(self._blobs[sha256] for sha256 in sorted(self._blobs)),
            environment=opened.environment if opened else "",
            instructions=tuple(self._instructions),
            agent=opened.agent if opened else "",
            reason=closed.reason if closed else "",
            success=score.success if score else False,
            scored_by=score.source if score else "",
            reward=score.reward if score else 0.0,
            steps=len(self._steps),
            opened_at=self.opened_at,
            sealed_at=sealed_at,
            privacy_level=privacy_level,
            lesson=opened.lesson if opened else "",
            cursors=dict(self._cursors),
        )

    @property
    def opened_at(self) -> float:
        """Seconds since the Unix epoch at which the first event was appended; 0 before it."""
        return (self._first_ns or 0) / 1e9

    @property
    def blobs(self) -> frozenset[str]:
        """SHA-256 of every blob that an event refers to."""
        return frozenset(self._blobs)

    def _control(self, message: Control, event: StoredEvent) -> None:
        if message.kind is ControlKind.OPENED:
            self._opened = self._opened or message
            self._instruct(message.instruction)
        elif message.kind is ControlKind.CLOSED:
            self._closed = self._closed or message
            self.traceparent = event.attributes.get("traceparent", "")

    def _instruct(self, instruction: str) -> None:
        if instruction:
            self._instructions.setdefault(instruction)

    def _act(self, action: Action) -> None:
        if isinstance(action.kind, UploadFiles):
            for ref in action.kind.files:
                self._refer(ref)

    def _refer(self, ref: BlobRef | None) -> None:
        if ref is not None and ref.sha256:
            self._blobs[ref.sha256] = ref
