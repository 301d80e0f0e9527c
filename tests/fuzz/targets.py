"""All targets, by name."""

from __future__ import annotations

from tests.fuzz import (
    body_inputs,
    cache_inputs,
    config_inputs,
    gguf_inputs,
    log_inputs,
    map_inputs,
    quantize_inputs,
    row_inputs,
    server_inputs,
    source_inputs,
    text_inputs,
)

_FAMILIES = (
    config_inputs,
    map_inputs,
    log_inputs,
    row_inputs,
    server_inputs,
    cache_inputs,
    source_inputs,
    body_inputs,
    text_inputs,
    gguf_inputs,
    quantize_inputs,
)

TARGETS = {target.name: target for family in _FAMILIES for target in family.TARGETS}
