"""The steps of ``cascade improve``: each calls what a command of its own calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.audit.audit import Audit, AuditOptions
from cascade.cli import candidate as candidates
from cascade.cli.adapters import registry_of
from cascade.cli.audit import audited
from cascade.cli.candidate import Candidate, Verdict
from cascade.cli.dataset import Sources, built
from cascade.cli.labelled_data import labelled_scores
from cascade.cli.log_file import since_option
from cascade.cli.train import trained
from cascade.config.schema import read_config
from cascade.dataset.build import BuildOptions
from cascade.dataset.known import Reading
from cascade.dataset.manifest import Dataset
from cascade.dataset.splitting import Part, Shares
from cascade.registry.live import Live
from cascade.registry.versions import Version
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """How an adapter is trained; None for what ``cascade train`` takes.

    Attributes:
        is_fresh: Whether it starts from nothing, and not from the live one.
        steps: Most steps.
        rate: Peak learning rate.
        teacher: Adapter or base model of the config, or a file of probabilities.
        weights: Folder with the base model's safetensors.
        seed: The seed.
        device: Where to compute.
    """

    is_fresh: bool = False
    steps: int | None = None
    rate: float | None = None
    teacher: str | None = None
    weights: Path | None = None
    seed: int = 7
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What is to be improved, and from what.

    Attributes:
        config: The config's file.
        tree: The cascade.
        log: The log.
        work: Folder for what is made on the way.
        reading: How outcomes are read.
        since: An age or a day, as ``--since`` takes it; what the log has from before is passed over.
        shares: How large parts are.
        adapter: The adapter to train; empty for the one that an audit names.
        others: Datasets of other cascades that ask the adapter.
        learning: How it is trained.
        target: What new thresholds guarantee; None for what those in use do.
        at_least: The gain in mean AUC per task that must be exceeded.
    """

    config: Path
    tree: Cascade
    log: Path
    work: Path
    reading: Reading
    since: str | None = None
    shares: Shares
    adapter: str = ""
    others: Sequence[Path] = ()
    learning: Learning = Learning()
    target: str | None = None
    at_least: float = 0.0

    @property
    def data(self) -> Path:
        """The folder of the dataset."""
        return self.work / "data"


def build(aim: Aim) -> None:
    """``cascade dataset build``: the log's tasks, into the folder that later rounds add to."""
    options = BuildOptions(shares=aim.shares)
    built(aim.data, Sources(log=aim.log, since=since_option(aim.since)), aim.tree, aim.reading, options)


def audit(aim: Aim, data: Dataset) -> Audit:
    """``cascade audit``, on the parts that are not kept for the test."""
    paths = [data.path(part) for part in (Part.TRAIN, Part.VALID) if data.manifest.parts[part].tasks]
    config = read_config(aim.config)
    labelled = labelled_scores(config, aim.tree.name, paths, None, refuse=lambda *_: None, may_contradict=True)
    return audited(labelled, AuditOptions(n_worst=0))


def train(aim: Aim, adapter: str, out: Path) -> dict[str, Any]:
    """``cascade train``; what it writes besides the adapter."""
    from cascade.training.prepare import Wishes  # noqa: PLC0415 - loads llama_cpp

    how = aim.learning
    wishes = Wishes(
        adapter=adapter,
        data=[aim.data],
        out=out,
        cascade=aim.tree.name,
        start=None if how.is_fresh else adapter,
        weights=how.weights,
        teacher=how.teacher,
        steps=how.steps,
        rate=how.rate,
        seed=how.seed,
        device=how.device,
    )
    began = time.monotonic()
    prepared, version = trained(read_config(aim.config), wishes)
    n_items = sum(len(example.asks) for example in prepared.train)
    return {**version, "tasks": len(prepared.train), "items": n_items, "seconds": time.monotonic() - began}


def keep(aim: Aim, trained_in: Path) -> Version:
    """``cascade adopt FOLDER``: a version of the registry."""
    return registry_of(aim.config).add_trained(trained_in)


def test(candidate: Candidate, aim: Aim) -> Verdict:
    """What ``cascade adopt --promote`` tests before it promotes."""
    return candidates.tested(candidate, [aim.data, *aim.others], aim.target, aim.at_least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What does each step; another callable may stand in the place of one, such as a training elsewhere."""

    build: Callable[[Aim], None] = build
    audit: Callable[[Aim, Dataset], Audit] = audit
    train: Callable[[Aim, str, Path], dict[str, Any]] = train
    keep: Callable[[Aim, Path], Version] = keep
    test: Callable[[Candidate, Aim], Verdict] = test
    promote: Callable[[Verdict], Live] = candidates.promote
    shadow: Callable[[Candidate], Live] = candidates.put_in_shadow
