"""The channels of one process: `Host.channel`."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from libs.errors import InvalidRequest, NotFound
from libs.rpc.client import PlatformChannel, connect
from libs.rpc.edge import Edge
from libs.rpc.settings import RpcSettings

_CHANNELS_MAX = 256


class Channels:
    """The channels of one process, one for each peer, closed together: `Host.channel`."""

    def __init__(
        self,
        settings: RpcSettings,
        edge: Edge | None = None,
        *,
        own_address: str | None = None,
        inner_token: str | None = None,
        peers: Mapping[str, str] | None = None,
    ) -> None:
        """Reach services by name at `peers[name]`, and those not named there in this process."""
        self._settings = settings
        self._edge = edge
        self._own_address = own_address
        self._inner_token = inner_token
        self._peers = dict(peers or {})
        self._open: dict[str, PlatformChannel] = {}

    def __call__(self, name: str) -> grpc.aio.Channel:
        """The channel to a service by name, or to a host:port.

        Raises:
            NotFound: no such service is known and this process serves none (SERVICE_UNKNOWN).
        """
        address = name if ":" in name else self._peers.get(name, self._own_address)
        if address is None:
            raise NotFound(
                "SERVICE_UNKNOWN", f"expected one of {sorted(self._peers)}, got {name!r}", name=name
            )
        channel = self._open.get(address)
        if channel is None:
            if len(self._open) >= _CHANNELS_MAX:
                raise InvalidRequest("TOO_MANY_PEERS", f"{_CHANNELS_MAX} channels are open")
            token = self._inner_token if address == self._own_address else None
            channel = self._open[address] = connect(
                address, self._settings, self._edge, inner_token=token
            )
        return channel

    async def aclose(self) -> None:
        """Close them all."""
        while self._open:
            _, channel = self._open.popitem()
            await channel.close(None)
