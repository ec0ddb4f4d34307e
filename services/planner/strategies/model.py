"""Strategy `model`: asks a language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

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
    Prompt,
    Task,
    TooLong,
    again,
    alternating,
    build,
)
from tectum.observations.types import Screen
from tectum.plugins import Choice, Exemplar, PastStep, PluginError, Strategy, StrategyContext

_ASKS = 3
"""The first question and at most two more."""
_REASON_CHARACTERS = 500
_WRONG_CHARACTERS = 2_000
"""Of a wrong answer that the model is shown again."""
_TOKENS_MIN = 512
"""What a prompt needs at least."""

_SETTINGS = {
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
        task = Task(instruction, history, screen, self._context.secret_names)
        exemplars = await self._found(task)
        past = await self._past(screen)
        limit = self._wanted.token_limit - self._wanted.max_tokens
        try:
            prompt = await self._context.offload.run(build, task, exemplars, past, limit)
        except TooLong as error:
            raise PluginError("MODEL_PROMPT_TOO_LONG", str(error)) from None
        async with self._endpoints.opened(self._wanted.base, self._context.offload) as endpoint:
            answer = await self._ask(endpoint, prompt, task)
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

    async def _ask(self, endpoint: Endpoint, prompt: Prompt, task: Task) -> Answer:
        problem = ""
        for _ in range(_ASKS):
            messages = alternating(prompt.messages) if self._wanted.alternate else prompt.messages
            request = chat_request(self._wanted.model, messages, self._wanted.max_tokens, SCHEMA)
            said = ""
            try:
                said = await endpoint.complete(request)
                return await self._context.offload.run(
                    read_answer, said, task.screen, task.secret_names
                )
            except (AnswerCut, AnswerError) as error:
                problem = str(error)
                prompt = again(prompt, said[:_WRONG_CHARACTERS], problem)
        raise PluginError(
            "MODEL_ANSWER_INVALID", f"{_ASKS} answers could not be used; the last: {problem}"
        )


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
        said = _checked(context.settings)
        model = said.get("model", self._settings.name)
        if not model:
            raise _invalid("model: expected a name here or in TECTUM_MODEL_NAME, got none")
        wanted = _Wanted(
            base=self._endpoints.allow(said.get("base_url", "")),
            model=model,
            **{
                name: said.get(name, _SETTINGS["properties"][name]["default"])  # type: ignore[index]
                for name in ("exemplars", "history", "token_limit", "max_tokens", "alternate")
            },
        )
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
    """The caller's settings, each in its range."""
    import jsonschema

    try:
        said: Any = json.loads(settings or "{}")
    except (ValueError, RecursionError):
        raise _invalid(f"expected JSON, got {settings[:80]!r}") from None
    problem = next(iter(jsonschema.Draft202012Validator(_SETTINGS).iter_errors(said)), None)
    if problem is not None:
        where = ".".join(map(str, problem.absolute_path)) or "settings"
        raise _invalid(f"{where}: {problem.message[:200]}")
    return dict(said)


def _invalid(message: str) -> PluginError:
    return PluginError("STRATEGY_SETTINGS_INVALID", f"model: {message}")


def _site(url: str) -> str:
    """The host of a URL as memory keeps it; empty where it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
