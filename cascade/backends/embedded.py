"""From a config to an embedded backend that is ready: files checked, loaded, questions fitted."""

from __future__ import annotations

from collections.abc import Mapping

from cascade.adapters import ModelSet, load_model_set
from cascade.backends.llama import LlamaBackend
from cascade.backends.native import ContextSize
from cascade.config import Config
from cascade.errors import CascadeError, ConfigError
from cascade.prompt import PromptBuilder, prompt_format
from cascade.tree import BASE, Cascade

MAX_MARKER = 4
"""Most tokens of a question's marker; its wording stands in the prefix, where it costs once."""


def open_backend(config: Config, cascades: Mapping[str, Cascade]) -> LlamaBackend:
    """Load what a config names.

    Raises:
        ConfigError: The prompt format or a question does not fit the model or its adapter.
        ModelFileError: A file is missing, damaged or does not fit.
    """
    form = prompt_format(config.model.format)
    models = load_model_set(config)
    model = config.model
    size = ContextSize(
        n_ctx=model.n_ctx,
        n_seq_max=model.n_seq_max,
        n_batch=model.n_batch,
        n_threads=model.n_threads,
        n_gpu_layers=model.n_gpu_layers,
        flash_attention=model.flash_attention,
    )
    backend = LlamaBackend.open(models, form, size)
    try:
        builder = PromptBuilder(form, backend.facts.tokenizer)
        for cascade in cascades.values():
            check_questions(cascade, builder, models)
    except CascadeError:
        backend.abandon()
        raise
    return backend


def check_questions(cascade: Cascade, builder: PromptBuilder, models: ModelSet) -> None:
    """Refuse markers that are too long, and activated adapters that no question would switch on.

    Raises:
        ConfigError: Names the question.
    """
    for question in cascade.questions():
        length = len(builder.tokenizer.encode(question.marker, special=False))
        if not 1 <= length <= MAX_MARKER:
            msg = (
                f"cascade.{cascade.name}: marker {question.marker!r} is {length} tokens in this model; allowed are "
                f"1 to {MAX_MARKER}. Give the stage a shorter marker; the wording stands in the prefix."
            )
            raise ConfigError(msg)
        if question.adapter != BASE:
            models.adapters[question.adapter].facts.activation_start(builder.marker_tokens(question.marker))
