"""A cascade in JSON form, for who wants to know what it asks. Pure."""

from __future__ import annotations

from typing import Any

from cascade.prior_stage import PriorStage
from cascade.stage import Question, Target
from cascade.tree import Cascade


def described(cascade: Cascade) -> dict[str, Any]:
    """What a cascade asks, of whom, and where answers lead, as JSON can hold it."""
    return {
        "name": cascade.name,
        "instructions": cascade.instructions,
        "labels": list(cascade.labels),
        "dropped": cascade.dropped,
        "prior_stage": _prior_dict(cascade.prior_stage) if cascade.prior_stage else None,
        "stages": [
            {
                "name": stage.name,
                "combine": str(stage.combine),
                "questions": [_question_dict(tier, question) for tier, question in stage.questions.items()],
                "yes": _target_dict(stage.yes),
                "no": _target_dict(stage.no),
            }
            for stage in cascade.stages
        ],
    }


def _prior_dict(stage: PriorStage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "source": str(stage.source),
        "lower": stage.lower,
        "upper": stage.upper,
        "yes": _target_dict(stage.yes),
        "no": _target_dict(stage.no),
    }


def _question_dict(tier: str, question: Question) -> dict[str, Any]:
    return {
        **({"tier": tier} if tier else {}),
        "marker": question.marker,
        "wording": question.wording,
        "adapter": question.adapter,
        "threshold": question.threshold,
        **({"negated": question.negated} if question.negated else {}),
    }


def _target_dict(target: Target) -> dict[str, str]:
    return {"label" if target.is_label else "stage": target.name}
