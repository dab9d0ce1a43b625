"""The closed catalogue of texts behind ``gateway.core.explain``, one file a subject. Only texts live here."""

from __future__ import annotations

from gateway.core.explanations.arrivals import ARRIVALS
from gateway.core.explanations.documents import DOCUMENTS
from gateway.core.explanations.failures import FAILURES
from gateway.core.explanations.offices import OFFICES
from gateway.core.explanations.policies import POLICIES
from gateway.core.explanations.queues import QUEUES
from gateway.core.explanations.text import Text
from gateway.core.explanations.tools import TOOLS

CATALOGUE: dict[str, Text] = {**ARRIVALS, **DOCUMENTS, **FAILURES, **OFFICES, **POLICIES, **QUEUES, **TOOLS}

__all__ = ["CATALOGUE", "Text"]
