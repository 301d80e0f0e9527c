"""The embedded backend of an encoder: pairs of task and item are read as a whole, and nothing is kept."""

from __future__ import annotations

from cascade.backends.base import BackendInfo
from cascade.backends.costs import CallSizes, Costs
from cascade.backends.llama.backend import LlamaBackend
from cascade.backends.llama.encoder_native import NativeEncoder
from cascade.backends.llama.encoder_runner import EncoderRunner, slowdown
from cascade.backends.llama.loaded import ContextSize
from cascade.errors import CascadeError
from cascade.models.model_set import ModelSet
from cascade.prompt import PromptFormat

_PLENTY = 1_000_000_000  # of nodes and tokens to keep: none are


def open_encoder(models: ModelSet, form: PromptFormat, size: ContextSize) -> LlamaBackend:
    """Load a checked encoder with its adapters.

    Args:
        models: Their files.
        form: The prompt format of pairs.
        size: How many tokens and pairs a call may have, and how it computes; there are no cells.

    Raises:
        ModelFileError: llama.cpp refused a file, or one has changed.
        MachineError: llama.cpp cannot compute here, or no thread can be started.
    """
    native = NativeEncoder(models.model_path, size)
    try:
        for adapter in models.adapters.values():
            native.load_adapter(adapter.name, adapter.path, adapter.scale)
        models.check_files()
        info = BackendInfo(
            provenance=models.provenance(form.name, (-1, -1)),
            prefix_adapters=models.prefix_adapters,
            form=form,
            tokenizer=native.tokenizer,
            max_prompt=native.max_pair,
            max_tokens=_PLENTY,
            max_nodes=_PLENTY,
            slowdown=slowdown(native, Costs()),
            sizes=CallSizes(n_batch=native.n_batch, n_batch_questions=native.n_batch),
            is_encoder=True,
            n_threads=native.n_threads,
        )
        return LlamaBackend(EncoderRunner(native, models.base), native, models, info)
    except CascadeError:
        native.close()
        raise
