"""How much memory one and two base models take with 1, 5, 10 and 25 adapters each, against the bytes of their files.

    python -m benchmarks.model_memory [--large MODEL.gguf] [--format F] [--json]

One process for each row, in which everything is asked once. The small model is the shipped one with copies of a shipped
adapter. The large one is MODEL with adapters of rank 16 on its attention, which are written into a temporary folder;
without --large it is another copy of the shipped model. Cells are shared out by need, as an engine does it: the large
model is reached by a fifth of the items.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter

from benchmarks.script import run_script
from cascade import Engine, Item
from cascade.config.schema import read_config, shipped_config
from cascade.models.base_model import check_model
from cascade.models.gguf import read_gguf
from cascade.models.lora import BASE_HASH_KEY
from cascade.models.model_set import file_hash, load_model_sets

COUNTS = (1, 5, 10, 25)
_MIB = 2**20
_RANK = 16
_SHARE, _ALL = 0.2, 0.999  # of the items that pass a stage


def write_lora(model: Path, path: Path) -> Path:
    """A plain LoRA of rank 16 that changes nothing, on the attention of a model."""
    info = check_model(read_gguf(model))
    writer = GGUFWriter(path, info.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(_RANK))
    writer.add_string(BASE_HASH_KEY, file_hash(model))
    for name, (n_in, n_out) in (
        (name, shape) for name, shape in info.shapes.items() if ".attn_" in name and len(shape) == 2
    ):
        writer.add_tensor(f"{name}.lora_a", np.zeros((_RANK, n_in), np.float16))
        writer.add_tensor(f"{name}.lora_b", np.zeros((n_out, _RANK), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_config(folder: Path, n: int, large: Path | None, form: str) -> Path:
    """A config with n adapters for each model, each of which a stage asks."""
    small = shipped_config().parent / "embedded.gguf"
    models = [f'[models.small]\npath = "{small}"']
    names = {f"small{at}": folder / f"small{at}.gguf" for at in range(n)}
    for copy in names.values():
        shutil.copy(small.with_name("relevant.gguf"), copy)
    if large is not None:
        models.append(f'[models.large]\npath = "{large}"\nformat = "{form}"')
        names |= {f"large{at}": write_lora(large, folder / f"large{at}.gguf") for at in range(n)}
    adapters = "\n".join(
        f'{name} = {{ path = "{path}", model = "{name.rstrip("0123456789")}" }}' for name, path in names.items()
    )
    stages = []
    order = list(names)
    for at, name in enumerate(order):
        onward = f'{{ stage = "{order[at + 1]}" }}' if at + 1 < len(order) else '{ label = "yes" }'
        stages.append(
            f'[[cascade.c.stages]]\nname = "{name}"\nmarker = "q{at}"\nquestion = "is it {at}?"\nadapter = "{name}"\n'
            f'yes = {onward}\nno = {{ label = "no" }}'
        )
    rates = "\n".join(f"{name} = {_SHARE if name == f'small{n - 1}' else _ALL}" for name in order)
    head = f'[cascade.c]\nlabels = ["no", "yes"]\n[cascade.c.profile.pass_rates]\n{rates}'
    path = folder / "map.toml"
    path.write_text("\n".join([*models, "[adapters]", adapters, head, *stages]), encoding="utf-8")
    return path


def resident(config: Path) -> int:
    """Resident bytes of this process after every adapter of a config has been asked."""
    items = [Item(id=str(at), name=f"name_{at}", signature="(path: Path) -> None") for at in range(8)]
    with Engine.open(config) as engine:
        engine.score("fix the parser", items, "c")
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(large: Path | None, form: str) -> list[dict[str, Any]]:
    """A row for each number of models and of adapters: resident MiB, and over the files' bytes."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        other = large or Path(name) / "other.gguf"
        if large is None:
            other.write_bytes((shipped_config().parent / "embedded.gguf").read_bytes() + bytes(32))
        for n_models in (1, 2):
            for n in COUNTS:
                folder = Path(name) / f"{n_models}-{n}"
                folder.mkdir()
                config = write_config(folder, n, other if n_models > 1 else None, form)
                rows.append({"models": n_models, "adapters": n, **_row(config)})
                if sys.stderr.isatty():
                    sys.stderr.write(f"{n_models} models, {n} adapters each: {rows[-1]['mib']:.0f} MiB\n")
    first = rows[0]["mib"]
    return [{**row, "over_first": row["mib"] / first} for row in rows]


def _row(config: Path) -> dict[str, Any]:
    sets = load_model_sets(read_config(config)).values()
    files = sum(each.model_path.stat().st_size for each in sets)
    files += sum(adapter.path.stat().st_size for each in sets for adapter in each.adapters.values())
    command = [sys.executable, "-m", "benchmarks.model_memory", "--resident", str(config)]
    n_bytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"mib": n_bytes / _MIB, "files_mib": files / _MIB, "over_files": n_bytes / files}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=Path)
    parser.add_argument("--format", default="embedded")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--resident", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resident:
        sys.stdout.write(str(resident(options.resident)))
        return
    rows = measure(options.large.resolve() if options.large else None, options.format)
    if options.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    sys.stdout.write("models  adapters each  resident MiB  files MiB  resident over files  over the first row\n")
    for row in rows:
        sys.stdout.write(
            f"{row['models']:6d} {row['adapters']:14d} {row['mib']:13.0f} {row['files_mib']:10.1f} "
            f"{row['over_files']:20.2f} {row['over_first']:19.2f}\n"
        )


if __name__ == "__main__":
    run_script(main)
