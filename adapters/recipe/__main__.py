"""The recipe as commands: python -m adapters.recipe STEP [GITDIR...] [--data DIR] [--work DIR] [--out DIR].

Steps, in order; ``all`` runs them one after the other, and each resumes where it stopped:

    mine        tasks of full clones, each in all views: what ranker and adapters are trained on
    parts       dependencies among changed parts, and sizes, of the same clones: for the further tasks
    rank        the ranker, and two that each know half of the repositories
    vocabulary  the tokenizer of the base model to start from, with the words of evidence
    trees       the tasks as token ids, in the very form in which inference asks
    further     the same of the further tasks: routing, refilter, module and edge
    base        the base model, all questions of precision and scope at once
    adapters    one LoRA adapter a question, the base frozen
    export      GGUF files
    rows        development tasks of the further cascades, to tune them on
    golden      logits of transformers and PEFT for the tests

By itself, after ``mine`` and ``rank``, with the clones that were mined:

    encoder     a cross-encoder that reads a task and a symbol's source as a pair, as a GGUF file
"""

from __future__ import annotations

import argparse
from pathlib import Path

from adapters.recipe.encoder_file import DEFAULT_KIND, KINDS, kinds_of
from adapters.recipe.plans import PLANS
from adapters.recipe.steps import Folders, Recipe

MINING = ("mine", "parts")
ENCODER = "encoder"
STEPS = ("rank", "vocabulary", "trees", "further", "base", "adapters", "export", "rows", "golden")


def main() -> None:
    """Run steps."""
    options = _options()
    folders = Folders(options.work, options.out, options.golden, options.ranker, options.start, options.config)
    recipe = Recipe(folders, options.only)
    for step in (*MINING, *STEPS) if options.step == "all" else [options.step]:
        print(f"== {step}", flush=True)
        if step == "mine":
            recipe.mine(options.clones, options.data, options.group, options.tasks)
        elif step == "parts":
            recipe.parts(options.clones, options.tasks)
        elif step == ENCODER:
            recipe.encoder(options.clones, options.bert, options.steps, options.kind)
        else:
            getattr(recipe, step)()


def _kind(text: str) -> str:
    try:
        kinds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*MINING, *STEPS, ENCODER, "all"])
    parser.add_argument(
        "clones", nargs="*", type=Path, metavar="GITDIR", help="clones with their full history, to mine"
    )
    parser.add_argument("--data", type=Path, help="mine: folder with train/ and dev/, each with OWNER__NAME.jsonl.gz")
    parser.add_argument("--group", choices=("train", "dev"), default="train", help="mine without --data: what for")
    parser.add_argument("--tasks", type=int, default=140, help="mine and parts: the most of a clone")
    parser.add_argument("--work", type=Path, default=Path("adapters/.work"), help="a run resumes here")
    parser.add_argument("--out", type=Path, default=Path("adapters"), help="GGUF files go there")
    parser.add_argument("--golden", type=Path, default=Path("tests/golden"), help="golden files go there")
    parser.add_argument("--ranker", type=Path, default=Path("adapters/ranker.npz"), help="trained if it is not there")
    parser.add_argument("--start", type=Path, default=Path("adapters/embedded.gguf"), help="base model to start from")
    parser.add_argument("--config", type=Path, default=Path("adapters/map.toml"), help="adapter map with the cascades")
    parser.add_argument("--only", nargs="*", default=(), choices=PLANS, help="adapters to train or export")
    parser.add_argument("--bert", type=Path, help="encoder: a BERT model's config.json, model.safetensors, vocab.txt")
    parser.add_argument("--steps", type=int, default=240, help="encoder: optimiser steps of 8 tasks")
    parser.add_argument("--kind", type=_kind, default=DEFAULT_KIND, metavar="LAYERS/TOKENS",
                        help=f"encoder: how matrices and embeddings are stored ({', '.join(KINDS)})")  # fmt: skip
    options = parser.parse_args()
    if options.step == ENCODER and not (options.bert and options.clones):
        parser.error(f"{ENCODER} needs --bert DIR, a BERT model to start from, and the clones that were mined.")
    if options.step in MINING and not options.clones:
        parser.error(f"{options.step} needs at least one GITDIR, a git directory with its full history.")
    return options


if __name__ == "__main__":
    main()
