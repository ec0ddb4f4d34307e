"""How turns begin, go on in another environment or under another owner, and end."""

from __future__ import annotations

import asyncio

from libs.errors import Conflict, PlatformError
from libs.events.topics import OBSERVATIONS, OUTCOMES
from services.session.domain.bodies import environments, kind_of
from services.session.domain.history import History, plan_of
from services.session.domain.messages import OnEnvironmentLost
from services.session.domain.owner import Owner
from services.session.domain.turns import Ending, Turn, ending
from services.session.ports import OpenedBody
from tectum.geometry import Size
from tectum.observations.types import Screen
from tectum.protocol.messages import TurnStarted
from tectum.protocol.types import Body, BodyState

DEFAULT_MAX_STEPS = 100
DEFAULT_STRATEGY = "exemplar"
DEFAULT_POLICY = "default"


class Turning:
    """The turns of one owned session, one after another."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._uris = environments(owner.ledger.state.environment)
        self._one = asyncio.Lock()
        """Held while a turn is being made; interrupts never wait for it."""
        self.waiting = 0
        """Instructions that were accepted and are not begun."""

    @property
    def busy(self) -> bool:
        """Whether a turn is being made, or will be."""
        return self.waiting > 0 or self._one.locked()

    async def instruct(self, text: str, cut: int) -> None:
        """Begin a turn, interrupting the one under way; a later wish of the caller ends it at once."""
        owner = self._owner
        try:
            async with self._one:
                if owner.closing:
                    return
                if owner.turn is not None or not owner.fresh:
                    # Turns share no epoch, so what is late from one cannot be taken for the next.
                    raised = await owner.raise_epoch("INSTRUCTION")
                    await owner.end_turn(
                        Ending("INTERRUPTED", "a new instruction came"), below=raised.epoch
                    )
                await self._begin(text, 1, cut)
        finally:
            self.waiting -= 1
            owner.wake.set()

    async def first(self, text: str) -> None:
        """Open the environments of a new session and begin its first turn, if there is something to do.

        Raises:
            PlatformError: the environments could not be opened.
        """
        owner, cut = self._owner, self._owner.cuts
        async with self._one:
            screen = await self._furnish(1)
            said = text or owner.ledger.state.instruction
            if said and cut == owner.cuts:
                await self._start(said, 1, screen or await self._look())

    async def _begin(self, text: str, attempt: int, cut: int) -> None:
        """Open what is missing, look, publish TurnStarted; where that fails say TURN_ENDED."""
        owner, failure = self._owner, Ending("INTERRUPTED")
        try:
            if cut == owner.cuts:
                screen = await self._furnish(attempt) or await self._look()
                await owner.unpaused.wait()
            if cut == owner.cuts and not owner.closing and not owner.fencing_now:
                await self._start(text, attempt, screen)
                return
        except PlatformError as error:
            if isinstance(error, Conflict) or error.reason == "LOG_DOWN":
                raise
            failure = Ending(error.reason, str(error))
        if owner.turn is not None:
            await owner.end_turn(failure)
        elif not owner.closing:
            await owner.say_ended(failure, text, owner.epoch)
            await owner.ledger.save(working=False)

    async def _furnish(self, attempt: int) -> Screen | None:
        """Open the environments that are missing; the first one's screen, if it was opened now."""
        owner, ledger = self._owner, self._owner.ledger
        first: OpenedBody | None = None
        placed = _placed(self._uris, ledger.state.bodies)
        for index, uri in enumerate(self._uris):
            if placed[index] is not None:
                continue
            start = ledger.state.starts.get(OUTCOMES, 0)
            opened = await owner.bodies.open(uri, attempt, start)
            owner.opened_at[opened.body.home] = owner.parts.clock.monotonic()
            placed[index] = opened.body
            instruction = ledger.state.instruction
            if index == 0:
                first = opened
                instruction = instruction or opened.instruction
            # An interrupt may have parted with others meanwhile: only those that stand stay.
            stands = {*ledger.state.bodies, opened.body}
            bodies = tuple(body for body in placed if body is not None and body in stands)
            # Written down before its first grant (rule 2).
            await ledger.save(bodies=bodies, instruction=instruction)
        return first.screen if first is not None else None

    async def _look(self) -> Screen:
        bodies = self._owner.ledger.state.bodies
        screen = await self._owner.bodies.look(bodies[0]) if bodies else None
        return screen or Screen(observation_id=self._owner.parts.new_id(), size=Size(0, 0))

    async def _start(self, text: str, attempt: int, screen: Screen) -> None:
        owner, agent = self._owner, self._owner.agent
        state, max_steps = owner.ledger.state, agent.max_steps or DEFAULT_MAX_STEPS
        if not state.bodies:
            await owner.say_ended(Ending("ENVIRONMENT_LOST"), text, owner.epoch)
            return
        now = owner.parts.clock.monotonic()
        turn = Turn(text, owner.epoch, state.step + 1, max_steps, attempt, now)
        owner.turn, owner.fresh = turn, False
        # The whole range of steps is reserved first: a late plan of this turn meets none of the next.
        step = turn.reserved
        await owner.ledger.save(working=True, step=step, instruction=text, attempt=attempt)
        if owner.turn is not turn:
            return
        started = TurnStarted(
            session_id=owner.session_id,
            epoch=turn.epoch,
            first_step=turn.first_step,
            instruction=text,
            strategy=agent.strategy or DEFAULT_STRATEGY,
            strategy_settings=agent.strategy_settings,
            body=state.bodies[0],
            screen=screen,
            attempt=attempt,
            secret_names=state.secret_names,
            policy=agent.policy or DEFAULT_POLICY,
            max_steps=max_steps,
        )
        epoch = turn.epoch
        event_id = f"{owner.session_id}/{epoch.term}.{epoch.n}/{turn.first_step}/turn"
        await owner.ledger.append(OBSERVATIONS, started, event_id)
        owner.wake.set()

    async def finish(self, turn: Turn) -> None:
        """The turn ended by its own outcome."""
        owner, outcome = self._owner, turn.ended
        if outcome is None or owner.turn is not turn:
            return
        plan = turn.plan
        if plan is None or plan.step != outcome.step:
            parts, starts = owner.parts, owner.ledger.state.starts
            plan = await plan_of(parts.log, parts.codec, owner.session_id, starts, outcome.step)
        if owner.turn is turn:
            await owner.end_turn(ending(outcome, plan))

    async def cut(self, reason: str) -> None:
        """The owner ends the turn: a limit was reached."""
        raised = await self._owner.raise_epoch(reason)
        await self._owner.end_turn(Ending(reason), below=raised.epoch)

    async def replace_lost(self) -> None:
        """Homes are gone: fence, and go on in fresh ones if the policy allows."""
        owner = self._owner
        async with self._one:
            if not owner.lost or owner.closing:
                return
            turn, cut = owner.turn, owner.cuts
            raised = await owner.raise_epoch("ENVIRONMENT_LOST", "; ".join(owner.lost.values()))
            owner.lost.clear()
            if turn is None or owner.turn is not turn:
                return
            if not self._may_go_on(turn.attempt + 1):
                await owner.end_turn(Ending("ENVIRONMENT_LOST"), below=raised.epoch)
                return
            owner.turn = None
            await self._begin(turn.instruction, turn.attempt + 1, cut)

    async def unpause(self) -> None:
        """The client is back: begin the paused turn anew."""
        owner = self._owner
        turn, cut = owner.turn, owner.cuts
        # Not under the lock: a turn that is being made waits for this.
        if not await owner.unpause():
            return
        async with self._one:
            if turn is not None and owner.turn is turn:
                owner.turn = None
                await self._begin(turn.instruction, turn.attempt, cut)

    async def restore(self, history: History) -> None:
        """Fence every body anew, then go on where the predecessor stopped (rule 3)."""
        owner, cut, old = self._owner, self._owner.cuts, self._owner.turn
        async with self._one:
            raised = await owner.fence_takeover()
            lost = any(report.state is not BodyState.CONFIRMED for report in raised.bodies)
            if old is not None and old.ended is not None:
                await self.finish(old)
            if owner.closing or history.closing or history.closed is not None:
                return
            text = self._pending(history) if cut == owner.cuts else None
            if text is not None:
                await owner.end_turn(Ending("INTERRUPTED", "a new instruction came"))
                await self._begin(text, 1, cut)
            elif old is not None and owner.turn is old:
                await self._go_on(old, cut, lost=lost)
            elif owner.turn is None and owner.ledger.state.working:
                await self._close_turn(history)

    async def _go_on(self, old: Turn, cut: int, *, lost: bool) -> None:
        attempt = old.attempt + 1 if lost else old.attempt
        if lost and not self._may_go_on(attempt):
            await self._owner.end_turn(Ending("ENVIRONMENT_LOST"))
            return
        self._owner.turn = None
        await self._begin(old.instruction, attempt, cut)

    async def _close_turn(self, history: History) -> None:
        """The predecessor cut its turn, and may not have said that it ended."""
        owner, turn = self._owner, history.turn
        if turn is not None and history.said_ended < turn.epoch:
            await owner.say_ended(Ending("INTERRUPTED"), turn.instruction, turn.epoch)
        await owner.ledger.save(working=False)

    def resumed(self, history: History) -> Turn | None:
        """The predecessor's turn, if it should go on."""
        started = history.working
        if started is None:
            return None
        turn = Turn(
            instruction=started.instruction,
            epoch=started.epoch,
            first_step=started.first_step,
            max_steps=started.max_steps or DEFAULT_MAX_STEPS,
            attempt=started.attempt,
            began_at=self._owner.parts.clock.monotonic(),
        )
        if history.ended is not None:
            turn.saw_outcome(history.ended)
        return turn

    def _pending(self, history: History) -> str | None:
        """What was asked for and not begun: an instruction, or the first turn of all."""
        state = self._owner.ledger.state
        if history.instruction is not None:
            return history.instruction
        if history.turn is None and not history.cut and state.attempt == 0:
            return state.instruction or None
        return None

    def _may_go_on(self, attempt: int) -> bool:
        owner = self._owner
        fresh = owner.agent.on_environment_lost is OnEnvironmentLost.FRESH
        return fresh and attempt <= owner.parts.limits.attempts_max


def _placed(uris: tuple[str, ...], bodies: tuple[Body, ...]) -> list[Body | None]:
    """Which body stands for which environment: by kind, in order."""
    left = list(bodies)
    placed: list[Body | None] = []
    for uri in uris:
        found = next((body for body in left if body.kind is kind_of(uri)), None)
        if found is not None:
            left.remove(found)
        placed.append(found)
    return placed
