"""One question to an OpenAI-compatible endpoint: which may be asked, and how one answers."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.planner.settings import ModelSettings
from tectum.plugins import Offloader, PluginError

if TYPE_CHECKING:
    import httpx

_DEFAULT_PORTS = {"http": 80, "https": 443}
_CODE = re.compile(r"[a-z][a-z_]{1,63}")
"""What an error code looks like; anything else in an error's body may be content, or the key."""

_KEY_CHARACTERS = 4_096


class AnswerCut(Exception):
    """The model ran into its limit of tokens; its answer is not whole."""


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """An endpoint in its one spelling, so that two can be compared."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> BaseUrl:
        """The endpoint that a URL names.

        Raises:
            ValueError: it is no http(s) URL with a host, or has a user, query or fragment.
        """
        if any(character.isspace() or not character.isprintable() for character in url):
            raise ValueError("expected a URL without spaces or control characters")
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError("expected a URL such as http://127.0.0.1:8000/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("expected a URL without user, query or fragment")
        if {".", ".."} & set(parts.path.split("/")):
            raise ValueError("expected a URL without dots as a part of its path")
        port = parts.port if parts.port is not None else _DEFAULT_PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))

    @property
    def loopback(self) -> bool:
        """Whether it is this machine by its very name, whatever a resolver would say."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


class Endpoints:
    """Asks endpoints that the platform's settings allow; the configured one alone gets the key."""

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings
        self._configured = BaseUrl.parse(settings.base_url)
        listed = (part.strip() for part in settings.allowed_base_urls.split(","))
        self._allowed = {self._configured} | {BaseUrl.parse(url) for url in listed if url}
        self._tls: ssl.SSLContext | None = None

    def allow(self, url: str) -> BaseUrl:
        """The endpoint that a caller may use; the configured one for an empty `url`.

        Raises:
            PluginError: STRATEGY_SETTINGS_INVALID, MODEL_URL_FORBIDDEN.
        """
        if not url:
            return self._configured
        try:
            base = BaseUrl.parse(url)
        except ValueError as error:
            raise PluginError(
                "STRATEGY_SETTINGS_INVALID", f"model: base_url: {error}, got {url[:200]!r}"
            ) from None
        if not base.loopback and base not in self._allowed:
            raise PluginError(
                "MODEL_URL_FORBIDDEN",
                "expected base_url on loopback or one that TECTUM_MODEL_BASE_URL or"
                f" TECTUM_MODEL_ALLOWED_BASE_URLS names, got {str(base)!r}",
            )
        return base

    @asynccontextmanager
    async def opened(self, base: BaseUrl, offload: Offloader) -> AsyncIterator[Endpoint]:
        """Connections to an endpoint, closed with the block.

        Raises:
            PluginError: the key cannot be read (MODEL_KEY_UNREADABLE).
        """
        # What takes long here is done on a thread: imports, the file of roots, the file of the key.
        client, key = await offload.run(self._prepare, base)
        async with client:
            yield Endpoint(client, base, key, self.settings)

    def _prepare(self, base: BaseUrl) -> tuple[httpx.AsyncClient, str]:
        # Lazily, so that a platform that asks no model starts faster and stays smaller. anyio is
        # what httpx would import at its first request, on the loop.
        for needed in ("anyio", "anyio._backends._asyncio"):
            importlib.import_module(needed)
        import httpx

        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        client = httpx.AsyncClient(
            verify=self._tls,
            # No proxy and no .netrc of the process, and no redirect: what is sent goes to the
            # named endpoint or nowhere.
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(self.settings.answer_s, connect=self.settings.connect_s),
            limits=httpx.Limits(max_connections=1),
        )
        return client, self._key() if base == self._configured else ""

    def _key(self) -> str:
        file = self.settings.api_key_file
        if file is None:
            return ""
        try:
            with file.open(encoding="ascii") as opened:
                key = opened.read(_KEY_CHARACTERS + 1).strip()
        except (OSError, ValueError) as error:
            raise PluginError(
                "MODEL_KEY_UNREADABLE",
                f"expected a key in TECTUM_MODEL_API_KEY_FILE, got {type(error).__name__}",
            ) from None
        if not key or len(key) > _KEY_CHARACTERS or not key.isprintable() or " " in key:
            raise PluginError(
                "MODEL_KEY_UNREADABLE",
                "expected one line with a key in TECTUM_MODEL_API_KEY_FILE, got something else",
            )
        return key


class Endpoint:
    """One endpoint with its open connections."""

    def __init__(
        self, client: httpx.AsyncClient, base: BaseUrl, key: str, settings: ModelSettings
    ) -> None:
        self._client = client
        self._base = base
        self._key = key
        self._settings = settings

    async def complete(self, request: Mapping[str, Any]) -> str:
        """Return what the model says to a chat-completions request.

        Raises:
            AnswerCut: it ran into `max_tokens`.
            PluginError: MODEL_DOWN, MODEL_REFUSED, MODEL_ANSWER_INVALID.
        """
        import httpx

        try:
            async with asyncio.timeout(self._settings.answer_s):
                status, body = await self._post(request)
        except (TimeoutError, httpx.TimeoutException):
            raise PluginError(
                "MODEL_DOWN",
                f"expected an answer of {self._base} within {self._settings.answer_s} s, got none",
            ) from None
        except httpx.HTTPError as error:
            raise PluginError(
                "MODEL_DOWN", f"expected an answer of {self._base}, got {type(error).__name__}"
            ) from None
        if status != httpx.codes.OK:
            raise self._refused(status, body)
        return _content(body)

    async def _post(self, request: Mapping[str, Any]) -> tuple[int, bytes]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        url = f"{self._base}/chat/completions"
        limit = self._settings.answer_bytes_max
        async with self._client.stream("POST", url, json=request, headers=headers) as response:
            body = bytearray()
            # Raw: what a few compressed bytes unfold to would pass the limit in one piece.
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > limit:
                    raise PluginError(
                        "MODEL_ANSWER_INVALID",
                        f"expected an answer of at most {limit} bytes, got more",
                    )
            return response.status_code, bytes(body)

    def _refused(self, status: int, body: bytes) -> PluginError:
        """The error's code if it looks like one; never its text, which may quote what was sent."""
        code = ""
        try:
            said: Any = json.loads(body)["error"]
            found = [said.get(name) for name in ("code", "type")]
            code = next((c for c in found if isinstance(c, str) and _CODE.fullmatch(c)), "")
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            code = ""
        if self._key and self._key in code:
            code = ""
        down = status >= 500 or status in (408, 429)
        return PluginError(
            "MODEL_DOWN" if down else "MODEL_REFUSED",
            f"expected HTTP 200 of {self._base}, got {status}{f' ({code})' if code else ''}",
        )


def _content(body: bytes) -> str:
    try:
        choice: Any = json.loads(body)["choices"][0]
        content, finish = choice["message"].get("content"), choice.get("finish_reason")
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        raise PluginError(
            "MODEL_ANSWER_INVALID",
            f"expected a chat completion, got {len(body)} bytes of something else",
        ) from None
    if finish == "length":
        raise AnswerCut("it was cut at max_tokens")
    return content if isinstance(content, str) else ""


def chat_request(
    model: str, messages: Sequence[Mapping[str, str]], max_tokens: int, schema: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of a request whose answer keeps to `schema`."""
    return {
        "model": model,
        "messages": list(messages),
        "temperature": 0,
        "max_tokens": max_tokens,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "next_action", "strict": True, "schema": dict(schema)},
        },
    }
