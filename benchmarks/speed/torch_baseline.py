"""transformers with PEFT on torch as a baseline: batches of padded prompts in BF16, as their documentation has it.

The model has the geometry of the GGUF file, and each adapter the rank and the projections of its
own; all weights are random, since speed does not depend on their values. An adapter is set per
stage and acts on whole prompts: PEFT's activated adapters keep no cache between calls either.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.baselines import BaselineError, BaselineSetup
from benchmarks.speed.workload import by_stage
from cascade.machine import install_extra
from cascade.models.gguf import GGUFFile, read_gguf
from cascade.models.model_set import Adapter
from cascade.stages import BASE

ARCHITECTURE = "qwen3"
BATCH = 16
PROJECTIONS = {
    "attn_q": "q_proj",
    "attn_k": "k_proj",
    "attn_v": "v_proj",
    "attn_output": "o_proj",
    "ffn_gate": "gate_proj",
    "ffn_up": "up_proj",
    "ffn_down": "down_proj",
}
"""llama.cpp's names of a layer's matrices -> transformers' names."""


class TorchBaseline:
    """A Qwen3 model of transformers with one PEFT adapter per stage.

    Args:
        setup: What is asked.
        by_hand: False for the call that the documentation shows, which computes logits at every
            position of every prompt; True for its best case, logits of the last position alone.

    Raises:
        BaselineError: A package is missing, or the model is no Qwen3.
    """

    def __init__(self, setup: BaselineSetup, *, by_hand: bool) -> None:
        geometry = qwen3_geometry(read_gguf(setup.models.model_path))
        try:
            import peft  # noqa: PLC0415 - an extra, and slow to load
            import torch  # noqa: PLC0415
            import transformers  # noqa: PLC0415
        except ImportError as error:
            msg = f"transformers needs the package {error.name}. Run `{install_extra('train')}`."
            raise BaselineError(msg) from error
        self.name = f"transformers + PEFT, BF16, batches of {BATCH}{', last logits only' * by_hand}"
        self._by_hand = by_hand
        self._torch: Any = torch
        self._labels = list(setup.labels)
        torch.set_num_threads(setup.size.n_threads)
        torch.manual_seed(0)
        model: Any = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**geometry)).to(torch.bfloat16)
        for adapter in (setup.models.adapters[name] for name in setup.adapters if name != BASE):
            # Adapters in the model's own BF16: PEFT would compute them in float32, as training needs.
            lora = peft.LoraConfig(**lora_options(adapter, read_gguf(adapter.path)))
            if isinstance(model, peft.PeftModel):
                model.add_adapter(adapter.name, lora, autocast_adapter_dtype=False)
            else:
                model = peft.get_peft_model(model, lora, adapter.name, autocast_adapter_dtype=False)
        self._model: Any = model.eval()
        self._parts = _batches(setup)
        self._forward(*self._parts[0])  # touches the memory once

    def run(self) -> float:
        """See ``Baseline.run``."""
        started = time.perf_counter()
        for adapter, tokens, mask in self._parts:
            self._forward(adapter, tokens, mask)
        return time.perf_counter() - started

    def close(self) -> None:
        """See ``Baseline.close``."""
        self._model = None

    def _forward(self, adapter: str, tokens: NDArray[np.int64], mask: NDArray[np.int64]) -> list[list[float]]:
        """Logits of the labels after each prompt."""
        if adapter != BASE:
            self._model.set_adapter(adapter)
        torch = self._torch
        # The number 1 means the same, but its strided rows make torch copy the vocabulary's matrix per prompt.
        last = {"logits_to_keep": torch.tensor([tokens.shape[1] - 1])} if self._by_hand else {}
        with torch.inference_mode():
            kept = torch.from_numpy(mask)
            output = self._model(
                input_ids=torch.from_numpy(tokens),
                attention_mask=kept,
                position_ids=(kept.cumsum(-1) - 1).clamp(min=0),
                use_cache=False,
                **last,
            )
            found: list[list[float]] = output.logits[:, -1, self._labels].float().tolist()
        return found


def qwen3_geometry(file: GGUFFile) -> dict[str, Any]:
    """The options of transformers' ``Qwen3Config`` for a model's geometry.

    Raises:
        BaselineError: The model is no Qwen3.
    """
    architecture = file.metadata["general.architecture"].value
    if architecture != ARCHITECTURE:
        msg = f"transformers is asked with {ARCHITECTURE} models alone; this one is {architecture}."
        raise BaselineError(msg)

    def number(key: str) -> Any:
        found = file.metadata.get(f"{architecture}.{key}")
        if found is None:
            msg = f"transformers needs {architecture}.{key}, which {file.path} lacks."
            raise BaselineError(msg)
        return found.value

    return {
        "num_hidden_layers": number("block_count"),
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "num_attention_heads": number("attention.head_count"),
        "num_key_value_heads": number("attention.head_count_kv"),
        "head_dim": number("attention.key_length"),
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
        "rope_theta": number("rope.freq_base"),
        "max_position_embeddings": number("context_length"),
        "vocab_size": file.tensors["token_embd.weight"].shape[1],
        "tie_word_embeddings": "output.weight" not in file.tensors,
    }


def lora_options(adapter: Adapter, file: GGUFFile) -> dict[str, Any]:
    """The options of PEFT's ``LoraConfig`` for an adapter's rank and projections."""
    parts = {name.split(".")[2] for name in file.tensors if name.startswith("blk.")}
    return {
        "r": adapter.info.rank,
        "lora_alpha": adapter.info.alpha * adapter.scale,
        "target_modules": sorted(PROJECTIONS[part] for part in parts & PROJECTIONS.keys()),
    }


def padded(prompts: Sequence[Sequence[int]], pad: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n_prompts, longest) token ids and attention mask; padding stands on the left, so every prompt ends alike."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = np.full((len(prompts), longest), pad, np.int64)
    mask = np.zeros((len(prompts), longest), np.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    return tokens, mask


def _batches(setup: BaselineSetup) -> list[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """(adapter, token ids, mask) of every batch, stage by stage, prompts of like lengths together."""
    found = []
    for stage in by_stage(setup.queries):
        prompts = sorted((setup.queries[at].node.prompt for at in stage), key=len)
        adapter = setup.queries[stage[0]].adapter
        found += [(adapter, *padded(prompts[at : at + BATCH])) for at in range(0, len(prompts), BATCH)]
    return found
