"""A policy with two zones, and a question it answers with a Clearance; tests change one thing."""

from datetime import UTC, datetime

from gateway.core.policy import PartFacts, Party, Question, load_policy

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
OFFICE, BUREAU, COMPANY = "11440100007482001H", "11440100007482002L", "91350100M000100Y43"

LEVEL = """
[levels.{id}]
suites = ["gm-1", "intl-1"]
timestamp = true
authorities = ["tsa-1"]
largest = "1MiB"
types = ["application/pdf", "text/plain"]
sign_for = true
sign_for_within = "3d"
retention = "10y"
approvals = {approvals}
"""
PACE = """
[urgency.{id}]
deliver_within = "{within}"
weight = {weight}
remind_at = [50, 100]
"""
REST = """
[policy]
id = "test"
version = 3

[zones.outer]
name = "政务外网"
profile = "commercial"
highest = "work-secret"

[zones.inner]
name = "政务内网"
profile = "classified"
highest = "secret"

[[flows]]
id = "up"
from = "outer"
to = "inner"
both_ways = false
highest = "internal"
approvals = 0

[[routes]]
id = "government"
from = ["11*", "12*"]
to = ["11*"]
highest = "secret"

[[routes]]
id = "listed"
from = ["*"]
to = ["*"]
highest = "internal"

[arrival]
longest_life = "30d"

[[tests]]
name = "no state secret outside"
side = "send"
level = "秘密"
urgency = "routine"
from = "11440100007482001H"
from_zone = "outer"
to = ["11440100007482002L"]
to_zone = "outer"
types = ["application/pdf"]
size = "10KiB"
approvals = 0
expect = "refusal"
rule = "builtin/state-secret-commercial"
"""
TEXT = (
    REST
    + "".join(
        LEVEL.format(id=level, approvals=approvals)
        for level, approvals in (("public", 0), ("internal", 0), ("work-secret", 1), ("secret", 2))
    )
    + "".join(
        PACE.format(id=urgency, within=within, weight=weight)
        for urgency, within, weight in (("flash", "15min", 1000), ("immediate", "1h", 100), ("urgent", "4h", 10), ("routine", "1d", 1))
    )
)


def party(org: str = OFFICE, zone: str = "outer", highest_level: str = "top-secret", suites: tuple[str, ...] = ("gm-1", "intl-1")) -> Party:
    return Party(org=org, zone=zone, highest_level=highest_level, suites=suites)


def part(name: str = "a.pdf", media_type: str = "application/pdf", size: int = 1000, level: str | None = None) -> PartFacts:
    return PartFacts(name=name, media_type=media_type, size=size, digest=f"sha256:{name}", level=level)


def question(**changes: object) -> Question:
    facts = {
        "side": "send",
        "level": "internal",
        "urgency": "urgent",
        "metadata_digest": "sha256:m",
        "sender": party(OFFICE),
        "recipients": (party(BUREAU),),
        "at": AT,
        "directory_version": 7,
        "directory_digest": "sha256:d",
        "parts": (part(),),
    }
    return Question(**(facts | changes))


POLICY = load_policy(TEXT.encode(), "test.toml")
