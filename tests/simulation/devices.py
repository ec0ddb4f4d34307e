"""Last links of the simulated executors: devices that outlive their executor, and count every input."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from libs.errors import NotFound
from libs.executor.port import OpenedHome, Performed
from tectum.actions.types import Action, TypeText
from tectum.geometry import Size
from tectum.observations.types import Screen
from tectum.plugins import ActResult, EnvironmentScore, Gate, PluginError
from tectum.protocol.messages import OutcomeStatus
from tectum.protocol.types import BodyKind
from tests.simulation.node import Node
from tests.simulation.world import World


class InputWitness(Protocol):
    """Hears of every input at the moment when it begins."""

    def input_began(self, body: str, environment_id: str, uid: str, index: int) -> None:
        """A primitive input begins; it cannot be taken back."""
        ...

    def opened(self, environment_id: str, session_id: str) -> None:
        """An environment exists."""
        ...

    def input_refused(self, body: str, uid: str, index: int, why: str) -> None:
        """A primitive input that was handed over will not begin."""
        ...


@dataclass(slots=True)
class Device:
    """A browser, controller or loudspeaker: a process of its own, which an executor's crash leaves behind."""

    world: World
    name: str
    kind: BodyKind
    enforces_valid_until: bool
    witness: InputWitness
    begin_s: float = 0.02
    """Usual upper end of the time from handing an input over until it begins."""
    stall: float = 0.02
    """Chance that an input begins only after up to `stall_s`."""
    stall_s: float = 0.5
    environments: dict[str, str] = field(default_factory=dict)
    """By environment id: the session."""
    opened: int = 0

    def hand_over(
        self, environment_id: str, uid: str, index: int, valid_until: float, node: Node
    ) -> asyncio.Future[str]:
        """Queue one input and return what the executor's process will hear: "", or why it did not begin."""
        world, heard = self.world, node.loop.create_future()
        delay = world.random.random() * self.begin_s
        if world.chance(self.stall):
            delay = world.random.random() * self.stall_s
        world.say("hand", self.name, f"{uid}.{index} in {environment_id}")
        world.after(delay, self._begin, environment_id, uid, index, valid_until, node, heard)
        return heard

    def _begin(
        self,
        environment_id: str,
        uid: str,
        index: int,
        valid_until: float,
        node: Node,
        heard: asyncio.Future[str],
    ) -> None:
        world, refused = self.world, ""
        if environment_id not in self.environments:
            refused = "ENVIRONMENT_LOST"
        elif self.enforces_valid_until and world.now > valid_until:
            refused = "TOO_LATE"
        if refused:
            self.witness.input_refused(self.name, uid, index, refused)
        else:
            self.witness.input_began(self.name, environment_id, uid, index)
        delay = world.random.random() * self.begin_s
        world.loop.at(world.now + delay, _tell, heard, refused, node=node)


def _tell(heard: asyncio.Future[str], refused: str) -> None:
    if not heard.done():
        heard.set_result(refused)


class DeviceLink:
    """`libs.executor.port.LastLink` of one executor process over its device."""

    def __init__(self, device: Device, node: Node, incarnation_hint: str) -> None:
        self._device = device
        self._node = node
        self._hint = incarnation_hint
        self._screens = 0

    @property
    def kind(self) -> BodyKind:
        """See the port."""
        return self._device.kind

    @property
    def enforces_valid_until(self) -> bool:
        """See the port."""
        return self._device.enforces_valid_until

    async def open(
        self,
        session_id: str,
        environment: str,
        secrets: Mapping[str, str],
        *,
        allow_literal_secrets: bool,
    ) -> OpenedHome:
        """See the port."""
        await self._pass()
        device = self._device
        device.opened += 1
        environment_id = f"{self._hint}e{device.opened}"
        device.environments[environment_id] = session_id
        device.witness.opened(environment_id, session_id)
        return OpenedHome(environment_id, self._screen())

    async def perform(self, environment_id: str, action: Action, gate: Gate) -> Performed:
        """See the port; TypeText("uid:n") is n inputs."""
        if environment_id not in self._device.environments:
            raise NotFound("ENVIRONMENT_LOST", f"expected an environment, got {environment_id!r}")
        if isinstance(action.kind, TypeText) and isinstance(action.kind.source, str):
            uid, _, count = action.kind.source.partition(":")
            for index in range(int(count)):
                result = await self._input(environment_id, uid, index, gate)
                if result is not None:
                    return Performed(result, await self._seen(environment_id))
        score = EnvironmentScore(1.0, success=True) if action.terminal else None
        result = ActResult(ended=action.terminal)
        return Performed(result, await self._seen(environment_id), score)

    async def _input(
        self, environment_id: str, uid: str, index: int, gate: Gate
    ) -> ActResult | None:
        """One input; a result where the action must end with it."""
        try:
            async with gate.input():
                until = self._valid_until(gate)
                heard = self._device.hand_over(environment_id, uid, index, until, self._node)
                refused = await heard
        except PluginError as held:
            return ActResult(OutcomeStatus.INTERRUPTED, held.reason, str(held))
        if refused == "ENVIRONMENT_LOST":
            raise NotFound("ENVIRONMENT_LOST", f"expected an environment, got {environment_id!r}")
        if refused:
            return ActResult(OutcomeStatus.INTERRUPTED, refused)
        return None

    def _valid_until(self, gate: Gate) -> float:
        """On the world's clock; controllers get it from the gate that their executor's kit made."""
        local = getattr(gate, "valid_until", None)
        if local is None:
            return float("inf")
        return (float(local) - self._node.offset_s) / self._node.rate

    async def observe(self, environment_id: str) -> Screen | None:
        """See the port."""
        return await self._seen(environment_id)

    async def destroy(self, environment_id: str) -> None:
        """See the port."""
        await self._pass()
        self._device.environments.pop(environment_id, None)
        self._device.world.say("dstr", self._device.name, environment_id)

    async def destroy_leftovers(self) -> None:
        """See the port."""
        await self._pass()
        for environment_id in sorted(self._device.environments):
            if not environment_id.startswith(f"{self._hint}e"):
                del self._device.environments[environment_id]
                self._device.world.say("dstr", self._device.name, f"{environment_id} left over")

    async def _pass(self) -> None:
        await asyncio.sleep(self._device.world.random.random() * self._device.begin_s)

    async def _seen(self, environment_id: str) -> Screen | None:
        await self._pass()
        return self._screen() if environment_id in self._device.environments else None

    def _screen(self) -> Screen:
        self._screens += 1
        return Screen(f"{self._hint}o{self._screens}", Size(100, 100))
