"""What the service takes and gives as JSON, as its OpenAPI document describes it.

Answers are written by ``Report.as_dict`` and its like; the models of answers only describe them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cascade.config.item_rows import ItemRow
from cascade.errors import ItemError, counted
from cascade.items import Item, Task
from cascade.report import Status
from cascade.service.http_errors import UNFIT, RefusedError
from cascade.service.settings import ServiceSettings
from cascade.stages import Kind, Source
from cascade.tree import Cascade, ItemKind

_DAY_MS = 86_400_000.0
_MODEL = "SHA-256 of the base model's file; server and name of its model where servers answer everything."
_ADAPTERS = "Adapter -> SHA-256 of its file, or the server, its base model and what it calls the adapter."


class Given(BaseModel):
    """What a caller sends; keys that are not known are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskRow(Given):
    """A task, and the files it starts from."""

    task: str = Field(min_length=1, description="What is to be done, in plain words.")
    seeds: tuple[str, ...] = Field(
        (), fail_fast=True, description="Paths of the files the work starts from; most important first."
    )

    def read(self, settings: ServiceSettings, above: str = "") -> Task:
        """The pure form.

        Raises:
            RefusedError: A text is too long, or the task is blank.
        """
        check_long_text(self.task, f"{above}task", settings)
        check_text(", ".join(self.seeds), f"{above}seeds", settings)
        if not self.task.strip():
            field = f"{above}task"
            raise RefusedError(UNFIT, f"{field}: is blank. Say in a sentence what is to be done.", field)
        return Task(text=self.task, seeds=self.seeds)


def number(value: Any) -> Any:
    """A number that is written as one; pydantic takes texts and truth values for numbers."""
    if isinstance(value, str | bool):
        msg = "must be a number"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns no other error into an answer
    return value


class CascadeCall(TaskRow):
    """A task with the items that a cascade is to label."""

    items: tuple[ItemRow, ...] = Field(fail_fast=True, description="The candidates, ids unique; may be empty.")
    budget_ms: Annotated[float, BeforeValidator(number)] | None = Field(
        None, gt=0, le=_DAY_MS, allow_inf_nan=False, description="Milliseconds it may take; what is cut short is so."
    )
    depth: Annotated[int, BeforeValidator(number)] | None = Field(
        None, ge=1, le=1_000, description="Most stages that an item passes."
    )

    def read_items(self, cascade: Cascade, settings: ServiceSettings) -> list[Item]:
        """The items in pure form.

        Args:
            cascade: What will be asked of them.
            settings: How many there may be, and how long their texts.

        Raises:
            RefusedError: There are too many, or one cannot be asked; names the field.
        """
        most = settings.max_items
        if len(self.items) > most:
            given = counted(len(self.items), "item is", "items are")
            detail = f"items: {given} given; allowed are {most:,}. Send them in several requests."
            raise RefusedError(UNFIT, detail, "items")
        found, first = [], dict[str, int]()
        for place, row in enumerate(self.items):
            field = f"items.{place}"
            before = first.setdefault(row.id, place)
            if before != place:
                detail = f"{field}.id: {row.id!r} is the id of items.{before} as well; ids must be unique."
                raise RefusedError(UNFIT, detail, f"{field}.id")
            found.append(read_item(row, field, settings))
            _check_tiers(found[-1], field, cascade)
        return found


def read_item(row: ItemRow, field: str, settings: ServiceSettings) -> Item:
    """An item in pure form.

    Args:
        row: What was given.
        field: Where it stands in the body.
        settings: How long its texts may be.

    Raises:
        RefusedError: It cannot be asked; names the field.
    """
    for name in ("id", "kind", "name", "signature", "doc"):
        check_text(getattr(row, name), f"{field}.{name}", settings)
    check_long_text(row.text, f"{field}.text", settings)
    for name in ("evidence", "tiers"):
        check_text(" ".join(getattr(row, name)), f"{field}.{name}", settings)
    if row.group is not None:
        check_text(" ".join((row.group.name, *row.group.evidence)), f"{field}.group", settings)
    try:
        return row.item()
    except ItemError as error:
        raise RefusedError(UNFIT, f"{field}: {error}", field) from error


def _check_tiers(item: Item, field: str, cascade: Cascade) -> None:
    try:
        for stage in cascade.stages:
            stage.tiers_of(item)
    except ItemError as error:
        raise RefusedError(UNFIT, f"{field}.tiers: {error}", f"{field}.tiers") from error


def check_text(text: str, field: str, settings: ServiceSettings) -> None:
    """Refuse a text that is too long.

    Raises:
        RefusedError: Names the field.
    """
    _check_length(text, field, settings.max_text)


def check_long_text(text: str, field: str, settings: ServiceSettings) -> None:
    """Refuse a text that is too long even for what is read in full for evidence.

    Raises:
        RefusedError: Names the field.
    """
    _check_length(text, field, settings.max_long_text)


def _check_length(text: str, field: str, most: int) -> None:
    if len(text) > most:
        detail = f"{field}: has {len(text)} characters; allowed are {most}. Send less of it."
        raise RefusedError(UNFIT, detail, field)


class StepBody(BaseModel):
    """One question that was put to an item, or what a prior stage settled, and the answer."""

    stage: str
    tier: str | None = Field(None, description="Only where the stage asks by tier.")
    adapter: str = Field(description="Empty for a prior stage, which asks no model.")
    model: str | None = Field(None, description="Name of the base model; only where the engine has several.")
    p_yes: float | None = Field(None, description="Of a yes/no question: probability of yes among yes and no.")
    p_calibrated: float | None = Field(None, description="Only where tuning found a curve: the calibrated p(yes).")
    threshold: float | None = Field(None, description="Of a yes/no question: yes from here on.")
    no_below: float | None = Field(None, description="No below this, and uncertain up to `threshold`, if it is given.")
    choice: str | None = Field(None, description="Of a choice: the likeliest value.")
    score: float | None = Field(None, description="Of a score: the expected level, the lowest being 0.")
    probabilities: dict[str, float] | None = Field(
        None, description="Of a choice or score: value or level -> its probability."
    )
    confidence: float | None = Field(None, description="Of a choice or score, from 0 to 1.")
    least_confidence: float | None = Field(None, description="Below this confidence the answer is uncertain, if given.")
    answer: bool | str | None = Field(
        description="True for yes, the value of a choice, the number of the part of a scale; null where uncertain."
    )


class DecisionBody(BaseModel):
    """One item's label and how it was reached."""

    id: str
    label: str
    status: Status
    steps: Sequence[StepBody]
    p_label: float | None = Field(None, description="Only where it was cut short: how likely the label is.")
    cause: str | None = Field(None, description="Only where a server could not answer: why.")


class StatsBody(BaseModel):
    """What a request cost."""

    items: int
    calls: int
    calls_per_item: float
    calls_ahead: int
    calls_reused: int = Field(description="Calls whose answers the log had; 0 unless its config says reuse = true.")
    decode_calls: int
    adapter_swaps: int
    tokens_decoded: int
    tokens_reused: int
    elapsed_ms: float
    prompt_ms: float
    decode_ms: float
    predicted_ms: float
    task_tokens_read: int = Field(description="Tokens of the task that the model reads; 0 if no item had to be asked.")
    task_tokens_cut: int = Field(description="Tokens of the task behind those, which it does not read.")
    task_is_longer: bool = Field(description="Whether the task goes on behind those, uncounted.")
    items_cut: int = Field(description="Items of which it reads only the beginning, or of whose group or text.")
    texts_read: int = Field(description="Items whose text a stage reads.")
    texts_cut: int = Field(description="Items of whose text it reads only the beginning.")


class ProvenanceBody(BaseModel):
    """What produced the answers; reports of equal provenance can be compared."""

    model: str = Field(description=_MODEL)
    adapters: dict[str, str] = Field(description=_ADAPTERS)
    prompt_format: str
    label_tokens: tuple[int, int] = Field(
        description="Of yes and no; -1 for both where no model file is at hand, or where several models answered."
    )
    name: str | None = Field(None, description="Of the base model; only where the engine has several.")
    models: dict[str, ProvenanceBody] | None = Field(
        None, description="Base model by name -> what it is; only where several answered."
    )


class ReportBody(BaseModel):
    """All decisions of a request, in the order of its items, with what they cost."""

    task_id: str = Field(description="Id of the task; outcomes name it.")
    decisions: Sequence[DecisionBody]
    stats: StatsBody
    provenance: ProvenanceBody


class ValueBody(BaseModel):
    """A value of a choice, or a level of a score."""

    name: str
    description: str | None = None


class QuestionBody(BaseModel):
    """What a stage asks."""

    tier: str | None = Field(None, description="Only where the stage asks by tier.")
    marker: str = Field(description="What stands for it behind every item.")
    wording: str
    adapter: str
    threshold: float | None = Field(None, description="Of a yes/no question: yes from this p(yes) on.")
    values: Sequence[ValueBody] | None = Field(None, description="Of a choice: what it chooses from.")
    levels: Sequence[ValueBody] | None = Field(None, description="Of a score: its levels from the lowest on.")
    least_confidence: float | None = Field(None, description="Of a choice or score: below this it is uncertain.")
    no_below: float | None = Field(None, description="The answer is no below this; if absent, below `threshold`.")
    negated: str | None = Field(None, description="The opposite question, where an audit asks it.")


class TargetBody(BaseModel):
    """Where an answer leads: either to a stage or to a label."""

    stage: str | None = None
    label: str | None = None


class PriorStageBody(BaseModel):
    """What settles clear items before the first question, and asks no model."""

    name: str
    source: Source = Field(description='"evidence": a logistic model of its facts; "caller": the item\'s `prior`.')
    no_below: float = Field(description="Items of a lower p take `no`.")
    yes_from: float = Field(description="Items of this p or a higher one take `yes`.")
    yes: TargetBody
    no: TargetBody
    uncertain: TargetBody = Field(description="Where all others go: the first question, if nothing else was said.")


class StageBody(BaseModel):
    """One question of a cascade."""

    name: str
    kind: Kind = Field(description="What is asked.")
    combine: str = Field(description="How the answers of several tiers make one.")
    questions: Sequence[QuestionBody]
    yes: TargetBody | None = Field(None, description="Of a yes/no question.")
    no: TargetBody | None = Field(None, description="Of a yes/no question.")
    next: dict[str, TargetBody] | None = Field(
        None, description="Of a choice: value -> where it leads; of a score: number of a part of the scale -> the same."
    )
    cuts: Sequence[float] | None = Field(None, description="Of a score: cut points that part the scale.")
    uncertain: TargetBody | None = Field(None, description="Where an uncertain answer goes; null for nowhere.")


class CascadeBody(BaseModel):
    """A cascade that the service answers."""

    name: str
    instructions: str
    labels: Sequence[str]
    dropped: str = Field(description="The label of what does not matter.")
    handed_on: Sequence[str] = Field((), description="The labels that only uncertain answers lead to; no answers.")
    items: ItemKind = Field(description="What of a repository it is asked about.")
    evidence: Literal["given", "made"] = Field(
        description="Whether items without evidence get it before they are asked."
    )
    prior_stage: PriorStageBody | None = Field(None, description="Null where the cascade has none.")
    stages: Sequence[StageBody]


class CascadesBody(BaseModel):
    """All cascades that the service answers."""

    cascades: Sequence[CascadeBody]


class HealthBody(BaseModel):
    """Whether the service answers, and with what."""

    status: str = Field(description='"ok", or "failed" when the engine takes no more requests.')
    version: str
    model: str = Field(description=_MODEL)
    adapters: dict[str, str] = Field(description=_ADAPTERS)
    prompt_format: str
    cascades: Sequence[str]
