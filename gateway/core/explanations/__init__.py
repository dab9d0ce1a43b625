"""The closed catalogue of texts behind ``gateway.core.explain``, one file a subject. Only texts live here."""

from __future__ import annotations

from gateway.core.explanations.text import Text

CATALOGUE: dict[str, Text] = {}

__all__ = ["CATALOGUE", "Text"]
