"""From a log to a better cascade: steps in their order, each done once, gone on with wherever the process ended.

Only the last step changes what is live, by the one rename of ``live.toml``. All others write to the work folder, and
one adds a version to the registry, which nobody asks until it is promoted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cascade.audit.weakest import weakest
from cascade.cli.adapters import registry_of
from cascade.cli.candidate import Candidate, Verdict, candidate_of
from cascade.cli.improve_steps import Aim, Steps
from cascade.cli.journal import Journal, Told
from cascade.cli.promotion import asking, datasets_of, target_of
from cascade.cli.shadow_test import test_shadow
from cascade.config.schema import Config, read_config, read_untuned
from cascade.dataset.manifest import Dataset, read_dataset
from cascade.dataset.rows import Asked, asked_of
from cascade.dataset.splitting import Part
from cascade.errors import InputError, counted
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.paired import FEWEST
from cascade.evaluation.score_file import labelled_tasks
from cascade.files import is_file, sha256_of_json
from cascade.registry.live import read_state
from cascade.registry.versions import FACTS
from cascade.tree import Cascade


class State(StrEnum):
    """What a round has come to."""

    NOTHING = "nothing"
    SHADOW = "shadow"
    BETTER = "better"
    PROMOTED = "promoted"


class Step(StrEnum):
    """The steps, in their order."""

    DATA = "data"
    AUDIT = "audit"
    TRAIN = "train"
    KEEP = "keep"
    TEST = "test"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """What a run has come to.

    Attributes:
        state: In a word.
        why: Why nothing is to be gained; empty otherwise.
        steps: Step -> what came of it, of those that are done.
        verdict: The tests, where they were made in this run.
    """

    state: State
    why: str = ""
    steps: Mapping[str, Told] = field(default_factory=dict)
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How far a run is to go.

    Attributes:
        promotes: Whether what passes the tests is made live.
        shadows: Whether the trained version is to answer in the shadow before it is tested.
        is_anew: Whether to begin another round, whatever is done of this one and though nothing is new.
    """

    promotes: bool = False
    shadows: bool = False
    is_anew: bool = False


def improve(aim: Aim, wish: Wish, note: Callable[[str], object], steps: Steps | None = None) -> Improvement:
    """Go through the steps of a round, past those that are done.

    A round begins with what the log has then, and ends when its version is live or found not to be better. The next
    run begins another one.

    Args:
        aim: What is to be improved, and from what.
        wish: How far to go.
        note: Told, in a line each, of what each step came to.
        steps: What does each step; None for what the commands do.

    Raises:
        CascadeError: A step cannot be done; those before it stay done.
    """
    of = f"cascade {aim.tree.name} of {aim.config.resolve()}"
    with Journal.opened(aim.work, of) as journal:
        return _Round(aim, wish, note, steps or Steps(), journal).run()


@dataclass(slots=True)
class _Round:
    """One round, whose journal is open."""

    aim: Aim
    wish: Wish
    note: Callable[[str], object]
    steps: Steps
    journal: Journal

    def run(self) -> Improvement:
        """See ``improve``."""
        if self._was_promoted():
            return self._end(State.PROMOTED)
        if self.wish.is_anew or self._is_over():
            self.journal.begin({} if self.wish.is_anew else self._summary())
        data, is_new = self._data()
        if not is_new:
            self.journal.forget_from(Step.DATA)  # the next run looks at the log again
            why = f"nothing is new in the log since the last round, in which {self.journal.last['why']}"
            return self._end(State.NOTHING, f"{why}; --anew begins another all the same")
        live = read_config(self.aim.config)
        found = self._audit(data, live)
        adapter = str(found["adapter"])
        if not adapter:
            return self._end(State.NOTHING, str(found["why"]))
        try:
            datasets = self._check_testable(live, adapter)
            trained = self._train(data, live, adapter)
        except InputError:
            self.journal.forget_from(Step.DATA)  # it is too little, so the next run looks at the log again
            raise
        candidate = self._keep(adapter, trained)
        if self.wish.shadows and not self._n_seen(candidate):
            self.steps.shadow(candidate)
            return self._end(State.SHADOW)
        told, verdict = self._test(candidate, datasets)
        if told["why"]:
            return self._end(State.NOTHING, f"{candidate.version.name} is not better: {told['why']}", verdict)
        if not self.wish.promotes:
            return self._end(State.BETTER, verdict=verdict)
        verdict = verdict or self.steps.test(candidate, self.aim)
        self._promote(verdict)
        return self._end(State.PROMOTED, verdict=verdict)

    def _was_promoted(self) -> bool:
        """Whether the process ended after the version was made live, and before the journal said so."""
        kept, audited = self.journal.found(Step.KEEP), self.journal.found(Step.AUDIT)
        if kept is None or audited is None or self.journal.found(Step.PROMOTE) is not None:
            return False
        live = read_state(registry_of(self.aim.config).folder)
        entry = live.adapters.get(str(audited["adapter"]))
        if entry is None or entry.version != kept["version"]:
            return False
        self.journal.step(Step.PROMOTE, kept, lambda: {"state": live.number})
        return True

    def _is_over(self) -> bool:
        """Whether the round has come to its end."""
        audited, tested = self.journal.found(Step.AUDIT), self.journal.found(Step.TEST)
        has_failed = (tested is not None and bool(tested["why"])) or (audited is not None and not audited["adapter"])
        return has_failed or self.journal.found(Step.PROMOTE) is not None

    def _summary(self) -> Told:
        """What the round that is over came to."""
        audited, tested, kept = (self.journal.found(step) or {} for step in (Step.AUDIT, Step.TEST, Step.KEEP))
        name = kept.get("version", "")
        why = f"{name} is not better: {tested['why']}" if tested.get("why") else str(audited.get("why", ""))
        if self.journal.found(Step.PROMOTE) is not None:
            why = f"{name} was promoted"
        return {"key": self._key(self.journal.found(Step.DATA) or {}), "why": why.rstrip(".")}

    def _key(self, data: Told) -> str:
        """What has to differ for another round to come to something else."""
        return sha256_of_json({"parts": data.get("parts"), **self._how()})

    def _how(self) -> dict[str, Any]:
        aim = self.aim
        learning = {name: str(value) for name, value in asdict(aim.learning).items()}
        return {"adapter": aim.adapter, "learning": learning, "target": aim.target, "at_least": aim.at_least}

    def _data(self) -> tuple[Told, bool]:
        """The dataset of the round, and whether it differs from that of the last one."""
        aim = self.aim
        given = {
            "log": str(aim.log.resolve()), "reading": _plain(asdict(aim.reading)), "since": aim.since,
            "shares": asdict(aim.shares),
        }  # fmt: skip

        def work() -> Told:
            self.steps.build(aim)
            found = read_dataset(aim.data)
            parts = {str(part): found.manifest.parts[part] for part in Part}
            counts = {
                name: {"sha256": one.sha256, "tasks": one.tasks, "items": one.items} for name, one in parts.items()
            }
            return {"manifest": found.sha256, "parts": counts}

        out, was_done = self.journal.step(Step.DATA, given, work, lambda out: _sha256(aim.data) == out["manifest"])
        told = ", ".join(f"{name} {counted(part['tasks'], 'task')}" for name, part in out["parts"].items())
        self._say(Step.DATA, told, was_done=was_done)
        return out, self.journal.last.get("key") != self._key(out)

    def _audit(self, data: Told, live: Config) -> Told:
        """Which adapter is trained."""
        aim = self.aim

        def work() -> Told:
            if aim.adapter:
                _check_trainable(live, aim.tree, aim.adapter)
                return {"adapter": aim.adapter, "text": f"adapter {aim.adapter} is trained, as --adapter says"}
            found = weakest(self.steps.audit(aim, read_dataset(aim.data)), set(live.files))
            if found is None:
                n = data["parts"][Part.TRAIN]["tasks"] + data["parts"][Part.VALID]["tasks"]
                why = f"on {counted(n, 'task')} the audit finds no yes/no question of an adapter that surely errs"
                return {"adapter": "", "why": why}
            errors, stage = found.errors, f"{found.stage}.{found.tier}" if found.tier else found.stage
            text = (
                f"{stage} is the worst question: it errs in {errors.error}, balanced {errors.balanced:.1%}; its "
                f"adapter is {found.adapter}"
            )
            return {"adapter": found.adapter, "stage": stage, "balanced": errors.balanced, "text": text}

        given = {"data": data["manifest"], "adapter": aim.adapter, "live": _live(live, [aim.tree.name])}
        out, was_done = self.journal.step(Step.AUDIT, given, work)
        if out["adapter"]:
            self._say(Step.AUDIT, out["text"], was_done=was_done)
        return out

    def _check_testable(self, live: Config, adapter: str) -> dict[str, Dataset]:
        """The dataset of each cascade that asks the adapter; what the test would refuse is refused before the training.

        Raises:
            InputError: A dataset is missing, the test part of the log's has too few tasks, or nobody knows what new
                thresholds are to guarantee.
        """
        for name in asking(live, adapter) if self.aim.target is None else ():
            target_of(read_untuned(self.aim.config, name).thresholds, name)
        datasets = datasets_of([self.aim.data, *self.aim.others], asking(live, adapter), adapter)
        path = datasets[self.aim.tree.name].path(Part.TEST)
        tasks = labelled_tasks([path], self.aim.tree).tasks
        for asked in (one for one in asked_of(self.aim.tree) if one.adapter == adapter):
            n = sum(_has_both(asked, one) for one in tasks)
            if n < FEWEST:
                msg = (
                    f"{adapter}: too few examples to test it: the test part has {counted(n, 'task')} with both answers "
                    f"to {asked.stage}, and at least {FEWEST} are needed. Record more outcomes, or raise --test."
                )
                raise InputError(msg)
        return datasets

    def _train(self, data: Told, live: Config, adapter: str) -> Told:
        aim, registry = self.aim, registry_of(self.aim.config)
        given = {"data": data["manifest"], "live": _live(live, [aim.tree.name]), **self._how(), "adapter": adapter}
        folder = aim.work / "trained" / sha256_of_json(given)[:12]

        def is_there(out: Told) -> bool:
            return is_file(folder / FACTS) or registry.of_file(adapter, str(out["sha256"])) is not None

        out, was_done = self.journal.step(Step.TRAIN, given, lambda: self.steps.train(aim, adapter, folder), is_there)
        out["folder"] = str(folder)
        self._say(Step.TRAIN, f"{adapter} on {_amount(out)}", was_done=was_done)
        return out

    def _keep(self, adapter: str, trained: Told) -> Candidate:
        """The trained adapter as a version of the registry."""
        aim, registry = self.aim, registry_of(self.aim.config)
        out, was_done = self.journal.step(
            Step.KEEP,
            {"sha256": trained["sha256"]},
            lambda: {"version": self.steps.keep(aim, Path(trained["folder"])).name},
            lambda _: registry.of_file(adapter, str(trained["sha256"])) is not None,
        )
        shutil.rmtree(aim.work / "trained", ignore_errors=True)  # the registry has a copy
        version = registry.version(str(out["version"]))
        version.check()
        self._say(Step.KEEP, f"{version.name} is in the registry; nobody asks it yet", was_done=was_done)
        return candidate_of(aim.config, registry, version)

    def _n_seen(self, candidate: Candidate) -> list[int]:
        """How many answers of the version in the shadow the log has, and of how many the truth; empty for none."""
        seen = test_shadow(candidate.config, candidate.adapter, candidate.version.facts.sha256)
        return [seen.n_answers, seen.n_known] if seen is not None else []

    def _test(self, candidate: Candidate, datasets: Mapping[str, Dataset]) -> tuple[Told, Verdict | None]:
        """What the tests say; with them, where they were made now."""
        made: list[Verdict] = []

        def work() -> Told:
            made.append(self.steps.test(candidate, self.aim))
            return {**made[0].as_dict(), "why": made[0].why}

        given = {
            "version": candidate.version.facts.sha256,
            "live": _live(candidate.config, list(datasets)),
            "data": {name: dataset.sha256 for name, dataset in datasets.items()},
            "target": self.aim.target,
            "at_least": self.aim.at_least,
            "seen": self._n_seen(candidate),
        }
        out, was_done = self.journal.step(Step.TEST, given, work)
        self._say(Step.TEST, f"{candidate.version.name} against the live one", was_done=was_done)
        return out, made[0] if made else None

    def _promote(self, verdict: Verdict) -> None:
        given = {"version": verdict.candidate.version.name}
        self.journal.step(Step.PROMOTE, given, lambda: {"state": self.steps.promote(verdict).number})

    def _end(self, state: State, why: str = "", verdict: Verdict | None = None) -> Improvement:
        steps = {name: dict(entry["out"]) for name, entry in self.journal.steps.items()}
        return Improvement(state=state, why=why, steps=steps, verdict=verdict)

    def _say(self, step: Step, text: str, *, was_done: bool) -> None:
        self.note(f"{step}{' (done before)' if was_done else ''}: {text}")


def _sha256(folder: Path) -> str:
    try:
        return read_dataset(folder).sha256
    except InputError:
        return ""


def _plain(value: Any) -> Any:
    """A value of dictionaries and sequences as JSON has it, so that it hashes the same in every process."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in sorted(value.items())}
    return [_plain(each) for each in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def _live(config: Config, names: Sequence[str]) -> str:
    """What stands for cascades as they are live: their questions and thresholds, and the files that answer."""
    from cascade.models.model_set import file_hash  # noqa: PLC0415 - gguf loads only where it is used

    told = {
        name: {
            "cascade": config.cascade[name].model_dump(mode="json"),
            "adapters": {
                adapter: file_hash(config.files[adapter].path)
                for adapter in config.cascades()[name].adapters()
                if adapter in config.files and is_file(config.files[adapter].path)
            },
        }
        for name in names
    }
    return sha256_of_json(told)


def _check_trainable(config: Config, tree: Cascade, adapter: str) -> None:
    asked = [name for name in tree.adapters() if name in config.files]
    if adapter not in asked:
        msg = f"--adapter {adapter!r}: cascade {tree.name!r} asks none of that name here; it asks {', '.join(asked)}."
        raise InputError(msg)


def _has_both(asked: Asked, labelled: Labelled) -> bool:
    """Whether yes and no are both true answers to a question among the items of a task."""
    pairs = zip(labelled.items, labelled.labels, strict=True)
    return {True, False} <= {asked.truth(label, item.tiers) for item, label in pairs}


def _amount(trained: Told) -> str:
    return f"{counted(int(trained.get('tasks', 0)), 'task')} with {counted(int(trained.get('items', 0)), 'answer')}"
