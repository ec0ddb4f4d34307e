"""Carries a learned program out, one observation at a time; its state follows from the history
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from services.planner.strategies.exemplar.induce import reachable
from services.planner.strategies.exemplar.moves import DISMISSALS, throw, together
from services.planner.strategies.exemplar.program import Block, Loop, Op, Program
from services.planner.strategies.exemplar.scene import Scene
from services.planner.strategies.exemplar.template import Slots
from services.planner.strategies.exemplar.values import Finder, bare
from services.planner.strategies.views import View, plain
from tectum.actions import types as a
from tectum.actions.types import Action
from tectum.plugins import Choice
from tectum.protocol.messages import OutcomeStatus

_LOOK_S = 0.3
_LOOKS = 5
"""What is not there yet is looked for again: 5 times 0.3 s, about what a slow page takes."""
_TRIES = 3
"""Times that one operator may fail or be without effect."""
_TURNS = 60
"""Repetitions of one loop."""


@dataclass(slots=True)
class _Loop:
    """A loop as far as it has come."""

    turn: int = 0
    inner: int = 0
    acted: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Pending:
    """What was chosen last, until its outcome is known."""

    op: Op | None
    ids: tuple[str, ...]
    said: tuple[str, ...]
    print: int
    action: Action


class Run:
    """One turn of a program."""

    def __init__(self, program: Program, slots: Slots) -> None:
        self._program = program
        self._slots = slots
        self._block = 0
        self._loop = _Loop()
        self._pending: _Pending | None = None
        self._before: View | None = None
        self._last_id = ""
        self._looks = 0
        self._tries = 0
        self._dismissed: set[str] = set()
        self._used: set[str] = set()
        self._opened: set[str] = set()
        self._scrolled = 0

    def choose(self, view: View, status: OutcomeStatus | None) -> Choice:
        """The next action for what is seen; `status` is that of the last one, None at the start."""
        trouble = self._settle(view, status)
        if trouble is not None:
            return trouble
        for _ in range(_TURNS):
            op = self._current(view)
            if op is None:
                return self._choice(None, (), view, Action(a.Done()), "the program is done")
            choice = self._try(op, view)
            if choice is not None:
                return choice
            self._next_turn_or_block(op)
        return self._fail(view, "a loop of the program did not come to its end")

    def _settle(self, view: View, status: OutcomeStatus | None) -> Choice | None:
        """Take in what came of the last choice; a choice where it has to be waited or given up."""
        pending, self._pending = self._pending, None
        if pending is None or pending.op is None:
            return None
        unchanged = pending.op.changes and view.print == pending.print
        if status is OutcomeStatus.OK and not (unchanged and not _holds(view, pending.action)):
            self._done(pending, view)
            return None
        self._tries += 1
        if status is OutcomeStatus.OK and self._tries == 1:
            self._pending = pending
            return Choice(Action(a.Wait(_LOOK_S)), "the last step shows no effect yet: look again")
        if status is OutcomeStatus.OK and self._goes_on(pending, view):
            return None
        if self._tries >= _TRIES:
            what = "had no effect" if status is OutcomeStatus.OK else f"was {status}"
            return self._fail(view, f"{pending.op.say()} {what}, {self._tries} times")
        return None

    def _goes_on(self, pending: _Pending, view: View) -> bool:
        """Pass over a step that changes nothing where the next one can be taken: it was done
        already.
        """
        goal = self._following_finder()
        block = self._program.blocks[self._block]
        if isinstance(block, Loop):
            return False
        if goal is None and (pending.op is None or pending.op.finders):
            return False
        # A key alone, such as Home, may find that there is nothing to do.
        if goal is not None and not reachable(goal, self._scene(view)):
            return False
        self._done(pending, view)
        return True

    def _done(self, pending: _Pending, view: View) -> None:
        self._tries = 0
        self._looks = 0
        self._last_id = pending.ids[-1] if pending.ids else self._last_id
        self._loop.acted.update(pending.ids)
        self._used.update(pending.said)
        self._advance()

    def _advance(self) -> None:
        block = self._program.blocks[self._block]
        if isinstance(block, Loop):
            self._loop.inner += 1
            if self._loop.inner >= len(block.body):
                self._loop.inner = 0
                self._loop.turn += 1
        else:
            self._leave()

    def _leave(self) -> None:
        self._block += 1
        self._loop = _Loop()

    def _current(self, view: View) -> Op | None:
        """The operator to carry out now; None where the program is at its end."""
        while self._block < len(self._program.blocks):
            block = self._program.blocks[self._block]
            if isinstance(block, Op):
                return block
            if self._loop.inner or not self._ends(block, view):
                return block.body[self._loop.inner]
            self._leave()
        return None

    def _ends(self, loop: Loop, view: View) -> bool:
        turn = self._loop.turn
        scene = self._scene(view)
        if turn >= _TURNS:
            return True
        if loop.control == "each" and loop.key is not None:
            return turn >= len(self._slots.lists.get(loop.key, ()))
        if loop.control == "times" and loop.count is not None:
            said = loop.count.text(scene)
            return turn >= (int(said) if said is not None and said.isdigit() else 0)
        if loop.control == "found":
            return loop.body[0].finders[0][0].find(scene) is None
        goal = loop.condition or self._following_finder()
        return goal is not None and reachable(goal, replace(scene, acted=frozenset()))

    def _following_finder(self) -> Finder | None:
        if self._block + 1 >= len(self._program.blocks):
            return None
        following: Block = self._program.blocks[self._block + 1]
        op = following.body[0] if isinstance(following, Loop) else following
        return op.finders[0][0] if op.finders else None

    def _next_turn_or_block(self, op: Op) -> None:
        self._leave()

    def _scene(self, view: View) -> Scene:
        item = None
        if self._block < len(self._program.blocks):
            block = self._program.blocks[self._block]
            if isinstance(block, Loop) and block.control == "each" and block.key is not None:
                items = self._slots.lists.get(block.key, ())
                item = items[self._loop.turn] if self._loop.turn < len(items) else None
        return Scene(
            view,
            self._slots,
            item=item,
            turn=self._loop.turn,
            acted=frozenset(self._loop.acted),
            before=self._before,
            last_id=self._last_id,
            used=frozenset(self._used),
        )

    def _try(self, op: Op, view: View) -> Choice | None:
        """The operator as an action; None where its loop is to be left instead."""
        scene = self._scene(view)
        ids: list[str] = []
        told: list[str] = []
        for finders in op.finders:
            found = self._ground(finders, scene)
            if found is None:
                return self._missing(op, finders[0], view)
            finder, position = found
            element = view.elements[position]
            if "covered" in element.states and (way := self._dismiss(view, position)):
                return way
            ids.append(element.id)
            told.append(f"{view.describe(position)} = {finder.say()}")
        if ids:
            scene = replace(scene, target=view.position[ids[0]], cache={})
        texts: list[str] = []
        for values in op.values:
            text = next((t for v in values if (t := v.text(scene)) is not None), None)
            if text is None:
                return self._fail(view, f"{op.say()}: the instruction and the screen give no text")
            texts.append(text)
            told.append(f"text {text!r} = {values[0].say()}")
        if op.length:
            action = Action(throw(op.params, ids[0], texts[0], op.length, view))
        else:
            action = Action(together(op.kind, op.params, ids, texts))
        reason = f"{action.name.replace('_', ' ')} {'; '.join(told)}".strip()
        return self._choice(op, tuple(ids), view, action, reason)

    def _ground(self, finders: Sequence[Finder], scene: Scene) -> tuple[Finder, int] | None:
        """The element of the first explanation that finds one; a repeated try prefers another
        element.
        """
        ways: dict[int, Finder] = {}
        for finder in finders:
            found = finder.find(scene)
            if found is not None:
                ways.setdefault(found, finder)
        if not ways:
            return None
        order = list(ways)
        position = order[min(max(self._tries - 1, 0), len(order) - 1)]
        return ways[position], position

    def _missing(self, op: Op, finder: Finder, view: View) -> Choice | None:
        block = self._program.blocks[self._block]
        if isinstance(block, Loop) and block.control in ("found", "until") and self._looks >= 1:
            self._looks = 0
            return None
        if self._looks >= 1 and (way := self._dismiss(view, None)):
            return way
        if self._looks >= 1 and (way := self._explore(view)):
            return way
        if self._looks < _LOOKS:
            self._looks += 1
            self._pending = None
            return Choice(Action(a.Wait(_LOOK_S)), f"{finder.say()} is not there yet: look again")
        return self._fail(view, f"expected {finder.say()} on the screen, found none")

    def _dismiss(self, view: View, wanted: int | None) -> Choice | None:
        """Press away what is in the way, each such thing once."""
        ways = [
            (DISMISSALS.index(bare(text)), i)
            for i, element in enumerate(view.elements)
            for text in view.said[i]
            if bare(text) in DISMISSALS
            and (element.role in ("button", "link") or "clickable" in element.states)
            and i != wanted
            and element.id not in self._dismissed
            and view.visible(i)
            and not {"covered", "disabled"} & set(element.states)
        ]
        if not ways:
            return None
        _, i = min(ways)
        element_id = view.elements[i].id
        self._dismissed.add(element_id)
        action = Action(a.Click(a.Point.element(element_id)))
        reason = f"something is in the way: click {view.describe(i)} to be rid of it"
        return self._choice(None, (), view, action, reason)

    def _explore(self, view: View) -> Choice | None:
        """Open what is closed, each such thing once, and then scroll on: what is missing may be there."""
        for i, element in enumerate(view.elements):
            closed = "collapsed" in element.states or (
                element.role == "tab" and "selected" not in element.states
            )
            barred = {"covered", "disabled"} & set(element.states) or not view.visible(i)
            if closed and not barred and element.id not in self._opened:
                self._opened.add(element.id)
                action = Action(a.Click(a.Point.element(element.id)))
                reason = f"what is wanted is not in sight: open {view.describe(i)}"
                return self._choice(None, (), view, action, reason)
        screen = view.screen
        below = screen.scroll_height - screen.scroll_y - screen.size.height
        if below > 1 and self._scrolled < _TURNS:
            self._scrolled += 1
            action = Action(a.Scroll(None, 0.0, screen.size.height * 0.8))
            return self._choice(None, (), view, action, "what is wanted is not in sight: scroll on")
        return None

    def _choice(
        self,
        op: Op | None,
        ids: tuple[str, ...],
        view: View,
        action: Action,
        reason: str,
    ) -> Choice:
        said = tuple(bare(text) for id_ in ids for text in view.said[view.position[id_]])
        self._pending = _Pending(op, ids, said, view.print, action)
        if op is not None:
            self._before = view
        return Choice(action, reason, self._program.exemplar_ids)

    def _fail(self, view: View, reason: str) -> Choice:
        return self._choice(None, (), view, Action(a.Fail(reason)), reason)


def _holds(view: View, action: Action) -> bool:
    """Whether the field already has what was to be put into it, so that no change is to be
    expected.
    """
    kind = action.kind
    if isinstance(kind, a.SelectOption):
        at, wanted = kind.at, ", ".join(kind.labels)
    elif isinstance(kind, a.TypeText) and kind.into is not None and isinstance(kind.source, str):
        at, wanted = kind.into, kind.source
    else:
        return False
    element = (
        view.screen.find(at.frame.element_id) if isinstance(at.frame, a.ElementPoint) else None
    )
    return element is not None and plain(element.value) == plain(wanted)
