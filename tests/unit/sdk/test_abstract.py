"""A screen as short text: order, limits, and what is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tectum.geometry import Size
from tectum.observations.abstract import abstract
from tectum.observations.types import Element, Screen


def shown(*elements: Element, **fields: object) -> Screen:
    return Screen("o", Size(10, 10), elements=elements, **fields)


def test_nodes_are_nested_and_empty_ones_replaced_by_their_children() -> None:
    text = abstract(
        shown(
            Element("f", "form", "Sign in"),
            Element("g", "generic", parent_id="f"),
            Element("u", "textbox", "User", "ann", ("focused",), parent_id="g"),
            Element(
                "b", "button", "Go", text="Go", states=("disabled", "offscreen"), parent_id="f"
            ),
            title="Home",
        ),
        limit=500,
    )
    assert text == "(title Home) (form Sign in (textbox User =ann focused) (button Go disabled))"


def test_ids_are_told_where_an_answer_needs_them() -> None:
    assert abstract(shown(Element("7", "button", "Go")), limit=50, ids=True) == "(button [7] Go)"


def test_long_words_addresses_and_long_texts_are_cut() -> None:
    words = " ".join(f"w{n}" for n in range(40))
    text = abstract(
        shown(Element("1", "text", text=f"https://a.example {'x' * 16} {words}")), limit=500
    )
    assert text == f"(text {' '.join(f'w{n}' for n in range(19))})"
    assert "w5" not in abstract(shown(Element("1", "button", words)), limit=500)


elements = st.lists(
    st.builds(
        Element,
        id=st.sampled_from("abcdef"),
        role=st.sampled_from(["button", "text", "generic", "row"]),
        name=st.text(max_size=30),
        text=st.text(max_size=30),
        parent_id=st.sampled_from(["", *"abcdef"]),
    ),
    max_size=12,
)


@given(elements, st.integers(1, 200))
def test_the_limit_holds_for_any_tree(found: list[Element], limit: int) -> None:
    text = abstract(shown(*found), limit=limit)
    assert len(text) <= limit
    assert text == abstract(shown(*found), limit=limit)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        abstract(shown(), limit=0)
