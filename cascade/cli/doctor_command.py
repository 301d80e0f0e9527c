"""``cascade doctor``: what is here, what to do about what is not, and how to be fastest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cascade.cli.output import ConfigOption, ExitCode, JsonOption, plain, print_json, progress, results
from cascade.cli.sheet import Sheet
from cascade.config import read_config, shipped_config
from cascade.doctor import examine
from cascade.errors import InputError, MachineError
from cascade.machine import user_cache

_SECONDS = 60


def doctor(
    *,
    tune: Annotated[bool, typer.Option("--tune", help="Measure the settings that are fastest here, and keep them.")] = (
        False
    ),
    seconds: Annotated[
        float | None, typer.Option(min=1, max=3600, help=f"How long --tune measures; {_SECONDS} if absent.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show versions, processor, model, adapters and formats, and run a one-second self-test."""
    if tune:
        _tune(config or shipped_config(), seconds or _SECONDS, json=json)
        return
    if seconds is not None:
        msg = "--seconds says how long --tune measures. Give --tune with it, or leave it out."
        raise InputError(msg)
    findings = list(examine(config))
    if json:
        print_json({"ok": all(finding.ok for finding in findings), "findings": [asdict(entry) for entry in findings]})
    else:
        sheet = Sheet(("", ""), sentences=("",), has_heads=False)
        for finding in findings:
            mark = Text("ok", "green") if finding.ok else Text("problem", "bold red")
            sheet.add(mark, finding.name, finding.value)
            if finding.remedy:
                sheet.add("", "", Text(plain(finding.remedy), "yellow"))
        sheet.show(results())
    if not all(finding.ok for finding in findings):
        raise typer.Exit(ExitCode.FAILURE)


def _tune(config: Path, seconds: float, *, json: bool) -> None:
    """Measure, and keep what was found where the engine looks for it."""
    from cascade.adapters import load_model_set  # noqa: PLC0415 - hashes files, which help does not need
    from cascade.backends.tune import tune, tuning_key  # noqa: PLC0415 - loads llama_cpp
    from cascade.doctor_speed import described  # noqa: PLC0415 - as above
    from cascade.tuning_file import check_can_save, save_tuning  # noqa: PLC0415 - only needed here

    folder = user_cache()
    if folder is None:
        msg = "There is no home folder to keep a tuning in. Let XDG_CACHE_HOME name a folder."
        raise MachineError(msg)
    check_can_save(folder)
    settings = read_config(config)
    model, models = settings.model, load_model_set(settings)
    with progress() as bar:
        line = bar.add_task("tune", total=seconds)
        tuning = tune(
            models,
            model,
            seconds,
            lambda name, share: bar.update(line, description=name, completed=round(share * seconds)),
        )
    file = save_tuning(tuning_key(model, models.model_sha256), tuning, folder)
    if json:
        print_json({"file": str(file), "model": str(models.model_path), "tuning": asdict(tuning)})
    else:
        results().print(plain(f"{models.model_path.name}: {described(tuning)}"))
        results().print(plain(f"kept in {file}"))
