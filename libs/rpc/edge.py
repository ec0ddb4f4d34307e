"""What secures a connection: the files of the settings, read once at start and off the event loop."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

import grpc

from libs.errors import InvalidRequest
from libs.offload import Offload
from libs.rpc.auth import Authority
from libs.rpc.settings import RpcSettings


@dataclass(frozen=True, slots=True)
class Edge:
    """The secured sides of a process: how it is called, and how it calls other hosts."""

    authority: Authority | None = None
    """Who may call; None: everybody is the local tenant."""
    key_pair: tuple[bytes, bytes] | None = None
    """Private key and certificate chain of the server, PEM; None: it is served in clear."""
    roots: bytes | None = None
    """What calls to other hosts trust, PEM; None: they go out in clear."""
    token: str | None = None
    """Bearer token of calls to other hosts."""

    def server_credentials(self) -> grpc.ServerCredentials | None:
        """Of the key pair, if there is one."""
        return None if self.key_pair is None else grpc.ssl_server_credentials([self.key_pair])

    @classmethod
    async def load(cls, settings: RpcSettings) -> Edge:
        """Read what the settings name.

        Raises:
            InvalidRequest: the address is not loopback, and TLS or tokens are missing (EDGE_NOT_SECURED); or a
                file cannot be read or is malformed (TLS_FILE_WRONG, TOKENS_FILE_WRONG).
        """
        _check(settings)
        offload = Offload("edge", threads=1, waiting=0)
        try:
            return await offload.run(cls._read, settings)
        finally:
            await offload.aclose()

    @classmethod
    def _read(cls, settings: RpcSettings) -> Edge:
        pair = None
        if settings.tls_key is not None and settings.tls_certificate is not None:
            pair = (
                _file(settings.tls_key, "TLS_FILE_WRONG"),
                _file(settings.tls_certificate, "TLS_FILE_WRONG"),
            )
        roots = settings.tls_roots
        token = settings.token
        return cls(
            authority=None if settings.tokens is None else Authority.load(settings.tokens),
            key_pair=pair,
            roots=None if roots is None else _file(roots, "TLS_FILE_WRONG"),
            token=None if token is None else _file(token, "TOKENS_FILE_WRONG").decode().strip(),
        )


def is_loopback(address: str) -> bool:
    """Whether host:port can be reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(settings: RpcSettings) -> None:
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise InvalidRequest(
            "EDGE_NOT_SECURED",
            "expected both of TECTUM_RPC_TLS_CERTIFICATE and TECTUM_RPC_TLS_KEY, or none",
        )
    secured = settings.tls_certificate is not None and settings.tokens is not None
    if not secured and not is_loopback(settings.address):
        raise InvalidRequest(
            "EDGE_NOT_SECURED",
            f"{settings.address!r} can be reached from outside: expected TECTUM_RPC_TLS_CERTIFICATE, "
            "TECTUM_RPC_TLS_KEY and TECTUM_RPC_TOKENS, or a loopback address",
        )


def _file(path: Path, reason: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(reason, f"it cannot be read: {error}") from error
