"""What rules can speak about, taken from one plan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from tectum.actions.types import (
    Action,
    Answer,
    AnswerDialog,
    AskUser,
    GoTo,
    HoldKey,
    KeyChord,
    KeyDown,
    SecretRef,
    SetClipboard,
    TypeText,
)
from tectum.protocol.messages import Plan, Target

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_PATTERN = re.compile(
    r"(?P<scheme>[a-z*][a-z0-9+.*-]*):(?://(?P<host>\[[0-9a-f:.]+\]|[^/:@\s]*)(?::(?P<port>\d+|\*))?)?"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL, in lower case; port None where the scheme has none."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in (None, _DEFAULT_PORTS.get(self.scheme)) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def origin_of(url: str) -> Origin | None:
    """Return the origin of `url`; None where it has no scheme or cannot be read.

    The host is what a browser connects to: user names before `@` and a final dot do not count.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme:
        return None
    host = (parts.hostname or "").rstrip(".")
    return Origin(parts.scheme, host, port or _DEFAULT_PORTS.get(parts.scheme))


@dataclass(frozen=True, slots=True)
class OriginPattern:
    """`scheme:` (any host and port), `scheme://host` (its default port), `scheme://host:port`.

    `*` stands for any characters of scheme or host, and as port for any port. A host pattern
    `*.example.org` does not match `example.org` itself.
    """

    text: str
    scheme: re.Pattern[str]
    host: re.Pattern[str] | None
    port: int | None
    any_port: bool

    @classmethod
    def parse(cls, text: str) -> OriginPattern:
        """Read a pattern.

        Raises:
            ValueError: it has none of the forms above.
        """
        match = _PATTERN.fullmatch(text.lower())
        if match is None:
            raise ValueError(
                f"expected an origin like file:, https://example.org or http://127.0.0.1:*, got {text!r}"
            )
        scheme, host, port = match.group("scheme", "host", "port")
        return cls(
            text,
            glob(scheme),
            None if host is None else glob(host.strip("[]")),
            _DEFAULT_PORTS.get(scheme) if port in (None, "*") else int(port),
            host is None or port == "*",
        )

    def matches(self, origin: Origin) -> bool:
        """Whether `origin` is one of those meant."""
        return (
            self.scheme.fullmatch(origin.scheme) is not None
            and (self.host is None or self.host.fullmatch(origin.host) is not None)
            and (self.any_port or self.port == origin.port)
        )


def glob(text: str) -> re.Pattern[str]:
    """Return the pattern in which `*` is any run of characters and `?` any one; case is ignored."""
    parts = {"*": ".*", "?": "."}
    return re.compile(
        "".join(parts.get(character) or re.escape(character) for character in text),
        re.IGNORECASE | re.DOTALL,
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """One plan, as rules see it; `text` is what would be typed, said or copied, None for none."""

    kind: str
    url: str
    page: Origin | None
    destination: Origin | None
    element: bool
    role: str
    name: str
    secret: bool
    reference: bool
    text: str | None
    keys: str

    @property
    def stays(self) -> bool:
        """Whether a navigation stays on the web origin of its page; other schemes never do."""
        return (
            self.destination is not None
            and self.destination == self.page
            and self.destination.host != ""
        )


def facts_of(plan: Plan) -> Facts:
    """Return what rules can speak about."""
    target = plan.target or Target()
    kind = plan.action.kind
    return Facts(
        kind=plan.action.name,
        url=target.url,
        page=origin_of(target.url),
        destination=origin_of(kind.url) if isinstance(kind, GoTo) else None,
        element=bool(target.element_id or target.role or target.name),
        role=target.role,
        name=" ".join(target.name.split()),
        secret=target.secret,
        reference=isinstance(kind, TypeText) and isinstance(kind.source, SecretRef),
        text=_text(plan.action),
        keys=_keys(plan.action),
    )


def _text(action: Action) -> str | None:
    match action.kind:
        case TypeText(source=str(text)) | SetClipboard(text=text) | Answer(text=text):
            return text
        case AnswerDialog(text=text):
            return text
        case AskUser(question=text):
            return text
        case _:
            return None


def _keys(action: Action) -> str:
    match action.kind:
        case KeyChord(keys=keys) | HoldKey(keys=keys):
            return "+".join(keys)
        case KeyDown(key=key):
            return key
        case _:
            return ""
