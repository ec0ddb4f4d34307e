"""The decision about one plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from libs.errors import NotFound
from services.guard.domain.facts import facts_of
from services.guard.domain.feasibility import infeasibility
from services.guard.domain.rules import Policy
from tectum.protocol.messages import Decision, Plan, Verdict

FEASIBILITY = "feasibility"
"""Rule id of what cannot be carried out on any screen."""

POLICY = "policy"
"""Rule id of a plan whose policy does not exist."""


DEADLINE = "deadline"
"""Rule id of a plan that came after its deadline."""


class Guard:
    """Decides by the policies it was given; holds nothing else, so it may be asked at any time."""

    def __init__(self, policies: Mapping[str, Policy], default: str) -> None:
        if default not in policies:
            raise NotFound(
                "POLICY_UNKNOWN",
                f"expected a default policy of {sorted(policies)}, got {default!r}",
            )
        self._policies = dict(policies)
        self._default = default

    def policies(self) -> Sequence[Policy]:
        """Every policy, by name."""
        return [self._policies[name] for name in sorted(self._policies)]

    def policy(self, name: str) -> Policy:
        """Return the policy of this name; the default one where it is empty.

        Raises:
            NotFound: there is none (POLICY_UNKNOWN).
        """
        chosen = self._policies.get(name or self._default)
        if chosen is None:
            raise NotFound(
                "POLICY_UNKNOWN", f"expected a policy of {sorted(self._policies)}, got {name!r}"
            )
        return chosen

    def check(self, plan: Plan) -> Decision:
        """Decide about `plan`.

        Raises:
            NotFound: it asks for a policy that does not exist (POLICY_UNKNOWN).
        """
        policy = self.policy(plan.policy)
        problem = infeasibility(plan)
        if problem:
            verdict, rule_id, reason, question = Verdict.DENY, FEASIBILITY, problem, ""
        else:
            verdict, rule_id, reason, question = policy.decide(facts_of(plan))
        return Decision(
            session_id=plan.session_id,
            epoch=plan.epoch,
            step=plan.step,
            verdict=verdict,
            rule_id=rule_id,
            reason=reason,
            policy=policy.name,
            policy_sha256=policy.sha256,
            question=question,
        )

    def decide(self, plan: Plan) -> Decision:
        """Decide about `plan`; deny it where its policy does not exist."""
        try:
            return self.check(plan)
        except NotFound as error:
            return _denial(plan, POLICY, str(error))

    def late(self, plan: Plan) -> Decision:
        """Deny a plan whose deadline has passed."""
        return _denial(plan, DEADLINE, "the deadline of the plan has passed")


def _denial(plan: Plan, rule_id: str, reason: str) -> Decision:
    return Decision(
        session_id=plan.session_id,
        epoch=plan.epoch,
        step=plan.step,
        verdict=Verdict.DENY,
        rule_id=rule_id,
        reason=reason,
        policy=plan.policy,
    )
