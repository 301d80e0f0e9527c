"""The benchmark of speed: workloads are what they say, branches follow their labels, and figures add up."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.speed.baselines import BaselineChoice
from benchmarks.speed.cli import main
from benchmarks.speed.compare import compare
from benchmarks.speed.forced import ForcedEngine
from benchmarks.speed.limits import Reuse, flops_per_token
from benchmarks.speed.workload import WORKLOADS, labelled_queries, workload
from cascade.backends.llama.backend import LlamaBackend
from cascade.config.schema import read_config, shipped_config
from cascade.errors import InputError
from cascade.machine import install_extra
from cascade.models.model_set import load_model_set
from cascade.prompt import PromptBuilder
from tests.helpers.shipped import CASCADES, SHIPPED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_precision_100_is_what_it_says(builder: PromptBuilder) -> None:
    """100 symbols of about 40 tokens in 12 files; 35 pass the first stage, 16 of those the second."""
    found = workload("precision-100", builder, CASCADES)
    queries = labelled_queries(found, builder, CASCADES)
    (call,) = found.calls
    assert len(call.items) == 100
    assert len({item.group for item in call.items}) == 12
    assert [sum(query.depth == depth for query in queries) for depth in range(3)] == [100, 35, 19]
    lengths = [len(query.node.path[-2].tokens) for query in queries]
    assert 40 <= min(lengths) <= max(lengths) <= 60
    assert 120 <= len(queries[0].node.path[0].tokens) <= 130


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_same_seed_gives_the_same_workload(name: str, builder: PromptBuilder) -> None:
    """A workload is a value of its name and seed."""
    assert workload(name, builder, CASCADES) == workload(name, builder, CASCADES)
    assert workload(name, builder, CASCADES, seed=1) != workload(name, builder, CASCADES)


def test_an_unknown_workload_is_refused(builder: PromptBuilder) -> None:
    """The message names those that there are."""
    with pytest.raises(InputError, match="precision-100, scope-60"):
        workload("nothing", builder, CASCADES)


@pytest.mark.parametrize("name", ["precision-100", "scope-60", "single"])
def test_branches_follow_the_labels(name: str) -> None:
    """Under forced branching the engine gives every item its label, by the queries that were foreseen, each once."""
    with ForcedEngine.uncut(read_config(shipped_config())) as engine:
        found, queries = engine.follow(partial(workload, name))
        (call,) = found.calls
        report = engine.classify(call.task, call.items, call.cascade)
    assert [decision.label for decision in report.decisions] == list(call.labels)
    assert report.stats.calls == len(queries)
    batches = engine.backend.batches
    decoded = sum(batch.cost.tokens_decoded for batch in batches)
    assert decoded == report.stats.tokens_decoded == Reuse.of(queries, engine.info.prefix_adapters).least
    assert 0 < sum(batch.cost.model_ms for batch in batches) < sum(batch.cost.elapsed_ms for batch in batches)


def test_a_workload_that_cannot_be_written_closes_the_engine() -> None:
    """Nothing of the model stays."""
    engine = ForcedEngine.uncut(SHIPPED)
    with pytest.raises(InputError, match="Unknown workload"):
        engine.follow(partial(workload, "nothing"))
    assert not engine.is_open


def test_figures_of_a_comparison() -> None:
    """Two rounds, baselines in the first alone: every figure is there and within its range."""
    turns: list[None] = []
    choice = BaselineChoice.of(["llama", "llama-by-hand", "single-call"], n_rounds=1)
    figures = compare(SHIPPED, "single", 2, choice=choice, advance=lambda: turns.append(None))
    assert len(turns) == 3
    assert figures["items"] == 1
    assert figures["calls_per_item"] == 3
    assert figures["tokens_over_least"] == 1
    assert 0 < figures["outside_model"] < 1
    assert figures["rate_over_best"] > 0
    assert figures["prediction_error"]["n"] == len(figures["predictions"]) == 6  # three batches in each of two rounds
    assert 0 <= figures["prediction_error"]["p50"] <= figures["prediction_error"]["p95"]
    assert list(figures["baselines"]) == list(choice.names)
    assert not figures["skipped"]
    for found in figures["baselines"].values():
        assert found["ratio"] > 0
        assert found["settings"] == {found["setting"]: {key: found[key] for key in ("ratio", "wall_ms")}}


def test_a_baseline_that_cannot_run_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """No path, no such file, or a program that ends at once: the run goes on and says why."""
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho cannot load\necho the model >&2\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    for server, reason in (
        (None, "--llama-server PATH"),
        (tmp_path / "absent", "cannot be started (No such file or directory)"),
        (program, "ended with code 3; it wrote: cannot load / the model"),
    ):
        figures = compare(SHIPPED, "single", 1, choice=BaselineChoice.of(["llama-server"], server))
        assert figures["baselines"] == {}
        assert reason in figures["skipped"]["llama-server"]


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The command's JSON has the figures and the machine."""
    assert main(["--workload", "single", "--rounds", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["workload"] == "single"
    assert figures["baselines"] == {}
    assert figures["machine"]["system"]


def test_the_command_shows_baselines_and_what_was_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline is a line of the table; one that was skipped is a note beside it."""
    command = ["--workload", "single", "--rounds", "1", "--baseline", "single-call", "--baseline", "llama-server"]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "one call for all labels, same model and engine: times our wall time" in shown.out
    assert "llama-server was skipped: " in shown.err


def test_the_command_refuses_an_unknown_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the message names those that there are."""
    assert main(["--baseline", "nothing"]) == 2
    assert (
        "Allowed are llama, llama-by-hand, llama-server, transformers, transformers-by-hand, single-call and all"
        in capsys.readouterr().err
    )


def test_the_command_is_a_module() -> None:
    """`python -m benchmarks.speed` has help, and says what is wrong in one line that names the module."""
    command = [sys.executable, "-m", "benchmarks.speed"]
    done = subprocess.run([*command, "-h"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0
    assert "--baseline-rounds" in done.stdout
    done = subprocess.run([*command, "--rounds", "0"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "See `python -m benchmarks.speed --help`." in done.stderr


def test_the_command_refuses_an_unknown_workload(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line."""
    assert main(["--workload", "nothing"]) == 2
    assert (
        "Allowed are precision-100, scope-60, mixed-8, long, deep, deep-long, single, budget."
        in capsys.readouterr().err
    )


def test_a_name_that_is_nearly_one_is_refused_before_work(capsys: pytest.CaptureFixture[str]) -> None:
    """One line names those that there are, and the one that is most like it."""
    for option, name, near in (("--workload", "budgt", "budget"), ("--baseline", "lama", "llama")):
        assert main([option, name]) == 2
        assert f"{name!r}. Did you mean {near!r}? Allowed are" in capsys.readouterr().err


def test_reuse_adds_up(backend: LlamaBackend, builder: PromptBuilder) -> None:
    """What is saved and what is left make all tokens; under plain adapters an item is shared by no two stages."""
    queries = labelled_queries(workload("precision-100", builder, CASCADES), builder, CASCADES)
    shared = Reuse.of(queries, backend.info.prefix_adapters)
    plain = Reuse.of(queries, {name: name for name in backend.info.prefix_adapters})
    assert shared.asked == sum(query.node.end for query in queries) == plain.asked
    saved = shared.saved_by_task + shared.saved_by_group + shared.saved_by_item
    assert shared.least == shared.asked - saved < plain.least
    assert plain.saved_by_item == 0 < shared.saved_by_item


def test_a_deep_workload_is_set_against_its_first_stage() -> None:
    """Every item passes all stages, and the figure that compares them is there."""
    figures = compare(SHIPPED, "deep", 1)
    assert figures["calls_per_item"] == 3
    assert figures["stages_over_first"] > 0


def test_the_command_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures where matplotlib is, and one line that says what is missing where it is not."""
    code = main(["--workload", "single", "--rounds", "1", "--plot", str(tmp_path / "plots")])
    if find_spec("matplotlib") is None:
        assert code == 1
        assert f"`{install_extra('report')}`" in capsys.readouterr().err
    else:
        assert code == 0
        assert {path.name for path in (tmp_path / "plots").iterdir()} == {
            f"single-{name}.png" for name in ("latency", "stages", "reuse", "waves", "prediction")
        }


def test_flops_are_two_per_weight_of_the_layers() -> None:
    """Embedding, head and norms are left out."""
    info = load_model_set(SHIPPED).model
    per_layer = 2 * 256 * (256 + 2 * 128 + 256 + 3 * 768)
    assert flops_per_token(info) == info.n_layers * per_layer
