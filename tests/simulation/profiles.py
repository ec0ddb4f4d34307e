"""Kinds of scenario: who takes part, how bad the weather is, which faults are likely, and when they strike."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.simulation.world import Weather


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault at a moment of the protocol, in every seed of its profile."""

    fault: str
    kind: str
    """Of what is said."""
    who: str
    """Who says it, and is struck; the beginning of a name."""
    word: str
    count_max: int = 4
    """It strikes at the first to this time."""
    fuse_max: int = 4
    """And up to so many callbacks later."""
    length_s: tuple[float, float] = (0.0, 8.0)


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of scenario, and how likely each of its faults is."""

    name: str
    weather: Weather = field(default_factory=Weather)
    replicas: int = 3
    callers: tuple[int, int] = (1, 2)
    environments: tuple[str, ...] = ("fake://a", "robot://a", "speech://a")
    deeds: tuple[str, ...] = (
        "instruct", "instruct", "interrupt", "interrupt", "elsewhere", "sever", "leave", "repeat",
    )  # fmt: skip
    deeds_max: int = 8
    faults: tuple[str, ...] = ("kill", "pause", "replace", "cut", "outage", "evict", "compact")
    faults_max: int = 4
    victims: tuple[str, ...] = (
        "s0", "s1", "s2", "gui0", "gui1", "robot0", "speech0", "planner", "guard",
    )  # fmt: skip
    length_s: float = 5.0
    triggered: float = 0.6
    """Chance that a fault waits for a moment of the protocol instead of the clock."""
    strikes: tuple[Strike, ...] = ()
    inputs_max: int = 4
    """Most inputs of one action."""
    stall: float = 0.02
    """Chance that a device begins an input late, up to `stall_s` later."""
    stall_s: float = 0.5
    begin_s: float = 0.02
    """Usual upper end of the time until a device begins an input."""
    twins: float = 0.0
    """Chance that the planner plans a step twice, for two bodies, as two planners would."""


_CALM = Weather(tail=0.0, drop=0.0, duplicate=0.0, log_tail=0.0, lost_ack=0.0)
_ROUGH = Weather(tail=0.1, drop=0.05, duplicate=0.08, log_tail=0.1, lost_ack=0.03)
_LATE = Weather(tail=0.3, tail_s=0.5, log_tail=0.3, log_tail_s=0.4, drop=0.0)
_SLOW_SESSIONS = Weather(slow=0.6, tail=0.0, log_tail=0.0, drop=0.0)
_OWNERS = ("s0", "s1", "s2")
_EXECUTORS = ("gui0", "gui1", "robot0", "speech0")

PROFILES = (
    Profile("calm", _CALM, faults=()),
    Profile("mixed"),
    Profile("rough", _ROUGH, faults_max=3),
    Profile(
        "owners",
        faults=("kill", "pause", "pause", "replace", "cut"),
        victims=_OWNERS,
        inputs_max=20,
    ),
    Profile(
        "executors",
        faults=("kill", "kill", "pause", "replace"),
        victims=_EXECUTORS,
        inputs_max=20,
    ),
    Profile("log", faults=("outage", "outage", "evict", "compact", "kill"), faults_max=5),
    Profile(
        "interrupts",
        _LATE,
        deeds=("interrupt", "interrupt", "elsewhere", "instruct"),
        deeds_max=12,
        callers=(1, 1),
        faults_max=2,
    ),
    Profile(
        "bodies",
        environments=("fake://a robot://b speech://c", "speech://c fake://a"),
        faults_max=3,
        twins=0.3,
    ),
    # An owner that cannot reach its bodies: leases run out, and may not be granted meanwhile.
    Profile(
        "unreachable",
        _SLOW_SESSIONS,
        callers=(1, 1),
        environments=("robot://a", "speech://a"),
        deeds=("interrupt",),
        faults=(),
        strikes=(Strike("apart", "send", "s", "hold", 1, 1, (1.4, 2.3)),),
        inputs_max=150,
        begin_s=0.05,
        length_s=9.0,
    ),
    # An owner that was replaced, does not know it, and still has the executor's ear.
    Profile(
        "deposed",
        callers=(1, 1),
        environments=("robot://a", "speech://a"),
        deeds=("sever", "sever", "instruct"),
        deeds_max=5,
        faults=("pause",),
        faults_max=1,
        victims=_OWNERS,
        strikes=(Strike("loyal", "ackd", "c", "1", 1, 1, (4.0, 6.0)),),
        inputs_max=200,
        begin_s=0.05,
        length_s=8.0,
    ),
    # Last links that hang with a command, while their executor dies or nobody reaches it.
    Profile(
        "hung",
        faults=("kill", "pause", "pause", "cut", "replace"),
        victims=_EXECUTORS,
        strikes=(Strike("crash", "hand", "", "", 10, 2, (0.0, 0.3)),),
        inputs_max=6,
        stall=0.2,
        stall_s=9.0,
        length_s=8.0,
    ),
    # A browser that hangs with a command when its executor dies, or stands still for long.
    Profile(
        "orphaned",
        callers=(1, 1),
        environments=("fake://a",),
        faults=(),
        strikes=(Strike("crash", "hand", "gui", "", 5, 2, (0.0, 0.3)),),
        inputs_max=6,
        stall=0.6,
        stall_s=6.0,
    ),
    Profile(
        "frozen",
        callers=(1, 1),
        environments=("fake://a",),
        deeds=("interrupt", "interrupt", "instruct"),
        faults=(),
        strikes=(Strike("pause", "hand", "gui", "", 5, 1, (6.0, 14.0)),),
        inputs_max=6,
        stall=0.6,
        stall_s=14.0,
        length_s=12.0,
    ),
    # Stops that meet grants on their way.
    Profile(
        "crossing",
        Weather(tail=0.0, log_tail=0.0, slow=0.7, slow_topic="tectum.actions", late_grants=0.5),
        callers=(1, 1),
        deeds=("instruct",),
        deeds_max=6,
        faults=(),
        strikes=tuple(
            Strike("stop", kind, who, "ask_lease", 6, 1)
            for kind, who in (
                ("answ", "s"),
                ("answ", "s"),
                ("recv", "s"),
                ("send", ""),
                ("send", ""),
            )
        ),
    ),
    # Stops that meet a device with a command in it.
    Profile(
        "stopping",
        callers=(1, 1),
        deeds=("instruct", "interrupt", "elsewhere"),
        deeds_max=10,
        faults=(),
        inputs_max=60,
        stall=0.1,
    ),
    # A client that goes as soon as it has spoken, and a log that tells of both in any order.
    Profile(
        "parting",
        Weather(log_tail=0.4, log_tail_s=0.5, tail=0.0, drop=0.0),
        replicas=1,
        callers=(1, 1),
        deeds=("instruct", "leave", "sever"),
        deeds_max=8,
        faults=(),
    ),
    # Two plans of one step for two bodies, and a log that tells them late of each other.
    Profile(
        "twins",
        _LATE,
        callers=(1, 1),
        environments=("fake://a robot://b speech://c", "speech://c fake://a"),
        faults=(),
        twins=0.6,
    ),
)
"""Every seed has one of them."""

MOMENTS = (
    ("appd", "outcomes"), ("appd", "sessions"), ("appd", "control"), ("appd", "observations"),
    ("appd", "plans"), ("appd", "actions"), ("recv", "hold"), ("answ", "hold"), ("recv", "ask_lease"),
    ("answ", "ask_lease"), ("send", "ask_lease"), ("send", "hold"), ("recv", "open_home"), ("hand", ""),
    ("INPUT", ""), ("fenc", ""),
)  # fmt: skip
"""Moments of the protocol that faults wait for: what is said, and a word in it."""
