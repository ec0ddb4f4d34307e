"""Policies: rules in order, the first that matches decides, and what none names is denied."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from services.guard.domain.facts import Facts, OriginPattern, glob
from tectum.protocol.messages import Verdict

NO_RULE = "default"
"""Rule id of what no rule names."""


@dataclass(frozen=True, slots=True)
class TextPattern:
    """A text in which `*` is any run of characters and `?` any one; case is ignored."""

    text: str
    compiled: re.Pattern[str] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> TextPattern:
        """Read a pattern."""
        return cls(text, glob(text))

    def matches(self, text: str) -> bool:
        """Whether the whole of `text` is meant."""
        return self.compiled.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ElementPattern:
    """An element by role and name; None means any."""

    role: TextPattern | None = None
    name: TextPattern | None = None

    def matches(self, facts: Facts) -> bool:
        """Whether the element that the action touches is meant."""
        return (
            facts.element
            and (self.role is None or self.role.matches(facts.role))
            and (self.name is None or self.name.matches(facts.name))
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions must hold; one that is None holds always."""

    id: str
    verdict: Verdict
    reason: str = ""
    question: str = ""
    origins: tuple[OriginPattern, ...] | None = None
    actions: frozenset[str] | None = None
    elements: tuple[ElementPattern, ...] | None = None
    urls: tuple[TextPattern, ...] | None = None
    destinations: tuple[OriginPattern, ...] | None = None
    same_origin: bool | None = None
    secret: bool | None = None
    literal: bool | None = None
    text_over: int | None = None
    keys: tuple[TextPattern, ...] | None = None

    def matches(self, facts: Facts) -> bool:
        """Whether this rule speaks about such an action."""
        return self._place(facts) and self._deed(facts) and self._content(facts)

    def _place(self, facts: Facts) -> bool:
        return (
            self._origin(facts)
            and (self.urls is None or any(url.matches(facts.url) for url in self.urls))
            and (self.elements is None or any(e.matches(facts) for e in self.elements))
        )

    def _origin(self, facts: Facts) -> bool:
        if self.origins is None:
            return True
        return facts.page is not None and any(o.matches(facts.page) for o in self.origins)

    def _deed(self, facts: Facts) -> bool:
        return (
            (self.actions is None or facts.kind in self.actions)
            and (self.same_origin is None or self.same_origin == facts.stays)
            and self._destination(facts)
            and (self.keys is None or any(keys.matches(facts.keys) for keys in self.keys))
        )

    def _destination(self, facts: Facts) -> bool:
        if self.destinations is None:
            return True
        destination = facts.destination
        return destination is not None and any(d.matches(destination) for d in self.destinations)

    def _content(self, facts: Facts) -> bool:
        literal = facts.text is not None and not facts.reference
        return (
            (self.secret is None or self.secret == facts.secret)
            and (self.literal is None or self.literal == literal)
            and (self.text_over is None or len(facts.text or "") > self.text_over)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules by name; `sha256` is of `source`, the YAML as it was read."""

    name: str
    sha256: str
    source: str
    rules: tuple[Rule, ...]

    def decide(self, facts: Facts) -> tuple[Verdict, str, str, str]:
        """Return verdict, rule id, reason and question: of the first rule that matches."""
        for rule in self.rules:
            if rule.matches(facts):
                return rule.verdict, rule.id, rule.reason, _question(rule, facts)
        where = str(facts.page) if facts.page is not None else "no known page"
        return (
            Verdict.DENY,
            NO_RULE,
            f"no rule of policy {self.name!r} names {facts.kind} on {where}",
            "",
        )


def _question(rule: Rule, facts: Facts) -> str:
    if rule.verdict is not Verdict.ASK:
        return ""
    if rule.question:
        return rule.question
    what = f"{facts.kind} on {facts.role} {facts.name!r}" if facts.element else facts.kind
    where = f" to {facts.destination}" if facts.destination is not None else ""
    return f"May the agent {what}{where}, on {facts.page or 'no known page'}?"
