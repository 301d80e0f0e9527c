"""The lock of tuned thresholds: whether what answers now is what they were tuned with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from cascade.config.profile import MadeForConfig
from cascade.config.schema import Config
from cascade.config.thresholds import ThresholdsFile
from cascade.errors import ConfigError
from cascade.machine import get_logger
from cascade.prompt import MARK, prompt_format
from cascade.report import Provenance
from cascade.tree import Cascade

log = get_logger("cascade.thresholds")


def questions_fingerprint(cascade: Cascade, more: object = None) -> str:
    """SHA-256 in hex over what scores depend on besides files and data; thresholds, cuts and targets are left out.

    Args:
        cascade: Its instructions and questions, what they read, and whether it makes evidence.
        more: What else shapes prompts and scores, such as token limits and adapters' scales; anything JSON can hold.
    """
    asked = [
        (stage.name, tier, question.marker, question.wording, question.adapter)
        for stage in cascade.stages
        for tier, question in stage.questions.items()
    ]
    evidence = ["made"] if cascade.makes_evidence else []
    reads = {question.marker: question.max_text_tokens for question in cascade.questions() if question.max_text_tokens}
    others = [*evidence, {"reads text": reads}] if reads else evidence
    values = {
        stage.name: [[(value.name, value.description) for value in question.values], str(stage.kind)]
        for stage in cascade.stages
        for question in stage.questions.values()
        if question.values
    }
    others = [*others, {"values": values}] if values else others
    text = json.dumps([cascade.instructions, asked, cascade.labels, more, *others], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def questions_at_hand(config: Config, cascade: Cascade, provenance: Provenance) -> str:
    """The fingerprint of a cascade's questions as a config and a backend put them.

    Args:
        config: Its token limits, the scales of its adapters, and how prompts go to servers.
        cascade: One of its cascades.
        provenance: What the backend says of itself.
    """
    scales = {adapter: config.scale(adapter) for adapter in cascade.adapters()}
    models = config.base_models
    only = provenance.name or next(iter(models))
    limits = {name: models[name].limits.model_dump() for name in provenance.models} or models[only].limits.model_dump()
    tokens = {name: each.label_tokens for name, each in provenance.models.items()} or provenance.label_tokens
    shape: list[object] = [provenance.prompt_format, tokens, limits, scales]
    asked = {name: entry for name, entry in config.served.items() if name in scales}
    has_words = any(config.servers[entry.server].kind == "systemone" for entry in asked.values())
    formats = [each.prompt_format for each in provenance.models.values()] or [provenance.prompt_format]
    if has_words or any(prompt_format(name).mark for name in formats):
        shape.append({"mark of evidence": MARK})
    if asked:  # a server finds other tokens in text than this process does
        shape.append({name: config.servers[entry.server].prompt for name, entry in asked.items()})
    return questions_fingerprint(cascade, shape)


def check_locks(config: Config, cascades: Mapping[str, Cascade], provenance: Provenance) -> None:
    """Refuse tuned thresholds of other files or questions, or warn: what they guarantee is true of theirs alone.

    Args:
        config: Says where thresholds come from, and what becomes of those that do not fit.
        cascades: Its cascades.
        provenance: What the backend says of itself.

    Raises:
        ConfigError: Names the cascade and what differs, where ``engine.on_threshold_mismatch`` is "refuse".
    """
    for name, cascade in cascades.items():
        entry = config.cascade.get(name)
        if entry is None or not isinstance(entry.thresholds, ThresholdsFile):
            continue
        questions = questions_at_hand(config, cascade, provenance)
        differs = _differences(entry.thresholds.made_for, cascade, provenance, questions)
        if differs and config.engine.on_threshold_mismatch == "warn":
            log.warning(
                "tuned thresholds guarantee nothing: they were made for something else", cascade=name, differs=differs
            )
        elif differs:
            msg = (
                f"cascade.{name}.thresholds: {', '.join(differs)} is not what these thresholds were tuned with, so "
                "they guarantee nothing. Tune again with `cascade tune --out`, leave the key away "
                '(`thresholds = ""` where the config extends another that has it), or set '
                '`on_threshold_mismatch = "warn"` under [engine].'
            )
            raise ConfigError(msg)


def _differences(made_for: MadeForConfig, cascade: Cascade, provenance: Provenance, questions: str) -> list[str]:
    """What is not as it was, in words; adapters that the cascade does not ask do not matter."""
    now, then = provenance.adapters, made_for.adapters
    found = ["the model"] if made_for.model != provenance.model else []
    found += [f"adapter {name!r}" for name in sorted(cascade.adapters()) if then.get(name) != now.get(name)]
    if made_for.questions != questions:
        found.append(
            "what is asked (questions, what they read, evidence, prompt format, token limits, an adapter's scale, or "
            "how prompts go to a server)"
        )
    return found
