"""Who may come in, with how much, how often. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict

from libs.errors import InvalidRequest, Overloaded
from services.session.domain.bodies import environments
from services.session.domain.limits import SessionLimits
from services.session.domain.messages import (
    Agent,
    Feedback,
    Instruction,
    Interrupt,
    OnClientLost,
    OnEnvironmentLost,
    Open,
)

DEFAULT_GRACE_S = 30.0
_RANGES = {"grace_s": (0.0, 3600.0), "max_steps": (0, 1000), "turn_limit_s": (0.0, 86_400.0)}
_NAME_MAX = 128


class Bucket:
    """A token bucket for one stream."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> None:
        """Take one token.

        Raises:
            Overloaded: RATE_EXCEEDED.
        """
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            raise Overloaded(
                "RATE_EXCEEDED",
                f"expected at most {self._rate:g} messages a second and {self._burst} at once",
                retry_after_s=1.0,
            )
        self._tokens -= 1.0


def check_open(request: Open, limits: SessionLimits) -> None:
    """Refuse what no executor need be asked about.

    Raises:
        InvalidRequest: URI_MALFORMED, AGENT_SETTINGS_INVALID, MESSAGE_TOO_LARGE, CLIENT_ID_INVALID.
    """
    environments(request.environment)
    check_client_id(request.client_id)
    secrets = sum(len(name) + len(value) for name, value in request.secrets.items())
    _check_size("secrets", secrets, limits)
    _check_size("instruction", len(request.instruction.encode()), limits)
    _check_size("strategy_settings", len(request.agent.strategy_settings.encode()), limits)
    check_agent(request.agent)


def check_agent(agent: Agent) -> None:
    """Refuse an agent out of its ranges.

    Raises:
        InvalidRequest: AGENT_SETTINGS_INVALID.
    """
    for name, (low, high) in _RANGES.items():
        value = getattr(agent, name)
        if not low <= value <= high:
            raise InvalidRequest(
                "AGENT_SETTINGS_INVALID", f"expected {name} in {low} to {high}, got {value!r}"
            )
    if agent.strategy_settings:
        try:
            settings = json.loads(agent.strategy_settings)
        except ValueError:
            settings = None
        if not isinstance(settings, dict):
            raise InvalidRequest(
                "AGENT_SETTINGS_INVALID",
                "expected strategy_settings to be a JSON object, "
                f"got {agent.strategy_settings[:80]!r}",
            )


def check_message(message: object, limits: SessionLimits) -> None:
    """Refuse a message that is too large.

    Raises:
        InvalidRequest: MESSAGE_TOO_LARGE.
    """
    match message:
        case Instruction(text=text):
            _check_size("instruction", len(text.encode()), limits)
        case Interrupt(reason=text):
            _check_size("reason", len(text.encode()), limits)
        case Feedback(comment=text):
            _check_size("comment", len(text.encode()), limits)


def check_client_id(client_id: str) -> None:
    """Refuse a client id that is too long or has a slash, which separates the parts of event ids.

    Raises:
        InvalidRequest: CLIENT_ID_INVALID.
    """
    if len(client_id) > _NAME_MAX or "/" in client_id:
        raise InvalidRequest(
            "CLIENT_ID_INVALID",
            f"expected at most {_NAME_MAX} characters without '/', got {client_id[:_NAME_MAX]!r}",
        )


def dump_agent(agent: Agent) -> str:
    """Canonical JSON of the settings."""
    return json.dumps(asdict(agent), sort_keys=True, separators=(",", ":"))


def load_agent(text: str) -> Agent:
    """What `dump_agent` wrote; fields that this version does not know are left out."""
    values = json.loads(text) if text else {}
    known = {name: values[name] for name in Agent.__dataclass_fields__ if name in values}
    if "on_client_lost" in known:
        known["on_client_lost"] = OnClientLost(known["on_client_lost"])
    if "on_environment_lost" in known:
        known["on_environment_lost"] = OnEnvironmentLost(known["on_environment_lost"])
    return Agent(**known)


def grace_s(agent: Agent) -> float:
    """How long the session goes on without its client, in seconds."""
    return agent.grace_s or DEFAULT_GRACE_S


def _check_size(what: str, size: int, limits: SessionLimits) -> None:
    if size > limits.message_bytes_max:
        raise InvalidRequest(
            "MESSAGE_TOO_LARGE",
            f"expected at most {limits.message_bytes_max} bytes of {what}, got {size}",
        )
