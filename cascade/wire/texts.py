"""Texts of the two formats, which may be JSON, and what every form of theirs has in common. Pure."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

MOST_QUESTIONS = 400
"""Most questions of a request.

Source: the reference of OpenAI's ``POST /v1/decisions``; System One names no number.
"""

MOST_ENTRIES = 1_000
"""Most messages of a conversation, and most parts of one; ours, for neither format names a number."""

Text = str | dict[str, Any] | list[Any]
"""A text, or JSON that stands for one."""


class Form(BaseModel):
    """What is sent in either format; fields that are not known are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


def as_text(value: Any) -> str:
    """A text as it is, and any other value as JSON; empty for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
