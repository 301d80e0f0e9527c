"""``cascade doctor``: what is here, and what to do about what is not."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.table import Table
from rich.text import Text

from cascade.cli.output import ConfigOption, ExitCode, JsonOption, print_json, results
from cascade.doctor import examine


def doctor(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show versions, processor features, model and adapters, and run a one-second self-test."""
    findings = list(examine(config))
    if json:
        print_json({"ok": all(finding.ok for finding in findings), "findings": [asdict(entry) for entry in findings]})
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for finding in findings:
            mark = Text("ok", "green") if finding.ok else Text("problem", "bold red")
            table.add_row(mark, finding.name, finding.value)
            if finding.remedy:
                table.add_row("", "", Text(finding.remedy, "yellow"))
        results().print(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(ExitCode.FAILURE)
