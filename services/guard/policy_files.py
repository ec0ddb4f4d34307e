"""Policies as YAML files: read, checked, and refused with the line that is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from libs.errors import InvalidRequest
from services.guard.domain import ElementPattern, OriginPattern, Policy, Rule, TextPattern
from tectum.actions.types import KIND_NAMES
from tectum.protocol.messages import Verdict

BUILT_IN = Path(__file__).parent / "policies"
"""The folder of the policies that come with the platform."""

FILE_BYTES_MAX = 262_144
RULES_MAX = 500

T = TypeVar("T")
_ANY = "any"
_KINDS = frozenset(KIND_NAMES.values())


def load_policies(folder: Path | None) -> Mapping[str, Policy]:
    """Return every built-in policy and those of `folder` (`<name>.yaml`), which replace their like.

    Raises:
        InvalidRequest: a file is malformed (POLICY_MALFORMED: file and line are named), or `folder`
            does not exist (POLICY_FOLDER_MISSING).
    """
    if folder is not None and not folder.is_dir():
        raise InvalidRequest("POLICY_FOLDER_MISSING", f"expected a folder of policies at {folder}")
    policies = {}
    for place in (BUILT_IN, folder):
        for path in sorted(place.glob("*.yaml")) if place is not None else ():
            policies[path.stem] = read_policy(path)
    return policies


def read_policy(path: Path) -> Policy:
    """Return the policy in one file, named after it.

    Raises:
        InvalidRequest: it is malformed (POLICY_MALFORMED).
    """
    data = path.read_bytes()
    if len(data) > FILE_BYTES_MAX:
        raise _malformed(path.name, 1, f"expected at most {FILE_BYTES_MAX} bytes, got {len(data)}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _malformed(path.name, line, "expected UTF-8") from None
    return parse_policy(path.stem, text, path.name)


def parse_policy(name: str, text: str, file: str) -> Policy:
    """Return the policy that `text` is; `file` is named in errors.

    Raises:
        InvalidRequest: it is malformed (POLICY_MALFORMED).
    """
    document = _Document(file)
    fields = document.mapping(document.compose(text), "a mapping with version and rules")
    document.only(fields, {"version", "rules"}, "a policy")
    version = document.need(fields, "version", fields)
    if version.value != "1":
        raise document.wrong(version, "version 1")
    rules = document.sequence(document.need(fields, "rules", fields), "a list of rules")
    if len(rules) > RULES_MAX:
        raise document.wrong(rules[RULES_MAX], f"at most {RULES_MAX} rules")
    read: list[Rule] = []
    for node in rules:
        rule = _rule(document, node)
        if any(other.id == rule.id for other in read):
            raise document.wrong(node, f"an id that no other rule has ({rule.id!r} is taken)")
        read.append(rule)
    return Policy(name, hashlib.sha256(text.encode()).hexdigest(), text, tuple(read))


class _Fields(dict[str, Any]):
    """The nodes of a mapping by key, with the node that holds them."""

    def __init__(self, node: yaml.MappingNode) -> None:
        super().__init__()
        self.node = node


class _Document:
    """Reads nodes rather than values, since only nodes know their lines."""

    def __init__(self, file: str) -> None:
        self._file = file

    def compose(self, text: str) -> Any:
        try:
            for event in yaml.parse(text, yaml.SafeLoader):
                if isinstance(event, yaml.AliasEvent):
                    line = event.start_mark.line + 1 if event.start_mark is not None else 1
                    raise _malformed(self._file, line, "expected the value itself, got an alias")
            node = yaml.compose(text, yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = getattr(error, "problem", None) or "no YAML"
            line = mark.line + 1 if mark is not None else 1
            raise _malformed(self._file, line, f"expected YAML, got: {what}") from None
        if node is None:
            raise _malformed(
                self._file, 1, "expected a mapping with version and rules, got nothing"
            )
        return node

    def wrong(self, node: Any, expected: str) -> InvalidRequest:
        got = repr(node.value) if isinstance(node, yaml.ScalarNode) else f"a {node.id}"
        line = node.start_mark.line + 1
        return _malformed(self._file, line, f"expected {expected}, got {got}")

    def mapping(self, node: Any, expected: str) -> _Fields:
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, expected)
        fields = _Fields(node)
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.wrong(key, "a word as key")
            if key.value in fields:
                raise self.wrong(key, "each key once")
            fields[key.value] = value
        return fields

    def only(self, fields: _Fields, allowed: set[str], what: str) -> None:
        for key, value in fields.items():
            if key not in allowed:
                line = value.start_mark.line + 1
                raise _malformed(
                    self._file, line, f"expected keys of {what} from {sorted(allowed)}, got {key!r}"
                )

    def need(self, fields: _Fields, key: str, within: _Fields) -> Any:
        if key not in fields:
            raise self.wrong(within.node, f"a mapping with {key!r}")
        return fields[key]

    def sequence(self, node: Any, expected: str) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.wrong(node, expected)
        return list(node.value)

    def text(self, node: Any, expected: str = "a text") -> str:
        if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip():
            raise self.wrong(node, expected)
        return str(node.value)

    def each(
        self, node: Any, expected: str, read: Callable[[str], T], *, any_allowed: bool = False
    ) -> tuple[T, ...] | None:
        """A list read item by item; None for `any`."""
        if any_allowed and isinstance(node, yaml.ScalarNode) and node.value == _ANY:
            return None
        items = []
        for item in self.sequence(node, expected + (" or `any`" if any_allowed else "")):
            try:
                items.append(read(self.text(item)))
            except ValueError as error:
                line = item.start_mark.line + 1
                raise _malformed(self._file, line, str(error)) from None
        return tuple(items)

    def flag(self, fields: _Fields, key: str) -> bool | None:
        if key not in fields:
            return None
        node = fields[key]
        if not isinstance(node, yaml.ScalarNode) or node.value not in ("true", "false"):
            raise self.wrong(node, f"true or false for {key}")
        return bool(node.value == "true")

    def number(self, fields: _Fields, key: str) -> int | None:
        if key not in fields:
            return None
        node = fields[key]
        if not isinstance(node, yaml.ScalarNode) or not str(node.value).isascii():
            raise self.wrong(node, f"a number of at least 0 for {key}")
        if not str(node.value).isdigit():
            raise self.wrong(node, f"a number of at least 0 for {key}")
        return int(node.value)


_RULE_KEYS = {
    "id", "verdict", "reason", "question", "origins", "actions", "elements", "urls",
    "destinations", "same_origin", "secret", "literal", "text_over", "keys",
}  # fmt: skip


def _rule(document: _Document, node: Any) -> Rule:
    fields = document.mapping(node, "a rule: a mapping with id and verdict")
    document.only(fields, _RULE_KEYS, "a rule")
    verdict = _verdict(document, document.need(fields, "verdict", fields))
    if verdict is not Verdict.DENY:
        # Deny by default: what lets something through must say on which pages, which actions
        # and which elements, if need be with the word `any`.
        for key in ("origins", "actions", "elements"):
            document.need(fields, key, fields)
    origins, urls, destinations, keys = (
        _patterns(document, fields, "origins", OriginPattern.parse, any_allowed=True),
        _patterns(document, fields, "urls", TextPattern.parse),
        _patterns(document, fields, "destinations", OriginPattern.parse),
        _patterns(document, fields, "keys", TextPattern.parse),
    )
    actions = _patterns(document, fields, "actions", _kind, any_allowed=True)
    return Rule(
        id=document.text(document.need(fields, "id", fields), "an id"),
        verdict=verdict,
        reason=document.text(fields["reason"]) if "reason" in fields else "",
        question=document.text(fields["question"]) if "question" in fields else "",
        origins=origins,
        actions=None if actions is None else frozenset(actions),
        elements=_elements(document, fields),
        urls=urls,
        destinations=destinations,
        same_origin=document.flag(fields, "same_origin"),
        secret=document.flag(fields, "secret"),
        literal=document.flag(fields, "literal"),
        text_over=document.number(fields, "text_over"),
        keys=keys,
    )


def _patterns(
    document: _Document,
    fields: _Fields,
    key: str,
    read: Callable[[str], T],
    *,
    any_allowed: bool = False,
) -> tuple[T, ...] | None:
    if key not in fields:
        return None
    return document.each(fields[key], f"a list of {key}", read, any_allowed=any_allowed)


def _verdict(document: _Document, node: Any) -> Verdict:
    try:
        return Verdict(document.text(node))
    except ValueError:
        raise document.wrong(node, "allow, deny or ask") from None


def _kind(text: str) -> str:
    if text not in _KINDS:
        raise ValueError(f"expected an action of {sorted(_KINDS)}, got {text!r}")
    return text


def _elements(document: _Document, fields: _Fields) -> tuple[ElementPattern, ...] | None:
    node = fields.get("elements")
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == _ANY):
        return None
    patterns = []
    for item in document.sequence(node, "a list of elements or `any`"):
        parts = document.mapping(item, "an element: a mapping with role, name or both")
        document.only(parts, {"role", "name"}, "an element")
        if not parts:
            raise document.wrong(item, "an element with role, name or both")
        read = {key: TextPattern.parse(document.text(value)) for key, value in parts.items()}
        patterns.append(ElementPattern(read.get("role"), read.get("name")))
    return tuple(patterns)


def _malformed(file: str, line: int, message: str) -> InvalidRequest:
    return InvalidRequest(
        "POLICY_MALFORMED", f"{file}, line {line}: {message}", file=file, line=str(line)
    )
