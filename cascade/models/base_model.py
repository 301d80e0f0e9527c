"""What a base model says of itself, checked for what makes llama.cpp abort. Pure: a header goes in, facts come out.

Lines of llama.cpp that would abort stand beside the check; they are those of llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFValueType

from cascade.errors import ModelFileError
from cascade.models.encoder import ENCODERS, TYPES, check_encoder
from cascade.models.gguf import GGUFFile, read_gguf

SOURCE_HASH_KEY = "cascade.source_model.sha256"
"""Metadata key of models that ``cascade quantize`` writes: SHA-256, in hex, of the file that it read."""

_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS.
_MAX_EXPERTS = 1024  # LLAMA_MAX_EXPERTS.
_MAX_GATING = 4  # LLAMA_EXPERT_GATING_FUNC_TYPE_SQRT_SOFTPLUS; llama-graph.cpp:2072 aborts on others.
ARCHITECTURES = frozenset(
    """apertus arcee baichuan bitnet bloom chatglm cohere2 command-r dbrx deepseek ernie4_5 ernie4_5-moe exaone exaone4
    falcon gemma gemma2 gemma3 gemma4 glm4 glm4moe gpt-oss gptneox granite granitemoe grok hunyuan-dense
    hunyuan-moe internlm2 jais jais2 llama maincoder minicpm mistral3 mpt nemotron olmo olmo2 openelm orion
    pangu-embedded phi2 phi3 phimoe plamo qwen2 qwen2moe qwen3 qwen3moe refact seed_oss smollm3 stablelm starcoder2
    xverse""".split()
)
"""Architectures that run here, by llama.cpp's names, and that are fuzzed (tests/fuzz).

Among the others are some whose cache cannot be cut back or shared, some that do not predict the next token, and some
that end the process where a file is not quite as they want it. The answers of gemma3n depend on how a prompt is cut
into decodes on CPUs with AMX (llama-cpp-python 0.3.36).
"""

_TOKENIZERS = {"gpt2": "\u0120", "gemma4": "\u2581", "llama": "\u2581"}
"""Tokenizers of these architectures -> how their vocabulary writes a space. Without one llama_tokenize aborts."""

_WORD_PIECES = ("bert",)
"""Tokenizers of encoders."""

_POOLINGS = (0, 4)  # None; rank, whose models still have plain logits. The others only embed.
_PARTIAL_ROPE = frozenset(
    """bitnet bloom chatglm cohere2 command-r gemma gemma2 gemma3 gemma4 glm4 glm4moe gpt-oss gptneox jais mpt
    openelm phi2 phi3 phimoe refact stablelm""".split()
)
"""Architectures that may rotate a part of each head alone; the graphs of the others assert that it is the whole."""

_LEAST_OWN = 2  # llama-model.cpp:2782
_UNEVEN = ("gemma4",)
"""Architectures whose layers differ: in the size of their heads, and in whether they have keys of their own."""

_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
_NOT_COMPUTED = {GGMLQuantizationType[name] for name in ("F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K")}
_GET_ANOTHER = "Get or export another file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a base model says of itself.

    Attributes:
        architecture: llama.cpp's name, such as qwen3.
        name: The model's own name; empty if it has none.
        n_layers: Layers.
        n_ctx_train: Tokens of context that it was trained on.
        n_embd: Width of the hidden state.
        n_vocab: Tokens of its vocabulary.
        shapes: Tensor name -> shape in ggml's order.
        source_sha256: SHA-256 of the file that this one is another format of; None if it does not say.
        is_encoder: Whether it reads pairs and answers by its classification head; a decoder answers by label tokens.
    """

    architecture: str
    name: str
    n_layers: int
    n_ctx_train: int
    n_embd: int
    n_vocab: int
    shapes: Mapping[str, tuple[int, ...]]
    source_sha256: str | None = None
    is_encoder: bool = False


def check_model(file: GGUFFile) -> ModelInfo:
    """The facts of a base model.

    Raises:
        ModelFileError: llama.cpp would refuse it or abort, or it cannot answer yes or no.
    """
    kind = file.get("general.type", GGUFValueType.STRING)
    if kind not in (None, "model"):
        file.refuse(f"is of general.type {kind!r}, no model", "Give a model here, and adapters under [adapters]")
    architecture = file.require("general.architecture", GGUFValueType.STRING)
    is_encoder = architecture in ENCODERS
    if architecture not in ARCHITECTURES | ENCODERS:
        known = ", ".join(sorted(ARCHITECTURES | ENCODERS))
        file.refuse(
            f"has the architecture {architecture!r}, which does not run here", f"Give a model of one of {known}"
        )
    if file.get("split.count", GGUFValueType.UINT16) not in (None, 0, 1):
        file.refuse("is one part of a split model", "Join the parts with llama-gguf-split --merge")
    n_layers, n_embd = _check_numbers(file, architecture)
    if not is_encoder:
        _check_predicts(file, architecture)
    tokens = _check_vocabulary(file, _WORD_PIECES if is_encoder else _TOKENIZERS)
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or embedding.shape != (n_embd, len(tokens)):
        given = "is missing" if embedding is None else f"has the shape {embedding.shape}"
        file.refuse(f"token_embd.weight {given}, where ({n_embd}, {len(tokens)}) is due", _GET_ANOTHER)
    _check_heads(file, architecture, n_embd, n_layers)
    if is_encoder:
        check_encoder(file, architecture, n_embd, tokens)
    for name, tensor in file.tensors.items():  # Both die in a decode, without an error before.
        is_added = len(tensor.shape) == 1 or "norm" in name or name.endswith(".bias") or name == TYPES
        if tensor.type in _NOT_COMPUTED or (is_added and tensor.type is not GGMLQuantizationType.F32):
            problem = f"tensor {name!r} of shape {tensor.shape} has the type {tensor.type.name}"
            remedy = "llama.cpp computes vectors, norms and biases in F32, matrices in F32, F16, BF16 or quantised"
            file.refuse(problem, f"{remedy}; convert again")
    return ModelInfo(
        architecture=architecture,
        name=file.get("general.name", GGUFValueType.STRING) or "",
        n_layers=n_layers,
        n_ctx_train=file.require(f"{architecture}.context_length", GGUFValueType.UINT32),
        n_embd=n_embd,
        n_vocab=len(tokens),
        shapes={name: tensor.shape for name, tensor in file.tensors.items()},
        source_sha256=file.get(SOURCE_HASH_KEY, GGUFValueType.STRING),
        is_encoder=is_encoder,
    )


def check_labels(file: GGUFFile, labels: tuple[str, ...]) -> None:
    """Check that each label is one token of a model's vocabulary.

    Raises:
        ModelFileError: One is not, so the model's logits cannot tell yes from no.
    """
    tokens = set(_check_vocabulary(file, _TOKENIZERS))
    space = _TOKENIZERS[file.require("tokenizer.ggml.model", GGUFValueType.STRING)]
    for label in labels:
        texts = (label.replace(" ", space), space + label)
        if not tokens.intersection(text.encode() for text in texts):
            file.refuse(f"has no token for the label {label!r}", "Choose a prompt format that fits the model")


def _counts(file: GGUFFile, key: str) -> list[int]:
    """A count that llama.cpp takes as one number or as one per layer; empty if absent."""
    if key in file.metadata and file.metadata[key].is_array:
        found: list[int] = file.get(key, GGUFValueType.UINT32, GGUFValueType.INT32, is_array=True).tolist()
        return found
    value = file.get(key, GGUFValueType.UINT32)
    return [] if value is None else [value]


def _check_numbers(file: GGUFFile, architecture: str) -> tuple[int, int]:
    """Layers and width, with what load_hparams asserts of them (llama-model.cpp:1328, 1330, 1420)."""
    n_layers = file.require(f"{architecture}.block_count", GGUFValueType.UINT32)
    n_embd = file.require(f"{architecture}.embedding_length", GGUFValueType.UINT32)
    if not 1 <= n_layers <= _MAX_LAYERS:
        file.refuse(f"{architecture}.block_count is {n_layers}; 1 to {_MAX_LAYERS} are allowed", _GET_ANOTHER)
    if sum(_counts(file, f"{architecture}.nextn_predict_layers")) >= n_layers:
        problem = f"{architecture}.nextn_predict_layers leaves none of the {n_layers} layers of block_count"
        file.refuse(problem, _GET_ANOTHER)
    _check_window(file, f"{architecture}.attention.sliding_window_pattern")
    scaling = file.get(f"{architecture}.rope.scaling.type", GGUFValueType.STRING)
    if scaling not in (None, *_ROPE_SCALINGS):
        known = ", ".join(_ROPE_SCALINGS)
        file.refuse(f"{architecture}.rope.scaling.type is {scaling!r}; {known} are known", _GET_ANOTHER)
    for key, entry in file.metadata.items():
        number = entry.value if isinstance(entry.value, float) else 0.0
        if not math.isfinite(number) or ("epsilon" in key and number < 0):
            file.refuse(f"{key} is {number}; it must be finite, and an epsilon not negative", _GET_ANOTHER)
    _check_experts(file, architecture)
    return n_layers, n_embd


def _check_predicts(file: GGUFFile, architecture: str) -> None:
    """That a decoder has logits."""
    pooling = file.get(f"{architecture}.pooling_type", GGUFValueType.UINT32) or 0
    if pooling not in _POOLINGS or file.get(f"{architecture}.attention.causal", GGUFValueType.BOOL) is False:
        file.refuse("is an embedding model, which gives no logits for yes and no", "Give a causal language model")


def _check_window(file: GGUFFile, key: str) -> None:
    """A pattern of layers that look at a window alone, which some layer must (llama-model.cpp:2807)."""
    if key not in file.metadata:
        return
    if file.metadata[key].is_array:
        types = (GGUFValueType.BOOL, GGUFValueType.UINT32, GGUFValueType.INT32)
        is_none = not file.get(key, *types, is_array=True).any()
    else:
        is_none = file.get(key, GGUFValueType.UINT32) == 1
    if is_none:
        file.refuse(f"{key} gives no layer a window", _GET_ANOTHER)


def _check_heads(file: GGUFFile, architecture: str, n_embd: int, n_layers: int) -> None:
    """Heads that share keys evenly, are all of one size, and make up the matrices of every layer."""
    prefix = f"{architecture}.attention."
    heads = _counts(file, prefix + "head_count")
    kv_heads = _counts(file, prefix + "head_count_kv") or heads
    if {len(heads), len(kv_heads)} - {1, n_layers} or min(heads + kv_heads) < 1:
        problem = f"{prefix}head_count is {heads} and {prefix}head_count_kv {kv_heads}"
        file.refuse(problem, f"Each must be at least 1, one number or one for each of the {n_layers} layers")
    pairs = [(heads[layer % len(heads)], kv_heads[layer % len(kv_heads)]) for layer in range(n_layers)]
    if any(n_heads % n_kv for n_heads, n_kv in pairs):
        file.refuse(f"{prefix}head_count {heads} is no multiple of head_count_kv {kv_heads}", _GET_ANOTHER)
    size, rotated = _head_size(file, architecture, "", n_embd // heads[0])
    windowed, _ = _head_size(file, architecture, "_swa", size, rotated)
    if architecture in _UNEVEN:  # llama.cpp checks the shapes of their matrices itself
        _check_shared(file, architecture, n_layers)
        return
    if windowed != size:
        file.refuse(f"has heads of {windowed} in layers with a window, of {size} in others", _GET_ANOTHER)
    for layer, (n_heads, n_kv) in enumerate(pairs):
        _check_attention(file, f"blk.{layer}.attn_", {"q": n_heads * size, "k": n_kv * size, "v": n_kv * size})


def _head_size(
    file: GGUFFile, architecture: str, suffix: str, default: int, rotated: int | None = None
) -> tuple[int, int]:
    """The size of a head, and of what is rotated of it.

    Keys and values are of one size, as graphs assert; so is what is rotated, where they assert that.

    Args:
        file: The model.
        architecture: Its architecture.
        suffix: Of the keys: none, or that of layers with a window.
        default: The size where the file does not say.
        rotated: The same for what is rotated; None for the size.
    """
    keys = [f"{architecture}.attention.{part}_length{suffix}" for part in ("key", "value")]
    size, of_values = (default if (given := file.get(key, GGUFValueType.UINT32)) is None else given for key in keys)
    if size != of_values or not size:
        file.refuse(f"has {keys[0]} = {size}, {keys[1]} = {of_values}; they must be one number above 0", _GET_ANOTHER)
    key = f"{architecture}.rope.dimension_count{suffix}"
    given = file.get(key, GGUFValueType.UINT32)
    turned: int = given if given is not None else size if rotated is None else rotated
    if turned % 2 or not 0 < turned <= size or (turned < size and architecture not in _PARTIAL_ROPE):
        allowed = f"an even number from 2 to {size}" if architecture in _PARTIAL_ROPE else f"{size}, and even"
        file.refuse(f"has {key} = {turned} for heads of {size}; it must be {allowed}", _GET_ANOTHER)
    return size, turned


def _check_shared(file: GGUFFile, architecture: str, n_layers: int) -> None:
    """That layers which use another's keys find them (llama-model.cpp:2782, llama-kv-cache.cpp:268)."""
    key = f"{architecture}.attention.shared_kv_layers"
    first = n_layers - (file.get(key, GGUFValueType.UINT32) or 0)
    types = (GGUFValueType.BOOL, GGUFValueType.UINT32, GGUFValueType.INT32)
    given = file.get(f"{architecture}.attention.sliding_window_pattern", *types, is_array=True)
    pattern = (
        [(layer + 1) % 5 > 0 for layer in range(n_layers)]
        if given is None
        else [*map(bool, given), *[False] * n_layers]
    )
    # Those with a window use the last but one that has keys of its own, the others the last one.
    if first < _LEAST_OWN or any(
        pattern[layer] != pattern[first - 1 - pattern[layer]] for layer in range(first, n_layers)
    ):
        file.refuse(f"{key} is {n_layers - first} of {n_layers} layers, which find no keys to share", _GET_ANOTHER)


def _check_attention(file: GGUFFile, prefix: str, sizes: Mapping[str, int]) -> None:
    """That one layer has the matrices of its heads, apart or as one; without them the process would die in a decode."""
    whole = file.tensors.get(f"{prefix}qkv.weight")
    given = {f"{prefix}{part}.weight": size for part, size in sizes.items()} if whole is None else {}
    expected = given or {f"{prefix}qkv.weight": sum(sizes.values())}
    for name, size in expected.items():
        tensor = file.tensors.get(name)
        if tensor is None or tensor.shape[1:] != (size,):
            what = "is missing" if tensor is None else f"has the shape {tensor.shape}"
            file.refuse(f"tensor {name!r} {what}, where {size} rows are due", _GET_ANOTHER)


def _check_experts(file: GGUFFile, architecture: str) -> None:
    """Experts as load_hparams asserts them (llama-model.cpp:1361-1373)."""

    def count(key: str) -> int:
        return max(_counts(file, f"{architecture}.{key}"), default=0)

    n_experts, n_used = count("expert_count"), count("expert_used_count")
    n_groups, n_groups_used = count("expert_group_count"), count("expert_group_used_count")
    fits = n_used <= n_experts <= _MAX_EXPERTS and (n_used > 0) == (n_experts > 0) and n_groups < max(n_experts, 1)
    if n_groups > 1:
        fits = fits and n_experts % n_groups == 0 and 0 < n_groups_used < n_groups
    if not fits:
        given = f"{n_used} of {n_experts} experts, {n_groups_used} of {n_groups} groups"
        file.refuse(f"uses {given}, which llama.cpp cannot run", _GET_ANOTHER)
    if file.get(f"{architecture}.interleave_moe_layer_step", GGUFValueType.UINT32) == 0:  # models/ernie4-5-moe.cpp:26
        file.refuse(f"{architecture}.interleave_moe_layer_step is 0; it must be at least 1", _GET_ANOTHER)
    gating = file.get(f"{architecture}.expert_gating_func", GGUFValueType.UINT32) or 0
    if gating > _MAX_GATING:
        file.refuse(f"{architecture}.expert_gating_func is {gating}; 0 to {_MAX_GATING} are known", _GET_ANOTHER)


def _check_vocabulary(file: GGUFFile, allowed: Collection[str]) -> tuple[bytes, ...]:
    tokenizer = file.require("tokenizer.ggml.model", GGUFValueType.STRING)
    if tokenizer not in allowed:
        known = ", ".join(allowed)
        file.refuse(f"has the tokenizer {tokenizer!r}; {known} are known", "Give a model with such a tokenizer")
    tokens: tuple[bytes, ...] = file.require("tokenizer.ggml.tokens", GGUFValueType.STRING, is_array=True)
    if not tokens:
        file.refuse("has an empty vocabulary", _GET_ANOTHER)
    # As llama.cpp reads them: up to a zero byte, the empty ones renamed. Two alike: abort in llama-vocab.cpp:2544.
    texts = [token.partition(b"\0")[0] or b"[EMPTY_%d]" % i for i, token in enumerate(tokens)]
    known_texts = set(texts)
    if len(known_texts) < len(texts):
        ((twice, times),) = Counter(texts).most_common(1)
        file.refuse(f"has the token {twice.decode(errors='replace')!r} {times} times", "Convert the model again")
    types = file.get("tokenizer.ggml.token_type", GGUFValueType.INT32, is_array=True)
    if types is not None and len(types) != len(tokens):
        file.refuse(f"has {len(types)} token types for {len(tokens)} tokens", "Convert the model again")
    if tokenizer in ("gpt2", "gemma4"):
        file.require("tokenizer.ggml.merges", GGUFValueType.STRING, is_array=True)
    if tokenizer == "llama":  # A byte without a token: an exception that nobody catches (llama-vocab.cpp:4014).
        missing = [byte for byte in range(256) if not {b"<0x%02X>" % byte, bytes([byte])}.intersection(known_texts)]
        if missing:
            file.refuse(f"has no token for the byte {missing[0]:#04x}", "Convert the model again")
    return tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFormat:
    """One file of a model.

    Attributes:
        path: The file.
        type: The format that most bytes of its matrices are in, such as BF16, Q8_0 or Q4_K.
        n_bytes: Size of the file.
    """

    path: Path
    type: str
    n_bytes: int


def matrix_type(file: GGUFFile) -> str:
    """The format that most bytes of a file's matrices are in; empty if it has none."""
    sizes: Counter[str] = Counter()
    for tensor in file.tensors.values():
        if len(tensor.shape) > 1:
            sizes[tensor.type.name] += tensor.n_bytes
    return sizes.most_common(1)[0][0] if sizes else ""


def find_formats(path: Path, model: ModelInfo) -> list[ModelFormat]:
    """A model's own file first, then the files in its folder that have its architecture, shapes and vocabulary.

    Args:
        path: The model's file.
        model: What it says.
    """
    others = sorted(other for other in path.parent.glob("*.gguf") if other != path)
    found = [_format(read_gguf(path))]
    for other in others:
        try:
            file = read_gguf(other)
            info = check_model(file)
        except ModelFileError:  # an adapter, or no model that could take the place of this one
            continue
        if (info.architecture, info.n_vocab, info.shapes) == (model.architecture, model.n_vocab, model.shapes):
            found.append(_format(file))
    return found


def _format(file: GGUFFile) -> ModelFormat:
    return ModelFormat(path=file.path, type=matrix_type(file), n_bytes=file.size)
