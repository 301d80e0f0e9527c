"""A Qwen3 decoder in plain torch that runs a whole prompt trie at once.

Every trie node is computed once: linear layers run over the flat tokens of many tasks, attention
runs row by row (a row is a prefix, a group header, or an item with its questions), each row seeing
the nodes above it. Parameter names are those of transformers' Qwen3ForCausalLM, so that its
checkpoint format, PEFT and the GGUF export all fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Geometry of the model, under Hugging Face's names."""

    vocab_size: int = 8192
    hidden_size: int = 256
    intermediate_size: int = 768
    num_hidden_layers: int = 5
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 4096


# Activations and products; the residual stream, the weights and the loss stay in float32.
COMPUTE = torch.bfloat16


@dataclass(slots=True)
class Rows:
    """Rows of one kind; R rows of at most T own tokens that see at most S tokens.

    Attributes:
        own: (R, T) flat index of each own token; padding points at 0.
        seen: (R, S) flat index of the tokens above and of the own ones.
        mask: (R, 1, T, S) added to the scores: 0 where a query may see a key, else very negative.
    """

    own: Tensor
    seen: Tensor
    mask: Tensor


@dataclass(slots=True)
class Packed:
    """A batch of tries, flattened.

    Attributes:
        tokens: (N,) token ids.
        positions: (N,) position of each along its path.
        rows: The attention rows; together they hold every token once.
        places: (N,) where each token stands in the rows, padding included, laid end to end.
        asked: (Q,) flat index of the last token of each question.
        adapted: (N,) 1.0 where an activated adapter acts: from the question on.
        truths: (Q, labels) what each label token should get, in the order of the judge's labels; sums of 1.
        weights: (Q,) weight of each in the loss.
        tasks: (Q,) number of the task each belongs to.
    """

    tokens: Tensor
    positions: Tensor
    rows: list[Rows]
    places: Tensor
    asked: Tensor
    adapted: Tensor
    truths: Tensor
    weights: Tensor
    tasks: Tensor


class Linear(nn.Module):
    """A projection, with a low-rank update beside it once ``adapt`` was called."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        nn.init.normal_(self.weight, std=n_in**-0.5)
        self.lora_A: nn.Parameter | None = None
        self.lora_B: nn.Parameter | None = None
        self.scale = 0.0

    def adapt(self, rank: int, alpha: float) -> None:
        """Freeze the weight and start a LoRA update of zero."""
        self.weight.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(rank, self.weight.shape[1]) * self.weight.shape[1] ** -0.5)
        self.lora_B = nn.Parameter(torch.zeros(self.weight.shape[0], rank))
        self.scale = alpha / rank

    def forward(self, x: Tensor, adapted: Tensor | None) -> Tensor:
        """(N, n_in) -> (N, n_out); the update counts where ``adapted`` is 1, everywhere if None."""
        y = F.linear(x, self.weight.to(x.dtype))
        if self.lora_A is None or self.lora_B is None:
            return y
        update = F.linear(F.linear(x, self.lora_A.to(x.dtype)), self.lora_B.to(x.dtype)) * self.scale
        return y + (update if adapted is None else update * adapted[:, None].to(x.dtype))


class RMSNorm(nn.Module):
    """Root mean square norm."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension, in float32."""
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight, self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in the half-split form; x (N, H, D), cos and sin (N, 1, D)."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


class Attention(nn.Module):
    """Grouped-query attention over the rows of a packed batch."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim
        self.q_proj = Linear(shape.hidden_size, self.heads * self.size)
        self.k_proj = Linear(shape.hidden_size, self.kv_heads * self.size)
        self.v_proj = Linear(shape.hidden_size, self.kv_heads * self.size)
        self.o_proj = Linear(self.heads * self.size, shape.hidden_size)
        self.q_norm = RMSNorm(self.size, shape.rms_norm_eps)
        self.k_norm = RMSNorm(self.size, shape.rms_norm_eps)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], batch: Packed, adapted: Tensor | None) -> Tensor:
        """(N, hidden) -> (N, hidden)."""
        n = x.shape[0]
        q = rotate(self.q_norm(self.q_proj(x, adapted).view(n, self.heads, self.size)), *rope) * self.size**-0.5
        k = rotate(self.k_norm(self.k_proj(x, adapted).view(n, self.kv_heads, self.size)), *rope)
        v = self.v_proj(x, adapted).view(n, self.kv_heads, self.size)
        kv = torch.cat((k.to(x.dtype), v), dim=-1).view(n, -1)
        q = q.to(x.dtype)
        found = torch.cat([self._attend(q, kv, row).flatten(0, 1) for row in batch.rows])
        return self.o_proj(found.index_select(0, batch.places), adapted)

    def _attend(self, q: Tensor, kv: Tensor, row: Rows) -> Tensor:
        """(N, H, D) queries against (N, KV * 2 * D) keys and values -> (R, T, H * D).

        Written out, because the fused CPU kernel's backward pass is slower on rows this short.
        """
        n, length = row.own.shape
        shared = self.heads // self.kv_heads
        keys, values = kv[row.seen].view(n, -1, self.kv_heads, 2 * self.size).transpose(1, 2).chunk(2, dim=-1)
        grouped = q[row.own].view(n, length, self.kv_heads, shared, self.size).permute(0, 2, 3, 1, 4)
        grouped = grouped.reshape(n, self.kv_heads, shared * length, self.size)
        scores = (grouped @ keys.transpose(2, 3)).view(n, self.heads, length, -1)
        weights = (scores + row.mask).softmax(dim=-1)
        found = weights.view(n, self.kv_heads, shared * length, -1) @ values
        return found.view(n, self.heads, length, self.size).transpose(1, 2).reshape(n, length, -1)


class MLP(nn.Module):
    """SwiGLU feed-forward."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.hidden_size, shape.intermediate_size)
        self.up_proj = Linear(shape.hidden_size, shape.intermediate_size)
        self.down_proj = Linear(shape.intermediate_size, shape.hidden_size)

    def forward(self, x: Tensor, adapted: Tensor | None) -> Tensor:
        """(N, hidden) -> (N, hidden)."""
        return self.down_proj(F.silu(self.gate_proj(x, adapted)) * self.up_proj(x, adapted), adapted)


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], batch: Packed, adapted: Tensor | None) -> Tensor:
        """(N, hidden) -> (N, hidden)."""
        x = x + self.self_attn(self.input_layernorm(x).to(COMPUTE), rope, batch, adapted)
        return x + self.mlp(self.post_attention_layernorm(x).to(COMPUTE), adapted)


class Body(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)


class Judge(nn.Module):
    """The model with its tied head, read at the label tokens only: yes and no, or those of a choice's values."""

    def __init__(self, shape: Shape, labels: Sequence[int]) -> None:
        super().__init__()
        self.shape = shape
        self.labels = torch.tensor(labels)
        self.model = Body(shape)
        frequency = shape.rope_theta ** (-torch.arange(0, shape.head_dim, 2) / shape.head_dim)
        self.register_buffer("frequency", torch.cat((frequency, frequency)), persistent=False)

    def forward(self, batch: Packed, *, activated: bool = False) -> Tensor:
        """(Q, labels) logits of the label tokens; with ``activated``, adapters act on questions alone."""
        angle = batch.positions[:, None].float() * self.frequency
        rope = angle.cos()[:, None], angle.sin()[:, None]
        adapted = batch.adapted if activated else None
        x = self.model.embed_tokens(batch.tokens)
        for layer in self.model.layers:
            x = layer(x, rope, batch, adapted)
        last = self.model.norm(x[batch.asked])
        return F.linear(last, self.model.embed_tokens.weight[self.labels])

    def adapt(self, rank: int, alpha: float) -> None:
        """Freeze everything and start a LoRA update on every projection of the layers."""
        self.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, Linear):
                module.adapt(rank, alpha)
