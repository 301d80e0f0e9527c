"""Labelled files are scored once: what is told meanwhile, and what a file of scores spares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cascade.config.schema import read_config
from cascade.errors import InputError
from cascade.evaluation.output_file import Output
from cascade.evaluation.score_file import Hooks, labelled_scores
from cascade.evaluation.scoring import scores_origin
from tests.tuning.test_search import write_data


def test_a_labelled_file_is_scored_once(tmp_path: Path) -> None:
    """Each task is told of as it is scored, a task that is given twice in a note; then the kept scores are used."""
    data, scores = tmp_path / "labelled.jsonl", tmp_path / "scores.npz"
    write_data(data, 3)
    data.write_text(data.read_text(encoding="utf-8") + "\n" + data.read_text(encoding="utf-8"), encoding="utf-8")
    config = read_config(tmp_path / "questions.toml")
    notes, done = list[str](), list[tuple[int, int]]()
    hooks = Hooks(note=notes.append, progress=lambda n_done, n_tasks: done.append((n_done, n_tasks)))
    cache = Output.of(scores, "scores", scores_origin, force=False)
    first = labelled_scores(config, "precision", [data], cache, hooks=hooks)
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert first.n_repeated == 3
    assert notes[0].startswith("3 of 6 tasks are equal to an earlier one, and not counted")
    done.clear()
    again = labelled_scores(
        config, "precision", [data], Output.of(scores, "scores", scores_origin, force=False), hooks=hooks
    )
    assert not done
    for key, p in first.scored.p.items():
        np.testing.assert_array_equal(again.scored.p[key], p)


def test_a_hook_refuses_before_anything_is_scored(tmp_path: Path) -> None:
    """What it raises ends the run, and no file of scores is left."""
    write_data(tmp_path / "labelled.jsonl", 3)
    scores, done = tmp_path / "scores.npz", list[int]()

    def refuse(*_: object) -> None:
        msg = "of no use"
        raise InputError(msg)

    hooks = Hooks(refuse=refuse, progress=lambda n_done, _: done.append(n_done))
    cache = Output.of(scores, "scores", scores_origin, force=False)
    with pytest.raises(InputError, match="of no use"):
        labelled_scores(
            read_config(tmp_path / "questions.toml"), "precision", [tmp_path / "labelled.jsonl"], cache, hooks=hooks
        )
    assert not done
    assert not scores.exists()
