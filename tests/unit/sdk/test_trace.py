"""The waterfall of `tectum trace`: steps found through parents, shares by unions, lines that fit."""

from __future__ import annotations

import itertools

from tectum.cli.trace import Share, by_step, share, waterfall
from tectum.recorder.v1 import recorder_pb2

_ids = itertools.count(1)
_MS = 1_000_000


def span(
    name: str,
    start_ms: float,
    end_ms: float,
    parent: recorder_pb2.Span | None = None,
    **more: str,
) -> recorder_pb2.Span:
    attributes = {key.replace("__", "."): value for key, value in more.items() if key != "status"}
    return recorder_pb2.Span(
        trace_id="t" * 32,
        span_id=f"{next(_ids):016x}",
        parent_span_id=parent.span_id if parent is not None else "",
        name=name,
        start_ns=1_000 * _MS + round(start_ms * _MS),
        end_ns=1_000 * _MS + round(end_ms * _MS),
        status=more.get("status", ""),
        attributes=attributes,
    )


def episode() -> dict[str, recorder_pb2.Span]:
    """Two steps, the second caused by the outcome of the first, as the platform nests them."""
    made: dict[str, recorder_pb2.Span] = {}
    made["call"] = span("tectum.session.v1.SessionService/Converse", 0, 100)
    made["think 1"] = span("process tectum.observations", 10, 30, made["call"], tectum__step="1")
    made["agent 1"] = span("invoke_agent exemplar", 11, 15, made["think 1"], tectum__step="1")
    made["plan 1"] = span("send tectum.plans", 16, 18, made["think 1"])
    made["act 1"] = span("execute_tool gui.click", 20, 45, made["plan 1"], status="ERROR NOT_BEGUN")
    made["settle 1"] = span("tectum.settle", 25, 40, made["act 1"])
    made["observe 1"] = span("tectum.observe", 38, 50, made["act 1"])
    made["told 1"] = span("send tectum.outcomes", 50, 60, made["act 1"])
    made["think 2"] = span(
        "process tectum.outcomes", 61, 70, made["told 1"], tectum__step="2",
        messaging__consumer__group__name="planner",
    )  # fmt: skip
    made["agent 2"] = span("invoke_agent exemplar", 61, 63, made["think 2"], tectum__step="2")
    return made


def test_spans_belong_to_the_step_of_the_nearest_span_above_that_names_one() -> None:
    made = episode()
    steps = by_step(list(reversed(made.values())))
    names = {step: {s.span_id for s in spans} for step, spans in steps.items()}
    assert names[0] == {made["call"].span_id}
    assert names[1] == {s.span_id for name, s in made.items() if name.endswith(" 1")}
    assert names[2] == {s.span_id for name, s in made.items() if name.endswith(" 2")}


def test_a_span_whose_parent_is_missing_or_its_own_ancestor_belongs_to_the_session() -> None:
    orphan = span("send tectum.control", 1, 2)
    orphan.parent_span_id = "f" * 16
    one, two = span("one", 1, 2), span("two", 1, 2)
    one.parent_span_id, two.parent_span_id = two.span_id, one.span_id
    assert [len(spans) for spans in by_step([orphan, one, two]).values()] == [3]


def test_shares_count_overlapping_time_once() -> None:
    found = share(1, by_step(list(episode().values()))[1])
    # Acting from 20 to 45, observing until 50: the union is 30, not 25 + 15 + 12.
    assert found == Share(1, whole=50.0, environment=30.0, thinking=4.0)
    assert found.platform == 16.0


def test_lines_fit_and_tell_time_name_and_failure() -> None:
    lines = list(waterfall(by_step(list(episode().values())), 80))
    texts = [line.text for line in lines]
    assert max(map(len, texts)) <= 80
    assert texts[0] == "10 spans in 1 trace(s), 100.0 ms"
    assert "step 1: 50.0 ms = environment 30.0 + thinking 4.0 + platform 16.0" in texts
    assert "step 2: 9.0 ms = environment 0.0 + thinking 2.0 + platform 7.0" in texts
    (call,) = [text for text in texts if "Converse" in text]
    assert call.split()[:2] == ["0.0", "100.00"]
    assert call.endswith(" SessionService/Converse")
    failed = [line.text for line in lines if line.failed]
    assert len(failed) == 1
    assert failed[0].endswith("execute_tool gui.click ERROR NOT_BEGUN")
    (second,) = [text for text in texts if "process tectum.outcomes" in text]
    # A step begins at the left, however deep it hangs below the one before it.
    assert second.endswith("█ process tectum.outcomes (planner)")
    assert texts[-1].startswith("a step in the median: ")


def test_a_long_episode_is_as_readable_as_a_short_one() -> None:
    spans, above = [], span("tectum.session.v1.SessionService/Converse", 0, 4000)
    spans.append(above)
    for step in range(1, 1200):
        above = span("process tectum.outcomes", step, step + 1, above, tectum__step=str(step))
        spans.append(above)
    lines = list(waterfall(by_step(spans), 60))
    assert max(len(line.text) for line in lines) <= 60
    assert sum(line.text.endswith("█ process tectum.outcomes") for line in lines) == 1199
