"""What lies between the simulated processes: a seeded network, and the faults of both network and log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from libs.errors import DeadlineExceeded, DependencyDown, PlatformError
from tests.simulation.loop import SimLoop
from tests.simulation.node import Node

if TYPE_CHECKING:
    from tests.simulation.stream import SimStream

Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad it is; lengths in simulated seconds, chances in 0 to 1."""

    delay_s: float = 0.004
    """Usual upper end of one way between two processes."""
    tail_s: float = 0.6
    """Upper end of one way that is unlucky."""
    tail: float = 0.03
    drop: float = 0.02
    duplicate: float = 0.03
    cancel: float = 0.5
    """Chance that a server hears that its caller gave up."""
    log_delay_s: float = 0.003
    log_tail_s: float = 0.8
    log_tail: float = 0.03
    slow: float = 0.0
    """Chance that an append to a topic that begins with `slow_topic` takes up to `log_timeout_s`."""
    slow_topic: str = "tectum.sessions"
    late_grants: float = 0.0
    """Chance that the answer to an ask for a lease takes up to `log_timeout_s`."""
    lost_ack: float = 0.01
    """Chance that what was appended is answered with DependencyDown."""
    log_timeout_s: float = 1.0
    """How long a caller waits until the log is said to be down."""
    batch: int = 8
    """Most records in one delivery."""


@dataclass(slots=True)
class Trigger:
    """A fault that waits for the nth time that something is said; `who` may be the beginning of a name."""

    kind: str
    who: str
    word: str
    countdown: int
    call: Callable[[str], object]
    """Called with who said it."""


class World:
    """Owns the loop, the seeded randomness of the faults, and the trace."""

    def __init__(
        self, seed: int, weather: Weather, *, trace: Callable[[str], None] | None = None
    ) -> None:
        self.seed = seed
        self.loop = SimLoop(seed)
        self.random = random.Random(f"world/{seed}")
        self.weather = weather
        self.here = self.loop.node("world")
        self.network = Network(self)
        self.streams: list[SimStream] = []
        self.over = False
        self._trace = trace
        self._triggers: list[Trigger] = []
        if trace is not None:
            self.loop.on_step = self._on_step

    @property
    def now(self) -> float:
        """Seconds since the start, on no process' clock."""
        return self.loop.now

    def say(self, kind: str, who: str, what: str) -> None:
        """Note what happened: for the trace, for its hash, and for faults that wait for it."""
        if self.over:
            return
        line = f"{kind} {who} {what}"
        self.loop.mix(line)
        if self._trace is not None:
            self._trace(f"{self.now:10.4f} {line}")
        if self._triggers:
            self._pull(kind, who, what)

    def on(self, trigger: Trigger) -> None:
        """Call it when what it waits for is said, once."""
        self._triggers.append(trigger)

    def _pull(self, kind: str, who: str, what: str) -> None:
        for trigger in tuple(self._triggers):
            if trigger.kind == kind and who.startswith(trigger.who) and trigger.word in what:
                trigger.countdown -= 1
                if trigger.countdown <= 0:
                    self._triggers.remove(trigger)
                    trigger.call(who)

    def after(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        """Call back later, whoever is paused or dead."""
        self.loop.at(self.now + delay_s, callback, *args, node=self.here)

    def chance(self, probability: float) -> bool:
        """Whether something with this probability happens now."""
        return probability > 0 and self.random.random() < probability

    def way(self) -> float:
        """Seconds of one way through the network."""
        weather, draw = self.weather, self.random.random
        if draw() < weather.tail:
            return draw() * weather.tail_s
        return draw() * weather.delay_s

    def log_way(self) -> float:
        """Seconds of one way to the log or back."""
        weather, draw = self.weather, self.random.random
        if draw() < weather.log_tail:
            return draw() * weather.log_tail_s
        return draw() * weather.log_delay_s

    def calm(self) -> None:
        """No more faults: what is alive must now come to an end."""
        self.weather = Weather(
            tail=0, drop=0, duplicate=0, cancel=1, log_tail=0, lost_ack=0, batch=self.weather.batch
        )
        self.network.heal()
        self.network.unbar()

    def _on_step(self, node: Node, callback: Callable[..., object]) -> None:
        owner = getattr(callback, "__self__", None)
        thing = owner.get_coro() if isinstance(owner, asyncio.Task) else callback
        name = getattr(thing, "__qualname__", type(thing).__name__)
        if self._trace is not None:
            self._trace(f"{self.now:10.4f} . {node.name} {name}")


class Network:
    """Request and reply between processes, each way on its own delay, with losses, repeats and partitions."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._endpoints: dict[str, tuple[Node, dict[str, Handler]]] = {}
        self._cut: set[tuple[str, str]] = set()
        self._barred: set[tuple[str, str]] = set()
        self._calls = 0

    def serve(self, address: str, node: Node, handlers: dict[str, Handler]) -> None:
        """Answer at `address` from now on; a later one at the same address takes its place."""
        self._endpoints[address] = (node, handlers)

    def cut(self, names: Iterable[str], others: Iterable[str]) -> None:
        """Let nothing through between these processes."""
        others = tuple(others)
        for name in names:
            for other in others:
                self._cut.add((name, other))
                self._cut.add((other, name))

    def bar(self, source: str, targets: Iterable[str]) -> None:
        """Let no call of `source` reach these; what they call at `source` is answered."""
        self._barred.update((source, target) for target in targets)

    def bars(self, source: Node, target: Node) -> bool:
        """Whether calls in this direction do not arrive."""
        return bool(self._barred) and (source.name, target.name) in self._barred

    def unbar(self) -> None:
        """Let every call through again."""
        self._barred.clear()

    def heal(self) -> None:
        """Let everything through again."""
        self._cut.clear()

    def is_cut(self, source: Node, target: Node) -> bool:
        """Whether the two are in different parts."""
        return bool(self._cut) and (source.name, target.name) in self._cut

    async def call(
        self, source: Node, address: str, method: str, *args: Any, timeout_s: float = 5.0
    ) -> Any:
        """Ask `method` at `address`.

        Raises:
            PlatformError: what the handler raised; DependencyDown where nobody answers there (UNAVAILABLE),
                DeadlineExceeded where no answer came in `timeout_s` (RPC_DEADLINE).
        """
        world = self._world
        self._calls += 1
        call = _Call(self._world, source, address, method, args, self._calls)
        world.say("send", source.name, f"#{call.number} {method} -> {address}")
        call.depart()
        if world.chance(world.weather.duplicate):
            call.depart()
        try:
            async with asyncio.timeout(timeout_s):
                return await call.answer
        except TimeoutError:
            raise DeadlineExceeded(
                "RPC_DEADLINE", f"{method} at {address}: no answer in {timeout_s} s"
            ) from None
        finally:
            call.give_up()

    def endpoint(self, address: str) -> tuple[Node, dict[str, Handler]] | None:
        """Who answers there."""
        return self._endpoints.get(address)


class _Call:
    def __init__(
        self,
        world: World,
        source: Node,
        address: str,
        method: str,
        args: tuple[Any, ...],
        number: int,
    ) -> None:
        self.world, self.source, self.address = world, source, address
        self.method, self.args, self.number = method, args, number
        self.answer: asyncio.Future[Any] = source.loop.create_future()
        self._served: list[tuple[Node, asyncio.Task[None]]] = []
        self._told = False

    def depart(self) -> None:
        world = self.world
        if not world.chance(world.weather.drop):
            world.after(world.way(), self._arrive)

    def _arrive(self) -> None:
        world = self.world
        endpoint = world.network.endpoint(self.address)
        if endpoint is not None and (
            world.network.is_cut(self.source, endpoint[0])
            or world.network.bars(self.source, endpoint[0])
        ):
            return
        if endpoint is None or not endpoint[0].alive:
            down = DependencyDown(
                "UNAVAILABLE", f"expected an answer at {self.address}, nobody is there"
            )
            self._reply(None, down)
            return
        node, handlers = endpoint
        world.say("recv", node.name, f"#{self.number} {self.method} from {self.source.name}")
        node.post(self._serve, node, handlers[self.method])

    def _serve(self, node: Node, handler: Handler) -> None:
        self._served.append((node, node.spawn(self._run(node, handler))))

    async def _run(self, node: Node, handler: Handler) -> None:
        try:
            result = await handler(*self.args)
        except PlatformError as error:
            self._answer(node, None, error)
        except Exception as error:  # noqa: BLE001
            world = self.world
            world.loop.errors.append(f"{node.name}: {self.method} raised {error!r}")
            self._answer(node, None, DependencyDown("INTERNAL", "the server has a bug"))
        else:
            self._answer(node, result, None)

    def _answer(self, node: Node, result: Any, error: PlatformError | None) -> None:
        world = self.world
        said = error.reason if error is not None else "ok"
        world.say("answ", node.name, f"#{self.number} {self.method} {said}")
        if world.network.is_cut(node, self.source) or world.chance(world.weather.drop):
            return
        self._reply(result, error)

    def _reply(self, result: Any, error: PlatformError | None) -> None:
        world = self.world
        delay = world.way()
        if self.method == "ask_lease" and world.chance(world.weather.late_grants):
            delay += world.random.random() * world.weather.log_timeout_s
        world.loop.at(world.now + delay, self._deliver, result, error, node=self.source)

    def _deliver(self, result: Any, error: PlatformError | None) -> None:
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)

    def give_up(self) -> None:
        """Tell the server, perhaps, that nobody waits any more."""
        world = self.world
        if self._told or world.over or (self.answer.done() and not self.answer.cancelled()):
            return
        self._told = True
        if world.chance(world.weather.cancel):
            world.after(world.way(), self._cancel)

    def _cancel(self) -> None:
        for node, task in self._served:
            node.post(task.cancel)
