"""``POST /v1/chat/completions``: as much of a chat as a yes or no with its logprobs needs. Pure.

Source: ``openai/types/chat/*.py`` of openai 3.57.0 on PyPI; ``x_cascade`` is ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from cascade.wire.texts import MOST_ENTRIES, Form

PATH = "/v1/chat/completions"


class Part(Form):
    """A part of a message; only texts are read."""

    type: str
    text: str = ""


class Message(Form):
    """One message of a chat."""

    role: str
    content: str | Annotated[list[Part], Field(max_length=MOST_ENTRIES, fail_fast=True)] | None = None

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class ChatCall(Form):
    """A chat, as OpenAI's clients send it. The user's first message is judged; fields not named here are ignored."""

    model: str = Field(min_length=1, description="Name of a cascade.")
    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_ENTRIES, fail_fast=True)]
    logprobs: bool | None = Field(None, description="Whether the answer has the logprobs of both tokens.")
    stream: bool | None = Field(None, description="Streams are not offered.")


class TokenLogprob(BaseModel):
    """A token, and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenLogprob(TokenLogprob):
    """The token of the answer, beside all that could have been."""

    top_logprobs: list[TokenLogprob]


class Logprobs(BaseModel):
    """Of each token of the answer, which is one."""

    content: list[ChosenLogprob]


class Said(BaseModel):
    """The answer as a message."""

    role: Literal["assistant"]
    content: str


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0]
    finish_reason: Literal["stop"]
    message: Said
    logprobs: Logprobs | None


class Usage(BaseModel):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Judgement(BaseModel):
    """What the cascade says of the text."""

    label: str
    p: float = Field(description="Probability that it is kept, as far as it was asked.")
    status: str


class ChatAnswer(BaseModel):
    """The answer, as OpenAI's clients read it."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    x_cascade: Judgement
