"""Records of a file as pydantic models: the form of the field, and what a log adds of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cascade.log.entries import BodyKind

LAST = 253_402_300_799
"""The last second of the year 9999, since the epoch."""

_Text = Annotated[str, Field(min_length=1)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Time = Annotated[float, Field(strict=True, ge=0, le=LAST)]
_P = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RequestRow(_Row):
    """A request, but for its bodies."""

    id: _Text
    at: _Time
    cascade: str
    task: _Text
    is_scoring: bool
    error: str
    stats: dict[str, Any]
    tree: _Hash
    provenance: _Hash


class CallRow(_Row):
    """A call; its question by its hash."""

    stage: str
    tier: str
    question: _Hash
    adapter: str
    made_by: str
    model: str
    threshold: _Number
    no_below: _Number | None
    p_yes: _P | None
    p_calibrated: _P | None
    probabilities: dict[str, _P] | None
    answer: bool | str | None
    ms: _Number | None
    tokens: _Number | None


class BodyRow(_Row):
    """What several records share."""

    kind: BodyKind
    body: Any


class RequestMeta(_Row):
    """A request without decisions."""

    kind: Literal["request"]
    request: RequestRow
    bodies: dict[_Hash, BodyRow] = {}


class DecisionMeta(_Row):
    """What one item of a request got."""

    kind: Literal["decision"]
    request: RequestRow
    place: Annotated[int, Field(strict=True, ge=0)]
    item: _Text
    label: str
    status: Literal["decided", "uncertain", "depth_cap", "deadline", ""]
    p_label: _P | None
    cause: str
    calls: tuple[CallRow, ...]
    bodies: dict[_Hash, BodyRow] = {}


class OutcomeMeta(_Row):
    """What became of an item."""

    kind: Literal["outcome"]
    id: _Text
    at: _Time
    task: _Text
    item: _Text
    what: _Text
    label: str
    value: _P
    source: str


_Meta = Annotated[RequestMeta | DecisionMeta | OutcomeMeta, Field(discriminator="kind")]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True)

    state: Any
    questions: dict[str, dict[str, Any]]


class AnswerRow(BaseModel):
    """An answer, of which all that counts is how likely it is."""

    model_config = ConfigDict(frozen=True)

    noul: _P | None = None
    probabilities: dict[str, _P] | None = None


class Record(BaseModel):
    """A record; keys that the form does not know are allowed in it."""

    model_config = ConfigDict(frozen=True)

    v: Annotated[int, Field(strict=True, ge=1)]
    id: str
    ts: str
    model: str
    request: _Asked
    answers: dict[str, AnswerRow]
    label: dict[str, bool | float | str] | None = None
    meta: dict[str, Any] = {}


class _OwnMeta(BaseModel):
    model_config = ConfigDict(frozen=True)

    cascade: _Meta


class OwnRecord(BaseModel):
    """The part of a record that a log wrote for itself."""

    model_config = ConfigDict(frozen=True)

    meta: _OwnMeta
