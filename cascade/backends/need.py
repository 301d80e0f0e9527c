"""How the cells and sequences of several models are shared out: by the share of items that each is asked of. Pure.

A config that says nothing of a model's cache gives it the default where some cascade asks it first, and a share where
only those items reach it that others have left: the share of items that its cascade's profile expects there, but never
less than two of the longest prompts. What a config says itself wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from cascade.config.model import ModelConfig
from cascade.tree import Cascade

_PAD = 256  # llama.cpp rounds cells up to this
_LEAST_SEQUENCES = 32
_TEMPLATE = 256  # tokens that a format's own text and the questions may take
_PROMPTS = 2


def by_need(
    models: Mapping[str, ModelConfig], cascades: Mapping[str, Cascade], owners: Mapping[str, str]
) -> dict[str, ModelConfig]:
    """The models with ``n_ctx`` and ``n_seq_max`` by need, as far as the config does not set them.

    Args:
        models: Name -> model.
        cascades: Whose questions will be asked.
        owners: Adapter -> name of its model.
    """
    return {name: _sized(model, name, cascades, owners) for name, model in models.items()}


def share_asked(name: str, cascades: Mapping[str, Cascade], owners: Mapping[str, str]) -> float:
    """The largest share of a cascade's items that is expected to reach a question of a model; 1 if none asks it."""
    shares = []
    for cascade in cascades.values():
        reached = reach(cascade)
        own = [
            stage.name
            for stage in cascade.stages
            if any(owners.get(question.adapter) == name for question in stage.questions.values())
        ]
        shares += [reached[stage] for stage in own]
    return min(1.0, max(shares, default=1.0))


def reach(cascade: Cascade) -> dict[str, float]:
    """Stage -> share of the items that are expected to reach it, by the rates of the cascade's profile."""
    found = {stage.name: float(stage is cascade.first) for stage in cascade.stages}
    for stage in cascade.in_order():
        rates = cascade.answer_rates(stage)
        for answer, target in stage.ways.items():
            if not target.is_label:
                found[target.name] += rates[answer] * found[stage.name]
    return found


def _sized(model: ModelConfig, name: str, cascades: Mapping[str, Cascade], owners: Mapping[str, str]) -> ModelConfig:
    share = share_asked(name, cascades, owners)
    texts = max((cascade.text_limits()[-1] for cascade in cascades.values() if cascade.text_limits()), default=0)
    longest = sum(model.limits.model_dump().values()) + texts + _TEMPLATE
    sizes = {
        "n_ctx": min(model.n_ctx, _padded(max(share * model.n_ctx, _PROMPTS * longest))),
        "n_seq_max": min(model.n_seq_max, max(_LEAST_SEQUENCES, ceil(share * model.n_seq_max))),
    }
    return model.model_copy(update={key: size for key, size in sizes.items() if key not in model.model_fields_set})


def _padded(cells: float) -> int:
    return _PAD * ceil(cells / _PAD)
