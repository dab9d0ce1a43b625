"""Policy: what may go where, decided by pure functions over values and explained in words (docs/policy.md)."""

from gateway.core.policy.decide import decide, decide_parts
from gateway.core.policy.degraded import MODES, Allowance, Lapse, Mode
from gateway.core.policy.load import load_policy
from gateway.core.policy.model import Handling, Policy, PolicyName
from gateway.core.policy.question import Approval, PartFacts, Party, Question
from gateway.core.policy.verdict import Clearance, ClearanceVoid, Hold, Refusal, Verdict

__all__ = [
    "MODES",
    "Allowance",
    "Approval",
    "Clearance",
    "ClearanceVoid",
    "Handling",
    "Hold",
    "Lapse",
    "Mode",
    "PartFacts",
    "Party",
    "Policy",
    "PolicyName",
    "Question",
    "Refusal",
    "Verdict",
    "decide",
    "decide_parts",
    "load_policy",
]
