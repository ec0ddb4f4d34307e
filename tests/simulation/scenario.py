"""What happens in one seed: who takes part, what callers do, which faults come when."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from libs.events.topics import topic_specs
from libs.executor.rules import ExecutorRules
from services.session.domain.rules import SessionRules
from tectum.protocol.types import BodyKind
from tests.simulation.broker import Broker
from tests.simulation.client import Caller, Deed
from tests.simulation.devices import Device
from tests.simulation.loop import SimulationStuckError, deaf
from tests.simulation.minds import GuardProcess, PlannerProcess, Slot
from tests.simulation.processes import ExecutorProcess, Process, Replica
from tests.simulation.profiles import MOMENTS, PROFILES, Profile
from tests.simulation.view import judge_view
from tests.simulation.witness import Violation, Witness
from tests.simulation.world import Trigger, World


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in force; the self-test switches one off."""

    session: SessionRules = field(default_factory=SessionRules)
    executor: ExecutorRules = field(default_factory=ExecutorRules)
    slot: Slot | None = None


_EXECUTORS = ("gui0", "gui1", "robot0", "speech0")

SETTLE_S = 150.0
"""Simulated seconds without faults in which everything must have ended."""


@dataclass(slots=True)
class Result:
    """What came of one seed."""

    seed: int
    profile: str
    digest: int
    violations: list[Violation]
    errors: list[str]
    steps: int
    inputs: int
    interrupts: int
    length_s: float
    parts: list[str]

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations and not self.errors


class Scenario:
    """One simulated system, from a seed."""

    def __init__(
        self,
        seed: int,
        profile: Profile,
        rules: Rules,
        trace: Callable[[str], None] | None,
        drop: frozenset[str],
        enough: frozenset[str],
    ) -> None:
        self.profile = profile
        self._drop = drop
        self.parts: list[str] = []
        """Names of what `drop` may leave out."""
        self.random = random.Random(f"scenario/{seed}")
        self.world = World(seed, profile.weather, trace=trace)
        self.broker = Broker(self.world)
        self.witness = Witness(self.world, enough)
        self.broker.ensure(topic_specs(2))
        self.broker.on_append.append(self.witness.appended)
        self.processes: dict[str, Process] = {}
        self._populate(rules)
        self.callers = [self._caller(index) for index in range(self._count(*profile.callers))]
        self._plan_faults()

    def _count(self, low: int, high: int) -> int:
        return low + int(self.random.random() * (high - low + 1))

    def _keeps(self, part: str) -> bool:
        self.parts.append(part)
        return part not in self._drop

    def _pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.random.random() * len(options))]

    def _populate(self, rules: Rules) -> None:
        world, broker = self.world, self.broker
        kinds = {
            "gui0": BodyKind.GUI,
            "gui1": BodyKind.GUI,
            "robot0": BodyKind.ROBOT,
            "speech0": BodyKind.SPEECH,
        }
        fleet: dict[BodyKind, list[str]] = {}
        for name, kind in kinds.items():
            device = Device(
                world, name, kind, kind is not BodyKind.GUI, self.witness,
                self.profile.begin_s, self.profile.stall, self.profile.stall_s,
            )  # fmt: skip
            self.witness.device(name, enforces_valid_until=device.enforces_valid_until)
            fleet.setdefault(kind, []).append(name)
            self.processes[name] = ExecutorProcess(
                world, broker, device, int(name[-1]), rules.executor
            )
        self.replicas = [
            Replica(world, broker, f"s{n}", fleet, rules.session)
            for n in range(self.profile.replicas)
        ]
        minds = (
            PlannerProcess(world, broker, "planner", self.witness, rules.slot, self.profile),
            GuardProcess(world, broker, "guard", self.witness, rules.slot),
        )
        self.processes.update({p.name: p for p in (*self.replicas, *minds)})

    def _caller(self, index: int) -> Caller:
        profile = self.profile
        script = [
            Deed(self._pick(profile.deeds), self.random.random() ** 2 * 1.2)
            for _ in range(self._count(2, profile.deeds_max))
        ]
        script = [deed for n, deed in enumerate(script) if self._keeps(f"c{index}.{n}")]
        environment = self._pick(profile.environments)
        return Caller(self.world, self.witness, f"c{index}", self.replicas, environment, script)

    # faults

    def _plan_faults(self) -> None:
        for number, strike in enumerate(self.profile.strikes):
            low, high = strike.length_s
            act = self._fault(strike.fault, low + self.random.random() * (high - low))
            countdown = 1 + int(self.random.random() * strike.count_max)
            fuse = int(self.random.random() * strike.fuse_max)
            if self._keeps(f"s{number}"):
                fused = self._fused(fuse, act)
                self.world.on(Trigger(strike.kind, strike.who, strike.word, countdown, fused))
        if self.profile.faults:
            self._plan_chances()

    def _plan_chances(self) -> None:
        for number in range(self._count(1, self.profile.faults_max)):
            act = self._fault(self._pick(self.profile.faults), self.random.random() ** 2 * 8.0)
            who = self._pick(self.profile.victims)
            kind, word = MOMENTS[int(self.random.random() * len(MOMENTS))]
            countdown = 1 + int(self.random.random() ** 2 * 12)
            fuse = int(self.random.random() ** 2 * 12)
            waits = self.random.random() < self.profile.triggered
            when = self.random.random() * self.profile.length_s
            if not self._keeps(f"f{number}"):
                continue
            if waits:
                self.world.on(Trigger(kind, who, word, countdown, self._fused(fuse, act)))
            else:
                self.world.after(when, act, who)

    def _fused(self, fuse: int, act: Callable[[str], None]) -> Callable[[str], None]:
        def call(who: str) -> None:
            process = self.processes.get(who)
            node = process.node if process is not None else None
            if node is not None and node.alive and fuse:
                node.light(fuse, lambda: act(who))
            else:
                act(who)

        return call

    def _fault(self, kind: str, long_s: float) -> Callable[[str], None]:
        """What a fault does to its victim; `others` are drawn now, so that order changes nothing."""
        others = [name for name in self.processes if self.random.random() < 0.5]
        faults: dict[str, Callable[[str], None]] = {
            "kill": lambda victim: self.processes[victim].kill(long_s),
            "crash": lambda victim: self.processes[victim].kill(long_s),
            "pause": lambda victim: self.processes[victim].pause(long_s),
            "replace": lambda victim: self.processes[victim].replace(long_s),
            "cut": lambda victim: self._cut(victim, others, long_s),
            "apart": lambda victim: self._apart(victim, long_s),
            "loyal": lambda _: self._loyal(long_s),
            "stop": lambda _: self._stop(),
            "outage": lambda _: self.broker.outage(long_s),
            "evict": self._evict,
            "compact": lambda _: self.broker.compact(),
        }
        return faults[kind]

    def _cut(self, victim: str, others: list[str], length_s: float) -> None:
        self.world.say("cut", victim, f"from {' '.join(others)} for {length_s:.3f} s")
        self.world.network.cut([victim], [other for other in others if other != victim])
        self.world.after(length_s, self.world.network.heal)

    def _apart(self, victim: str, length_s: float) -> None:
        """Nothing passes; then the executors reach their owner, and it does not reach them yet."""
        self._cut(victim, list(_EXECUTORS), length_s)
        self.world.network.bar(victim, _EXECUTORS)
        self.world.after(length_s + 2.5, self.world.network.unbar)

    def _stop(self) -> None:
        for caller in self.callers:
            caller.node.spawn(caller.stop())

    def _loyal(self, length_s: float) -> None:
        """Executors are reached by the owner that opened their homes, and by no other replica."""
        opened = self.witness.first_owner()
        for replica in self.replicas:
            if replica.name != opened:
                self._cut(replica.name, list(_EXECUTORS), length_s)

    def _evict(self, victim: str) -> None:
        for member in self.broker.members():
            if member.node.name == victim:
                self.broker.evict(member, "at random")

    # the run

    async def run(self) -> None:
        """Let everybody do their worst, then let everything settle."""
        world = self.world
        for process in self.processes.values():
            world.after(self.random.random() * 0.05, process.start)
        for caller in self.callers:
            caller.node.spawn(caller.run())
        await self._sleep(self.profile.length_s)
        self._settle()
        for _ in range(int(SETTLE_S)):
            await self._sleep(1.0)
            if all(caller.done for caller in self.callers):
                break
        for caller in self.callers:
            if not caller.done:
                self.witness.accuse("CALLER_STUCK", f"{caller.name}: {caller.memory}")
        for _ in range(int(SETTLE_S)):
            if not self.witness.unfinished():
                break
            await self._sleep(1.0)
        self.witness.finish()
        for caller in self.callers:
            judge_view(self.broker, self.witness, caller)

    def _settle(self) -> None:
        world = self.world
        world.say("calm", "world", "")
        world.calm()
        for process in self.processes.values():
            world.after(0.1, process.start)
            if isinstance(process, ExecutorProcess):
                process.device.stall = 0.0
        for caller in self.callers:
            caller.finish()

    async def _sleep(self, length_s: float) -> None:
        woken = self.world.loop.create_future()
        self.world.after(length_s, woken.set_result, None)
        await woken


def profile_of(seed: int) -> Profile:
    """Each seed has one profile."""
    return PROFILES[seed % len(PROFILES)]


def profile_named(name: str) -> Profile:
    """The profile of this name.

    Raises:
        ValueError: there is none.
    """
    for profile in PROFILES:
        if profile.name == name:
            return profile
    raise ValueError(f"expected one of {[p.name for p in PROFILES]}, got {name!r}")


def simulate(
    seed: int,
    *,
    rules: Rules | None = None,
    profile: Profile | None = None,
    trace: Callable[[str], None] | None = None,
    drop: frozenset[str] = frozenset(),
    enough: frozenset[str] = frozenset(),
) -> Result:
    """Run one seed to its end, or until one of the promises in `enough` is broken.

    Args:
        seed: Fixes everything.
        rules: Of the protocol; all of them by default.
        profile: The kind of scenario; that of the seed by default.
        trace: Hears every line of what happens.
        drop: Deeds and faults to leave out.
        enough: Promises of which one broken is enough.
    """
    # What the platform logs is about single processes; the trace says more, in order.
    logged = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with deaf():
            return _simulate(
                Scenario(seed, profile or profile_of(seed), rules or Rules(), trace, drop, enough)
            )
    finally:
        logging.disable(logged)


def _simulate(scenario: Scenario) -> Result:
    world, witness = scenario.world, scenario.witness
    try:
        world.loop.run(scenario.run(), world.here)
    except SimulationStuckError as stuck:
        witness.accuse("STUCK", str(stuck))
    finally:
        world.over = True
        result = Result(
            world.seed, scenario.profile.name, world.loop.digest, witness.violations, list(world.loop.errors),
            world.loop.steps, witness.inputs, witness.interrupts, world.now, scenario.parts,
        )  # fmt: skip
        world.loop.close()
    return result
