"""Bearer tokens: which tenant a token stands for, kept as hashes only."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libs.errors import InvalidRequest, Unauthenticated
from libs.rpc.call import Caller

_TOKENS_MAX = 100_000
_SCHEME = "bearer "


class Authority:
    """Knows the callers by the sha256 of their tokens."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        """Take `callers` by the hexadecimal sha256 of their token."""
        # The table is keyed by a MAC of the hash under a key of this process, so the time of the look-up
        # tells nothing about the hashes; what it finds is then compared in constant time.
        self._key = secrets.token_bytes(32)
        self._callers: dict[bytes, tuple[bytes, Caller]] = {}
        for sha256, caller in callers.items():
            self._admit(bytes.fromhex(sha256), caller)

    def _admit(self, digest: bytes, caller: Caller) -> None:
        self._callers[self._slot(digest)] = (digest, caller)

    def _slot(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._key, digest_size=16).digest()

    def issue(self, caller: Caller) -> str:
        """Return a new token for `caller` that dies with this process."""
        token = secrets.token_urlsafe(32)
        self._admit(hashlib.sha256(token.encode()).digest(), caller)
        return token

    def caller(self, authorization: str | None) -> Caller:
        """Return who sends this `authorization` metadata.

        Raises:
            Unauthenticated: it is missing (TOKEN_MISSING), or no token of ours (TOKEN_WRONG).
        """
        if authorization is None:
            raise Unauthenticated("TOKEN_MISSING", "expected metadata authorization: Bearer TOKEN")
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated("TOKEN_WRONG", "expected the scheme Bearer in authorization")
        digest = hashlib.sha256(authorization[len(_SCHEME) :].strip().encode()).digest()
        found = self._callers.get(self._slot(digest))
        if found is None or not hmac.compare_digest(found[0], digest):
            raise Unauthenticated("TOKEN_WRONG", "the token is not known here")
        return found[1]

    @classmethod
    def load(cls, path: Path) -> Authority:
        """Read a tokens file: {sha256: {"tenant": name, "scopes": [service, …]}}.

        Raises:
            InvalidRequest: it cannot be read or is malformed (TOKENS_FILE_WRONG); the message names the entry.
        """
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _wrong(path, f"it cannot be read: {error}") from error
        if not isinstance(entries, dict) or not 1 <= len(entries) <= _TOKENS_MAX:
            raise _wrong(path, f"expected an object of 1 to {_TOKENS_MAX} tokens")
        return cls({sha256: _entry(path, sha256, entry) for sha256, entry in entries.items()})


def _entry(path: Path, sha256: str, entry: Any) -> Caller:
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        # The key could be a token that somebody put in clear: never show it.
        raise _wrong(
            path, "expected keys of 64 lower-case hexadecimal digits (sha256 of the token)"
        )
    match entry:
        case {"tenant": str(tenant), "scopes": list(scopes)} if tenant and all(
            isinstance(scope, str) for scope in scopes
        ):
            return Caller(tenant, frozenset(scopes))
        case _:
            raise _wrong(path, f"{sha256[:8]}…: expected tenant (text) and scopes (list of texts)")


def _wrong(path: Path, why: str) -> InvalidRequest:
    return InvalidRequest("TOKENS_FILE_WRONG", f"tokens file {path}: {why}")
