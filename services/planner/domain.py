"""The agent loop's decision: one bounded state for each session's turn, one plan for each
observation.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from libs.errors import DeadlineExceeded, DependencyDown, InvalidRequest, PlatformError
from services.planner.ports import (
    Clock,
    ExemplarSearch,
    Offloader,
    PlannerLimits,
    PlanSink,
    Strategies,
    TurnLog,
    TurnRecord,
)
from services.planner.targets import target_of
from tectum.actions.types import Action, Fail, WaitUntilStable
from tectum.observations.types import Screen
from tectum.plugins import Choice, PastStep, PluginError, Strategy, StrategyContext
from tectum.protocol.messages import Control, ControlKind, Outcome, OutcomeStatus, Plan, TurnStarted
from tectum.protocol.types import Epoch

_logger = logging.getLogger(__name__)

_GONE = frozenset({"ENVIRONMENT_LOST", "BROWSER_GONE"})
"""Outcomes after which the session begins a new turn, or ends."""

_DOWN = frozenset({"MODEL_DOWN"})
"""What a strategy says of something that does not answer; everything else the caller must change."""


@dataclass(slots=True)
class _Turn:
    """A turn as far as it has come."""

    started: TurnStarted
    strategy: Strategy | None
    refusal: PluginError | None
    screen: Screen
    history: list[PastStep] = field(default_factory=list)
    plan: Plan | None = None
    """The last plan; its outcome is awaited."""
    published: bool = False
    """Whether the log acknowledged it; a plan that it did not is published by the retried handler."""
    known: dict[int, Plan] = field(default_factory=dict)
    """Plans that an earlier process of this planner published, by step: they stand."""
    over: bool = False
    thinking: asyncio.Timeout | None = None

    @property
    def next_step(self) -> int:
        return self.started.first_step if self.plan is None else self.plan.step + 1

    def end(self) -> None:
        """Nothing more is planned; what is being thought is broken off."""
        self.over = True
        # Taken away at once, since a time-out that has begun to expire cannot be moved again.
        thinking, self.thinking = self.thinking, None
        if thinking is not None:
            thinking.reschedule(0.0)


class Planner:
    """Turns observations into plans; every method may be called again with the same event."""

    def __init__(
        self,
        strategies: Strategies,
        memory: ExemplarSearch,
        plans: PlanSink,
        log: TurnLog,
        offload: Offloader,
        clock: Clock,
        limits: PlannerLimits,
        left_out: Sequence[str] = (),
    ) -> None:
        self.strategies = strategies
        self._left_out = left_out
        self._memory = memory
        self._plans = plans
        self._log = log
        self._offload = offload
        self._clock = clock
        self._limits = limits
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._epochs: OrderedDict[str, Epoch] = OrderedDict()

    async def begin(self, started: TurnStarted) -> None:
        """Begin a turn with its first plan; a turn of an old epoch is dropped.

        Raises:
            DependencyDown, Conflict: the log could not be read, or the plan not be published.
        """
        known = self._turns.get(started.session_id)
        if known is None:
            # The event may come again after a restart: what was planned then stands.
            record = await self._log.last_turn(started.session_id)
            if record is not None and _order(record.started) >= _order(started):
                known = self._open(record.started)
                known.known = _first(record.plans)
        if started.epoch < self._epochs.get(started.session_id, Epoch()):
            return
        if known is not None and _order(known.started) > _order(started):
            return
        if known is None or _order(known.started) < _order(started):
            known = self._open(started)
        if known.plan is None:
            await self._plan(known)
        else:
            await self._publish(known, known.plan)

    async def go_on(self, outcome: Outcome) -> None:
        """Take an outcome in and plan the next step; what is not awaited is dropped.

        Raises:
            DependencyDown, Conflict: the log could not be read, or the plan not be published.
        """
        turn = self._turns.get(outcome.session_id)
        if turn is None:
            turn = await self._rebuild(outcome.session_id, outcome.step)
        if turn is None or turn.over or outcome.epoch != turn.started.epoch:
            return
        self._turns.move_to_end(outcome.session_id)
        if turn.plan is None or outcome.step > turn.plan.step:
            return
        if turn.started.epoch < self._epochs.get(outcome.session_id, Epoch()):
            turn.over = True
            return
        if outcome.step < turn.plan.step:
            await self._publish(turn, turn.plan)
            return
        _take(turn, outcome)
        if not turn.over:
            await self._plan(turn, unseen=outcome.screen is None)

    def control(self, control: Control) -> None:
        """Note a raised epoch or an end: what is thought for an older epoch is broken off."""
        session_id = control.session_id
        if control.epoch > self._epochs.get(session_id, Epoch()):
            self._epochs[session_id] = control.epoch
            self._epochs.move_to_end(session_id)
            if len(self._epochs) > self._limits.turns_max:
                self._epochs.popitem(last=False)
        turn = self._turns.get(session_id)
        if turn is None:
            return
        # What ends a turn without a new epoch is known from its outcome; across topics there is no order,
        # so an end that is read late must not stop the turn that began after it.
        if turn.started.epoch < control.epoch or control.kind is ControlKind.CLOSED:
            turn.end()
        if control.kind is ControlKind.CLOSED:
            self._turns.pop(session_id, None)

    async def decide(
        self,
        instruction: str,
        strategy: str,
        settings: str,
        history: Sequence[PastStep],
        screen: Screen,
    ) -> Choice:
        """Decide for a history that the caller holds.

        Raises:
            InvalidRequest: STRATEGY_UNKNOWN, STRATEGY_SETTINGS_INVALID, or what the strategy
            refuses.
            DependencyDown: what the strategy needs does not answer (MODEL_DOWN).
            DeadlineExceeded: STRATEGY_TIMEOUT.
        """
        try:
            async with asyncio.timeout(self._limits.thinking_s):
                chosen = self._create(strategy, settings, ())
                return await chosen.decide(instruction, history, screen)
        except PluginError as error:
            refusal = DependencyDown if error.reason in _DOWN else InvalidRequest
            raise refusal(error.reason, str(error)) from error
        except TimeoutError:
            raise DeadlineExceeded("STRATEGY_TIMEOUT", self._too_slow()) from None

    def _create(self, name: str, settings: str, secrets: tuple[str, ...]) -> Strategy:
        plugin = self.strategies.get(name)
        if plugin is None:
            left_out = "; it is installed, but was left out because it is broken"
            raise PluginError(
                "STRATEGY_UNKNOWN",
                f"expected a strategy of {sorted(self.strategies)}, got {name!r}"
                + (left_out if name in self._left_out else ""),
            )
        return plugin.create(StrategyContext(self._memory, settings, self._offload, secrets))

    def _open(self, started: TurnStarted) -> _Turn:
        strategy, refusal = None, None
        try:
            strategy = self._create(
                started.strategy, started.strategy_settings, started.secret_names
            )
        except PluginError as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 (a plug-in's bug, logged there)
            refusal = _broken(started.strategy, error)
        turn = _Turn(started, strategy, refusal, started.screen)
        old = self._turns.pop(started.session_id, None)
        if old is not None:
            old.over = True
            if old.thinking is not None:
                old.thinking.reschedule(0.0)
        self._turns[started.session_id] = turn
        if len(self._turns) > self._limits.turns_max:
            self._turns.popitem(last=False)
        return turn

    async def _rebuild(self, session_id: str, step: int) -> _Turn | None:
        """The turn as it stood when the plan of `step` was published."""
        record = await self._log.last_turn(session_id)
        if record is None:
            return None
        turn = self._open(record.started)
        turn.known = _first(record.plans)
        _replay(turn, record, step)
        return turn

    async def _plan(self, turn: _Turn, *, unseen: bool = False) -> None:
        started = turn.started
        if turn.next_step in turn.known:
            # It is in the log already: thinking again could say otherwise.
            turn.plan, turn.published = turn.known[turn.next_step], True
            return
        begun = self._clock.monotonic()
        if len(turn.history) >= (started.max_steps or self._limits.steps_max):
            choice = _failing("STEP_LIMIT", f"the limit of {len(turn.history)} steps is reached")
        elif unseen:
            choice = Choice(Action(WaitUntilStable()), "look again: the last step showed no screen")
        else:
            thought = await self._think(turn)
            if thought is None or turn.over:
                return
            choice = thought
        plan = Plan(
            session_id=started.session_id,
            epoch=started.epoch,
            step=turn.next_step,
            action=choice.action,
            body=started.body,
            reason=choice.reason,
            exemplar_ids=choice.exemplar_ids,
            observation_id=turn.screen.observation_id,
            strategy=started.strategy,
            thinking_ms=(self._clock.monotonic() - begun) * 1000,
            policy=started.policy,
            target=target_of(choice.action, turn.screen),
        )
        # Kept before it is published: where publishing fails, the retried handler publishes
        # this very plan.
        turn.plan, turn.published = plan, False
        await self._publish(turn, plan)

    async def _publish(self, turn: _Turn, plan: Plan) -> None:
        if not turn.published:
            await self._plans.publish(plan)
            turn.published = True

    async def _think(self, turn: _Turn) -> Choice | None:
        """The strategy's choice; a failure becomes the action Fail; None where nobody wants it
        any more.
        """
        if turn.strategy is None:
            refusal = turn.refusal or PluginError("STRATEGY_UNKNOWN", "no strategy")
            return _failing(refusal.reason, str(refusal))
        try:
            async with asyncio.timeout(self._limits.thinking_s) as turn.thinking:
                return await turn.strategy.decide(
                    turn.started.instruction, turn.history, turn.screen
                )
        except (PluginError, PlatformError) as error:
            return _failing(error.reason, str(error))
        except TimeoutError:
            if turn.over:
                return None
            return _failing("STRATEGY_TIMEOUT", self._too_slow())
        except Exception as error:  # noqa: BLE001 (a plug-in's bug, logged there)
            refusal = _broken(turn.started.strategy, error)
            return _failing(refusal.reason, str(refusal))
        finally:
            turn.thinking = None

    def _too_slow(self) -> str:
        return f"expected a decision within {self._limits.thinking_s} s, got none"


def _broken(strategy: str, error: Exception) -> PluginError:
    """A bug in a strategy ends the turn and nothing else; its text may hold user content."""
    _logger.error(
        "a strategy failed by a bug of its own", extra={"strategy": strategy}, exc_info=error
    )
    kind = type(error).__name__
    return PluginError(
        "STRATEGY_BROKEN", f"expected a decision of strategy {strategy!r}, got {kind}"
    )


def _failing(reason: str, message: str) -> Choice:
    return Choice(Action(Fail(f"{reason}: {message}")), f"{reason}: {message}")


def _order(started: TurnStarted) -> tuple[Epoch, int, int]:
    return (started.epoch, started.attempt, started.first_step)


def _take(turn: _Turn, outcome: Outcome) -> None:
    """Put what came of the awaited plan into the turn."""
    if turn.plan is not None:
        turn.history.append(PastStep(turn.screen, turn.plan.action, outcome.status, outcome.reason))
    if outcome.screen is not None:
        turn.screen = outcome.screen
    turn.over = outcome.ended or (
        outcome.status is not OutcomeStatus.OK and outcome.reason in _GONE
    )


def _first(plans: Sequence[Plan]) -> dict[int, Plan]:
    """The plans by step; of two for one step the first is the one that was acted on."""
    return {plan.step: plan for plan in reversed(plans)}


def _replay(turn: _Turn, record: TurnRecord, until_step: int) -> None:
    """Bring a fresh turn to where the outcome of `until_step` is the next to come."""
    plans = _first(record.plans)
    outcomes = {outcome.step: outcome for outcome in reversed(record.outcomes)}
    step = record.started.first_step
    while step in plans:
        turn.plan, turn.published = plans[step], True
        if step == until_step or step not in outcomes:
            return
        _take(turn, outcomes[step])
        step += 1
