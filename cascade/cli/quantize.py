"""``cascade quantize``: a model in another weight format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.output import JsonOption, plain, print_json, progress, results

_MIB = 2**20


def quantize(  # noqa: PLR0913 - the command line's options
    source: Annotated[Path, typer.Argument(metavar="IN", help="A model as GGUF file, in F32, F16 or BF16.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; must not exist.")],
    *,
    form: Annotated[str, typer.Option("--type", help="BF16, Q8_0, Q4_K_M, Q4_0, ...; a wrong one lists them all.")],
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is a file that exists.")] = False,
    requantize: Annotated[bool, typer.Option("--allow-requantize", help="Take an IN that is quantised.")] = False,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="Threads; 0 for all cores.")] = 0,
    json: JsonOption = False,
) -> None:
    """Write a model in another weight format; `cascade doctor` says which is fastest here."""
    from cascade.backends.llama.quantize import Quantisation  # noqa: PLC0415 - loads llama_cpp
    from cascade.backends.llama.quantize import quantize as write  # noqa: PLC0415 - as above

    wanted = Quantisation(
        source=source, target=target, type=form, n_threads=threads, force=force, allow_requantize=requantize
    )
    with progress() as bar:
        line = bar.add_task("tensors", total=None)
        sizes = write(wanted, lambda at, total: bar.update(line, completed=at, total=total))
    if json:
        figures = {"type": form.upper(), "bytes_before": sizes.before, "bytes_after": sizes.after}
        print_json({"input": str(source), "output": str(target), **figures})
    else:
        before, after = (f"{n_bytes / _MIB:,.1f} MiB" for n_bytes in (sizes.before, sizes.after))
        results().print(plain(f"{target}: {form.upper()}, {before} -> {after}"))
