"""Any table as TOML text: what TOML has no form for is written as it comes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any


def toml_text(table: Any) -> bytes:
    """A table as TOML, a line for each key; anything else as what stands on one line."""
    if not isinstance(table, dict):
        return _value(table).encode("utf-8", "surrogatepass")
    lines = (f"{_text(key)} = {_value(value)}\n" for key, value in table.items())
    return "".join(lines).encode("utf-8", "surrogatepass")


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_text(key)} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
