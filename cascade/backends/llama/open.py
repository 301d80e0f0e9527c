"""From a config to an embedded backend that is ready: files checked, loaded, questions fitted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cascade.backends.beside import ALONE, Beside
from cascade.backends.llama.autotune import tuning_key
from cascade.backends.llama.backend import LlamaBackend
from cascade.backends.llama.encoder_backend import open_encoder
from cascade.backends.llama.markers import check_markers
from cascade.backends.llama.native import ContextSize
from cascade.backends.llama.tuned_settings import Tuning, load_tuning
from cascade.config.schema import Config, ModelConfig
from cascade.errors import CascadeError
from cascade.machine import user_cache
from cascade.models.model_set import ModelSet, load_model_set
from cascade.prompt import PromptBuilder, PromptFormat, prompt_format
from cascade.tree import Cascade

CacheFolder = Path | Literal["user"] | None
"""Where tunings are kept: a folder, the user's own, or nowhere."""


def open_backend(
    config: Config,
    cascades: Mapping[str, Cascade],
    tunings: CacheFolder = "user",
    models: ModelSet | None = None,
    labels: tuple[str, str] | None = None,
    beside: Beside = ALONE,
) -> LlamaBackend:
    """Load what a config of one base model names.

    Args:
        config: Its paths are absolute, as ``read_config`` leaves them.
        cascades: Whose questions must fit the model, as far as it answers them.
        tunings: Where to look for what ``cascade doctor --autotune`` measured; answers do not depend on it.
        models: What ``load_model_set`` made of the config, so that no file is hashed twice; None to load it.
        labels: Texts of the tokens that mean yes and no; None for those of the config's prompt format.
        beside: The other models of the engine.

    Raises:
        ConfigError: The prompt format, a label or a question does not fit the model or its adapter.
        ModelFileError: A file is missing, damaged or does not fit.
    """
    models = models or load_model_set(config)
    is_encoder = models.model.is_encoder
    form = prompt_format(config.model.format_for("model", is_encoder=is_encoder), labels)
    if is_encoder:
        return _open_encoder(config, cascades, models, form, beside)
    tuning = find_tuning(config.model, models.model_sha256, tunings)
    costs = tuning.costs if tuning else None
    backend = LlamaBackend.open(models, form, context_size(config.model, tuning), costs)
    try:
        builder = PromptBuilder(form, backend.info.tokenizer)
        for cascade in cascades.values():
            if not config.served:  # otherwise somebody else may have what is not here
                backend.info.check(cascade, beside.adapters)
            check_questions(cascade, builder, models, beside.adapters)
    except CascadeError:
        backend.abandon()
        raise
    return backend


def _open_encoder(
    config: Config, cascades: Mapping[str, Cascade], models: ModelSet, form: PromptFormat, beside: Beside
) -> LlamaBackend:
    backend = open_encoder(models, form, context_size(config.model))
    try:
        for cascade in cascades.values():
            backend.info.check(cascade, beside.adapters)
    except CascadeError:
        backend.abandon()
        raise
    return backend


def find_tuning(model: ModelConfig, model_sha256: str, folder: CacheFolder = "user") -> Tuning | None:
    """What was measured for a model on this machine: settings, and the costs that a planner wants; None if nothing."""
    return load_tuning(tuning_key(model, model_sha256), user_cache() if folder == "user" else folder)


def context_size(model: ModelConfig, tuning: Tuning | None = None) -> ContextSize:
    """How large a context a config asks for, and how it computes.

    Args:
        model: What it sets itself wins.
        tuning: Replaces the defaults of what the config does not set.
    """
    tuned = tuning.settings() if tuning else {}
    size = ContextSize(
        n_ctx=model.n_ctx,
        n_seq_max=model.n_seq_max,
        n_batch=model.n_batch,
        n_batch_questions=model.n_batch_questions,
        n_threads=model.n_threads,
        n_gpu_layers=model.n_gpu_layers,
        flash_attention=model.flash_attention,
        use_extra_bufts=model.use_extra_bufts,
    )
    return replace(size, **{name: value for name, value in tuned.items() if name not in model.model_fields_set})


def check_questions(cascade: Cascade, builder: PromptBuilder, models: ModelSet, others: Collection[str] = ()) -> None:
    """Refuse markers that are too long, and activated adapters that no question would switch on; warn of odd ones.

    Raises:
        ConfigError: Names the question.
    """
    check_markers(cascade, builder, models.adapters, others)
    for question in cascade.questions():
        if question.adapter in models.adapters and question.adapter not in others:
            models.adapters[question.adapter].info.activation_start(builder.marker_tokens(question.marker))
