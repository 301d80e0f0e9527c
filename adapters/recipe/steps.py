"""The steps of the recipe, with the folders that they read and write; each resumes where it stopped."""

from __future__ import annotations

import copy
import gc
import pickle
import zlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from adapters.recipe.clones import ROWS, labelled_file, names_of
from adapters.recipe.data import Ask, Views, with_met
from adapters.recipe.encoder_steps import EncoderFolders, measure, pair_up, train_and_export
from adapters.recipe.encoder_train import EncoderSchedule
from adapters.recipe.export import export_adapter, export_base
from adapters.recipe.further import to_tune_on
from adapters.recipe.golden import write_golden
from adapters.recipe.labelled import write_rows
from adapters.recipe.mine import mine_file, mine_history, read_mined
from adapters.recipe.model import Judge, Shape
from adapters.recipe.parts import mine_parts, read_parts
from adapters.recipe.plans import ALPHA, BY_YES_AND_NO, FIRST, FURTHER, PLANS, RANK, SECOND, Plan
from adapters.recipe.rank import train_ranker
from adapters.recipe.start import read_tokenizer, read_weights
from adapters.recipe.train import Goal, train
from adapters.recipe.views import Planter
from adapters.recipe.vocabulary import TrainingTokenizer
from cascade.config.schema import read_config
from cascade.evidence.ranker import Ranker
from cascade.prompt import FORMATS, PromptBuilder

SEED = 7
N_LAYERS = 4
N_PROCESSES = 2
N_FOLDS = 2


@dataclass(frozen=True, slots=True)
class Folders:
    """Where things are.

    Attributes:
        work: Mined tasks, trees and checkpoints; a run resumes here.
        out: GGUF files go there.
        golden: Golden files for the tests go there.
        ranker: The ranker; trained if it is not there.
        start: The base model to start from, as it was exported.
        config: The adapter map that has the cascades.
    """

    work: Path
    out: Path
    golden: Path
    ranker: Path
    start: Path
    config: Path


class Recipe:
    """The steps."""

    def __init__(self, folders: Folders, only: Collection[str] = ()) -> None:
        self.folders, self.only = folders, only
        folders.work.mkdir(parents=True, exist_ok=True)
        self.config = read_config(folders.config)

    def mine(self, clones: Sequence[Path], data: Path | None, group: str, n_tasks: int) -> None:
        """Mine the tasks of clones.

        Args:
            clones: Git directories with the full history.
            data: Folder with the labelled commits of each; None to label commits here.
            group: Where tasks go that are labelled here: ``train`` or ``dev``.
            n_tasks: The most of a clone.
        """
        mined = self.folders.work / "mined"
        with ProcessPoolExecutor(N_PROCESSES) as pool:
            waiting = []
            for clone in clones:
                if data is None:
                    name = names_of(clone)[0]
                    waiting.append(pool.submit(mine_history, clone, name, mined / group / f"{name}.pkl", n_tasks))
                else:
                    rows = labelled_file(clone, data)
                    out = mined / rows.parent.name / rows.name.replace(ROWS, ".pkl")
                    waiting.append(pool.submit(mine_file, clone, rows, out, n_tasks))
            for one in waiting:
                one.result()

    def parts(self, clones: Sequence[Path], n_tasks: int) -> None:
        """Mine the dependencies among changed parts, and sizes, of clones whose tasks are mined."""
        with ProcessPoolExecutor(N_PROCESSES) as pool:
            waiting = []
            for clone in clones:
                source = self._mined_of(clone)
                waiting.append(pool.submit(mine_parts, clone, source, self._parts(source), n_tasks))
            for one in waiting:
                one.result()

    def _mined_of(self, clone: Path) -> Path:
        """The file of a clone's mined tasks.

        Raises:
            ValueError: There is none.
        """
        names = names_of(clone)
        for source in (*self._mined("train"), *self._mined("dev")):
            if source.stem in names or source.stem.partition("__")[2] in names:
                return source
        msg = f"No mined tasks of {clone}, which may be called {', '.join(names)}; run the step `mine` first."
        raise ValueError(msg)

    def vocabulary(self) -> None:
        """Make the tokenizer: that of the base model to start from, with the words of evidence behind it."""
        if not self._tokenizer_path.exists():
            read_tokenizer(self.folders.start).save(str(self._tokenizer_path))

    def rank(self) -> None:
        """Train the ranker, and two that each know half of the training repositories.

        A ranker knows the tasks it was trained on too well. The trees of a repository therefore carry what the one
        says that has never seen it, as in use.
        """
        sources = self._mined("train")
        for fold in range(N_FOLDS):
            path = self._fold_path(fold)
            if not path.exists():
                self._train_ranker([one for one in sources if fold_of(one) != fold], path)
        if not self.folders.ranker.exists():
            self._train_ranker(sources, self.folders.ranker)

    @staticmethod
    def _train_ranker(sources: Sequence[Path], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        train_ranker(list(read_mined(sources)), SEED).save(path)

    def trees(self) -> None:
        """Tokenise every view of every mined task once."""
        wanted = [
            (source, target)
            for group in ("train", "dev")
            for source in self._mined(group)
            if not (target := self.folders.work / "trees" / group / source.name).exists()
        ]
        with ProcessPoolExecutor(N_PROCESSES) as pool:
            for name, n_tasks in pool.map(self.plant, *zip(*wanted, strict=True) if wanted else ((), ())):
                print(f"{name}: {n_tasks} tasks", flush=True)

    def plant(self, source: Path, target: Path) -> tuple[str, int]:
        """The tries of the tasks of a file; returns its name and how many tasks it has."""
        planter = self._planter(source)
        return source.stem, _keep([planter.views(task) for task in read_mined([source])], target)

    def further(self) -> None:
        """Tokenise the further tasks once: routing, refilter and module, and of parts that are mined edge."""
        sources = [source for group in ("train", "dev") for source in self._mined(group)]
        jobs = [(self.plant_further, source, source.name) for source in sources]
        jobs += [
            (self.plant_edges, source, f"edges {source.name}") for source in sources if self._parts(source).exists()
        ]
        with ProcessPoolExecutor(N_PROCESSES) as pool:
            waiting = []
            for plant, source, name in jobs:
                target = self.folders.work / "further" / source.parent.name / name
                if not target.exists():
                    waiting.append((target.stem, pool.submit(plant, source, target)))
            for name, one in waiting:
                print(f"{name}: {one.result()} tasks", flush=True)

    def plant_further(self, source: Path, target: Path) -> int:
        """The tries of routing, refilter and module for the tasks of a file; returns how many tasks there are."""
        planter = self._planter(source)
        return _keep([planter.further(task) for task in read_mined([source])], target)

    def plant_edges(self, source: Path, target: Path) -> int:
        """The tries of edge for the parts of a repository; returns how many tasks there are."""
        planter = self._planter(source)
        return _keep([planter.edges(one) for one in read_parts(self._parts(source)).edges], target)

    def _planter(self, source: Path) -> Planter:
        return Planter(self._builder(), self.config.cascades(), Ranker.load(self._ranker_of(source)))

    def base(self) -> None:
        """Train the base model on all questions at once."""
        torch.manual_seed(SEED)
        model = self._model()
        read_weights(self.folders.start, model)
        data, watched = (_only(trees, BY_YES_AND_NO) for trees in (self._trees("train"), self._watched()))
        train(model, data, watched, FIRST, Goal(), self.folders.work / "first.pt", SEED)
        train(model, data, watched, SECOND, Goal(), self.folders.work / "base.pt", SEED + 1)

    def adapters(self) -> None:
        """Train the adapters on the base as it is exported."""
        base = self._trained()
        known = self.config.cascades()  # only adapters/recipe/one_call.toml has the cascade of the choice
        plans = {name: plan for name, plan in PLANS.items() if name in (self.only or PLANS) and plan.cascade in known}
        for kind in ("trees", "further"):
            some = {name: plan for name, plan in plans.items() if (plan.cascade in FURTHER) == (kind == "further")}
            if some:
                self._train(base, some, kind)

    def _train(self, base: Judge, plans: Mapping[str, Plan], kind: str) -> None:
        """Train adapters on tries of a kind: ``trees`` or ``further``."""
        data = _only(self._trees("train", kind), {plan.cascade for plan in plans.values()})
        watched = self._watched(kind)
        for name, plan in plans.items():
            torch.manual_seed(SEED)
            model = self._adapted(base, plan.start) if plan.start else self._fresh(base)
            model.labels = torch.tensor(self._labels(plan))
            print(f"adapter {name}", flush=True)
            goal = Goal(questions=plan.questions, activated=plan.activated)
            train(model, self._met(data, plan), watched, plan.schedule, goal, self.folders.work / f"{name}.pt", SEED)

    def _met(self, data: list[Views], plan: Plan) -> list[Views]:
        """Tasks with what a plan's question meets, where it is trained on that."""
        if plan.met_from is None:
            return data
        (question,) = plan.questions
        no = Ask(question, self._builder().marker_tokens(question), truth=0)
        return [with_met(views, no, plan.met_from) for views in data]

    def export(self) -> None:
        """Write the GGUF files; where ``only`` names adapters, those alone, for the base model that is there."""
        base = self._trained()
        if not self.only:
            self.folders.out.mkdir(parents=True, exist_ok=True)
            export_base(base, Tokenizer.from_file(str(self._tokenizer_path)), self.folders.out / "embedded.gguf")
        invocation = tuple(self._builder().marker_tokens("relevant")[:1])
        for name, plan in PLANS.items():
            if name in self.only if self.only else plan.ships:
                tokens = invocation if plan.activated else ()
                path = self.folders.out / f"{name}.gguf"
                adapted = self._adapted(base, name)
                export_adapter(adapted, path, self.folders.out / "embedded.gguf", RANK, plan.questions, tokens)

    def golden(self) -> None:
        """Write what transformers and PEFT answer."""
        base = self._trained()
        adapted = {name: (self._adapted(base, name), plan.activated) for name, plan in PLANS.items() if plan.ships}
        write_golden(base, adapted, self._builder(), self.config.cascades(), RANK, ALPHA, self.folders.golden)

    def rows(self) -> None:
        """Write the development tasks of the further cascades, to tune them on with ``cascade tune --data``."""
        sources = self._mined("dev")
        ranker, mined = Ranker.load(self.folders.ranker), list(read_mined(sources))
        parts = [read_parts(self._parts(source)) for source in sources if self._parts(source).exists()]
        edges = [edge for one in parts for edge in one.edges]
        (self.folders.work / "rows").mkdir(exist_ok=True)
        for cascade in FURTHER:
            write_rows(to_tune_on(cascade, mined, edges, ranker), self.folders.work / "rows" / f"{cascade}.jsonl")

    def encoder(self, clones: Sequence[Path], bert: Path, n_steps: int, kind: str) -> None:
        """Train a cross-encoder, write it as ``reader.gguf``, and print what it adds to the ranker's order.

        Args:
            clones: Git directories of the mined repositories, whose source is read.
            bert: The model to start from, in Hugging Face's form.
            n_steps: Optimiser steps.
            kind: How matrices are stored.
        """
        folders = EncoderFolders(work=self.folders.work, start=bert, out=self.folders.out / "reader.gguf")
        pair_up(folders, clones, self._ranker_of)
        train_and_export(folders, EncoderSchedule(steps=n_steps), kind)
        measure(folders)

    @staticmethod
    def _fresh(base: Judge) -> Judge:
        model = copy.deepcopy(base)
        model.adapt(RANK, ALPHA)
        return model

    def _adapted(self, base: Judge, name: str) -> Judge:
        model = self._fresh(base)
        model.load_state_dict(torch.load(self.folders.work / f"{name}.pt", weights_only=True)["model"])
        return model

    def _trained(self) -> Judge:
        """The base model with the precision of its export: adapters must fit what they will meet."""
        model = self._model()
        model.load_state_dict(torch.load(self.folders.work / "base.pt", weights_only=True)["model"])
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.copy_(parameter.bfloat16().float())
        return model

    def _model(self) -> Judge:
        builder = self._builder()
        n_tokens = Tokenizer.from_file(str(self._tokenizer_path)).get_vocab_size()
        return Judge(Shape(vocab_size=n_tokens, num_hidden_layers=N_LAYERS), builder.label_tokens())

    def _builder(self) -> PromptBuilder:
        tokenizer = TrainingTokenizer(self._tokenizer_path)
        return PromptBuilder(FORMATS["embedded"], tokenizer, self.config.model.limits.limits())

    def _labels(self, plan: Plan) -> Sequence[int]:
        """The label tokens of what a plan asks."""
        builder = self._builder()
        (question,) = (
            one for one in self.config.cascades()[plan.cascade].questions() if one.marker == plan.questions[0]
        )
        labels = builder.labels(question)
        return builder.label_tokens() if labels is None else labels.tokens

    def _trees(self, group: str, kind: str = "trees") -> list[Views]:
        # Millions of small objects that never die: the collector would walk them all again and again.
        gc.disable()
        found: list[Views] = []
        for path in sorted((self.folders.work / kind / group).glob("*.pkl")):
            found += pickle.loads(path.read_bytes())  # noqa: S301 - the recipe's own file
        gc.freeze()
        return found

    def _watched(self, kind: str = "trees") -> list[Views]:
        """A part of the development tasks: looked at while training, never trained on."""
        return self._trees("dev", kind)[::15]

    def _mined(self, group: str) -> list[Path]:
        return sorted((self.folders.work / "mined" / group).glob("*.pkl"))

    def _parts(self, source: Path) -> Path:
        """The parts of a clone whose tasks are in a file."""
        return self.folders.work / "parts" / source.parent.name / source.name

    def _fold_path(self, fold: int) -> Path:
        return self.folders.work / "rankers" / f"{fold}.npz"

    def _ranker_of(self, source: Path) -> Path:
        """The ranker that has not seen a repository."""
        return self._fold_path(fold_of(source)) if source.parent.name == "train" else self.folders.ranker

    @property
    def _tokenizer_path(self) -> Path:
        return self.folders.work / "tokenizer.json"


def _only(trees: Sequence[Views], cascades: Collection[str]) -> list[Views]:
    """Tasks with their tries of some cascades."""
    return [
        {view: tuple(tree for tree in those if tree.cascade in cascades) for view, those in views.items()}
        for views in trees
    ]


def _keep(found: list[Views], target: Path) -> int:
    """Keep the tries of tasks in a file; returns how many tasks there are."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(found))
    partial.replace(target)
    return len(found)


def fold_of(source: Path) -> int:
    """The half of the training repositories that a file of mined tasks belongs to."""
    return zlib.crc32(source.stem.encode()) % N_FOLDS
