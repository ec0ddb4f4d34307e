"""The simulated processes: real session, executor, guard and planner code, each on a node of its own."""

from __future__ import annotations

import asyncio
import random
import zlib
from typing import Any

from libs.errors import PlatformError
from libs.events import messages
from libs.events.consumer import StopConsuming
from libs.executor.executor import Executor
from libs.executor.limits import ExecutorLimits
from libs.executor.port import Held, Hold, LeaseAsk, LeaseGrant, OpenedBody, OpenHome
from libs.executor.rules import ExecutorRules
from services.session.domain.limits import SessionLimits
from services.session.domain.rules import SessionRules
from services.session.domain.sessions import Sessions
from services.session.reactor import SessionReactor
from tectum.observations.types import Screen
from tectum.protocol.types import Body, BodyKind
from tests.simulation.broker import Broker
from tests.simulation.devices import Device, DeviceLink
from tests.simulation.log import SimEventLog
from tests.simulation.node import Node, NodeClock
from tests.simulation.world import Handler, World

MEMBER_TIMEOUT_S = 3.0

SESSION_LIMITS = SessionLimits(
    lease_s=2.0,
    hold_try_s=0.4,
    hold_patience_s=1.5,
    log_patience_s=20.0,
    resume_ttl_s=15.0,
    silence_s=4.0,
    outcome_grace_s=2.0,
    retire_s=20.0,
    open_s=10.0,
)

EXECUTOR_LIMITS = ExecutorLimits(
    ask_timeout_s=0.8,
    drain_s=0.8,
    destroy_s=3.0,
    open_s=8.0,
    perform_s=15.0,
    orphan_s=40.0,
    checkpoint_s=10.0,
)


class Process:
    """A slot where one process runs at a time: killed, paused, and started anew by its supervisor."""

    def __init__(self, world: World, broker: Broker, name: str) -> None:
        self.world, self.broker, self.name = world, broker, name
        self.node: Node | None = None
        self.starts = 0
        self.wanted = True
        draw = random.Random(f"clock/{world.seed}/{name}")
        self._offset_s = draw.random() * 1000.0
        self._rate = 1.0 + (draw.random() - 0.5) * 0.02

    def start(self) -> None:
        """Start a new process, unless one is running or the simulation is over."""
        if self.world.over or not self.wanted or (self.node is not None and self.node.alive):
            return
        self.launch()

    def launch(self) -> Node:
        """Start a new process although an old one may be there still."""
        self.starts += 1
        node = self.world.loop.node(self.name, offset_s=self._offset_s, rate=self._rate)
        self.node = node
        self.world.say("strt", self.name, f"{self.starts}")
        node.spawn(self._main(node))
        return node

    def kill(self, restart_after_s: float | None) -> None:
        """End it as SIGKILL does."""
        if self.node is not None and self.node.alive:
            self.end(self.node)
        if restart_after_s is not None:
            self.world.after(restart_after_s, self.start)

    def end(self, node: Node) -> None:
        """Nothing of this process runs any more; others learn of it in their own time."""
        world = self.world
        world.say("kill", self.name, "")
        node.kill()
        self.broker.forget_tails(node)
        world.after(MEMBER_TIMEOUT_S, self.broker.evict_node, node, "died")
        for stream in world.streams:
            if stream.touches(node):
                stream.sever()

    def pause(self, length_s: float) -> None:
        """Let it stand still for a while."""
        node = self.node
        if node is None or not node.alive or node.paused:
            return
        self.world.say("paus", self.name, f"{length_s:.3f} s")
        node.pause()
        if length_s > MEMBER_TIMEOUT_S:
            self.world.after(MEMBER_TIMEOUT_S, self._miss_beat, node)
        self.world.after(length_s, self._go_on, node)

    def replace(self, length_s: float) -> None:
        """Start a replacement although the old process only stands still, and goes on later."""
        if self.node is not None and self.node.alive and not self.world.over and self.wanted:
            self.pause(length_s)
            self.launch()

    def _miss_beat(self, node: Node) -> None:
        if node.paused:
            self.broker.evict_node(node, "paused")

    def _go_on(self, node: Node) -> None:
        if node.alive and node.paused:
            self.world.say("cont", self.name, "")
            node.resume()

    async def _main(self, node: Node) -> None:
        why = "returned"
        try:
            await self.body(node)
        except PlatformError as error:
            why = f"{error.reason}: {error}"
        except Exception as error:  # noqa: BLE001
            why = repr(error)
            if not _expected(error):
                self.world.loop.errors.append(f"{self.name}: {error!r}")
        self.world.say("exit", self.name, why)
        self.end(node)
        self.world.after(0.2, self.start)

    async def body(self, node: Node) -> None:
        """What the process does until it ends."""
        raise AssertionError(f"{self.name} has no body")


def _expected(error: BaseException) -> bool:
    """Whether a process may end with this: the supervisor starts it anew."""
    if isinstance(error, BaseExceptionGroup):
        return all(_expected(part) for part in error.exceptions)
    return isinstance(error, PlatformError | StopConsuming)


class Executors:
    """`services.session.ports.ExecutorGateway` of one replica, over the simulated network."""

    def __init__(self, world: World, node: Node, fleet: dict[BodyKind, list[str]]) -> None:
        self._world, self._node, self._fleet = world, node, fleet

    async def open_home(self, kind: BodyKind, request: OpenHome) -> OpenedBody:
        """See the port; one opening always asks the same executor."""
        addresses = self._fleet[kind]
        address = addresses[zlib.crc32(request.opening_id.encode()) % len(addresses)]
        opened: OpenedBody = await self._call(address, "open_home", request)
        return opened

    async def hold(self, body: Body, request: Hold) -> Held:
        """See the port."""
        held: Held = await self._call(body.address, "hold", request)
        return held

    async def observe_home(self, body: Body, session_id: str) -> Screen | None:
        """See the port."""
        screen: Screen | None = await self._call(
            body.address, "observe_home", session_id, body.home, body.incarnation
        )
        return screen

    async def close_home(self, body: Body, session_id: str) -> None:
        """See the port."""
        await self._call(body.address, "close_home", session_id, body.home)

    async def _call(self, address: str, method: str, *args: Any) -> Any:
        return await self._world.network.call(self._node, address, method, *args)


class Owners:
    """`libs.executor.port.OwnerGateway` of one executor, over the simulated network."""

    def __init__(self, world: World, node: Node) -> None:
        self._world, self._node = world, node

    async def ask_lease(self, owner_address: str, ask: LeaseAsk) -> LeaseGrant:
        """See the port."""
        grant: LeaseGrant = await self._world.network.call(
            self._node, owner_address, "ask_lease", ask
        )
        return grant


class Replica(Process):
    """One replica of the session service: the real domain and reactor."""

    def __init__(
        self,
        world: World,
        broker: Broker,
        name: str,
        fleet: dict[BodyKind, list[str]],
        rules: SessionRules,
    ) -> None:
        super().__init__(world, broker, name)
        self._fleet, self._rules = fleet, rules
        self.sessions: Sessions | None = None

    async def body(self, node: Node) -> None:
        """Build and run it as its composition root does."""
        log = SimEventLog(self.broker, node)
        stem, counter = f"{self.name}.{self.starts}", iter(range(1, 1 << 30))
        sessions = Sessions(
            log=log,
            executors=Executors(self.world, node, self._fleet),
            codec=messages,
            clock=NodeClock(node),
            rng=random.Random(f"{self.world.seed}/{stem}"),
            new_id=lambda: f"{stem}.{next(counter)}",
            new_token=lambda: f"token.{stem}.{next(counter)}",
            address=self.name,
            limits=SESSION_LIMITS,
            rules=self._rules,
        )
        self.sessions = sessions
        reactor = SessionReactor(log, sessions)
        handlers: dict[str, Handler] = {
            "ask_lease": sessions.ask_lease,
            "interrupt": sessions.interrupt,
        }
        self.world.network.serve(self.name, node, handlers)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sessions.run())
            tasks.create_task(reactor.run())


class ExecutorProcess(Process):
    """One executor: the real kit over a device that outlives it."""

    def __init__(
        self, world: World, broker: Broker, device: Device, ordinal: int, rules: ExecutorRules
    ) -> None:
        super().__init__(world, broker, device.name)
        self.device, self._ordinal, self._rules = device, ordinal, rules

    async def body(self, node: Node) -> None:
        """Build, recover and run it as its composition root does."""
        log = SimEventLog(self.broker, node)
        executor = Executor(
            ordinal=self._ordinal,
            link=DeviceLink(self.device, node, f"{self.name}i{self.starts}"),
            log=log,
            owners=Owners(self.world, node),
            clock=NodeClock(node),
            address=self.name,
            limits=EXECUTOR_LIMITS,
            rules=self._rules,
        )
        await executor.recover()
        handlers: dict[str, Handler] = {
            "open_home": executor.open_home,
            "hold": executor.hold,
            "observe_home": executor.observe_home,
            "close_home": executor.close_home,
        }
        self.world.network.serve(self.name, node, handlers)
        await executor.run()
