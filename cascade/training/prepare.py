"""What a training needs, read and checked before anything is computed: wishes, data, a plan, a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cascade.config.base_models import base_adapter, own_name
from cascade.config.schema import Config
from cascade.errors import InputError, counted
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.score_file import Note
from cascade.evaluation.scoring import data_fingerprint
from cascade.files import is_file, is_folder, read_text, sha256_of_json
from cascade.models.gguf import read_gguf
from cascade.models.lora import AdapterInfo, check_adapter
from cascade.models.model_set import file_hash, load_bases
from cascade.stages import is_base
from cascade.training.adapter_file import Lora, read_lora
from cascade.training.compare import WITHIN
from cascade.training.examples import Example, Teacher, amount, examples, truth_target
from cascade.training.lesson import Lesson, find_lesson
from cascade.training.parts import Parts, read_parts
from cascade.training.plan import BATCH, RANK, Plan, default_look, default_rate, default_steps
from cascade.training.run import Run
from cascade.training.sizes import check_enough, what_it_tells
from cascade.training.teacher import ask_teacher, n_taught, read_teacher
from cascade.training.tensors import Geometry, projections
from cascade.training.unlabelled import read_unlabelled
from cascade.tree import text_limits

TRUST = 0.6
"""Weight of a teacher in a target where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a user wants of a training; None for what fits the model and the data.

    Attributes:
        adapter: The adapter's name in the map.
        data: A dataset's folder, or files of labelled tasks.
        out: The folder that is written.
        cascade: The cascade that asks the adapter; None if one alone does.
        is_activated: Whether it acts on the question's tokens alone.
        start: Adapter of the map, or file, that it starts from; None for a fresh one.
        weights: Folder with the base model's safetensors; None to read its GGUF file.
        valid: How many tasks of files validate; None for a fifth of them.
        teacher: Adapter or base model of the config, or a file of probabilities; None for the truth alone.
        trust: Weight of the teacher in a target, in [0, 1].
        unlabelled: Files of tasks whose labels are not read, which the teacher alone makes targets for.
        rank: LoRA's rank.
        batch: Tasks of a step.
        steps: Most steps.
        rate: Peak learning rate.
        seed: The seed.
        device: Where to compute: cpu, cuda, mps.
        dtype: How to compute: bf16 or f32.
        within: By how much an answer of the engine may differ from the trained model's.
        force: Whether what is in the folder already may be replaced.
    """

    adapter: str
    data: Sequence[Path]
    out: Path
    cascade: str | None = None
    is_activated: bool | None = None
    start: str | None = None
    weights: Path | None = None
    valid: int | None = None
    teacher: str | None = None
    trust: float | None = None
    unlabelled: Sequence[Path] = ()
    rank: int | None = None
    batch: int | None = None
    steps: int | None = None
    rate: float | None = None
    seed: int = 7
    device: str | None = None
    dtype: str | None = None
    within: float = WITHIN
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A training that may begin.

    Attributes:
        wishes: What the user wants.
        lesson: What is taught.
        parts: The data.
        train: What is learned.
        valid: What it is judged by.
        plan: How it is trained.
        run: Where it writes.
        start: The matrices that it starts from; empty for fresh ones.
        start_file: The file that they are of; None for fresh ones.
        settled: What an earlier run of the same plan, which was killed, had settled.
        is_done: Whether the folder holds the result already, and may keep it.
    """

    wishes: Wishes
    lesson: Lesson
    parts: Parts
    train: Sequence[Example]
    valid: Sequence[Example]
    plan: Plan
    run: Run
    start: Lora = field(default_factory=dict)
    start_file: Path | None = None
    settled: Mapping[str, Any] = field(default_factory=dict)
    is_done: bool = False

    @property
    def yes_no(self) -> list[bool]:
        """Of each question, whether it is answered by yes or no."""
        return [not asked.question.values for asked in self.lesson.asked]


def prepare(config: Config, wishes: Wishes, note: Note, *, is_curve: bool = False) -> Prepared:
    """Read and check all that a training needs, and make its folder ready.

    Args:
        config: The config; its paths are absolute.
        wishes: What is wanted.
        note: Told, in a line each, of what a user should know.
        is_curve: Whether a learning curve is made, and no adapter.

    Raises:
        CascadeError: Something is missing, does not fit, or is too little.
    """
    if wishes.teacher is not None:
        wishes = replace(wishes, teacher=own_name("--teacher", wishes.teacher, config.base_models))
    lesson = find_lesson(config, wishes.adapter, wishes.cascade, is_activated=wishes.is_activated)
    geometry = Geometry.of(read_gguf(lesson.base.path))
    began = _start(lesson, wishes)
    parts = read_parts(wishes.data, lesson.cascade, wishes.adapter, wishes.seed, note, wishes.valid)
    valid, plain = (examples(lesson, tasks, balance=parts.balance) for tasks in (parts.valid, parts.train))
    check_enough(wishes.adapter, amount(plain), amount(valid), is_share=parts.is_share)
    note(what_it_tells(amount(valid)))
    if text_limits(asked.question for asked in lesson.asked) and not _has_texts(parts.train):
        note(f"{lesson.adapter} reads items' texts in use, and no item that is learned has one: give items with `text`")
    known = {labelled.task.id for labelled in (*parts.train, *parts.valid)}
    more = read_unlabelled(wishes.unlabelled, lesson.cascade, known, note) if wishes.unlabelled else []
    plan = _plan(lesson, wishes, parts, began, len(plain) + len(more))
    plan = replace(plan, unlabelled=data_fingerprint(more) if more else "")
    start = read_lora(read_gguf(began[0]), geometry, projections(geometry)) if began else {}
    run = Run(wishes.out, plan, is_curve)
    is_done = not wishes.force and run.is_done
    settled = {} if is_done else run.begin(force=wishes.force)
    teacher = {} if is_done else _taught(lesson, wishes, (*parts.train, *more), run, note)
    return Prepared(
        wishes=wishes,
        lesson=lesson,
        parts=parts,
        train=examples(lesson, (*parts.train, *more), teacher, plan.trust, parts.balance) if teacher else plain,
        valid=valid,
        plan=plan,
        run=run,
        start=start,
        start_file=began[0] if began else None,
        settled=settled,
        is_done=is_done,
    )


def _start(lesson: Lesson, wishes: Wishes) -> tuple[Path, AdapterInfo] | None:
    """The adapter that a training starts from."""
    _check_scale(lesson, lesson.adapter)
    if wishes.start is None:
        return None
    _check_scale(lesson, wishes.start)
    entry = lesson.config.files.get(wishes.start)
    path = entry.path if entry is not None else Path(wishes.start)
    info = check_adapter(read_gguf(path), lesson.base.info, lesson.base.sha256)
    if info.invocation_tokens != lesson.invocation:
        kinds = ("a plain LoRA", "activated")
        msg = (
            f"{path}: is {kinds[info.is_activated]}, and {lesson.adapter!r} is to be {kinds[bool(lesson.invocation)]}. "
            f"Give {'--activated' if info.is_activated else '--plain'}, or start from another."
        )
        raise InputError(msg)
    if wishes.rank not in {None, info.rank}:
        msg = f"{path}: has rank {info.rank}, and --rank is {wishes.rank}. What starts from an adapter keeps its rank."
        raise InputError(msg)
    return path, info


def _has_texts(tasks: Sequence[Labelled]) -> bool:
    return any(item.text for labelled in tasks for item in labelled.items)


def _check_scale(lesson: Lesson, name: str) -> None:
    """Refuse an adapter that the config does not use as it is trained.

    Raises:
        InputError: Names the key.
    """
    entry = lesson.config.files.get(name)
    if entry is not None and entry.scale != 1:
        msg = (
            f"adapters.{name}.scale: is {entry.scale:g}, and an adapter is trained and checked as it answers at a "
            "scale of 1. Leave it out."
        )
        raise InputError(msg)


def _plan(
    lesson: Lesson,
    wishes: Wishes,
    parts: Parts,
    began: tuple[Path, AdapterInfo] | None,
    n_examples: int,
) -> Plan:
    rank = began[1].rank if began else wishes.rank or RANK
    plan = Plan(adapter=lesson.adapter, cascade=lesson.cascade.name, base_sha256="", data_sha256="", questions="")
    batch = wishes.batch or BATCH
    steps = wishes.steps or default_steps(n_examples, batch)
    return replace(
        plan,
        base_sha256=lesson.base.sha256,
        data_sha256=parts.sha256,
        questions=sha256_of_json(_told(lesson)),
        start_sha256=file_hash(began[0]) if began else "",
        weights=_weights(wishes.weights),
        teacher=_teacher_name(lesson, wishes),
        trust=(TRUST if wishes.trust is None else wishes.trust) if wishes.teacher else 0.0,
        invocation=lesson.invocation,
        rank=rank,
        alpha=began[1].alpha if began else 2.0 * rank,
        rate=wishes.rate or default_rate(lesson.base.info.n_embd),
        steps=steps,
        n_tasks=batch,
        look_every=default_look(steps),
        seed=wishes.seed,
    )


def _told(lesson: Lesson) -> dict[str, Any]:
    """What prompts are made of, beside the data, and what a label says is the true answer."""
    limits, truths = lesson.builder.limits, lesson.cascade.true_answers()
    return {
        "instructions": lesson.cascade.instructions,
        "questions": [
            [
                asked.marker,
                asked.wording,
                asked.max_text_tokens,
                [[each.name, each.description] for each in asked.values],
            ]
            for asked in lesson.listed
        ],
        "taught": [[asked.question.marker, asked.tier, list(asked.labels)] for asked in lesson.asked],
        "truths": {
            label: [truth_target(asked, answers.get(asked.stage.name)) for asked in lesson.asked]
            for label, answers in truths.items()
        },
        "format": lesson.builder.form.name,
        "limits": asdict(limits),
    }


def _weights(folder: Path | None) -> str:
    """A fingerprint of a folder of safetensors.

    Raises:
        InputError: It is none.
    """
    if folder is None:
        return ""
    files = sorted(folder.glob("*.safetensors")) if is_folder(folder) else []
    if not files:
        msg = f"{folder}: has no *.safetensors. Give the folder of the base model as transformers saves it."
        raise InputError(msg)
    read_text(folder / "config.json", "Give the folder of the base model as transformers saves it.")
    return sha256_of_json({file.name: file_hash(file) for file in (*files, folder / "config.json")})


def _teacher_name(lesson: Lesson, wishes: Wishes) -> str:
    """What tells one teacher from another.

    Raises:
        InputError: It is neither of the config nor a file.
    """
    name = wishes.teacher
    if name is None and wishes.unlabelled:
        msg = "Of unlabelled tasks a teacher alone says what to learn, and none is given. Give one with --teacher."
        raise InputError(msg)
    if name is None:
        if wishes.trust is not None:
            msg = "--trust is the weight of a teacher, and none is given. Give one with --teacher, or leave it away."
            raise InputError(msg)
        return ""
    config, bases = (
        lesson.config,
        {base_adapter(each, lesson.config.base_models): each for each in lesson.config.base_models},
    )
    entry = config.files.get(name)
    if entry is not None:
        return f"{name} {file_hash(entry.path)} {entry.scale:g}"
    if name in config.served:
        return f"{name} {config.served[name].model_dump_json()}"
    if name in bases:
        told = config.base_models[bases[name]].model_dump_json(include={"path", "repo_id", "format", "limits"})
        return f"{name} {told} {load_bases(config)[bases[name]].sha256}"
    if not is_file(Path(name)):
        known = ", ".join([*config.adapters, *bases])
        msg = (
            f"--teacher {name!r} is neither an adapter or base model of the config nor a file; the config has {known}."
        )
        raise InputError(msg)
    return f"file {file_hash(Path(name))}"


def _taught(lesson: Lesson, wishes: Wishes, tasks: Sequence[Labelled], run: Run, note: Note) -> Teacher:
    """What the teacher says of what is learned."""
    if wishes.teacher is None:
        return {}
    is_named = wishes.teacher in lesson.config.adapters or is_base(wishes.teacher)
    if is_named:
        found = ask_teacher(lesson, wishes.teacher, tasks, run.answers, run.plan.fingerprint)
    else:
        found = read_teacher(Path(wishes.teacher), lesson)
    n = n_taught(found, tasks)
    if not n:
        msg = f"--teacher {wishes.teacher}: says nothing of any item that is learned. Give its p for these tasks."
        raise InputError(msg)
    note(f"the teacher says something of {counted(n, 'item')} that are learned")
    return found
