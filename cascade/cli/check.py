"""``cascade check``: whether a guarantee still holds on new labels, and whether the inputs have shifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import typer

from cascade.cli.check_output import show_check
from cascade.cli.guarantees import guaranteed_of
from cascade.cli.labelled_data import DataOption, FilesArgument, data_files, labelled_scores
from cascade.cli.output import ConfigOption, ExitCode, JsonOption, ThresholdsOption, note, print_json
from cascade.cli.outputs import ForceOption, check_distinct, scores_output
from cascade.config.extends import Layers, read_layers
from cascade.config.schema import Config, config_of, shipped_config
from cascade.config.thresholds import ThresholdsFile
from cascade.errors import ConfigError, InputError, counted, unknown_cascade
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.prior_fit import priors_of, with_prior_scores
from cascade.evaluation.repeats import fingerprint
from cascade.files import name_of
from cascade.report import Origin
from cascade.tuning.check import Guarantee, GuaranteeCheck, Verdict, check_guarantee
from cascade.tuning.shift import Shift, ShiftVerdict, shifts


def check(  # noqa: PLR0913 - the command line's options
    name: Annotated[str, typer.Argument(help="Name of the cascade.")],
    files: FilesArgument = None,
    *,
    data: DataOption = None,
    alpha: Annotated[float, typer.Option(help="The chance of a false alarm.")] = 0.05,
    scores: Annotated[Path | None, typer.Option(help="Keep scores in this .npz file, and use those it has.")] = None,
    force: ForceOption = False,
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Exit with 1 where tuned thresholds no longer keep their guarantee, or the tasks are not what they were."""
    if not 0 < alpha < 1:
        msg = f"--alpha {alpha} was given; it must lie between 0 and 1. Give one such as 0.05."
        raise InputError(msg)
    layers = read_layers(config or shipped_config())
    settings = config_of(layers, {name: thresholds})
    file = _thresholds(settings, name, layers.files[0])
    guaranteed = _guaranteed(name, file, thresholds or _named(layers, name))
    cache, known = scores_output(scores, force=force), _Known.of(file)
    paths = data_files(files, data)
    check_distinct([cache], paths)
    labelled = labelled_scores(settings, name, paths, cache, refuse=known.refuse)
    tree, new = labelled.cascade, known.others(labelled.tasks)
    scored = labelled.scored.take(np.array(new, np.int64))
    priors = priors_of(tree, [item for at in new for item in labelled.tasks[at].items])
    guarantee = check_guarantee(tree, scored, guaranteed, alpha, priors)
    scored = with_prior_scores(tree, scored, priors)
    found = shifts(file.inputs.inputs(), tree, scored, alpha / 2) if file.inputs is not None else None
    if found is None:
        note("the thresholds file keeps nothing of its tasks, so shifts cannot be told; tune again to have them")
    n_known = len(labelled.tasks) - len(new)
    if n_known:
        note(_left_out(n_known, len(labelled.tasks)))
    if json:
        counts = {"repeated_tasks": labelled.n_repeated, "known_tasks": n_known}
        print_json(_as_dict(name, guarantee, found, scored.n_tasks) | counts)
    else:
        show_check(guarantee, found, scored.n_tasks)
    is_shifted = found is not None and ShiftVerdict.of_all(found) is ShiftVerdict.SHIFTED
    return ExitCode.FAILURE if is_shifted or guarantee.verdict is Verdict.BROKEN else ExitCode.DONE


@dataclass(frozen=True, slots=True)
class _Known:
    """Tasks that thresholds were tuned with: they keep its guarantee because they were chosen by.

    Attributes:
        data: The fingerprint of all of them together.
        each: Their own, as far as the file has them.
    """

    data: str
    each: frozenset[str]

    @classmethod
    def of(cls, file: ThresholdsFile) -> Self:
        return cls(file.made_for.data, frozenset(file.inputs.fingerprints if file.inputs is not None else ()))

    def others(self, tasks: Sequence[Labelled]) -> list[int]:
        """Places of the tasks that are not among them."""
        return [at for at, labelled in enumerate(tasks) if not labelled.items or fingerprint(labelled) not in self.each]

    def refuse(self, tasks: Sequence[Labelled], origin: Origin) -> None:
        """Refuse tasks none of which is new.

        Raises:
            InputError: There is none.
        """
        if origin.data == self.data or not any(tasks[at].items for at in self.others(tasks)):
            msg = (
                "These are the tasks that the thresholds were tuned with, so a check of them proves nothing. Give "
                "labelled tasks that are new."
            )
            raise InputError(msg)


def _thresholds(config: Config, name: str, path: Path) -> ThresholdsFile:
    if name not in config.cascade:
        msg = f"{name_of(path)}: {unknown_cascade(name, config.cascade)}"
        raise InputError(msg)
    file = config.cascade[name].thresholds
    if not isinstance(file, ThresholdsFile):
        msg = (
            f"{name_of(path)}: cascade.{name}.thresholds: there are none, so nothing was guaranteed. Make them with "
            "`cascade tune --out`, and name the file there, or give it as --thresholds."
        )
        raise ConfigError(msg)
    return file


def _named(layers: Layers, name: str) -> Path:
    """The file that has a cascade's thresholds: one that the config names, or the one that they stand in."""
    named = layers.table["cascade"][name].get("thresholds")
    return Path(named) if isinstance(named, str) else layers.file_of(("cascade", name, "thresholds"))


def _left_out(n_known: int, n_tasks: int) -> str:
    verb, them = ("is", "it") if n_known == 1 else ("are", "them")
    return f"{n_known:,} of {counted(n_tasks, 'task')} {verb} left out: the thresholds were tuned with {them}"


def _guaranteed(name: str, file: ThresholdsFile, path: Path) -> Guarantee:
    guarantee = file.guarantee
    if guarantee is None:
        msg = (
            f"{name_of(path)}: these thresholds of cascade {name!r} carry no guarantee, so there is no guarantee to "
            "check. Tune on more tasks, without --no-guarantee."
        )
        raise ConfigError(msg)
    return guaranteed_of(guarantee)


def _as_dict(name: str, guarantee: GuaranteeCheck, found: Sequence[Shift] | None, n_tasks: int) -> dict[str, Any]:
    rows = None
    if found is not None:
        rows = [
            asdict(shift)
            | dict(zip(("statistic", "stage", "tier"), shift.statistic, strict=True))
            | {"effect_is": "psi" if shift.is_of_scores else "ks", "verdict": shift.verdict}
            for shift in found
        ]
    verdict = ShiftVerdict.of_all(found) if found is not None else None
    return {
        "cascade": name,
        "tasks": n_tasks,
        "guarantee": asdict(guarantee)
        | {"guaranteed": asdict(guarantee.guaranteed) | {"figure": guarantee.guaranteed.figure}},
        "inputs": rows,
        "inputs_verdict": verdict,
        "shifted": verdict is ShiftVerdict.SHIFTED,
    }
