"""The recipe as commands: python -m adapters.recipe STEP --data DIR [--work DIR] [--out DIR].

Steps, in order; ``all`` runs them one after the other, and each resumes where it stopped:

    vocabulary  the tokenizer, from a sample of the training tasks
    trees       the tasks as token ids, in the very form in which inference asks
    teacher     soft targets from boosted trees on the same evidence
    base        the base model, all questions at once
    adapters    one LoRA adapter a question, the base frozen
    export      GGUF files
    golden      logits of transformers and PEFT for the tests
"""

from __future__ import annotations

import argparse
import copy
import gc
import pickle
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from tokenizers import Tokenizer

from adapters.recipe import vocabulary
from adapters.recipe.data import Row, Tree, trees
from adapters.recipe.export import export_adapter, export_base
from adapters.recipe.golden import write_golden
from adapters.recipe.model import Judge, Shape
from adapters.recipe.tasks import read_tasks
from adapters.recipe.teacher import Soft, soft_targets
from adapters.recipe.train import Goal, Schedule, train
from cascade.config.schema import read_config
from cascade.items import Group, Item
from cascade.prompt import FORMATS, PromptBuilder, group_text, is_fact, item_text

SEED = 7
RANK, ALPHA = 16, 32.0
SHAPE = Shape(vocab_size=vocabulary.SIZE + len(vocabulary.EVIDENCE), num_hidden_layers=4)
SAMPLED = {"precision": 0.2, "scope": 0.25}
# The truth alone first; then, from a lower peak, with the teacher; then, in larger batches, with more of it.
FIRST = Schedule(steps=600, keep=SAMPLED, muon=0.02, adam=3e-3, warmup=40, save_every=100)
SECOND = Schedule(steps=300, keep=SAMPLED, muon=0.01, adam=1.5e-3, warmup=20, save_every=100, trust=0.5)
THIRD = Schedule(
    steps=450,
    tasks=12,
    keep={"precision": 0.25, "scope": 0.3},
    muon=0.012,
    adam=2e-3,
    warmup=30,
    save_every=50,
    trust=0.6,
    weights={"scope": 2.0},
)
KEEP = {"precision": 0.3, "scope": 0.4}
SCOPE = ("dependency", "co_change", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one adapter is trained.

    Attributes:
        questions: What it answers.
        activated: Whether it is activated LoRA, acting on the question's tokens alone.
        schedule: How long and how fast.
        start: Name of the plan whose adapter it starts from; None for a fresh one.
        ships: Whether it becomes a file.
    """

    questions: tuple[str, ...]
    activated: bool
    schedule: Schedule
    start: str | None = None
    ships: bool = True


def _schedule(steps: int, tasks: int, keep_quiet: float = 1.0, adam: float = 2e-3) -> Schedule:
    return Schedule(
        steps=steps, tasks=tasks, keep=KEEP, keep_quiet=keep_quiet, adam=adam, warmup=10, save_every=100, trust=0.5
    )


# Questions with few rows a task take more tasks a batch. The precision questions are activated
# LoRA, so that all three share the base model's KV. The scope questions are plain LoRA; a yes is
# so rare there that the three first learn together, where a row asks up to three questions at once.
PLANS = {
    "relevant": Plan(questions=("relevant",), activated=True, schedule=_schedule(120, 8)),
    "primary": Plan(questions=("primary",), activated=True, schedule=_schedule(90, 24)),
    "supporting": Plan(questions=("supporting",), activated=True, schedule=_schedule(40, 24)),
    "scope": Plan(questions=SCOPE, activated=False, schedule=_schedule(220, 14, 0.25), ships=False),
    **{
        name: Plan(questions=(name,), activated=False, schedule=_schedule(40, 20, 0.25, 5e-4), start="scope")
        for name in SCOPE
    },
}


class Recipe:
    """The steps, with the folders they read and write."""

    def __init__(self, data: Path, work: Path, out: Path, only: Collection[str] = ()) -> None:
        self.data, self.work, self.out, self.only = data, work, out, only
        self.work.mkdir(parents=True, exist_ok=True)
        self.config = read_config(out / "map.toml")

    def vocabulary(self) -> None:
        """Fit the tokenizer to 15 % of the training tasks."""
        if not self._tokenizer_path.exists():
            vocabulary.train(self._texts()).save(str(self._tokenizer_path))

    def trees(self) -> None:
        """Tokenise every task once."""
        for group in ("dev", "train"):
            path = self.work / f"{group}.trees"
            if path.exists():
                continue
            builder, cascades, found = self._builder(), self.config.cascades(), []
            for task in read_tasks(self._files(group)):
                found.append(trees(task, builder, cascades["precision"], cascades["scope"]))
                if len(found) % 500 == 0:
                    print(f"{group}: {len(found)} tasks", flush=True)
            path.write_bytes(pickle.dumps(found))

    def teacher(self) -> None:
        """Fit the trees that soften the targets."""
        path = self.work / "teacher.pickle"
        if not path.exists():
            path.write_bytes(pickle.dumps(soft_targets(read_tasks(self._files("train")), self.config.cascades())))

    def base(self) -> None:
        """Train the base model."""
        torch.manual_seed(SEED)
        model, data, watched = self._model(), self._trees("train"), self._watched()
        train(model, data, watched, FIRST, Goal(), self.work / "first.pt", SEED)
        train(model, data, watched, SECOND, Goal(), self.work / "second.pt", SEED + 1)
        train(model, data, watched, THIRD, Goal(), self.work / "base.pt", SEED + 2)

    def adapters(self) -> None:
        """Train the adapters on the base as it is exported."""
        base = self._trained()
        plans = {name: plan for name, plan in PLANS.items() if name in (self.only or PLANS)}
        wanted = {"scope" if set(plan.questions) <= set(SCOPE) else "precision" for plan in plans.values()}
        data = [[tree for tree in trees if tree.cascade in wanted] for trees in self._trees("train")]
        for name, plan in plans.items():
            torch.manual_seed(SEED)
            model = self._adapted(base, plan.start) if plan.start else self._fresh(base)
            print(f"adapter {name}", flush=True)
            goal = Goal(questions=plan.questions, activated=plan.activated)
            train(model, data, self._watched(), plan.schedule, goal, self.work / f"{name}.pt", SEED)

    def export(self) -> None:
        """Write the GGUF files."""
        base = self._trained()
        export_base(base, Tokenizer.from_file(str(self._tokenizer_path)), self.out / "embedded.gguf")
        invocation = tuple(self._builder().marker_tokens("relevant")[:1])
        for name, plan in PLANS.items():
            if plan.ships:
                tokens = invocation if plan.activated else ()
                path = self.out / f"{name}.gguf"
                export_adapter(self._adapted(base, name), path, self.out / "embedded.gguf", RANK, tokens)

    def golden(self) -> None:
        """Write what transformers and PEFT answer."""
        base = self._trained()
        adapted = {name: (self._adapted(base, name), plan.activated) for name, plan in PLANS.items() if plan.ships}
        write_golden(base, adapted, self._builder(), self.config.cascades(), RANK, ALPHA)

    @staticmethod
    def _fresh(base: Judge) -> Judge:
        model = copy.deepcopy(base)
        model.adapt(RANK, ALPHA)
        return model

    def _adapted(self, base: Judge, name: str) -> Judge:
        model = self._fresh(base)
        model.load_state_dict(torch.load(self.work / f"{name}.pt", weights_only=True)["model"])
        return model

    def _trained(self) -> Judge:
        """The base model with the precision of its export: adapters must fit what they will meet."""
        model = self._model()
        model.load_state_dict(torch.load(self.work / "base.pt", weights_only=True)["model"])
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.copy_(parameter.bfloat16().float())
        return model

    def _model(self) -> Judge:
        return Judge(SHAPE, self._builder().label_tokens())

    def _builder(self) -> PromptBuilder:
        tokenizer = vocabulary.TrainingTokenizer(self._tokenizer_path)
        return PromptBuilder(FORMATS["embedded"], tokenizer, self.config.model.limits.limits())

    def _files(self, group: str) -> list[Path]:
        return sorted((self.data / group).glob("*.jsonl.gz"))

    def _trees(self, group: str) -> list[list[Tree]]:
        # Millions of small tuples that never die: the collector would walk them all again and again.
        gc.disable()
        found: list[list[Tree]] = pickle.loads(  # noqa: S301 - the recipe's own file
            (self.work / f"{group}.trees").read_bytes()
        )
        if group == "train":
            soft = pickle.loads((self.work / "teacher.pickle").read_bytes())  # noqa: S301 - the recipe's own file
            found = [_softened(trees, targets) for trees, targets in zip(found, soft, strict=True)]
        gc.freeze()
        return found

    def _watched(self) -> list[list[Tree]]:
        """A tenth of the development tasks: looked at while training, never trained on."""
        return self._trees("dev")[::10]

    def _texts(self) -> Iterator[str]:
        rng = random.Random(SEED)
        for task in read_tasks(self._files("train")):
            if rng.random() > 0.15:
                continue
            items = task.symbol_items()
            yield from [task.task] * 4
            yield from (item_text(_without_facts(item)) for item in (*items, *task.file_items()))
            yield from (group_text(_without_facts(group)) for group in {item.group for item in items if item.group})

    @property
    def _tokenizer_path(self) -> Path:
        return self.work / "tokenizer.json"


_Told = TypeVar("_Told", Item, Group)


def _without_facts(thing: _Told) -> _Told:
    """An item or a group without the words of evidence that are tokens anyway."""
    return replace(thing, evidence=tuple(word for word in thing.evidence if not is_fact(word)))


def _softened(trees: list[Tree], soft: Soft) -> list[Tree]:
    """Tries whose rows carry the teacher's targets."""
    found = []
    for tree, targets in zip(trees, soft, strict=True):
        rows = zip(tree.rows, targets, strict=True)
        found.append(Tree(tree.cascade, tree.prefix, tuple(Row(r.tokens, r.group, r.asks, p) for r, p in rows)))
    return found


STEPS = ("vocabulary", "trees", "teacher", "base", "adapters", "export", "golden")


def main() -> None:
    """Run steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and dev/")
    parser.add_argument("--work", type=Path, default=Path("adapters/.work"), help="checkpoints; a run resumes here")
    parser.add_argument("--out", type=Path, default=Path("adapters"), help="folder with map.toml; GGUF files go there")
    parser.add_argument("--only", nargs="*", default=(), choices=PLANS, help="adapters to train, for runs side by side")
    options = parser.parse_args()
    recipe = Recipe(options.data, options.work, options.out, options.only)
    for step in STEPS if options.step == "all" else [options.step]:
        print(f"== {step}", flush=True)
        getattr(recipe, step)()


if __name__ == "__main__":
    main()
