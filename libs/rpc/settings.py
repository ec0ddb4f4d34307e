"""How gRPC is served and called, for every service of a process."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings


class RpcSettings(Settings):
    """Variables TECTUM_RPC_*."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_RPC_")

    address: str = "127.0.0.1:7400"
    """host:port that the server binds; port 0: any free one. Not loopback: TLS and tokens are needed."""

    domain: str = "tectum"
    """`domain` of every ErrorInfo."""

    max_message_bytes: int = Field(default=8 * 2**20, ge=2**10, le=256 * 2**20)
    """Largest request or answer, in bytes. A screen of 4K as PNG has up to 8 MiB; more goes by reference."""

    concurrent_calls: int = Field(default=1_024, ge=1, le=100_000)
    """Calls under way at once, streams included; the next one is refused with TOO_MANY_CALLS."""

    drain_s: float = Field(default=5.0, ge=0, le=60)
    """Longest wait for calls under way after SIGTERM, in seconds."""

    keepalive_s: float = Field(default=20.0, ge=1, le=7_200)
    """Seconds between pings on an idle connection, by which a cut is noticed."""

    keepalive_timeout_s: float = Field(default=5.0, ge=0.5, le=60)
    """Seconds after which an unanswered ping closes the connection."""

    timeout_s: float = Field(default=10.0, gt=0, le=3_600)
    """Deadline of a unary call whose caller has none, in seconds."""

    attempts: int = Field(default=3, ge=1, le=10)
    """Tries of an idempotent call that is answered UNAVAILABLE, the first included."""

    backoff_s: float = Field(default=0.05, gt=0, le=10)
    """Mean wait before the second try, in seconds; it doubles, jittered, up to 20 times this."""

    tls_certificate: Path | None = None
    """PEM file of the server's certificate chain."""

    tls_key: Path | None = None
    """PEM file of its private key."""

    tls_roots: Path | None = None
    """PEM file of the certificates that calls to other hosts trust; none: calls go out in clear."""

    tokens: Path | None = None
    """JSON file {sha256 of a bearer token: {"tenant": name, "scopes": [service, …]}}; none: no tokens."""

    token: Path | None = None
    """File with the bearer token of calls to other hosts."""
