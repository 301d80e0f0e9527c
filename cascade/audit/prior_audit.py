"""How often a prior stage is wrong about what it settles without a question. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

from cascade.audit.rate import Rate, rate
from cascade.tuning.outcome import Replay, own_thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorAudit:
    """What a prior stage settles, at its thresholds.

    Attributes:
        stage: Its name.
        settled: Share of all items.
        wrong_no: Of those that it answers with no, the share that matters.
        wrong_yes: Of those that it answers with yes, the share that does not matter.
    """

    stage: str
    settled: Rate
    wrong_no: Rate
    wrong_yes: Rate

    def __str__(self) -> str:
        """In words, with 95 % intervals."""
        no, yes = self.wrong_no, self.wrong_yes
        return (
            f"{self.stage}: settles {self.settled} of the items unasked; {no} of its {no.n} noes matter, and {yes} of "
            f"its {yes.n} yeses do not. What is said of questions is of all items, those settled included."
        )


def prior_audit(replay: Replay) -> PriorAudit | None:
    """Of a cascade's prior stage, by what it goes by for each row; None where there is none."""
    stage, settled = replay.cascade.prior_stage, replay.settled(own_thresholds(replay.cascade))
    if stage is None or settled is None:
        return None
    (no, yes), tasks, matters = settled, replay.scored.tasks, replay.matters
    return PriorAudit(
        stage=stage.name,
        settled=rate(no | yes, tasks),
        wrong_no=rate(matters[no], tasks[no]),
        wrong_yes=rate(~matters[yes], tasks[yes]),
    )
