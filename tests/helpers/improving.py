"""Rounds of ``cascade improve`` whose training needs no torch; as a program, one that dies at a step.

``python -m tests.helpers.improving CONFIG TRAINED STEP WHEN`` improves cascade c, writes the name of each step that it
does into called.txt beside the config, and ends itself by SIGKILL before or after the work of a step.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from cascade.cli.improve_steps import Aim, Steps
from cascade.cli.improvement import Improvement, Wish, improve
from cascade.config.schema import read_config
from cascade.dataset.known import Reading
from cascade.dataset.splitting import Shares


def aim_of(config: Path, adapter: str = "") -> Aim:
    """To improve cascade c of a config by what its log has."""
    tree = read_config(config).cascades()["c"]
    return Aim(
        config=config,
        tree=tree,
        log=config.with_name("log.sqlite3"),
        work=config.with_name("work"),
        reading=Reading(labels=tree.answers),
        shares=Shares(test=0.4, valid=0.3),
        adapter=adapter,
    )


def written(trained: Path, _: Aim, adapter: str, out: Path) -> dict[str, Any]:
    """What a training writes, made of an adapter that is there."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(trained, out / f"{adapter}.gguf")
    sha256 = hashlib.sha256(trained.read_bytes()).hexdigest()
    facts = {"adapter": adapter, "version": sha256[:12], "sha256": sha256, "made": "2026-01-01T00:00:00+00:00"}
    (out / "version.json").write_text(json.dumps(facts))
    return {**facts, "tasks": 12, "items": 96, "seconds": 1.0}


def run(config: Path, trained: Path, wish: Wish, adapter: str = "", die: tuple[str, str] = ("", "")) -> Improvement:
    """Improve cascade c, with a training that makes an adapter which is there already."""
    works = {each.name: each.default for each in fields(Steps)} | {"train": partial(written, trained)}
    steps = {name: partial(_called, name, work, config, die) for name, work in works.items()}
    return improve(aim_of(config, adapter), wish, lambda _: None, Steps(**steps))


def _called(name: str, work: Callable[..., Any], config: Path, die: tuple[str, str], *given: Any) -> Any:
    with config.with_name("called.txt").open("a") as file:
        file.write(f"{name}\n")
    if die == (name, "before"):
        os.kill(os.getpid(), signal.SIGKILL)
    out = work(*given)
    if die == (name, "after"):
        os.kill(os.getpid(), signal.SIGKILL)
    return out


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), Wish(promotes=True), die=(sys.argv[3], sys.argv[4]))
