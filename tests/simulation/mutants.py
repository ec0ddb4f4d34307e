"""The protocol with one rule switched off, for the simulator's self-test."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from libs.events.port import Record
from libs.executor.journal import Mark
from libs.executor.lease import Lease
from libs.executor.rules import ExecutorRules
from services.session.domain.rules import SessionRules
from tectum.protocol.types import BodyState, Epoch
from tests.simulation.scenario import Rules


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule switched off, and the promises of which it must break one."""

    name: str
    rules: Rules
    breaks: frozenset[str]
    profile: str
    """The kind of scenario that was made to hit it."""


class _NoTermProof(SessionRules):
    def proves_term(self) -> bool:
        return False


class _GrantsDuringHold(SessionRules):
    def may_grant(self, fences_under_way: int) -> bool:
        return True


class _AcknowledgesFirst(SessionRules):
    def holds_before_acknowledging(self) -> bool:
        return False


class _NoFenceAtTakeover(SessionRules):
    def fences_at_takeover(self) -> bool:
        return False


class _ExpiredAtOnce(SessionRules):
    def quiet_at(self, taken_at: float, granted_at: float | None, lease_s: float) -> float:
        return taken_at


class _CursorFirst(SessionRules):
    def event_before_cursor(self) -> bool:
        return False


class _IdByOwner(SessionRules):
    def client_event_id(self, session_id: str, client_id: str, client_seq: int, term: int) -> str:
        return f"{session_id}/client/{client_id}/{client_seq}/{term}"


class _IdByOwnerAndCursor(_IdByOwner):
    def folds_cursor(self) -> bool:
        return False


class _UnknownEarly(SessionRules):
    def may_report_unknown(self, state: BodyState, enforces_valid_until: bool) -> bool:
        return True


class _NoFloor(ExecutorRules):
    def floor(self, known: Epoch, heard: Epoch) -> Epoch:
        return Epoch()

    def accepts(self, floor: Epoch, granted: Epoch) -> bool:
        return True


class _RenewsExpired(SessionRules):
    def leases_to(self, *, stands: bool, had_lease: bool) -> bool:
        return stands or had_lease

    def lease_epoch(self, present: Epoch, before: Epoch | None) -> Epoch:
        return before if before is not None else present


class _ActsBeforeAcknowledged(ExecutorRules):
    def waits_for_acknowledgement(self) -> bool:
        return False


class _LosersAct(ExecutorRules):
    def won(self, first: Mark | None, mine: Mark) -> bool:
        return True


class _NoRecheck(ExecutorRules):
    def may_act(self, before: Lease, now: Lease | None) -> bool:
        return True


class _NoDrain(ExecutorRules):
    def drains(self) -> bool:
        return False


class _LeavesLeftovers(ExecutorRules):
    def destroys_leftovers(self) -> bool:
        return False


def _by_source(record: Record) -> Hashable:
    return record.event.source


def _session(name: str, profile: str, rules: SessionRules, *breaks: str) -> Mutant:
    return Mutant(name, Rules(session=rules), frozenset(breaks), profile)


def _executor(name: str, profile: str, rules: ExecutorRules, *breaks: str) -> Mutant:
    return Mutant(name, Rules(executor=rules), frozenset(breaks), profile)


MUTANTS = (
    _session("no-term-proof", "deposed", _NoTermProof(), "STALE"),
    _session("grant-during-hold", "unreachable", _GrantsDuringHold(), "STALE"),
    _session("acknowledge-first", "interrupts", _AcknowledgesFirst(), "STALE", "ACK_FIRST"),
    _session("no-fence-at-takeover", "owners", _NoFenceAtTakeover(), "UNFENCED"),
    _session("expired-at-once", "unreachable", _ExpiredAtOnce(), "STALE", "AFTER_OUTCOME"),
    _session("cursor-first", "calm", _CursorFirst(), "CURSOR_FIRST", "ACK_LOST"),
    _session("id-by-owner", "owners", _IdByOwnerAndCursor(), "DONE_TWICE"),
    _session("early-unknown", "frozen", _UnknownEarly(), "AFTER_OUTCOME"),
    _executor("no-floor", "crossing", _NoFloor(), "STALE"),
    _session("renews-expired", "unreachable", _RenewsExpired(), "STALE", "AFTER_OUTCOME"),
    _executor("acts-before-acknowledged", "executors", _ActsBeforeAcknowledged(), "UNJOURNALED"),
    _executor("losers-act", "twins", _LosersAct(), "TWICE", "LOSER_ACTED"),
    _executor("no-recheck", "stopping", _NoRecheck(), "STALE"),
    _executor("no-drain", "stopping", _NoDrain(), "STALE"),
    _executor("leaves-leftovers", "orphaned", _LeavesLeftovers(), "AFTER_OUTCOME", "STALE"),
    Mutant("one-mark", Rules(slot=_by_source), frozenset({"DROPPED"}), "parting"),
)
