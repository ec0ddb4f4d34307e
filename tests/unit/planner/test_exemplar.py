"""Programs are learned from a few demonstrations and carried out on screens that were never seen."""

from __future__ import annotations

import random

import pytest

from services.planner.strategies.exemplar.learn import Learner, NoProgramError
from services.planner.strategies.exemplar.run import Run
from services.planner.strategies.exemplar.template import slots
from services.planner.strategies.views import View
from tectum.actions import types as a
from tectum.observations.types import Screen
from tectum.plugins import Choice, Exemplar
from tectum.protocol.messages import OutcomeStatus
from tests.unit.planner.screens import click, exemplar, screen, typed

OK = OutcomeStatus.OK


def learned(exemplars: list[Exemplar], instruction: str) -> Run:
    program = Learner().learn(exemplars, instruction)
    return Run(program, slots(instruction, program.anchors))


def target(choice: Choice) -> str:
    at = (
        choice.action.kind.at
        if isinstance(choice.action.kind, a.Click)
        else choice.action.kind.into
    )
    return at.frame.element_id


def buttons(*names: str) -> Screen:
    return screen(*(("button", name) for name in names))


def press(number: int, name: str, *names: str) -> Exemplar:
    seen = buttons(*names)
    return exemplar(number, f'Press the "{name}" button.', [(seen, click(str(names.index(name))))])


def test_a_quoted_slot_names_the_element() -> None:
    run = learned(
        [
            press(0, "Red", "Blue", "Red"),
            press(1, "Tea", "Tea", "Milk"),
            press(2, "Up", "On", "Up"),
        ],
        'Press the "Sky" button.',
    )
    choice = run.choose(buttons_view("Sea", "Sand", "Sky"), None)
    assert target(choice) == "2"
    assert "quoted 1" in choice.reason
    assert choice.exemplar_ids == ("x0", "x1", "x2")


def buttons_view(*names: str) -> View:
    return View(buttons(*names))


def test_the_same_case_is_preferred() -> None:
    run = learned(
        [press(0, "Ok", "ok", "Ok"), press(1, "tea", "Tea", "tea")], 'Press the "No" button.'
    )
    assert target(run.choose(buttons_view("no", "No"), None)) == "1"


def form(number: int, name: str, *, first: int) -> Exemplar:
    """A field and a button in either order."""
    rows = [("textbox", ""), ("button", "Send")]
    after = [("textbox", "", name), ("button", "Send")]
    if first:
        rows.reverse()
        after.reverse()
    field, button = ("1", "0") if first else ("0", "1")
    return exemplar(
        number,
        f"Say hello to {name} and send it",
        [(screen(*rows), typed(name, field)), (screen(*after, number=1), click(button))],
    )


def test_a_gap_is_typed_and_the_constant_button_comes_last() -> None:
    run = learned(
        [form(0, "Ann", first=0), form(1, "Bob", first=1), form(2, "Eve", first=0)],
        "Say hello to Mary Jane and send it",
    )
    seen = screen(("button", "Send"), ("text", "Ann"), ("textbox", ""))
    choice = run.choose(View(seen), None)
    assert choice.action.kind == a.TypeText("Mary Jane", a.Point.element("2"))
    after = screen(("button", "Send"), ("text", "Ann"), ("textbox", "", "Mary Jane"), number=1)
    assert target(run.choose(View(after), OK)) == "0"
    done = run.choose(View(screen(("text", "thanks"))), OK)
    assert done.action.kind == a.Done()


def ticks(number: int, wanted: list[str], offered: list[str]) -> Exemplar:
    steps = []
    done: list[str] = []
    for name in wanted:
        steps.append((ticked(offered, done), click(str(offered.index(name)))))
        done.append(name)
    steps.append((ticked(offered, done), click(str(len(offered)))))
    return exemplar(number, f"Tick {', '.join(wanted)} and press Go", steps)


def ticked(offered: list[str], done: list[str]) -> Screen:
    boxes = [
        replace_states(
            screen(("checkbox", name)).elements[0], str(i), ("checked",) * (name in done)
        )
        for i, name in enumerate(offered)
    ]
    return screen(
        *boxes, replace_states(screen(("button", "Go")).elements[0], str(len(offered)), ())
    )


def replace_states(element, element_id, states):
    from dataclasses import replace

    return replace(element, id=element_id, states=states)


@pytest.mark.parametrize("wanted", [["q"], ["q", "s", "r", "p"], []])
def test_a_list_of_any_length_is_gone_through(wanted: list[str]) -> None:
    run = learned(
        [
            ticks(0, ["a", "c"], ["a", "b", "c"]),
            ticks(1, ["e"], ["d", "e"]),
            ticks(2, ["h", "f", "g"], ["f", "g", "h", "i"]),
        ],
        f"Tick {', '.join(wanted) or 'nothing'} and press Go",
    )
    offered = ["p", "q", "r", "s", "t"]
    done: list[str] = []
    status = None
    for name in wanted:
        choice = run.choose(View(ticked(offered, done)), status)
        assert target(choice) == str(offered.index(name))
        done.append(name)
        status = OK
    assert target(run.choose(View(ticked(offered, done)), status)) == "5"


def pages(number: int, wanted: str, contents: list[str]) -> Exemplar:
    """Click Next until the wanted link is there, then the link."""
    found = contents.index(wanted)
    steps = [(page(contents[n], n), click(f"next{n}")) for n in range(found)]
    steps.append((page(wanted, found), click(f"link{found}")))
    return exemplar(number, f'Find the link "{wanted}"', steps, page("over", 99))


def page(name: str, n: int) -> Screen:
    link = replace_states(screen(("link", name)).elements[0], f"link{n}", ())
    following = replace_states(screen(("button", "Next")).elements[0], f"next{n}", ())
    return screen(link, following, number=n)


@pytest.mark.parametrize("place", [0, 1, 5])
def test_it_seeks_until_what_comes_next_is_there(place: int) -> None:
    run = learned(
        [
            pages(0, "c", ["a", "b", "c"]),
            pages(1, "d", ["d"]),
            pages(2, "f", ["e", "f"]),
        ],
        'Find the link "z"',
    )
    status = None
    for n in range(place):
        assert target(run.choose(View(page(f"other{n}", n)), status)) == f"next{n}"
        status = OK
    assert target(run.choose(View(page("z", place)), status)) == f"link{place}"


def table(*rows: tuple[str, str], value: str = "") -> Screen:
    cells = []
    for i, (label, content) in enumerate(rows):
        for j, text in enumerate((label, content)):
            element = screen(("cell", text)).elements[0]
            from dataclasses import replace

            from tectum.geometry import Box

            cells.append(replace(element, id=f"{i}.{j}", box=Box(60.0 * j, 20.0 * i, 50, 16)))
    return screen(*cells, ("textbox", "", value), ("button", "Go"))


def test_a_text_is_read_off_the_screen_by_its_label() -> None:
    def shown(number: int, label: str, *rows: tuple[str, str]) -> Exemplar:
        content = dict(rows)[label]
        at = str(2 * len(rows))
        return exemplar(
            number,
            f"Enter the value of {label}",
            [(table(*rows), typed(content, at))],
            table(*rows, value=content),
        )

    run = learned(
        [
            shown(0, "Colour", ("Colour", "red"), ("Size", "12")),
            shown(1, "Name", ("Age", "44"), ("Name", "Kim")),
            shown(2, "Town", ("Town", "Rome"), ("Zip", "00100")),
        ],
        "Enter the value of Weight",
    )
    choice = run.choose(View(table(("Size", "9"), ("Weight", "70 kg"), ("Age", "3"))), None)
    assert choice.action.kind.source == "70 kg"


def test_independent_steps_may_come_in_any_order() -> None:
    def filled(number: int, name: str, town: str, *, town_first: bool) -> Exemplar:
        def seen(a_: str, b_: str) -> Screen:
            return screen(("textbox", "Name", a_), ("textbox", "Town", b_), ("button", "Go"))

        steps = [(seen("", ""), typed(name, "0")), (seen(name, ""), typed(town, "1"))]
        if town_first:
            steps = [(seen("", ""), typed(town, "1")), (seen("", town), typed(name, "0"))]
        steps.append((seen(name, town), click("2")))
        return exemplar(number, f"{name} lives in {town}, write that", steps)

    run = learned(
        [
            filled(0, "Ann", "Bonn", town_first=False),
            filled(1, "Bob", "Cork", town_first=True),
            filled(2, "Eve", "Nice", town_first=False),
        ],
        "Tom lives in Oslo, write that",
    )
    empty = screen(("textbox", "Town"), ("textbox", "Name"), ("button", "Go"))
    choice = run.choose(View(empty), None)
    assert choice.action.kind == a.TypeText("Tom", a.Point.element("1"))


def test_a_step_without_effect_is_given_up_with_its_reason() -> None:
    before, after = screen(("button", "A")), screen(("text", "gone"))
    run = learned(
        [exemplar(n, "Press it", [(before, click("0"))], after) for n in range(2)], "Press it"
    )
    view = View(before)
    kinds = []
    status = None
    for _ in range(6):
        choice = run.choose(view, status)
        kinds.append(type(choice.action.kind))
        status = OK
        if choice.action.terminal:
            break
    assert kinds[0] is a.Click
    assert kinds[-1] is a.Fail
    assert kinds.count(a.Click) <= 2
    assert "no effect" in choice.reason


def test_what_is_missing_is_waited_for_and_then_said() -> None:
    run = learned([press(0, "Red", "Red"), press(1, "Tea", "Tea", "x")], 'Press the "Sky" button.')
    status = None
    for _ in range(20):
        choice = run.choose(buttons_view("Sea"), status)
        status = OK
        if choice.action.terminal:
            break
        assert isinstance(choice.action.kind, a.Wait)
    assert isinstance(choice.action.kind, a.Fail)
    assert "expected" in choice.reason


def test_a_window_in_the_way_is_dismissed_by_what_agrees_to_nothing() -> None:
    run = learned([press(0, "Red", "Red"), press(1, "Tea", "Tea", "x")], 'Press the "Sky" button.')
    covered = replace_states(buttons("Sky").elements[0], "0", ("covered",))
    window = [replace_states(buttons(name).elements[0], name, ()) for name in ("OK", "Cancel")]
    choice = run.choose(View(screen(covered, *window)), None)
    assert target(choice) == "Cancel"
    assert target(run.choose(buttons_view("Sky"), OK)) == "0"


def test_where_it_stands_follows_from_the_history_alone() -> None:
    exemplars = [pages(0, "c", ["a", "b", "c"]), pages(1, "d", ["d"]), pages(2, "f", ["e", "f"])]
    seen = [View(page(f"other{n}", n)) for n in range(3)] + [View(page("z", 3))]
    first = learned(exemplars, 'Find the link "z"')
    chosen = [first.choose(view, None if n == 0 else OK) for n, view in enumerate(seen)]
    again = learned(exemplars, 'Find the link "z"')
    assert [again.choose(view, None if n == 0 else OK) for n, view in enumerate(seen)] == chosen


def test_what_no_program_explains_is_refused() -> None:
    seen = screen(*(("text", f"w{n}") for n in range(9)))
    moves = [a.GoTo("http://a.example/"), a.GoTo("http://b.example/")]
    shown = [exemplar(n, "Go on", [(seen, move)]) for n, move in enumerate(moves)]
    # Neither address can come from anywhere but its own demonstration: the likest one is repeated.
    program = Learner().learn(shown, "Go on")
    assert len(program.exemplar_ids) == 1
    with pytest.raises(NoProgramError, match="got none"):
        Learner().learn([], "Go on")


def test_the_order_of_exemplars_changes_nothing() -> None:
    exemplars = [pages(0, "c", ["a", "b", "c"]), pages(1, "d", ["d"]), pages(2, "f", ["e", "f"])]
    said = set()
    for seed in range(4):
        random.Random(seed).shuffle(exemplars)
        said.add(Learner().learn(exemplars, 'Find the link "z"').say())
    assert len(said) == 1


def test_a_superlative_compares_what_stands_beside() -> None:
    def offer(prices: list[str]) -> Screen:
        from dataclasses import replace

        rows = []
        for n, price in enumerate(prices):
            rows.append(replace(screen(("row", "")).elements[0], id=f"r{n}"))
            rows.append(replace(screen(("text", price)).elements[0], id=f"p{n}", parent_id=f"r{n}"))
            rows.append(
                replace(screen(("button", "Buy")).elements[0], id=f"b{n}", parent_id=f"r{n}")
            )
        return screen(*rows)

    shown = [
        exemplar(0, "Buy the cheapest one", [(offer(["$5", "$3", "$9"]), click("b1"))]),
        exemplar(1, "Buy the most expensive one", [(offer(["$5", "$8"]), click("b1"))]),
        exemplar(2, "Buy the cheapest one", [(offer(["$50", "$400", "$20"]), click("b2"))]),
    ]
    run = learned(shown, "Buy the most expensive one")
    assert target(run.choose(View(offer(["$7", "$1,200", "$90"])), None)) == "b1"
