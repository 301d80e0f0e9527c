"""Decisions as tests make them, without an engine."""

from __future__ import annotations

from cascade.report import Decision, Provenance, Status, Step

PROVENANCE = Provenance(model="", adapters={}, prompt_format="", label_tokens=(0, 1))


def decided(*steps: Step, label: str = "") -> Decision:
    """One item's label, and the answers that led to it."""
    return Decision(id="1", label=label, status=Status.DECIDED, steps=steps, provenance=PROVENANCE)
