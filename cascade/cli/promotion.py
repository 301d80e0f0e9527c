"""What a version of an adapter has to show before it goes live: paired tests, and thresholds tuned for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cascade.cli.labelled_data import labelled_scores
from cascade.cli.output import note
from cascade.cli.tune import inputs, to_score, to_tune
from cascade.cli.tune_output import file_of, guarantee
from cascade.config.figures import GUARANTEED
from cascade.config.schema import AdapterConfig, Config, Untuned, read_untuned
from cascade.config.thresholds import ThresholdsFile
from cascade.dataset.manifest import Dataset, read_dataset
from cascade.dataset.splitting import Part
from cascade.errors import InputError
from cascade.evaluation.calibration import calibrate
from cascade.evaluation.paired import Paired, paired
from cascade.evaluation.prior_fit import priors_of
from cascade.evaluation.replay import Replay
from cascade.evaluation.score_file import LabelledScores, in_use
from cascade.probability import Ints
from cascade.stages import Stage, limits_of
from cascade.tree import Cascade
from cascade.tuning.objective import Cost
from cascade.tuning.search import TooFewTasksError
from cascade.tuning.search import tune as search
from cascade.tuning.target import TuningTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of a version in one cascade.

    Attributes:
        cascade: Name of the cascade.
        data: The dataset's folder.
        pairs: (stage, tier) -> what the test part says of the two adapters there.
        thresholds: Tuned for the new version; None where the cascade has no tuned thresholds, or no new ones were
            tuned.
        guarantee: What they guarantee, in a line; empty without any.
        calls: Calls per item of the test part under the live version and its thresholds, and under the new ones.
    """

    cascade: str
    data: Path
    pairs: Mapping[tuple[str, str], Paired]
    thresholds: ThresholdsFile | None
    guarantee: str
    calls: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        pairs = [{"stage": stage, "tier": tier, **found.as_dict()} for (stage, tier), found in self.pairs.items()]
        calls = dict(zip(("live", "new"), self.calls, strict=True))
        told = {"cascade": self.cascade, "data": str(self.data), "test": pairs, "guarantee": self.guarantee or None}
        return {**told, "calls_per_item": calls}


def asking(config: Config, adapter: str) -> list[str]:
    """Names of the cascades that ask an adapter."""
    return [name for name, cascade in config.cascades().items() if adapter in cascade.adapters()]


def datasets_of(folders: list[Path], names: list[str], adapter: str) -> dict[str, Dataset]:
    """Cascade -> its dataset; each cascade that asks the adapter needs one.

    Raises:
        InputError: One is missing, is for another cascade, or has no test part; names it.
    """
    found: dict[str, Dataset] = {}
    for folder in folders:
        dataset = read_dataset(folder)
        name = dataset.manifest.cascade
        if name not in names or name in found:
            why = "is given twice" if name in found else f"does not ask {adapter!r}; {', '.join(names) or 'none'} do"
            msg = f"{folder}: is for the cascade {name!r}, which {why}. Give one dataset for each cascade that asks it."
            raise InputError(msg)
        for part in (Part.TEST, Part.VALID):
            if part not in dataset.manifest.parts or not dataset.manifest.parts[part].tasks:
                msg = f"{folder}: has no tasks in its part {part.value!r}. Build it again with `cascade dataset build`."
                raise InputError(msg)
        found[name] = dataset
    missing = [name for name in names if name not in found]
    if missing:
        msg = (
            f"Cascade {missing[0]!r} asks adapter {adapter!r}, and no dataset for it is given. Give the folder that "
            f"`cascade dataset build --cascade {missing[0]}` wrote, with --data."
        )
        raise InputError(msg)
    return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """A version and the live one on the frozen part of a cascade's dataset.

    Attributes:
        name: Name of the cascade.
        adapter: What cascades call the adapter.
        dataset: Labelled tasks of the cascade.
        live: The config without what is in the shadow.
        changed: The same with the new version.
        old: Scores of the live one.
        new: Scores of the new one.
        before: The cascade as it answers now.
    """

    name: str
    adapter: str
    dataset: Dataset
    live: Untuned
    changed: Untuned
    old: LabelledScores
    new: LabelledScores
    before: Cascade

    def trial(self) -> Trial:
        """What it shows at the thresholds in use."""
        return self._trial(self.before, None, "")

    def tuned(self, target: TuningTarget | None = None) -> Trial:
        """What it shows with thresholds tuned for the new version on the valid part.

        Args:
            target: What they are to guarantee; None for what those in use do.

        Raises:
            InputError: They cannot guarantee that, or a part cannot be used.
        """
        target = target or target_of(self.live.thresholds, self.name)
        file, said = _tuned(self.changed, self.name, self.dataset, target)
        entry = self.changed.config.cascade[self.name].model_copy(update={"thresholds": file})
        return self._trial(entry.cascade(self.name), file, said)

    def _trial(self, after: Cascade, thresholds: ThresholdsFile | None, said: str) -> Trial:
        pairs = {
            (stage.name, tier): _pair(stage, after.stage(stage.name), tier, self.old, self.new, self.before)
            for stage in self.before.stages
            for tier, question in stage.questions.items()
            if question.adapter == self.adapter
        }
        calls = _calls(self.before, self.old), _calls(after, self.new)
        folder = self.dataset.folder
        return Trial(cascade=self.name, data=folder, pairs=pairs, thresholds=thresholds, guarantee=said, calls=calls)


def compare(path: Path, name: str, adapter: str, entry: AdapterConfig, dataset: Dataset) -> Comparison:
    """Ask the live version and a new one about the frozen part of a cascade's dataset.

    Args:
        path: The config.
        name: The cascade.
        adapter: What cascades call the adapter.
        entry: The new file.
        dataset: Labelled tasks of the cascade.

    Raises:
        InputError: The part cannot be used.
    """
    live = read_untuned(path, name)
    changed = _with(live, adapter, entry)
    old = _scores(live.config, name, dataset.path(Part.TEST))
    new = _scores(changed.config, name, dataset.path(Part.TEST))
    return Comparison(name, adapter, dataset, live, changed, old, new, in_use(live, name, old.origin, note))


def _calls(tree: Cascade, labelled: LabelledScores) -> float:
    """Calls per item of labelled tasks, at the thresholds of a cascade."""
    items = [item for task in labelled.tasks for item in task.items]
    replay = Replay(tree, labelled.scored, priors_of(tree, items))
    return float(replay.at_own_thresholds().costs.mean())


def _pair(stage: Stage, after: Stage, tier: str, old: LabelledScores, new: LabelledScores, tree: Cascade) -> Paired:
    truths = old.scored.truths(tree, stage.name)
    if stage.has_values:
        return _pair_of_values(stage, after, truths, old, new)
    key = stage.name, tier
    one, other = old.scored.p[key], new.scored.p[key]
    right = tuple(
        (p >= limits_of(limits).yes_from) == (truths == 1)
        for p, limits in ((one, stage.limits[tier]), (other, after.limits[tier]))
    )
    return paired(one, other, truths, old.scored.tasks, (np.asarray(right[0]), np.asarray(right[1])))


def _pair_of_values(stage: Stage, after: Stage, truths: Ints, old: LabelledScores, new: LabelledScores) -> Paired:
    one, other = old.scored.of_stage(stage), new.scored.of_stage(after)
    right = np.asarray(stage.answers(one).places == truths), np.asarray(after.answers(other).places == truths)
    return paired(stage.by_answer(one), after.by_answer(other), truths, old.scored.tasks, right)


def _with(untuned: Untuned, adapter: str, entry: AdapterConfig) -> Untuned:
    adapters = {**untuned.config.adapters, adapter: entry}
    return Untuned(config=untuned.config.model_copy(update={"adapters": adapters, "shadow": {}}))


def _scores(config: Config, name: str, path: Path) -> LabelledScores:
    return labelled_scores(to_score(config, name), name, [path], None, refuse=lambda *_: None)


def target_of(file: ThresholdsFile | None, name: str) -> TuningTarget | None:
    """What thresholds guarantee, to be guaranteed again; None without any.

    Raises:
        InputError: They guarantee nothing.
    """
    if file is None:
        return None
    if file.guarantee is None:
        msg = f"cascade.{name}.thresholds: guarantee nothing, so nobody knows what new ones shall do. Give --target."
        raise InputError(msg)
    metric, unit = GUARANTEED[file.guarantee.figure]
    cost, *prices = file.guarantee.minimised.split(" + ")
    worth = {words[1]: float(words[0]) for price in prices if len(words := price.split(" ")) > 1}
    return TuningTarget(
        level=file.guarantee.level,
        metric=metric,
        unit=unit,
        delta=file.guarantee.delta,
        cost=Cost(cost),
        false_positive=worth.get(str(Cost.FALSE_POSITIVES)),
        handed_on=worth.get(str(Cost.HANDED_ON)),
    )


def _tuned(
    untuned: Untuned, name: str, dataset: Dataset, target: TuningTarget | None
) -> tuple[ThresholdsFile | None, str]:
    """Thresholds for the new version with what they guarantee, from the valid part alone."""
    if target is None:
        return None, ""
    labelled = _scores(untuned.config, name, dataset.path(Part.VALID))
    before = untuned.config.cascade[name].cascade(name)
    target = target.of(before)
    tree = to_tune(before, before, target.metric)
    prices = labelled.prices if target.minimised is Cost.LATENCY else None
    try:
        found = search(tree, labelled.scored, target, prices=prices)
    except TooFewTasksError as error:  # thresholds without a guarantee are not for what goes live unseen
        msg = (
            f"{dataset.folder}: its part {Part.VALID.value!r} is too small to tune for the new version: {error.told} "
            f"{error.remedy} by --target."
        )
        raise InputError(msg) from error
    file = file_of(before, target, found, calibrate(tree, labelled.scored), labelled.origin)
    return file.model_copy(update={"inputs": inputs(tree, labelled, found)}), guarantee(target, found)
