"""How far p(yes) from a server is from that of the model in this process.

    python -m benchmarks.server_scores [--llama-server PATH | --url URL --kind KIND] [--cascade NAME] [--json]

Without a server llama-cpp-python's own is started, with two of the shipped adapters made plain, since it knows no
activated ones; it takes text, so the model here is asked the tokens that it finds there. With ``--llama-server`` that
program is started with the shipped model and all of its adapters. With ``--url`` a server that runs already is asked;
it must have the shipped model and the cascade's adapters, by their names in the shipped config. The sample is made
up, or comes from ``--data``: labelled tasks as JSON lines. Ends with 1 where a difference is above 0.01.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import get_args

from benchmarks.script import count, run_script
from benchmarks.shipped import questions_alone
from benchmarks.speed.server_process import HOST, ServerProcess
from cascade import Cascade, Config, Engine, Item, Task, shipped_config
from cascade.backends.base import Query
from cascade.backends.llama.native import ContextSize
from cascade.config.servers import Kind
from cascade.evaluation.dataset import read_labelled
from cascade.evidence.facts import FACTS
from cascade.models.model_set import load_model_set
from cascade.prompt import Node, Segment
from cascade.tree import ItemKind
from tests.helpers.gguf_files import write_plain
from tests.helpers.python_server import python_server
from tests.helpers.requests import files, symbols
from tests.helpers.rig import Rig

TARGET = 0.01
PLAIN = ("relevant", "primary")
"""The adapters, and stages of ``precision``, that llama-cpp-python's server is asked."""

_PER_TASK = 20  # items of a made-up task
_N_VOCABULARY = 8_192 + len(FACTS)  # the shipped adapters leave other tokens likelier than both labels

Sample = Sequence[tuple[Task, list[Item]]]


def served_config(server: Mapping[str, object], adapters: Iterable[str]) -> Config:
    """The shipped questions, some of whose adapters are on a server by the same names.

    Args:
        server: The table of the server.
        adapters: What it answers for.
    """
    shipped = questions_alone()
    table = shipped.model_dump(exclude_none=True, exclude_unset=True)
    served = {name: {"server": "far", "name": name} for name in adapters}
    return Config.model_validate(table | {"servers": {"far": server}, "adapters": table["adapters"] | served})


def python_config(url: str, model: str = "embedded", top_logprobs: int = _N_VOCABULARY) -> Config:
    """The shipped config with the two plain adapters on llama-cpp-python's server."""
    server = {
        "kind": "completions",
        "url": url,
        "model": model,
        "prompt": "text",
        "in_flight": 1,
        "top_logprobs": top_logprobs,
    }
    return served_config(server, PLAIN)


@contextmanager
def plain_server(folder: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """llama-cpp-python's server with the two adapters made plain; yields its address and their files."""
    shipped = shipped_config().parent
    plain = {name: write_plain(shipped / f"{name}.gguf", folder / f"{name}.gguf") for name in PLAIN}
    with python_server(folder, plain) as url:
        yield url, plain


@contextmanager
def llama_server(program: str) -> Iterator[str]:
    """A llama-server with the shipped model and all of its adapters; yields its address."""
    shipped = shipped_config().parent
    command = [program, "--model", str(shipped / "embedded.gguf")]
    for name in questions_alone().files:
        command += ["--lora", str(shipped / f"{name}.gguf")]
    command += ["--lora-init-without-apply", "-np", "4", "-kvu", "-c", "2048", "-t", "1", "-tb", "1"]
    process = ServerProcess([*command, "-fa", "on", "--cache-ram", "0", "--no-ui"])
    try:
        yield f"http://{HOST}:{process.port}"
    finally:
        process.close()


def scores(config: Config, cascade: str, sample: Sample, stages: Sequence[str] = ()) -> list[float]:
    """p(yes) of stages, all if none is named, put to every item."""
    with Engine.open(config) as engine:
        found = [engine.score(task, items, cascade, *stages) for task, items in sample]
    return [step.p_yes for of_task in found for steps in of_task for step in steps]


def scores_of_text(plain: Mapping[str, Path], sample: Sample) -> list[float]:
    """p(yes) of the two adapters in this process, of the tokens that a server finds in a prompt's text."""
    shipped = questions_alone()
    here = shipped.model_copy(update={"adapters": dict(plain)})
    rig = Rig(load_model_set(here), ContextSize(n_ctx=512, n_seq_max=8, n_batch=256, n_threads=1))
    cascade, tokenizer = shipped.cascades()["precision"], rig.native.tokenizer
    found = []
    for task, items in sample:
        root = rig.builder.task(cascade.instructions, cascade.questions(), task)
        for item in items:
            node = rig.builder.item(rig.builder.group(root, item.group) if item.group else root, item)
            for name in plain:
                text = tokenizer.decode(rig.builder.question(node, name).prompt)
                tokens = tuple(tokenizer.encode(text, special=True))
                parent = Node(Node(None, Segment.TASK, tokens[:1]), Segment.ITEM, tokens[1:-1])
                found.append(rig.cold(Query(Node(parent, Segment.QUESTION, tokens[-1:]), name)))
    rig.native.close()
    return found


def sample_of(cascade: Cascade, n_items: int, data: Path | None = None) -> Sample:
    """Tasks with that many items in all, made up or from a file of labelled tasks."""
    if data is None:
        make = files if cascade.items is ItemKind.FILES else symbols
        tasks: Iterator[tuple[Task, list[Item]]] = (make(seed, _PER_TASK) for seed in range(n_items))
    else:
        tasks = ((row.task, list(row.items)) for row in read_labelled(data, cascade))
    found, left = [], n_items
    for task, items in tasks:
        found.append((task, list(islice(items, left))))
        left -= len(found[-1][1])
        if not left:
            break
    return found


def compare(options: argparse.Namespace) -> dict[str, float]:
    """Ask both, and return the figures."""
    shipped = questions_alone()
    cascade = shipped.cascades()[options.cascade]
    sample = sample_of(cascade, options.items, options.data)
    if options.url or options.llama_server:
        here = scores(shipped, cascade.name, sample)
        with llama_server(options.llama_server) if options.llama_server else _running(options.url) as url:
            server = {"kind": options.kind, "url": url, "starts_per_second": 1_000, "top_logprobs": _N_VOCABULARY}
            server |= {"prompt": options.prompt} if options.prompt else {}
            there = scores(served_config(server, cascade.adapters()), cascade.name, sample)
    else:
        with tempfile.TemporaryDirectory() as folder, plain_server(Path(folder)) as (url, plain):
            here = scores_of_text(plain, sample)
            there = scores(python_config(url), cascade.name, sample, PLAIN)
    off = [abs(one - other) for one, other in zip(here, there, strict=True)]
    return {
        "items": sum(len(items) for _, items in sample),
        "questions": len(off),
        "lowest_p": round(min(here), 4),
        "highest_p": round(max(here), 4),
        "largest_difference": round(max(off), 6),
        "mean_difference": round(sum(off) / len(off), 6),
        "goal": TARGET,
    }


@contextmanager
def _running(url: str) -> Iterator[str]:
    """A server that somebody else started."""
    yield url


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--llama-server", metavar="PATH", help="the program, which is started")
    which.add_argument("--url", help="a server that runs")
    parser.add_argument("--kind", choices=get_args(Kind), default="llama-server", help="of --url")
    parser.add_argument("--prompt", choices=("tokens", "text"), help="how prompts are sent; tokens if absent")
    parser.add_argument("--cascade", choices=tuple(questions_alone().cascade), default="precision")
    parser.add_argument("--items", type=count, default=200, help="of the sample; 200 if absent")
    parser.add_argument("--data", type=Path, metavar="FILE", help="labelled tasks as JSON lines")
    parser.add_argument("--json", action="store_true", help="on one line")
    options = parser.parse_args(arguments)
    if options.cascade != "precision" and not (options.url or options.llama_server):
        parser.error("llama-cpp-python's server is asked the adapters of precision; give --llama-server or --url")
    found = compare(options)
    sys.stdout.write(json.dumps(found, indent=None if options.json else 2) + "\n")
    return int(found["largest_difference"] > TARGET)


if __name__ == "__main__":
    run_script(main)
