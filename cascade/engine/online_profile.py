"""What a cascade's items may be expected to do: how many are asked what, and which label is likeliest. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from cascade.items import Item
from cascade.stages import Answer, Question, Stage, Target
from cascade.tree import Cascade

_FIRM = 50
"""Answers that the pass rate of the profile weighs against those of the engine's own requests."""


@dataclass(frozen=True, slots=True)
class Reach:
    """A stage that an item may still be asked.

    Attributes:
        stage: The stage.
        probability: That it will be.
        further: How many stages on from where the item stands; 0 for the stage it stands at.
    """

    stage: Stage
    probability: float
    further: int


class OnlineProfile:
    """What is expected of one cascade; pass rates follow what its stages answer.

    Args:
        cascade: The cascade, with its profile.
        models: Adapter -> name of its base model; None where there is one model.
        keys: Adapter -> the key under which the backend has the version that answers, where that is another.

    Attributes:
        cascade: The cascade.
        models: As given; empty where there is one model.
        keys: As given; empty where each adapter's key is its name.
        n_levels: Stages of the longest way from the first stage to a label.
    """

    def __init__(
        self, cascade: Cascade, models: Mapping[str, str] | None = None, keys: Mapping[str, str] | None = None
    ) -> None:
        self.cascade = cascade
        self.models = models or {}
        self.keys = keys or {}
        self._counts = {
            stage.name: {answer: _FIRM * rate for answer, rate in cascade.answer_rates(stage).items()}
            for stage in cascade.stages
        }
        self._shares: dict[str, Mapping[str, float]] = {}
        self._shares_ahead: dict[str, Mapping[str, float]] = {}
        self._reach: dict[str, tuple[Reach, ...]] = {}
        self.n_levels = max(entry.further for entry in self.reach(cascade.first)) + 1

    def model_of(self, question: Question) -> str:
        """Name of the base model that answers a question; empty where there is one."""
        return self.models.get(question.adapter, "")

    def key_of(self, question: Question) -> str:
        """The key under which the backend has the adapter that answers a question."""
        return self.keys.get(question.adapter, question.adapter)

    def pass_rate(self, stage: Stage) -> float:
        """Share of yes among the items that a stage is asked of."""
        counts = self._counts[stage.name]
        return counts.get(True, 0.0) / sum(counts.values())

    def shares(self, stage: Stage) -> list[tuple[Target, float]]:
        """Where its answers lead, each with the share of the items that are given it; they sum to 1."""
        counts = self._counts[stage.name]
        total = sum(counts.values())
        return [(target, counts[answer] / total) for answer, target in stage.ways.items()]

    def p_settled(self, stage: Stage) -> float:
        """Share of the items that a stage is asked of whose answer leads to a label."""
        return sum(share for target, share in self.shares(stage) if target.is_label)

    def learn(self, stage: Stage, *, answer: Answer) -> None:
        """Take in an answer; those of long ago count less."""
        counts = self._counts[stage.name]
        counts[answer] += 1
        if sum(counts.values()) > _FIRM * _FIRM:
            self._counts[stage.name] = {each: count / 2 for each, count in counts.items()}
        self._reach.clear()

    def reach(self, stage: Stage) -> tuple[Reach, ...]:
        """The stages that an item standing at one may be asked, that one first; each as late as it can come."""
        if stage.name not in self._reach:
            self._reach[stage.name] = tuple(self._walk(stage))
        return self._reach[stage.name]

    def label_shares(self, stage: Stage) -> Mapping[str, float]:
        """Label -> probability for an item that stands at a stage; they sum to 1.

        It comes from the cascade's profile, or else from pass rates alone, as if no stage erred.
        """
        if stage.name not in self._shares:
            given = self.cascade.profile.label_shares.get(stage.name)
            self._shares[stage.name] = given or self._from_rates(stage)
        return self._shares[stage.name]

    def p_matters(self, item: Item) -> float:
        """Probability that an item is kept, before it is asked anything: its own, the prior's, or that of all alike.

        A prior that knows none of the item's evidence says nothing of it: nearly all that it was fitted to had some.
        """
        prior = self.cascade.profile.prior
        if item.prior is not None:
            return item.prior
        if prior is not None and prior.knows(item):
            return prior.p_matters(item)
        return 1 - self.label_shares(self.cascade.first).get(self.cascade.dropped, 0.0)

    def likeliest(self, stage: Stage, p_matters: float | None = None) -> tuple[str, float]:
        """The likeliest label that a stage still leads to, with its probability.

        Labels that it does not lead to are left out even where they are likelier: thresholds below 0.5 pass
        an item on although most that pass do not matter, because missing one costs more. Labels that only uncertain
        answers lead to are left out as well: nobody was uncertain of this item.

        Args:
            stage: Where the item stands.
            p_matters: How likely an item that nothing was asked of yet is kept; None for others.
        """
        dropped = self.cascade.dropped
        label_shares = self._ahead(stage)
        likeliest_kept = self._kept(stage)
        if p_matters is None or likeliest_kept is None or dropped not in label_shares:
            label = max(label_shares, key=lambda name: label_shares[name])
            return label, label_shares[label]
        label, share = likeliest_kept
        return max((dropped, 1 - p_matters), (label, p_matters * share), key=lambda pair: pair[1])

    def _ahead(self, stage: Stage) -> Mapping[str, float]:
        """The shares of labels that a stage still leads to, in the cascade's order; they may sum to less than 1."""
        if stage.name not in self._shares_ahead:
            entries = (stage, *self.cascade.after(stage))
            targets = {target for entry in entries for target in entry.sure_ways.values()}
            ahead = {target.name for target in targets if target.is_label}
            label_shares = self.label_shares(stage)
            found = {label: label_shares.get(label, 0.0) for label in self.cascade.labels if label in ahead}
            self._shares_ahead[stage.name] = found
        return self._shares_ahead[stage.name]

    def _kept(self, stage: Stage) -> tuple[str, float] | None:
        """The likeliest label of an item that is kept, with its share of those; None where none is."""
        kept = {label: p for label, p in self._ahead(stage).items() if label != self.cascade.dropped}
        total = sum(p for label, p in self.label_shares(stage).items() if label != self.cascade.dropped)
        if not total or not kept:
            return None
        label = max(kept, key=lambda name: kept[name])
        return label, kept[label] / total

    def _walk(self, stage: Stage) -> list[Reach]:
        found: dict[str, tuple[float, int]] = {stage.name: (1.0, 0)}
        # Stages stand in no certain order in a config; a stage is passed on from once all that lead to it were.
        open_ = [stage]
        waiting = Counter(
            target.name
            for above in (stage, *self.cascade.after(stage))
            for target in above.ways.values()
            if not target.is_label
        )
        ordered = []
        while open_:
            here = open_.pop()
            ordered.append(here)
            probability, further = found[here.name]
            for target, share in self.shares(here):
                if not target.is_label:
                    before, far = found.get(target.name, (0.0, 0))
                    found[target.name] = before + probability * share, max(far, further + 1)
                    waiting[target.name] -= 1
                    if not waiting[target.name]:
                        open_.append(self.cascade.stage(target.name))
        return [Reach(entry, *found[entry.name]) for entry in ordered]

    def _from_rates(self, stage: Stage) -> Mapping[str, float]:
        """From the rates of the profile; what would be handed on is left out, for it is never a true label."""
        cascade = self.cascade

        @cache
        def below(name: str) -> dict[str, float]:
            here = cascade.stage(name)
            found: dict[str, float] = {}
            rates = cascade.answer_rates(here)
            for target, share in ((target, rates[answer]) for answer, target in here.ways.items()):
                for label, p in ({target.name: 1.0} if target.is_label else below(target.name)).items():
                    found[label] = found.get(label, 0.0) + share * p
            return found

        found = below(stage.name)
        if not cascade.handed_on:
            return found
        answered = {label: p for label, p in found.items() if label not in cascade.handed_on}
        total = sum(answered.values())
        return {label: p / total for label, p in answered.items()} if total else dict.fromkeys(answered, 0.0)
