"""The steps of the encoder: pairs of mined tasks, training, a GGUF file, and what it adds to the ranker's order."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.recipe.clones import names_of
from adapters.recipe.encoder import export, of_file, read_start
from adapters.recipe.encoder_file import export_vocabulary
from adapters.recipe.encoder_train import HARD, EncoderSchedule, first_shares, read, train_encoder
from adapters.recipe.mine import read_mined
from adapters.recipe.pairs import Pairer, PairTask
from cascade.backends.llama.tokenizer import load_vocabulary
from cascade.dataset.clone import Clone
from cascade.evidence.ranker import Ranker
from cascade.prompt import FORMATS, PAIR, Limits, PromptBuilder

LIMITS = Limits(task=112, group=32, item=56)
"""Most tokens of what a pair holds; the same belong under ``[models.NAME]`` in use."""

_SEED = 7
_CLOSES = "[SEP]"
_N_PROCESSES = 2


@dataclass(frozen=True, slots=True)
class EncoderFolders:
    """Where things are.

    Attributes:
        work: Mined tasks, pairs and the checkpoint; a run resumes here.
        start: The model to start from in Hugging Face's form: config.json, model.safetensors and vocab.txt.
        out: The GGUF file.
    """

    work: Path
    start: Path
    out: Path

    @property
    def vocabulary(self) -> list[str]:
        """The tokens of the model to start from, in order."""
        return (self.start / "vocab.txt").read_text(encoding="utf-8").splitlines()


def pair_up(folders: EncoderFolders, clones: Sequence[Path], ranker_of: Callable[[Path], Path]) -> None:
    """Make the pairs of every file of mined tasks that a clone belongs to; what is there already is left.

    Args:
        folders: Where things are.
        clones: Git directories with the full history.
        ranker_of: File of mined tasks -> the ranker that has not seen its repository.
    """
    model = folders.work / "vocabulary.gguf"
    export_vocabulary(model, folders.vocabulary)
    wanted = [
        (clone, source, ranker_of(source), model, folders.work / "pairs" / source.parent.name / source.name)
        for clone, names in [(clone, names_of(clone)) for clone in clones]
        for source in sorted((folders.work / "mined").glob("*/*.pkl"))
        if source.stem in names
    ]
    wanted = [one for one in wanted if not one[-1].exists()]
    with ProcessPoolExecutor(_N_PROCESSES) as pool:
        for name, n_tasks in pool.map(_pair_file, *zip(*wanted, strict=True) if wanted else ([],) * 5):
            print(f"{name}: {n_tasks} tasks", flush=True)


def _pair_file(clone: Path, source: Path, ranker: Path, model: Path, target: Path) -> tuple[str, int]:
    builder = PromptBuilder(FORMATS[PAIR], load_vocabulary(model), LIMITS)
    found = list(Pairer(builder, Clone(clone), Ranker.load(ranker)).pairs(list(read_mined([source]))))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(found))
    partial.replace(target)
    return source.stem, len(found)


def train_and_export(folders: EncoderFolders, schedule: EncoderSchedule, kind: str) -> None:
    """Train on the pairs, or go on where the checkpoint stopped, and write the file."""
    torch.manual_seed(_SEED)
    model = read_start(folders.start)
    end = folders.vocabulary.index(_CLOSES)
    train_encoder(model, _tasks(folders, "train"), schedule, end, folders.work / "encoder.pt", _SEED)
    export(model, folders.vocabulary, folders.out, kind)


def measure(folders: EncoderFolders, every: int = 1) -> None:
    """Print which share of the development tasks has all changed functions among the first.

    Args:
        folders: Where things are.
        every: Every how many-th task is read.
    """
    model = of_file(folders.out)
    end = folders.vocabulary.index(_CLOSES)
    tasks = _tasks(folders, "dev")[::every]
    ranked = [task.log_p[:HARD] for task in tasks]
    asked = [read(model, task, end, HARD) for task in tasks]
    rows = {"ranker": ranked, "encoder": asked, "both": [_both(*one) for one in zip(ranked, asked, strict=True)]}
    print(f"| order of the ranker's first {HARD}, {len(tasks)} tasks | first | first 5 | first 10 |\n|---|--:|--:|--:|")
    for name, odds in rows.items():
        print(f"| {name} | " + " | ".join(f"{share:.1f}" for share in first_shares(tasks, odds).values()) + " |")


def _both(log_p: NDArray[np.float64], odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ranker's P times p(yes), as a stage behind the ranker is put in order; a logarithm."""
    return np.asarray(log_p - np.logaddexp(0, -odds))


def _tasks(folders: EncoderFolders, group: str) -> list[PairTask]:
    found: list[PairTask] = []
    for path in sorted((folders.work / "pairs" / group).glob("*.pkl")):
        found += pickle.loads(path.read_bytes())  # noqa: S301 - the recipe's own file
    if not found:
        msg = f"There are no pairs in {folders.work / 'pairs' / group}. Mine tasks first, and give their clones."
        raise ValueError(msg)
    return found
