"""The shipped cascades with their questions alone: no prior stage, no evidence that is made, the map's own thresholds.

    python -m benchmarks.shipped FILE

Writes them as a config, for ``--config FILE``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.script import run_script
from cascade.config.schema import Config, read_config, shipped_config

SHIPPED = read_config(shipped_config())


def questions_alone(config: Config = SHIPPED) -> Config:
    """A config without prior stages, and so without thresholds that were tuned with them; items are asked as given."""
    cascades = {}
    for name, entry in config.cascade.items():
        stages = tuple(stage for stage in entry.stages if stage.kind != "prior")
        cascades[name] = entry.model_copy(update={"thresholds": None, "stages": stages, "evidence": "given"})
    return config.model_copy(update={"cascade": cascades})


CASCADES = questions_alone().cascades()


def questions_alone_text(*, profile: bool, is_elsewhere: bool) -> str:
    """The shipped config's text without prior stages and the files of thresholds.

    Args:
        profile: Whether the profiles stay.
        is_elsewhere: Whether files are named by their whole paths, for a config in another folder.
    """
    path = shipped_config()
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'^\[\[cascade\.\w+\.stages\]\]\nkind = "prior"\n(?:.+\n)+\n', "", text, flags=re.MULTILINE)
    keys = "thresholds|evidence" if profile else "thresholds|evidence|profile"
    text = re.sub(rf'^(?:{keys}) = ".*\n', "", text, flags=re.MULTILINE)
    for file in (*path.parent.glob("*.gguf"), *path.parent.glob("*.toml")) if is_elsewhere else ():
        text = text.replace(f'"{file.name}"', f'"{file}"')
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the config; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args(arguments).file
    file.write_text(questions_alone_text(profile=True, is_elsewhere=True), encoding="utf-8")


if __name__ == "__main__":
    run_script(main)
