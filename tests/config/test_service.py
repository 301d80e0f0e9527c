"""The table ``[service]``: aliases of what callers of typed questions may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade import read_config
from cascade.errors import ConfigError


def config(folder: Path, aliases: str) -> Path:
    """The shipped config with aliases."""
    path = folder / "my.toml"
    path.write_text(f'extends = "shipped"\n[service.aliases]\n{aliases}\n', encoding="utf-8")
    return path


def test_aliases_mean_what_is_there(tmp_path: Path) -> None:
    """Base model, adapter, cascade and question may have one, by whatever name."""
    given = '"jev-latest" = "relevant"\n"gpt-6-luna" = "base"\nscope-1 = "scope"\nbig = "precision/primary"'
    read = read_config(config(tmp_path, given))
    assert read.service.aliases["jev-latest"] == "relevant"
    assert list(read.service.aliases.values()) == ["relevant", "base", "scope", "precision/primary"]


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        ('a = "nothing"', ["service.aliases.a", "'nothing'", "precision", "base", "precision/relevant"]),
        ('relevant = "base"', ["service.aliases.relevant", "something of that name"]),
        ("a = 1", ["service.aliases.a"]),
    ],
)
def test_an_alias_that_nobody_could_mean_is_refused(tmp_path: Path, aliases: str, words: list[str]) -> None:
    """The message names the alias, and what there is."""
    with pytest.raises(ConfigError) as caught:
        read_config(config(tmp_path, aliases))
    assert all(word in str(caught.value) for word in words), caught.value
