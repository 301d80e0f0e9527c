"""What transformers and PEFT answer, independently of the training code: a golden file for the tests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

from adapters.recipe.export import PROJECTIONS
from adapters.recipe.model import Judge
from cascade.items import Group, Item, Task
from cascade.prompt import PromptBuilder
from cascade.tree import Cascade

# Texts that tokenizers disagree on.
AWKWARD = (
    "", " ", "\n", "\r\n", "a\r\nb\r\n\r\nc", "    four", "\t\ttabs\t", "a" + " " * 40 + "b", "trailing   ",
    "3.14159 2026-11-23 1,000,000 0x1F", "snake_case camelCase HTTPServer __init__ _x1_", "don't I'LL we've He'd",
    "ünïcode naïve café ÅÄÖ", "e\u0301 vs \u00e9", "日本語のテキスト 中文 한국어", "עברית العربية", "🙂👩‍👩‍👧‍👦🏳️‍🌈 🇩🇪",
    "\u200b zero \u00a0 width \ufeff", "<|task|><|item|> <|ask|>yes<|endoftext|>", "< |task| > <|nope|>",
    "def f(self, *args: Any, **kw) -> dict[str, int]:", "match7 covers3 rank1 name config | (path) | Read.",
    "!!!???...---___***", "a/b/c.py::Class.method", "\x00\x01\x7f", "ΑΒΓ αβγ Ж ж ﬁ ½ ²",
    "<|body7|><|seed|> #body7 body7", "\uff11\uff12\uff13 \u0663\u0664\u0665 \u2167", "x" * 300,
)  # fmt: skip

# Written for this file; no labelled task stands in the repository.
TASKS = (
    Task(text="Raise a clear error when a config file has an unknown key", seeds=("app/config.py",)),
    Task(text="Retry uploads that time out, and log how often", seeds=("client/upload.py", "client/retry.py")),
    Task(text="Support ünïcode file names 🙂 in the archive reader"),
)
_CONFIG = Group(name="app/config.py", evidence=("seed", "file9", "path4", "history3"))
_ERRORS = Group(name="app/errors.py", evidence=("imported", "file4", "together3", "ratio5"))
SYMBOLS = (
    Item(id="1", kind="function", name="read_config", signature="(path: Path) -> Config", doc="Read a config file.",
         evidence=("matters17", "changes15", "body9", "title9", "covers7", "named9", "size4", "rank1"), group=_CONFIG),
    Item(id="2", kind="method", name="Config.keys", signature="(self) -> list[str]",
         evidence=("matters9", "changes12", "owned", "body4", "covers3", "mates9", "size2", "rank3"), group=_CONFIG),
    Item(id="3", kind="class", name="ConfigError", signature="(ValueError)", doc="A config is wrong.",
         evidence=("matters7", "changes3", "head5", "size1", "twins1", "bodiless"), group=_ERRORS),
    Item(id="4", kind="function", name="_unrelated", signature="(x, y=None)",
         evidence=("matters2", "changes8", "size6", "changed last week"), group=_ERRORS),
    Item(id="5", kind="test", name="reads_config", evidence=("matters0", "changes0")),
)  # fmt: skip
FILES = (
    Item(id="1", kind="file", name="app/errors.py", signature="ConfigError AppError", doc="Errors.",
         evidence=("matters12", "beside", "body7", "imported", "file4", "together3", "ratio5", "rank2"),
         tiers=("dependency", "co_change", "metadata")),
    Item(id="2", kind="file", name="app/cli.py", signature="main run", evidence=("matters3", "imports", "never5"),
         tiers=("dependency", "co_change", "metadata")),
)  # fmt: skip
STAGES = (
    Item(id="1", kind="stage", name="dependency", signature="errors.py cli.py",
         doc="Files that the seeds import, or that import them.", evidence=("matters12", "imported", "size2", "file4")),
    Item(id="2", kind="stage", name="issue tracker", doc="Files of pull requests that mention the task."),
)  # fmt: skip
FOLDERS = (
    Item(id="1", kind="folder", name="app", signature="config.py errors.py",
         evidence=("matters16", "body9", "seed", "size2", "file9", "rank1")),
    Item(id="2", kind="folder", name="client/net", signature="upload.py", evidence=("matters2", "size1")),
)  # fmt: skip
PAIRS = (
    Item(id="1", kind="edge", name="app/cli.py -> app/errors.py", signature="main run -> ConfigError AppError",
         evidence=("imports", "beside", "uses2", "together3")),
    Item(id="2", kind="edge", name="app/errors.py -> app/cli.py", doc="Errors. -> Commands.", evidence=("apart",)),
)  # fmt: skip
ASKED = {
    "precision": SYMBOLS, "scope": FILES, "routing": STAGES, "refilter": FILES, "module": FOLDERS, "edge": PAIRS,
}  # fmt: skip
"""Cascade -> the items that it is asked about."""


def write_golden(
    base: Judge,
    adapted: Mapping[str, tuple[Judge, bool]],
    builder: PromptBuilder,
    cascades: Mapping[str, Cascade],
    rank: int,
    alpha: float,
    folder: Path,
) -> None:
    """Score the prompts above under every adapter and on the base alone."""
    reference = _reference(base)
    entries = _score(reference, base, "base", builder, cascades)
    invocation = list(builder.marker_tokens("relevant")[:1])
    for name, (model, activated) in adapted.items():
        peft = get_peft_model(
            _reference(base),
            LoraConfig(
                r=rank,
                lora_alpha=alpha,
                target_modules=[source.rpartition(".")[2] for source in PROJECTIONS],
                task_type="CAUSAL_LM",
                alora_invocation_tokens=invocation if activated else None,
            ),
        )
        _copy(model, peft)
        entries += _score(peft, base, name, builder, cascades)
    _write(folder / "logits.json", entries)
    _write(
        folder / "tokens.json",
        [{"text": text, "tokens": builder.tokenizer.encode(text, special=False)} for text in AWKWARD],
    )


def _write(path: Path, entries: Sequence[Mapping[str, object]]) -> None:
    """A JSON list, an entry a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n ".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    path.write_text(f"[{lines}]\n", encoding="utf-8")


def _reference(model: Judge) -> Qwen3ForCausalLM:
    """The base model as a Hugging Face checkpoint, written to disk and read again."""
    shape = model.shape
    config = Qwen3Config(
        **{name: getattr(shape, name) for name in shape.__slots__ if name != "rope_theta"},
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        attention_bias=False,
    )
    found = Qwen3ForCausalLM(config)
    missing = found.load_state_dict(model.state_dict(), strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"lm_head.weight"}:
        msg = f"The checkpoint does not fit Qwen3: {missing}"
        raise ValueError(msg)
    found.tie_weights()
    with tempfile.TemporaryDirectory() as folder:
        found.save_pretrained(folder)
        return Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _copy(model: Judge, peft: torch.nn.Module) -> None:
    """Put trained LoRA matrices, in their exported precision, into a PEFT model."""
    state = dict(peft.named_parameters())
    with torch.no_grad():
        for number, layer in enumerate(model.model.layers):
            for source in PROJECTIONS:
                linear = layer.get_submodule(source)
                for part in ("lora_A", "lora_B"):
                    name = f"base_model.model.model.layers.{number}.{source}.{part}.default.weight"
                    state[name].copy_(getattr(linear, part).half().float())


@torch.no_grad()
def _score(
    model: torch.nn.Module, base: Judge, adapter: str, builder: PromptBuilder, cascades: Mapping[str, Cascade]
) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for cascade, items in ((cascades[name], items) for name, items in ASKED.items()):
        for at, task in enumerate(TASKS):
            root = builder.task(cascade.instructions, cascade.questions(), task)
            for item in items:
                node = builder.item(builder.group(root, item.group) if item.group else root, item)
                for question in cascade.questions():
                    if adapter not in {"base", question.adapter}:
                        continue
                    prompt = builder.question(node, question.marker).prompt
                    ids = torch.tensor([prompt])
                    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
                    yes, no = logits[base.labels].tolist()
                    entries.append(
                        {
                            "cascade": cascade.name,
                            "task": at,
                            "item": item.id,
                            "marker": question.marker,
                            "adapter": adapter,
                            "tokens": list(prompt),
                            "question": len(builder.marker_tokens(question.marker)),
                            "logits": [round(yes, 5), round(no, 5)],
                        }
                    )
    return entries
