"""``cascade train``: an adapter from labelled tasks, and how many of them it needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.audit.html.curve_chart import curve_picture
from cascade.audit.html.draw import check_libraries, write_pngs
from cascade.cli.output import ConfigOption, JsonOption, note, print_json, progress
from cascade.cli.train_output import show_curve, show_trained
from cascade.config.schema import read_config, shipped_config
from cascade.errors import InputError
from cascade.files import check_readable, is_folder
from cascade.training.plan import LEAST_RATE

if TYPE_CHECKING:
    from rich.progress import Progress

    from cascade.config.schema import Config
    from cascade.training.prepare import Prepared, Wishes
    from cascade.training.trainer import Look


def train(  # noqa: PLR0913 - the command line's options
    adapter: Annotated[str, typer.Argument(help="Name of the adapter in the map; its file need not be there.")],
    *,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER|FILE", help="A dataset's folder, or labelled tasks; may be repeated for files."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder to write; one for each training.")] = None,
    cascade: Annotated[str | None, typer.Option(help="The cascade that asks it, where several do.")] = None,
    activated: Annotated[
        bool | None,
        typer.Option(
            "--activated/--plain",
            help="Act on the question's tokens alone, or on the whole prompt; as the adapter's file is, or activated.",
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Adapter to start from; by default a fresh one.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The base model's safetensors; by default its GGUF is read.")
    ] = None,
    valid: Annotated[
        int | None, typer.Option(min=1, help="Tasks of files that validate; a fifth of them if absent.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Learn from an adapter or base model of the config as well, or a file of p's."
        ),
    ] = None,
    trust: Annotated[
        float | None, typer.Option(min=0, max=1, help="Weight of the teacher beside the truth; 0.6 if absent.")
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Tasks that the teacher alone makes targets for; may be repeated."),
    ] = None,
    rank: Annotated[int | None, typer.Option(min=1, max=512, help="LoRA's rank; 16 if absent.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=1_024, help="Tasks of a step, some 32 questions of each; 8 if absent.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Most steps; as many as four rounds take if absent.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=LEAST_RATE, max=1, help="Peak learning rate; by the model's width.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the order, and the first weights.")] = 7,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; a GPU where there is one.")] = None,
    dtype: Annotated[str | None, typer.Option(help="bf16 or f32; the faster one here.")] = None,
    within: Annotated[
        float, typer.Option(min=0, max=1, help="Most that p may differ between the engine and the training.")
    ] = 0.01,
    curve: Annotated[
        bool, typer.Option("--curve", help="Train on ever more of the tasks, and show how many it needs; no adapter.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace another training in the folder.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Train an adapter on labelled tasks; a killed run goes on when it is called again."""
    from cascade.training.prepare import Wishes  # noqa: PLC0415 - loads llama_cpp

    wishes = Wishes(
        adapter=adapter,
        data=_data(data),
        out=_out(out),
        cascade=cascade,
        is_activated=activated,
        start=start,
        weights=weights,
        valid=valid,
        teacher=teacher,
        trust=trust,
        unlabelled=unlabelled or (),
        rank=rank,
        batch=batch,
        steps=steps,
        rate=rate,
        seed=seed,
        device=_one_of("--device", device, ("cpu", "cuda", "mps")),
        dtype=_one_of("--dtype", dtype, ("bf16", "f32")),
        within=within,
        force=force,
    )
    check_readable([config])
    if curve:
        check_libraries("matplotlib")
    prepared, figures = trained(read_config(config or shipped_config()), wishes, is_curve=curve)
    paths = [prepared.run.result, *(write_pngs([curve_picture(figures)], prepared.run.folder) if curve else ())]
    if not prepared.is_done:
        note(f"wrote {' and '.join(map(str, paths))}")
    if json:
        print_json(figures)
    else:
        (show_curve if curve else show_trained)(figures)


def trained(config: Config, wishes: Wishes, *, is_curve: bool = False) -> tuple[Prepared, dict[str, Any]]:
    """Train, with a bar that shows the steps; what is too little is refused before torch is loaded.

    Returns:
        What was prepared, and the figures; see ``training.train.train`` and ``training.curve.learning_curve``.
    """
    from cascade.training.curve import learning_curve  # noqa: PLC0415 - loads llama_cpp
    from cascade.training.prepare import prepare  # noqa: PLC0415 - as above
    from cascade.training.train import libraries  # noqa: PLC0415 - as above
    from cascade.training.train import train as make  # noqa: PLC0415 - as above

    prepared = prepare(config, wishes, note, is_curve=is_curve)
    libraries()
    with progress() as bar:
        return prepared, (learning_curve if is_curve else make)(prepared, note, _Told(bar))


class _Told:
    """Shows steps on a bar, and says what each look at the validation part saw."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._line = bar.add_task("steps", total=None)

    def __call__(self, done: int, total: int, look: Look | None) -> None:
        self._bar.update(self._line, completed=done, total=total)
        if look is not None:
            learned = "" if look.train_loss is None else f"training loss {look.train_loss:.4f}, "
            note(f"step {done:,} of {total:,}: {learned}validation loss {look.valid_loss:.4f}")


def _data(given: list[Path] | None) -> list[Path]:
    if not given:
        msg = "No data are given. Name a dataset's folder or files of labelled tasks, as in --data labelled.jsonl."
        raise InputError(msg)
    check_readable(path for path in given if not is_folder(path))
    return given


def _out(given: Path | None) -> Path:
    if given is None:
        msg = "No folder to write is given. Name one, such as --out trained, which may be new."
        raise InputError(msg)
    return given


def _one_of(option: str, given: str | None, allowed: tuple[str, ...]) -> Any:
    if given is not None and given not in allowed:
        msg = f"{option} is {given!r}; allowed are {', '.join(allowed)}."
        raise InputError(msg)
    return given
