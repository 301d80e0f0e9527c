"""What callers of typed questions may name as their model, and what then answers their questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cascade.engine.engine import Engine
from cascade.engine.info import EngineInfo
from cascade.items import Item
from cascade.prompt import PromptBuilder, one_line
from cascade.service.http_errors import UNFIT, RefusedError
from cascade.service.open_questions import OpenForms, OpenWork
from cascade.service.schemas import check_long_text, check_text
from cascade.service.settings import ServiceSettings
from cascade.service.states import given_state, is_item, read_state
from cascade.service.typed import NAMES, Asked, unknown_model
from cascade.service.work import StageWork, TreeWork, Work
from cascade.stages import ANY_TIER, BASE, Kind, Question, Stage, Target, is_base
from cascade.tree import Cascade
from cascade.wire.systemone import ALIAS
from cascade.wire.texts import as_text

_ANY_MARKER = "answer"
_INSTRUCTIONS = "Answer each question about the candidate."


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Something that may be named as a model.

    Attributes:
        name: Its name.
        description: What it is, in a sentence.
        cascade: The cascade that it is, or whose question it is; None for an adapter or a base model.
        stage: The question that it is; None for everything else.
    """

    name: str
    description: str
    cascade: Cascade | None = None
    stage: Stage | None = None


@dataclass(slots=True)
class Plan:
    """What answers the questions of one request.

    Attributes:
        model: Who answers.
        works: The requests to the engine.
        refused: Place of a question that cannot be answered -> why.
    """

    model: str
    works: list[Work] = field(default_factory=list)
    refused: dict[int, RefusedError] = field(default_factory=dict)


class Menu:
    """The models that there are.

    Args:
        engine: What answers.
        settings: How long texts may be, and the aliases.

    Attributes:
        served: Name -> what may be named, aliases left out.
        aliases: Name -> the name that it stands for.
        default: The model of a request that names none: the first cascade.
    """

    def __init__(self, engine: Engine, settings: ServiceSettings) -> None:
        self.cascades: Mapping[str, Cascade] = engine.cascades
        self._info: EngineInfo = engine.info
        self._settings = settings
        asked = [question for cascade in self.cascades.values() for question in cascade.questions()]
        self._markers = {question.adapter: question.marker for question in reversed(asked)}
        adapters = dict.fromkeys((*(question.adapter for question in asked), *self._info.prefix_adapters))
        every = (*_cascades(self.cascades), *map(self._of_adapter, adapters), *_questions(self.cascades))
        self.served = {each.name: each for each in reversed(every)}
        self.served = {name: self.served[name] for name in dict.fromkeys(each.name for each in every)}
        self.default = next(iter(self.served))
        known = {ALIAS: self._general(adapters)} | dict(settings.aliases)
        self.aliases = {name: target for name, target in known.items() if name not in self.served}
        self._builders: dict[str, PromptBuilder] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """All names that a request may give."""
        return (*self.served, *self.aliases)

    def plan(self, model: str | None, state: Any, questions: Sequence[Asked]) -> Plan:
        """Plan who answers the questions of a request.

        Raises:
            RefusedError: There is no such model, or the state cannot be used.
        """
        name = self.default if model is None else self.aliases.get(model, model)
        served = self.served.get(name)
        if served is None:
            raise unknown_model(name, self.models)
        plan = Plan(name)
        planner = _Planner(self, plan, given_state(state), self._settings)
        if served.cascade is None:
            planner.of_adapter(name, questions)
        elif served.stage is None:
            planner.of_cascade(served.cascade, questions)
        else:
            planner.of_question(served.cascade, served.stage, questions)
        return plan

    def marker(self, adapter: str) -> str:
        """The marker under which an adapter is asked what no cascade asks it."""
        return self._markers.get(adapter, _ANY_MARKER)

    def is_encoder(self, adapter: str) -> bool:
        """Whether an adapter reads no question."""
        return adapter in self._info.encoders

    def open_forms(self, adapter: str) -> OpenForms:
        """What turns questions of a caller's own into prompts for an adapter."""
        model, info = self._info.model_of(adapter), self._info.of(adapter)
        builder = self._builders.get(model)
        if builder is None:
            builder = self._builders[model] = PromptBuilder(info.form, info.tokenizer, self._info.limits[model])
        marker = None if is_base(adapter) else self.marker(adapter)
        return OpenForms(adapter, marker, builder, info.max_prompt)

    def _of_adapter(self, name: str) -> Served:
        what = "The base model" if is_base(name) else f"The adapter {name}"
        if name in self._info.encoders:
            return Served(name=name, description=f"{what}, an encoder: answers what a cascade asks it.")
        return Served(name=name, description=f"{what}: answers any question.")

    def _general(self, adapters: Mapping[str, None]) -> str:
        """What answers any question best: the base model, or else what there is."""
        decoders = [name for name in adapters if name not in self._info.encoders]
        return next(iter(sorted(decoders, key=lambda name: (name != BASE, not is_base(name)))), self.default)


class _Planner:
    """Plans one request.

    Args:
        menu: The models.
        plan: Takes what is planned.
        state: What the questions are about.
        settings: How long texts may be.
    """

    def __init__(self, menu: Menu, plan: Plan, state: Any, settings: ServiceSettings) -> None:
        self._menu, self._plan, self._state, self._settings = menu, plan, state, settings

    def of_adapter(self, adapter: str, questions: Sequence[Asked]) -> None:
        """A question that a cascade asks of the adapter is asked as that cascade does; any other as it stands."""
        known: dict[tuple[str, str], dict[int, Stage]] = {}
        open_: dict[int, Asked] = {}
        for place, asked in self._each(questions):
            found = next(self._same(adapter, asked), None)
            if found is not None:
                cascade, stage, tier = found
                known.setdefault((cascade.name, tier), {})[place] = stage
            elif self._menu.is_encoder(adapter):
                self._plan.refused[place] = self._unread(asked, adapter)
            elif is_item(self._state) and asked.kind is Kind.YES_NO:
                self._add_alone(adapter, asked, place)
            else:
                open_[place] = asked
        for (name, tier), stages in known.items():
            task, item = read_state(self._state, self._menu.cascades[name].instructions, self._settings)
            item = replace(item, tiers=(tier,) if tier else ())
            self._plan.works.append(StageWork(task, item, name, {at: (own, (tier,)) for at, own in stages.items()}))
        if open_:
            self._plan.works.append(self._open(adapter, open_))

    def of_cascade(self, cascade: Cascade, questions: Sequence[Asked]) -> None:
        """A stage's own question is asked by itself; a choice among labels walks the tree."""
        task, item = read_state(self._state, cascade.instructions, self._settings)
        stages: dict[int, tuple[Stage, Sequence[str]]] = {}
        trees: dict[int, Sequence[str]] = {}
        for place, asked in self._each(questions):
            found = next(_stages_for(cascade, asked), None)
            options = [option.name for option in asked.options]
            if found is not None:
                stage, tier = found
                tiers = (tier,) if tier is not None else self._tiers(place, asked, [stage], item)
                stages |= {place: (stage, tiers)} if tiers else {}
            elif asked.kind is Kind.CHOICE and set(options) <= {*cascade.labels}:
                if self._tiers(place, asked, cascade.stages, item):
                    trees[place] = options
            else:
                self._plan.refused[place] = _no_stage(cascade, asked)
        if stages:
            self._plan.works.append(StageWork(task, _with_tiers(item, stages), cascade.name, stages))
        if trees:
            self._plan.works.append(TreeWork(task, item, cascade, trees))

    def of_question(self, cascade: Cascade, stage: Stage, questions: Sequence[Asked]) -> None:
        """One stage, which is asked what it was tuned for and nothing else."""
        task, item = read_state(self._state, cascade.instructions, self._settings)
        own: dict[int, tuple[Stage, Sequence[str]]] = {}
        for place, asked in self._each(questions, may_be_blank=True):
            found = [tier for each, tier in _stages_for(cascade, asked) if each is stage]
            if not (found or (not asked.wording.strip() and _fits(stage, asked))):
                self._plan.refused[place] = _no_stage(cascade, asked, stage)
                continue
            tier = found[0] if found else None
            tiers = (tier,) if tier is not None else self._tiers(place, asked, [stage], item)
            own |= {place: (stage, tiers)} if tiers else {}
        if own:
            self._plan.works.append(StageWork(task, _with_tiers(item, own), cascade.name, own))

    def _each(self, questions: Sequence[Asked], *, may_be_blank: bool = False) -> Iterator[tuple[int, Asked]]:
        """Those that ask something in no more characters than are allowed; others are refused."""
        for place, asked in enumerate(questions):
            if not (may_be_blank or asked.options or asked.wording.strip() or asked.criteria):
                self._plan.refused[place] = asked.refused("instructions", "is blank. Ask a question.")
                continue
            words = [asked.wording, asked.criteria, *(part for option in asked.options for part in option)]
            most = self._settings.max_long_text
            if sum(map(len, words)) > most:
                why = f"has {sum(map(len, words))} characters; allowed are {most}. Send less of it."
                self._plan.refused[place] = asked.refused("", why)
                continue
            yield place, asked

    def _open(self, adapter: str, questions: Mapping[int, Asked]) -> OpenWork:
        """Questions of the caller's own, below the state."""
        state = as_text(self._state)
        check_long_text(state, "state", self._settings)
        work = self._menu.open_forms(adapter).work(state, questions)
        if work.n_calls > self._settings.max_items:
            detail = f"questions: they take {work.n_calls} calls of the model; allowed are {self._settings.max_items}."
            raise RefusedError(UNFIT, f"{detail} Send them in several requests.", "questions")
        return work

    def _add_alone(self, adapter: str, asked: Asked, place: int) -> None:
        """A yes/no question about an item, in a prompt that lists nothing else."""
        wording = one_line(" ".join(filter(None, (asked.wording, asked.criteria))))
        check_text(wording, ".".join(map(str, (*asked.place, "instructions"))), self._settings)
        form = Question(marker=self._menu.marker(adapter), wording=wording, adapter=adapter, threshold=0.5)
        yes, no = Target("yes", is_label=True), Target("no", is_label=True)
        stage = Stage(name=adapter, questions={ANY_TIER: form}, yes=yes, no=no)
        made = Cascade(name="systemone", instructions=_INSTRUCTIONS, labels=("no", "yes"), stages=(stage,))
        task, item = read_state(self._state, asked.wording, self._settings)
        self._plan.works.append(StageWork(task, item, made, {place: (stage, (ANY_TIER,))}))

    def _same(self, adapter: str, asked: Asked) -> Iterator[tuple[Cascade, Stage, str]]:
        """The stages of the config that ask an adapter the same question, each with its tier."""
        for cascade in self._menu.cascades.values():
            for stage in cascade.stages:
                for tier, question in stage.questions.items():
                    is_it = question.adapter == adapter and question.wording == asked.wording
                    if is_it and _fits(stage, asked):
                        yield cascade, stage, tier

    def _unread(self, asked: Asked, adapter: str) -> RefusedError:
        """A question of one's own to an encoder, which would answer another one."""
        every = (question for cascade in self._menu.cascades.values() for question in cascade.questions())
        known = [repr(question.wording) for question in every if question.adapter == adapter]
        remedy = f"ask what it was trained for, without criteria: {', '.join(known)}" if known else "name a decoder"
        why = f"{adapter!r} is an encoder, which does not read the question; {remedy}."
        return asked.refused("instructions", why)

    def _tiers(self, place: int, asked: Asked, stages: Sequence[Stage], item: Item) -> Sequence[str]:
        """The tiers of an item under which stages ask; empty, and the question refused, where it has none."""
        for stage in stages:
            if stage.is_tiered and not (item.tiers and set(item.tiers) <= set(stage.questions)):
                known = ", ".join(stage.questions)
                why = f"stage {stage.name!r} asks by tier; give state.item.tiers, of {known}, or a tier's own question."
                self._plan.refused[place] = asked.refused("", why)
                return ()
        return item.tiers or (ANY_TIER,)


def _with_tiers(item: Item, stages: Mapping[int, tuple[Stage, Sequence[str]]]) -> Item:
    """An item with the tiers that stages are asked under as well."""
    tiers = dict.fromkeys((*item.tiers, *(tier for _, own in stages.values() for tier in own)))
    return replace(item, tiers=tuple(tier for tier in tiers if tier != ANY_TIER))


def _cascades(cascades: Mapping[str, Cascade]) -> Iterator[Served]:
    for name, cascade in cascades.items():
        what = f"A cascade: chooses among {', '.join(cascade.labels)}, or answers one of its questions."
        yield Served(name=name, description=what, cascade=cascade)


def _questions(cascades: Mapping[str, Cascade]) -> Iterator[Served]:
    for name, cascade in cascades.items():
        for stage in cascade.stages:
            wordings = " / ".join(question.wording for question in stage.questions.values())
            what = f"A {NAMES[stage.kind]} of the cascade {name}: {wordings}"
            yield Served(name=f"{name}/{stage.name}", description=what, cascade=cascade, stage=stage)


def _stages_for(cascade: Cascade, asked: Asked) -> Iterator[tuple[Stage, str | None]]:
    """The stages that a question names, or is the wording of; with the tier whose wording it is."""
    for stage in cascade.stages:
        if asked.wording == stage.name and _fits(stage, asked):
            yield stage, None
        for tier, question in stage.questions.items():
            if asked.wording == question.wording and _fits(stage, asked):
                yield stage, tier


def _fits(stage: Stage, asked: Asked) -> bool:
    """Whether a question is of a stage's kind, with its values and no criteria of its own."""
    if stage.kind is not asked.kind or asked.criteria:
        return False
    values = stage.questions[ANY_TIER].values if stage.has_values else ()
    if asked.kind is Kind.SCORE:  # one text may stand for name and description
        return [_level(*option) for option in asked.options] == [_level(each.name, each.description) for each in values]
    return [(option.name, option.description) for option in asked.options] == [
        (each.name, each.description) for each in values
    ]


def _level(name: str, description: str) -> str:
    return ": ".join(filter(None, (name, description)))


def _no_stage(cascade: Cascade, asked: Asked, only: Stage | None = None) -> RefusedError:
    """The error for a question that no stage of a cascade asks."""
    stages = cascade.stages if only is None else (only,)
    named = [stage for stage in stages if asked.wording in {stage.name, *_wordings(stage)}]
    if named and asked.kind is not named[0].kind:
        why = f"stage {named[0].name!r} is a {NAMES[named[0].kind]}, and no {NAMES[asked.kind]}."
        return asked.refused("type", why)
    if named:
        return asked.refused("criteria", "a stage's question stands as it was tuned; leave other criteria out.")
    if asked.kind is Kind.CHOICE and only is None:
        why = f"cascade {cascade.name!r} chooses among {', '.join(cascade.labels)}; give some of these as options."
        return asked.refused("criteria", why)
    who = f"cascade {cascade.name!r} asks" if only is None else f"{cascade.name}/{only.name} is the question"
    known = ", ".join(repr(wording) for stage in stages for wording in _wordings(stage))
    why = f"{who} {known}; give one of these or a stage's name, or name an adapter as model."
    return asked.refused("instructions", why)


def _wordings(stage: Stage) -> list[str]:
    return [question.wording for question in stage.questions.values()]
