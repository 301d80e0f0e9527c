"""What a request comes back with: decisions, how each was reached, and what it cost. Pure values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How an item got its label.

    ``decided``: it reached a label of its tree, by a yes or no.
    ``uncertain``: its last answer was neither yes nor no, and led to a label such as ``review``: it is handed on.
    ``depth_cap``: time, depth or a server ended its way after some stages; it has the likeliest label it could reach.
    ``deadline``: it was asked nothing; it has the likeliest label by its prior, or by the base rate.
    """

    DECIDED = "decided"
    UNCERTAIN = "uncertain"
    DEPTH_CAP = "depth_cap"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The answer of one stage about one item, under one tier.

    Attributes:
        stage: Name of the stage.
        tier: Tier under which it was asked; empty if the stage does not ask by tier.
        adapter: Name of the adapter that answered; empty for a prior stage, which asks no model.
        model: Name of the base model that answered; empty where the engine has one alone, and for a prior stage.
        p_yes: Probability of yes among yes and no, in [0, 1]; NaN for a choice or score.
        threshold: The answer is yes if ``p_yes`` is at least this; of a choice or score the least confidence.
        answer: Whether the answer is yes, None for uncertain; the stage combines the answers of its tiers. Of a choice
            the value, and of a score the number of the part between cut points in which it lies, from "0" on.
        p_calibrated: Calibrated p(yes) in [0, 1], by the curve that tuning found; None without one.
        no_below: The answer is no if ``p_yes`` is less than this; None for the same as ``threshold``.
        probabilities: Value of a choice, or level of a score, -> its probability; they sum to 1. Empty for yes/no.
        confidence: Of a choice (m - 1/n) / (1 - 1/n), where m is the highest of n probabilities; of a score how close
            they lie around the likeliest level. In [0, 1]; None for yes/no.
        score: The expected level of a score, the lowest being 0; None for other questions.
    """

    stage: str
    tier: str
    adapter: str
    p_yes: float
    threshold: float
    answer: bool | str | None
    p_calibrated: float | None = None
    no_below: float | None = None
    model: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    confidence: float | None = None
    score: float | None = None

    @property
    def choice(self) -> str | None:
        """The likeliest value of a choice, however likely; None for other questions."""
        if not self.probabilities or self.score is not None:
            return None
        return max(self.probabilities, key=lambda value: self.probabilities[value])

    @property
    def scores(self) -> Mapping[str, float]:
        """What the stage's answer comes from: p(yes) by tier, or the probabilities of the values."""
        return self.probabilities or {self.tier: self.p_yes}

    @property
    def limits(self) -> tuple[float, float]:
        """Below the first the answer is no, from the second on yes."""
        return self.threshold if self.no_below is None else self.no_below, self.threshold

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        if self.probabilities:
            return {
                "stage": self.stage,
                "adapter": self.adapter,
                **({"model": self.model} if self.model else {}),
                **({"choice": self.choice} if self.score is None else {"score": self.score}),
                "probabilities": dict(self.probabilities),
                "confidence": self.confidence,
                **({"least_confidence": self.threshold} if self.threshold else {}),
                "answer": self.answer,
            }
        return {
            "stage": self.stage,
            **({"tier": self.tier} if self.tier else {}),
            "adapter": self.adapter,
            **({"model": self.model} if self.model else {}),
            "p_yes": self.p_yes,
            **({"p_calibrated": self.p_calibrated} if self.p_calibrated is not None else {}),
            "threshold": self.threshold,
            **({"no_below": self.no_below} if self.no_below is not None else {}),
            "answer": self.answer,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What produced a request's answers; equal provenance means comparable scores.

    Attributes:
        model: SHA-256 of the base model's file, in hex; server and name of its model where servers answer everything.
            Of several models ``name=hash`` of each, with a comma between them.
        adapters: Adapter name -> SHA-256 of its file, or the server, its base model and what it calls the adapter.
        prompt_format: Name of the prompt format; of several models likewise.
        label_tokens: Token ids of yes and no; -1 for both where no model file is at hand, for an encoder, and for
            several models.
        name: Name of the model in an engine that has several; empty otherwise.
        models: Name -> what each of several models is; empty for one.
    """

    model: str
    adapters: dict[str, str]
    prompt_format: str
    label_tokens: tuple[int, int]
    name: str = ""
    models: Mapping[str, Provenance] = field(default_factory=dict)

    @classmethod
    def joined(cls, models: Mapping[str, Provenance]) -> Provenance:
        """Several models as one; a single one is itself.

        Args:
            models: Name -> model, at least one.
        """
        if len(models) == 1:
            return next(iter(models.values()))
        return cls(
            model=", ".join(f"{name}={each.model}" for name, each in models.items()),
            adapters={name: known for each in models.values() for name, known in each.adapters.items()},
            prompt_format=", ".join(f"{name}={each.prompt_format}" for name, each in models.items()),
            label_tokens=(-1, -1),
            models=models,
        )

    def of(self, adapters: Collection[str], models: Collection[str] = ()) -> Provenance:
        """What of it produced the answers of some adapters.

        Args:
            adapters: Their names.
            models: Names of the models that were asked, out of several.
        """
        if self.models:
            asked = {name: each.of(adapters) for name, each in self.models.items() if name in models}
            return Provenance.joined(asked)
        return replace(self, adapters={name: known for name, known in self.adapters.items() if name in adapters})

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            **({"name": self.name} if self.name else {}),
            "model": self.model,
            "adapters": self.adapters,
            "prompt_format": self.prompt_format,
            "label_tokens": list(self.label_tokens),
            **({"models": {name: each.as_dict() for name, each in self.models.items()}} if self.models else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The label of one item, and how it was reached.

    Attributes:
        id: The item's id.
        label: Its label.
        status: How it got the label.
        steps: The answer of the prior stage, if it gave one, and then those of every stage that the item passed.
        provenance: The model and adapters that answered.
        p_label: Probability in [0, 1] of a label that was not decided, among the items that end at the same place; None
            for a decided one, whose steps say how sure each answer was.
        cause: Why the item was cut short, if a server could not answer; empty otherwise.
    """

    id: str
    label: str
    status: Status
    steps: tuple[Step, ...]
    provenance: Provenance
    p_label: float | None = None
    cause: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON form; provenance stands once in the report."""
        steps = [step.as_dict() for step in self.steps]
        found: dict[str, Any] = {"id": self.id, "label": self.label, "status": str(self.status), "steps": steps}
        found |= {} if self.p_label is None else {"p_label": self.p_label}
        return found | ({"cause": self.cause} if self.cause else {})


@dataclass(slots=True, kw_only=True)
class Statistics:
    """What a request cost.

    A batch shared by several requests is counted in each for its own queries; ``decode_calls`` and
    ``adapter_swaps`` of a shared batch count in every request that took part.

    Attributes:
        items: Number of items.
        calls: Number of queries that were scored.
        calls_ahead: Those of them that were asked before it was known whether the tree needs the answer.
        calls_reused: Those of them whose answers the log had, so that nothing was computed for them.
        decode_calls: Number of calls of the model.
        adapter_swaps: Number of changes of the active adapter.
        tokens_decoded: Number of tokens that the model computed.
        tokens_reused: Number of prompt tokens whose KV was in the cache.
        elapsed_ms: Milliseconds from the call to the last decision.
        prompt_ms: Milliseconds of these for building and tokenizing prompts.
        decode_ms: Milliseconds of these inside the backend.
        predicted_ms: Milliseconds that the cost model predicted for the batches; of a shared batch, the share of this
            request's queries.
        task_tokens_read: Tokens of the task's text that the model reads; 0 where no item had to be asked. Of several
            models that one counts which leaves out the most.
        task_tokens_cut: Tokens of it behind those, which the limit of the task cuts off; the model does not read them.
        task_is_longer: Whether the text goes on behind those as well; of a long one only the beginning is counted.
        items_cut: Number of items of which a model reads only the beginning, or of whose group or text.
        texts_read: Number of items whose text a stage reads.
        texts_cut: Number of those of whose text it reads only the beginning.
    """

    items: int = 0
    calls: int = 0
    calls_ahead: int = 0
    calls_reused: int = 0
    decode_calls: int = 0
    adapter_swaps: int = 0
    tokens_decoded: int = 0
    tokens_reused: int = 0
    elapsed_ms: float = 0.0
    prompt_ms: float = 0.0
    decode_ms: float = 0.0
    predicted_ms: float = 0.0
    task_tokens_read: int = 0
    task_tokens_cut: int = 0
    task_is_longer: bool = False
    items_cut: int = 0
    texts_read: int = 0
    texts_cut: int = 0

    @property
    def calls_per_item(self) -> float:
        """Queries over items; 0.0 without items."""
        return self.calls / self.items if self.items else 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        ordered = {"items": values.pop("items"), "calls": values.pop("calls"), "calls_per_item": self.calls_per_item}
        return ordered | {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The answer to a request.

    Attributes:
        cascade: Name of the cascade.
        decisions: One per item, in the order of the items.
        stats: What the request cost.
        provenance: The model and adapters that answered; reports of equal provenance can be compared.
        task_id: Id of the task, by which the log knows it and outcomes name it; see ``Task.id``.
    """

    cascade: str
    decisions: tuple[Decision, ...]
    stats: Statistics
    provenance: Provenance = field(repr=False)
    task_id: str = ""

    def labels(self) -> Counter[str]:
        """How many items got each label."""
        return Counter(decision.label for decision in self.decisions)

    def statuses(self) -> Counter[Status]:
        """How many items got their label in each way."""
        return Counter(decision.status for decision in self.decisions)

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as ``cascade classify --json`` prints it."""
        return {
            "task_id": self.task_id,
            "decisions": [decision.as_dict() for decision in self.decisions],
            "stats": self.stats.as_dict(),
            "provenance": self.provenance.as_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What scores came from; equal origins mean equal scores.

    Attributes:
        model: SHA-256 of the base model's file, in hex.
        adapters: Adapter name -> SHA-256 of its file.
        data: SHA-256 over the tasks, their items and labels, in hex.
        questions: SHA-256 over what the cascade asks and how prompts are written, in hex.
    """

    model: str
    adapters: Mapping[str, str]
    data: str
    questions: str

    def differences(self, other: Origin) -> list[str]:
        """What is not the same in another one, in words; nothing where the two are equal."""
        found = ["tasks"] if self.data != other.data else []
        found += ["model"] if self.model != other.model else []
        found += ["questions"] if self.questions != other.questions else []
        names = sorted({*self.adapters, *other.adapters})
        return found + [f"adapter {name!r}" for name in names if self.adapters.get(name) != other.adapters.get(name)]
