from __future__ import annotations

from pathlib import Path

import pytest

from libs.errors import InvalidRequest
from services.guard.domain import Guard
from services.guard.policy_files import FILE_BYTES_MAX, load_policies, parse_policy
from tectum.actions.types import Click, Point, TypeText
from tests.unit.guard.plans import plan

HEAD = "version: 1\nrules:\n"
ALLOW = "  - {id: a, verdict: allow, origins: any, actions: any, elements: any}\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "got nothing"),
        ("rules: [", 1, "expected YAML"),
        ("version: 1\nrules:\n\t- id: a\n", 3, "expected YAML"),
        ("[]", 1, "a mapping with version and rules"),
        ("version: 2\nrules: []\n", 1, "version 1, got '2'"),
        ("rules: []\n", 1, "'version'"),
        ("version: 1\n", 1, "'rules'"),
        ("version: 1\nrules: []\n", 2, "a list of rules"),
        ("version: 1\nrulez: []\n", 2, "'rulez'"),
        (HEAD + "  - id: a\n", 3, "'verdict'"),
        (HEAD + "  - id: a\n    verdict: maybe\n", 4, "allow, deny or ask, got 'maybe'"),
        (HEAD + "  - verdict: deny\n", 3, "'id'"),
        (HEAD + ALLOW.replace("actions: any, ", ""), 3, "'actions'"),
        (HEAD + ALLOW.replace("origins: any, ", ""), 3, "'origins'"),
        (HEAD + ALLOW.replace(", elements: any", ""), 3, "'elements'"),
        (HEAD + ALLOW + ALLOW, 4, "'a' is taken"),
        (HEAD + "  - id: a\n    verdict: deny\n    id: b\n", 5, "each key once"),
        (HEAD + "  - id: a\n    verdict: deny\n    orgins: any\n", 5, "'orgins'"),
        (HEAD + "  - id: a\n    verdict: deny\n    actions: [click, clack]\n", 5, "'clack'"),
        (HEAD + "  - id: a\n    verdict: deny\n    actions: []\n", 5, "a list of actions"),
        (HEAD + "  - id: a\n    verdict: deny\n    origins: [example.org]\n", 5, "'example.org'"),
        (HEAD + "  - id: a\n    verdict: deny\n    elements: [{rolle: x}]\n", 5, "'rolle'"),
        (HEAD + "  - id: a\n    verdict: deny\n    elements: [{}]\n", 5, "role, name or both"),
        (HEAD + "  - id: a\n    verdict: deny\n    secret: yes\n", 5, "true or false"),
        (HEAD + "  - id: a\n    verdict: deny\n    text_over: -1\n", 5, "at least 0"),
        (HEAD + "  - &x\n    id: a\n    verdict: deny\n  - *x\n", 6, "an alias"),
    ],
)
def test_a_malformed_policy_is_refused_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_policy("p", text, "p.yaml")
    assert caught.value.reason == "POLICY_MALFORMED"
    assert str(caught.value).startswith(f"p.yaml, line {line}: ")
    assert said in str(caught.value)


def test_the_first_rule_that_matches_decides(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(
        HEAD
        + "  - {id: no-delete, verdict: deny, elements: [{role: button, name: 'delete*'}]}\n"
        + "  - {id: long, verdict: ask, origins: any, actions: [type_text], elements: any,"
        + " text_over: 5, question: 'Type that much?'}\n"
        + "  - {id: shop, verdict: allow, origins: ['https://*.shop.example'],"
        + " actions: [click, type_text], elements: any, urls: ['*/cart*']}\n",
        "utf-8",
    )
    guard = Guard(load_policies(tmp_path), "shop")
    cart, home = "https://eu.shop.example/cart/1", "https://eu.shop.example/"
    assert guard.check(plan(url=cart)).rule_id == "shop"
    assert guard.check(plan(url=home)).rule_id == "default"
    assert guard.check(plan(url=cart, name="  DELETE \n all")).rule_id == "no-delete"
    at = Point.element("e1")
    assert guard.check(plan(TypeText("12345", at), url=cart)).rule_id == "shop"
    asked = guard.check(plan(TypeText("123456", at), url=cart))
    assert (asked.rule_id, asked.question) == ("long", "Type that much?")
    assert guard.check(plan(policy="default")).rule_id == "interact-with-local-pages"


def test_a_rule_about_elements_is_silent_where_none_is_touched(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        HEAD + "  - {id: a, verdict: allow, origins: any, actions: any, elements: [{name: '*'}]}\n",
        "utf-8",
    )
    guard = Guard(load_policies(tmp_path), "p")
    nothing = plan(Click(Point.screen(3, 4)), element_id="", role="", name="")
    assert guard.check(nothing).rule_id == "default"
    assert guard.check(plan()).rule_id == "a"


def test_a_folder_replaces_a_built_in_policy(tmp_path: Path) -> None:
    (tmp_path / "default.yaml").write_text(HEAD + "  - {id: no, verdict: deny}\n", "utf-8")
    assert Guard(load_policies(tmp_path), "default").check(plan()).rule_id == "no"


def test_files_that_are_no_policies_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as missing:
        load_policies(tmp_path / "nowhere")
    assert missing.value.reason == "POLICY_FOLDER_MISSING"
    (tmp_path / "p.yaml").write_bytes(b"version: 1\nrules: \xff\n")
    with pytest.raises(InvalidRequest, match="line 2: expected UTF-8"):
        load_policies(tmp_path)
    (tmp_path / "p.yaml").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(InvalidRequest, match="at most"):
        load_policies(tmp_path)
