"""Strategy `model`: asks a language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace

from libs.telemetry import names
from services.planner.settings import ModelSettings
from services.planner.strategies.model_actions import SCHEMA, Answer, AnswerError, read_answer
from services.planner.strategies.model_endpoint import (
    AnswerCut,
    BaseUrl,
    Endpoint,
    Endpoints,
    chat_request,
)
from services.planner.strategies.model_prompt import (
    Message,
    Prompt,
    Task,
    TooLong,
    alternating,
    build,
    correction,
)
from tectum.observations.types import Screen
from tectum.plugins import Choice, Exemplar, PastStep, PluginError, Strategy, StrategyContext

_ASKS = 3
"""The first question and at most two more."""
_REASON_CHARACTERS = 500
_TOKENS_MIN = 512
"""What a prompt needs at least."""

_SETTINGS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "base_url": {
            "type": "string",
            "minLength": 1,
            "maxLength": 2048,
            "description": "Endpoint without /chat/completions; the platform's where absent.",
        },
        "model": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "description": "The model's name at the endpoint; the platform's where absent.",
        },
        "exemplars": {
            "type": "integer",
            "minimum": 0,
            "maximum": 10,
            "default": 3,
            "description": "Most exemplars shown.",
        },
        "history": {
            "type": "integer",
            "minimum": 0,
            "maximum": 3,
            "default": 1,
            "description": "Most finished turns on the same site shown.",
        },
        "token_limit": {
            "type": "integer",
            "minimum": 1024,
            "maximum": 1_000_000,
            "default": 8192,
            "description": "Tokens of prompt and answer together.",
        },
        "max_tokens": {
            "type": "integer",
            "minimum": 16,
            "maximum": 65_536,
            "default": 1024,
            "description": "Tokens of one answer.",
        },
        "temperature": {"const": 0, "description": "Always 0."},
        "alternate": {
            "type": "boolean",
            "default": False,
            "description": "Join neighbouring messages of one role, for models that ask for it.",
        },
    },
}

_DEFAULTS = {
    name: rule.get("default", "") for name, rule in _SETTINGS["properties"].items()
}  # of a name that the platform's settings give: empty


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the caller set, with the platform's values for the rest."""

    base: BaseUrl
    model: str
    exemplars: int
    history: int
    token_limit: int
    max_tokens: int
    alternate: bool


class ModelStrategy:
    """One turn; the prompt holds all there is to know, so a restart changes nothing."""

    def __init__(self, context: StrategyContext, endpoints: Endpoints, wanted: _Wanted) -> None:
        self._context = context
        self._endpoints = endpoints
        self._wanted = wanted
        self._exemplars: Sequence[Exemplar] | None = None
        self._turns: dict[str, Sequence[str]] = {}

    async def decide(self, instruction: str, history: Sequence[PastStep], screen: Screen) -> Choice:
        """The model's next action, with the exemplars that it was shown.

        Raises:
            PluginError: MODEL_DOWN, MODEL_REFUSED, MODEL_KEY_UNREADABLE, MODEL_ANSWER_INVALID,
            MODEL_PROMPT_TOO_LONG.
        """
        trace.get_current_span().set_attribute(names.GEN_AI_MODEL, self._wanted.model)
        task = Task(instruction, history, screen, self._context.secret_names)
        exemplars = await self._found(task)
        past = await self._past(screen)
        async with self._endpoints.opened(self._wanted.base, self._context.offload) as endpoint:
            answer, prompt = await self._ask(endpoint, task, exemplars, past)
        return Choice(answer.action, answer.reason[:_REASON_CHARACTERS], prompt.exemplar_ids)

    async def _found(self, task: Task) -> Sequence[Exemplar]:
        """The nearest exemplars to how the turn began, asked once."""
        if self._exemplars is None:
            first = task.history[0].screen if task.history else task.screen
            found: Sequence[tuple[Exemplar, float]] = ()
            if self._wanted.exemplars:
                found = await self._context.memory.search(
                    task.instruction, first, limit=self._wanted.exemplars, by_lesson=False
                )
            nearest = sorted(found, key=lambda match: -match[1])[: self._wanted.exemplars]
            self._exemplars = [exemplar for exemplar, _ in nearest]
        return self._exemplars

    async def _past(self, screen: Screen) -> Sequence[str]:
        """Finished turns on the site of this screen, newest first, asked once for each site."""
        site = _site(screen.url)
        if not site or not self._wanted.history:
            return ()
        if site not in self._turns:
            found = await self._context.memory.history(site, self._wanted.history)
            self._turns = {site: found[: self._wanted.history]}
        return self._turns[site]

    async def _ask(
        self, endpoint: Endpoint, task: Task, exemplars: Sequence[Exemplar], past: Sequence[str]
    ) -> tuple[Answer, Prompt]:
        """The first usable answer, and the prompt that it answers."""
        problem = ""
        said_since: tuple[Message, ...] = ()
        for _ in range(_ASKS):
            prompt = await self._prompt(task, exemplars, past, said_since)
            said = ""
            try:
                said = await endpoint.complete(self._request(prompt))
                answer = await self._context.offload.run(
                    read_answer, said, task.screen, task.secret_names
                )
            except (AnswerCut, AnswerError) as error:
                problem = str(error)
                said_since = correction(said, problem)
            else:
                return answer, prompt
        raise PluginError(
            "MODEL_ANSWER_INVALID", f"{_ASKS} answers could not be used; the last: {problem}"
        )

    async def _prompt(
        self,
        task: Task,
        exemplars: Sequence[Exemplar],
        past: Sequence[str],
        after: Sequence[Message],
    ) -> Prompt:
        limit = self._wanted.token_limit - self._wanted.max_tokens
        try:
            return await self._context.offload.run(build, task, exemplars, past, limit, after)
        except TooLong as error:
            raise PluginError("MODEL_PROMPT_TOO_LONG", str(error)) from None

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        wanted = self._wanted
        messages = alternating(prompt.messages) if wanted.alternate else prompt.messages
        return chat_request(wanted.model, messages, wanted.max_tokens, SCHEMA)


class ModelPlugin:
    """Registers `model`."""

    name = "model"
    summary = "Asks a language model behind an OpenAI-compatible endpoint."
    settings_schema = json.dumps(_SETTINGS)

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._endpoints = Endpoints(settings)

    def create(self, context: StrategyContext) -> Strategy:
        """A strategy for one turn.

        Raises:
            PluginError: STRATEGY_SETTINGS_INVALID, MODEL_URL_FORBIDDEN.
        """
        said = _DEFAULTS | _checked(context.settings)
        wanted = _Wanted(
            base=self._endpoints.allow(said["base_url"]),
            model=said["model"] or self._settings.name,
            exemplars=said["exemplars"],
            history=said["history"],
            token_limit=said["token_limit"],
            max_tokens=said["max_tokens"],
            alternate=said["alternate"],
        )
        if not wanted.model:
            raise _invalid("model: expected a name here or in TECTUM_MODEL_NAME, got none")
        if wanted.max_tokens > wanted.token_limit - _TOKENS_MIN:
            raise _invalid(
                f"max_tokens: expected at most token_limit - {_TOKENS_MIN},"
                f" got {wanted.max_tokens} of {wanted.token_limit}"
            )
        return ModelStrategy(context, self._endpoints, wanted)


def plugin() -> ModelPlugin:
    """The entry point.

    Raises:
        ValueError: a TECTUM_MODEL_* variable is wrong.
    """
    return ModelPlugin(ModelSettings.load())


def _checked(settings: str) -> dict[str, Any]:
    """The caller's settings, each as the published schema says.

    By hand, not by jsonschema, whose import would hold the event loop up for 0.1 s; a test holds
    the two together.
    """
    try:
        said: Any = json.loads(settings or "{}")
    except (ValueError, RecursionError):
        raise _invalid(f"expected JSON, got {settings[:80]!r}") from None
    if not isinstance(said, dict):
        raise _invalid(f"expected an object, got {str(said)[:80]!r}")
    rules = _SETTINGS["properties"]
    for name, value in said.items():
        if name not in rules:
            raise _invalid(f"{name[:80]}: expected one of {sorted(rules)}")
        if problem := _problem(rules[name], value):
            raise _invalid(f"{name}: {problem}, got {str(value)[:80]!r}")
    return said


def _problem(rule: dict[str, Any], value: Any) -> str:
    """What the value should be; empty where it is."""
    if "const" in rule:
        return "" if _whole(value) and value == rule["const"] else f"expected {rule['const']}"
    if rule["type"] == "boolean":
        return "" if isinstance(value, bool) else "expected true or false"
    if rule["type"] == "string":
        low, high = rule["minLength"], rule["maxLength"]
        fits = isinstance(value, str) and low <= len(value) <= high
        return "" if fits else f"expected a text of {low} to {high} characters"
    low, high = rule["minimum"], rule["maximum"]
    fits = _whole(value) and low <= value <= high
    return "" if fits else f"expected a whole number from {low} to {high}"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _invalid(message: str) -> PluginError:
    return PluginError("STRATEGY_SETTINGS_INVALID", f"model: {message}")


def _site(url: str) -> str:
    """The host of a URL as memory keeps it; empty where it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
