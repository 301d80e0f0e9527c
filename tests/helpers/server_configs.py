"""Configs with servers, as TOML, and what their cascade decides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade import Config, Item, read_config

LABELS = ("dropped", "read", "changed")

_CASCADE = """
[cascade.files]
instructions = "Which files matter?"
labels = ["dropped", "read", "changed"]
[[cascade.files.stages]]
name = "first"
question = "does it matter?"
adapter = "ONE"
yes = { stage = "second" }
no = { label = "dropped" }
[[cascade.files.stages]]
name = "second"
question = "must it be edited?"
adapter = "TWO"
yes = { label = "changed" }
no = { label = "read" }
"""


def config(
    folder: Path,
    servers: str,
    *,
    model: str = 'format = "embedded"',
    adapters: str = 'one = { server = "far", name = "one" }\ntwo = { server = "far", name = "two" }',
    asked: tuple[str, str] = ("one", "two"),
) -> Config:
    """A config with a cascade of two questions.

    Args:
        folder: Where it is written.
        servers: The keys of ``[servers.far]``, or whole tables.
        model: The keys of ``[model]``.
        adapters: The keys of ``[adapters]``.
        asked: The adapters that the two stages ask.
    """
    table = servers if servers.lstrip().startswith("[") else f"[servers.far]\n{servers}"
    cascade = _CASCADE.replace("ONE", asked[0]).replace("TWO", asked[1])
    path = folder / "servers.toml"
    path.write_text(f"{table}\n[model]\n{model}\n[adapters]\n{adapters}\n{cascade}", encoding="utf-8")
    return read_config(path)


def items(n: int) -> list[Item]:
    """Items that tell by their names what becomes of them: every third is dropped, read, changed."""
    return [Item(id=str(at), kind="file", name=f"file_{at:04}_{LABELS[at % 3]}.py") for at in range(n)]


def p_yes(adapter: str, prompt: str) -> float:
    """What the adapters ``one`` and ``two`` say of them."""
    item = prompt.rpartition("file_")[2]
    wanted = ("read", "changed") if adapter == "one" else ("changed",)
    return 0.9 if any(label in item for label in wanted) else 0.2


def labels(n: int) -> Sequence[str]:
    """The labels of ``items``, in order."""
    return [LABELS[at % 3] for at in range(n)]
