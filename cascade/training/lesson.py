"""What is taught: an adapter, the questions that it answers, its base model, and how their prompts are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cascade.backends.base import check_read
from cascade.backends.llama.markers import check_markers
from cascade.backends.llama.tokenizer import load_vocabulary
from cascade.config.base_models import base_adapter, key_of, main_model, model_of
from cascade.config.schema import Config, ModelConfig
from cascade.engine.prompts import Room
from cascade.errors import ConfigError, InputError, unknown_cascade
from cascade.files import is_file, is_plain_name
from cascade.models.gguf import read_gguf
from cascade.models.lora import check_adapter
from cascade.models.model_set import load_bases
from cascade.models.owners import Base, find_owner
from cascade.prompt import PromptBuilder, last_place, prompt_format
from cascade.stages import Question, Stage, is_base
from cascade.tree import Cascade

OF_HEAD = (-1, -1)
"""In place of label tokens, yes and no of an encoder's classification head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question that the adapter answers.

    Attributes:
        stage: The stage that asks it.
        tier: The tier of whose items it asks.
        question: The question.
        labels: The label tokens among which it is answered: yes and no, or those of its values; ``OF_HEAD`` of an
            encoder.
    """

    stage: Stage
    tier: str
    question: Question
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What an adapter is trained for.

    Attributes:
        adapter: Its name in the map.
        config: The config.
        cascade: The cascade that asks it.
        model: Name of its base model.
        base: That model's file.
        asked: The questions that it answers.
        owners: Adapter of the cascade -> name of its base model.
        listed: All questions that the base model is asked in this cascade; a prompt lists them.
        builder: Writes the prompts, as the engine does.
        invocation: The tokens that switch it on, if it is activated; empty for a plain LoRA.
        room: Says which items make a pair that an encoder cannot read; None of a decoder.
    """

    adapter: str
    config: Config
    cascade: Cascade
    model: str
    base: Base
    asked: tuple[Asked, ...]
    owners: Mapping[str, str]
    listed: tuple[Question, ...]
    builder: PromptBuilder
    invocation: tuple[int, ...] = ()
    room: Room | None = None

    @property
    def base_sha256(self) -> str:
        """SHA-256 that says which base it is for: of the file that the base is another format of, or of its own."""
        return self.base.info.source_sha256 or self.base.sha256

    @property
    def markers(self) -> tuple[str, ...]:
        """The markers of its questions, each once."""
        return tuple(dict.fromkeys(asked.question.marker for asked in self.asked))

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that ask it, each once."""
        return tuple(dict.fromkeys(asked.stage.name for asked in self.asked))

    def active_from(self, tokens: tuple[int, ...]) -> int:
        """Index of the first of a question's tokens on which the adapter acts, as the engine finds it.

        A plain LoRA acts on all of them.
        """
        return last_place(self.invocation, tokens) or 0 if self.invocation else 0

    def asked_by(self, adapter: str) -> Cascade:
        """The cascade with another adapter for these questions, and base models for all others.

        What prompts hold stays the same, and nothing is needed but that adapter.
        """
        named = self.config.base_models
        names = {asked: base_adapter(owner, named) for asked, owner in self.owners.items()} | {self.adapter: adapter}

        def with_adapter(stage: Stage) -> Stage:
            questions = {
                tier: replace(question, adapter=names[question.adapter]) for tier, question in stage.questions.items()
            }
            return replace(stage, questions=questions)

        stages = tuple(map(with_adapter, self.cascade.stages))
        return replace(self.cascade, stages=stages, prior_stage=None)


def find_lesson(
    config: Config, adapter: str, cascade: str | None = None, *, is_activated: bool | None = None
) -> Lesson:
    """What a config says of an adapter.

    Args:
        config: Its paths are absolute.
        adapter: The adapter's name in the map; its file need not be there.
        cascade: The cascade that asks it; None if one alone does.
        is_activated: Whether it shall act on the question's tokens alone; None for what the adapter's file is, and
            where there is none for an activated one.

    Raises:
        ConfigError: No cascade asks it, or what it needs does not fit the model.
        InputError: There is no such adapter, or no file can be called after it; or it is to be activated, and its base
            model is an encoder, which reads no question.
        ModelFileError: The base model is missing or damaged.
    """
    tree = _cascade_of(config, adapter, cascade)
    name = _model_of(config, adapter)
    model = config.base_models[name]
    key = key_of(name, config.models)
    if not model.has_source:
        msg = f"{key}.path: is missing. To train an adapter the base model's file is needed here."
        raise ConfigError(msg)
    bases = load_bases(config)
    base = bases[name]
    builder = _builder(model, base, key)
    owners = {asked.adapter: _owner(config, asked.adapter, bases) for asked in tree.questions()} | {adapter: name}
    lesson = Lesson(
        adapter=adapter,
        config=config,
        cascade=tree,
        model=name,
        base=base,
        asked=tuple(_asked(tree, adapter, builder, is_encoder=base.info.is_encoder)),
        owners=owners,
        listed=tuple(asked for asked in tree.questions() if owners[asked.adapter] == name),
        builder=builder,
    )
    if base.info.is_encoder:
        return _of_encoder(lesson, model, is_activated=bool(is_activated))
    is_on = _is_activated(config, adapter, base) if is_activated is None else is_activated
    check_markers(lesson.asked_by(base_adapter(name, config.base_models)), builder, {})
    return replace(lesson, invocation=_invocation(builder)) if is_on else lesson


def _of_encoder(lesson: Lesson, model: ModelConfig, *, is_activated: bool) -> Lesson:
    """The lesson of an adapter on an encoder, which reads pairs and no question."""
    if is_activated:
        msg = f"{lesson.base.path}: is an encoder, where no question switches an adapter on. Give --plain, or neither."
        raise InputError(msg)
    read: dict[tuple[str, int], str] = {}
    for asked in lesson.asked:
        check_read(lesson.cascade, asked.question)
        other = read.setdefault((asked.tier, asked.question.max_text_tokens), asked.stage.name)
        if other != asked.stage.name:
            msg = (
                f"adapter {lesson.adapter!r}: the stages {other!r} and {asked.stage.name!r} ask it, and an encoder "
                "reads no question, so that both would get the same answer. Give each stage an adapter of its own."
            )
            raise ConfigError(msg)
    room = Room(lesson.builder, min(lesson.base.info.n_ctx_train, model.n_batch), lesson.listed, lesson.model)
    return replace(lesson, room=room)


def _cascade_of(config: Config, adapter: str, name: str | None) -> Cascade:
    cascades = config.cascades()
    if not is_plain_name(adapter):
        msg = f"Adapter {adapter!r}: a training names a file after it. Call it by letters, digits, '_', '.' and '-'."
        raise InputError(msg)
    if adapter not in config.adapters:
        known = ", ".join(config.adapters) or "none"
        msg = f"Unknown adapter {adapter!r}; the map [adapters] has {known}. Add it there; its file may come later."
        raise InputError(msg)
    if name is not None and name not in cascades:
        raise InputError(unknown_cascade(name, cascades))
    asking = {key: tree for key, tree in cascades.items() if adapter in tree.adapters() and name in {None, key}}
    if not asking:
        msg = (
            f"{'Cascade ' + repr(name) if name else 'No cascade'} asks {'nothing of ' if name else ''}adapter "
            f"{adapter!r}. Name it as a stage's adapter, which says what it is trained to answer."
        )
        raise InputError(msg)
    if len(asking) > 1:
        msg = f"Adapter {adapter!r} answers in the cascades {', '.join(asking)}. Say which one is meant with --cascade."
        raise InputError(msg)
    return next(iter(asking.values()))


def _model_of(config: Config, adapter: str) -> str:
    """Name of the base model that an adapter belongs to, or will."""
    named = config.base_models
    given = model_of(config.adapters[adapter]) or main_model(named)
    if given is None:
        names = ", ".join(named)
        msg = f"adapters.{adapter}.model: is missing. Say which of {names} it is trained for, as in {{ model = ... }}."
        raise ConfigError(msg)
    return given


def _owner(config: Config, adapter: str, bases: Mapping[str, Base]) -> str:
    """Name of the base model that answers for an adapter or for a base model's name."""
    named = config.base_models
    if len(named) == 1:
        return next(iter(named))
    if is_base(adapter):
        return next(name for name in named if base_adapter(name, named) == adapter)
    entry = config.adapters[adapter]
    given = model_of(entry)
    return given if given is not None else find_owner(config, adapter, bases)


def _builder(model: ModelConfig, base: Base, key: str) -> PromptBuilder:
    form = prompt_format(model.format_for(key, is_encoder=base.info.is_encoder))
    return PromptBuilder(form, load_vocabulary(base.path), model.limits.limits())


def _asked(tree: Cascade, adapter: str, builder: PromptBuilder, *, is_encoder: bool) -> list[Asked]:
    found = []
    for stage in tree.stages:
        for tier, question in stage.questions.items():
            if question.adapter == adapter:
                tokens = OF_HEAD if is_encoder else _label_tokens(builder, question)
                found.append(Asked(stage=stage, tier=tier, question=question, labels=tokens))
    return found


def _label_tokens(builder: PromptBuilder, question: Question) -> tuple[int, ...]:
    labels = builder.labels(question)
    return builder.label_tokens() if labels is None else labels.tokens


def _is_activated(config: Config, adapter: str, base: Base) -> bool:
    entry = config.files.get(adapter)
    if entry is None or not is_file(entry.path):
        return True
    return check_adapter(read_gguf(entry.path), base.info, base.sha256).is_activated


def _invocation(builder: PromptBuilder) -> tuple[int, ...]:
    """The tokens with which every question begins, before its marker."""
    head = builder.form.question.partition("{")[0]
    return tuple(builder.tokenizer.encode(head, special=True))
