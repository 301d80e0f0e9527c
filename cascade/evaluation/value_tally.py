"""Figures of a stage that chooses among values or places items on a scale, on rows whose true answer is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade.config.figures import Figure
from cascade.evaluation.metrics import accuracy, macro_f1
from cascade.probability import Ints
from cascade.report import Step
from cascade.stages import Answer, Kind, Stage, in_words


@dataclass(slots=True)
class ValueTally:
    """True and given answers of one stage.

    Attributes:
        stage: The stage.
        confusion: Rows are true answers, columns what was given; (answers, answers).
        n_uncertain: Rows whose answer is uncertain; they are in no column.
        confidence: Sum of the confidences.
    """

    stage: Stage
    confusion: Ints
    n_uncertain: int = 0
    confidence: float = 0.0

    @classmethod
    def of(cls, stage: Stage) -> ValueTally:
        """Without rows."""
        return cls(stage, np.zeros((len(stage.sure_ways),) * 2, np.int64))

    def add(self, step: Step, truth: Answer) -> None:
        """Add a row."""
        names = list(self.stage.sure_ways)
        self.confidence += step.confidence or 0.0
        if step.answer is None:
            self.n_uncertain += 1
        else:
            self.confusion[names.index(truth), names.index(step.answer)] += 1

    def as_dict(self) -> dict[str, Any]:
        """The figures; None where these rows do not define one. Accuracy and F1 are of the rows that are answered."""
        names = list(map(in_words, self.stage.sure_ways))
        n_answered = int(self.confusion.sum())
        n = n_answered + self.n_uncertain
        f1 = macro_f1(self.confusion)
        is_score = self.stage.kind is Kind.SCORE
        parts = {in_words(answer): self.stage.in_words(answer) for answer in self.stage.sure_ways} if is_score else {}
        return {
            "kind": str(self.stage.kind),
            "n": n,
            "n_uncertain": self.n_uncertain,
            "accuracy": accuracy(self.confusion) if n_answered else None,
            Figure.MACRO_F1_OVER_ROWS: None if math.isnan(f1) else f1,
            "mean_confidence": self.confidence / n if n else None,
            **({"parts": parts} if parts else {}),
            "confusion": {
                truth: dict(zip(names, row, strict=True))
                for truth, row in zip(names, self.confusion.tolist(), strict=True)
            },
        }
