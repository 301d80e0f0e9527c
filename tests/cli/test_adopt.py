"""``cascade adopt`` and ``cascade adapters``: a better adapter goes live with its thresholds, a worse one does not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

from cascade import Engine, read_config
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.registry.live import read_state
from cascade.registry.versions import Registry
from tests.helpers.judge import BETTER, FOLDER, build_dataset, judged_tasks, write_config, write_worse
from tests.helpers.requests import symbols

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes the model the opposite way."""
    return write_worse(tmp_path_factory.mktemp("worse") / "worse.gguf")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks whose items matter by what the better adapter says, as ``cascade dataset build`` makes them."""
    folder = tmp_path_factory.mktemp("data")
    config, tasks, labels = write_config(folder, BETTER), judged_tasks(60), []
    with Engine.open(config, log=None) as engine:
        for task, items in tasks:
            p = [step.p_yes for (step,) in engine.score(task, items, "c")]
            labels.append(["read" if own >= sorted(p)[5] else "skip" for own in p])
    return build_dataset(folder, tasks, labels, _without_log(config))


def _without_log(config: Path) -> Path:
    path = config.with_name("plain.toml")
    before, _, after = config.read_text().partition("[log]")
    path.write_text(before + after[after.index("[cascade.c]") :])
    return path


def _run(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> tuple[int, str, str]:
    code = main([*arguments, "--config", str(config)])
    out, error = capsys.readouterr()
    return code, out, error


def test_a_better_adapter_goes_live_with_thresholds_and_leaves_again(
    tmp_path: Path, worse: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is tested on the frozen part, thresholds are tuned and locked to it; a rollback undoes it."""
    config = write_config(tmp_path, worse)
    code, out, _ = _run(capsys, config, "adopt", str(BETTER), "--adapter", "judge", "--json")
    assert (code, json.loads(out)["version"]) == (ExitCode.DONE, "judge/0001")
    with Engine.open(config) as engine:
        before = engine.info.provenance.adapters["judge"]
        code, out, error = _run(
            capsys, config, "adopt", "judge", "--promote", "--data", str(dataset), "--target", "recall=0.5", "--json"
        )
        assert code == ExitCode.DONE, error
        told: dict[str, Any] = json.loads(out)
        (test,) = told["tests"][0]["test"]
        assert (told["promoted"], test["after"], test["n_tasks"]) == (True, 1.0, 24)
        assert test["low"] > 0
        adopted = engine.adopt(config)
        assert (set(adopted.adapters), adopted.cascades) == ({"judge"}, ("c",))
        stage = engine.cascades["c"].first
        assert stage.limits[""].yes_from != 0.5
        assert _run(capsys, config, "adopt", "--rollback")[0] == ExitCode.DONE
        engine.adopt(config)
        assert engine.info.provenance.adapters["judge"] == before
        assert engine.cascades["c"].first.limits[""].yes_from == 0.5
    code, out, error = _run(capsys, config, "adopt", "--rollback")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert "nothing to go back to" in error


def test_a_worse_adapter_is_refused(
    tmp_path: Path, worse: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the question and the gain, and nothing is live; what may be lost can be allowed."""
    config = write_config(tmp_path, BETTER)
    options = ("--adapter", "judge", "--promote", "--data", str(dataset))
    code, out, error = _run(capsys, config, "adopt", str(worse), *options)
    assert code == ExitCode.BAD_INPUT
    assert "judge/0001 is not promoted: its AUC per task at stage relevant of cascade c is -" in error
    assert "test part" in out
    assert not read_state(tmp_path / "registry").adapters
    code, _, error = _run(capsys, config, "adopt", "judge", *options[2:], "--at-least", "-1")
    assert code == ExitCode.DONE, error
    assert read_config(config).files["judge"].path == tmp_path / "registry/judge/0001/adapter.gguf"


def test_a_valid_part_that_is_too_small_is_told(
    tmp_path: Path, worse: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What goes live needs a guarantee, so the message names what it takes and no way around it."""
    config = write_config(tmp_path, worse)
    given = ("adopt", str(BETTER), "--adapter", "judge", "--promote", "--data", str(dataset), "--target", "recall=0.99")
    code, _, error = _run(capsys, config, *given)
    assert code == ExitCode.BAD_INPUT
    assert f"{dataset}: its part 'valid' is too small to tune for the new version: 30 tasks have something" in error
    assert "Give more labelled tasks, or a lower recall per task by --target." in error
    assert "--no-guarantee" not in error
    assert "delta" not in error.partition("Give more")[2]
    code, _, error = _run(capsys, config, *given[:-1], "macro_f1")
    assert code == ExitCode.BAD_INPUT
    assert "--target 'macro_f1' cannot be guaranteed" in error
    assert "--no-guarantee" not in error
    assert not read_state(tmp_path / "registry").adapters


def test_a_shadow_is_told_and_ended(tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stands in live.toml until it is stopped, its answers are in the log, and a promotion looks at them."""
    config = write_config(tmp_path, worse)
    code, out, _ = _run(capsys, config, "adopt", str(BETTER), "--adapter", "judge", "--shadow")
    assert (code, "It follows requests of a process that stays open" in out) == (ExitCode.DONE, True)
    task, items = symbols(1, 6)
    with Engine.open(config) as engine:
        engine.classify(task, items, "c", budget=None)
        for _ in range(3_000):
            if engine.shadow.requests:
                break
            time.sleep(0.01)
    assert engine.shadow.answers
    _, out, _ = _run(capsys, config, "adapters", "list", "--json")
    assert [each["state"] for each in json.loads(out)["versions"]] == ["shadow"]
    assert _run(capsys, config, "adopt", "--stop")[0] == ExitCode.DONE
    assert not read_config(config).shadow
    assert _run(capsys, config, "adopt", "--stop")[0] == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("adopt",), "No version is given"),
        (("adopt", "judge", "--shadow", "--promote"), "Give one of"),
        (("adopt", "judge", "--rollback"), "takes no version"),
        (("adopt", "judge/7", "--shadow"), "has no version"),
        (("adopt", str(BETTER)), "say which adapter"),
        (("adopt", str(BETTER), "--adapter", "nobody"), "is not in the map"),
        (("adopt", str(BETTER), "--adapter", "judge", "--scale", "0"), "--scale 0"),
        (("adopt", str(BETTER), "--adapter", "judge", "--promote"), "no dataset for it is given"),
        (("adopt", str(BETTER), "--adapter", "judge", "--shadow", "--scale", "nan"), "--scale nan"),
        (("adopt", str(BETTER), "--adapter", "judge", "--promote", "--at-least", "nan"), "--at-least nan"),
        (("adopt", str(BETTER.parent)), "is a folder without a version.json"),
        (("adopt", "x" * 5000), "has no version"),
        (("adopt", "--rollback"), "nothing to go back to"),
        (("adopt", "--stop"), "nothing to stop"),
        (("adapters", "show", "judge"), "has no version"),
        (("adapters", "diff", "judge/1", "judge/2"), "has no version"),
    ],
)
def test_what_cannot_be_done_is_refused(
    tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    """The message says what is wrong, and nothing is live."""
    config = write_config(tmp_path, worse)
    code, _, error = _run(capsys, config, *arguments)
    assert code == ExitCode.BAD_INPUT
    assert words in error
    assert not (tmp_path / "registry" / "live.toml").exists()


def test_the_shipped_config_is_never_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a config of one's own nothing is adopted."""
    for what in ([str(BETTER), "--adapter", "relevant", "--shadow"], ["--rollback"], ["--stop"]):
        assert main(["adopt", *what]) == ExitCode.BAD_INPUT
        assert "extends" in capsys.readouterr().err
    assert not (FOLDER / "registry").exists()


def test_a_refusal_adds_no_version(tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An adapter that the map lacks, a version of another adapter, or a wrong number leaves no registry behind."""
    config = write_config(tmp_path, worse)
    for what in (["--rollback"], ["--stop"], [str(BETTER), "--adapter", "nobody"],
                 [str(BETTER), "--adapter", "judge", "--scale", "99"]):  # fmt: skip
        assert _run(capsys, config, "adopt", *what)[0] == ExitCode.BAD_INPUT
        assert not (tmp_path / "registry").exists()
    other_base = tmp_path / "other.gguf"
    writer = GGUFWriter(other_base, "llama")
    writer.add_string("general.type", "adapter")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    for option in ("--json", "--shadow", "--promote"):
        code, _, error = _run(capsys, config, "adopt", str(other_base), "--adapter", "judge", option)
        assert code == ExitCode.BAD_INPUT
        assert f"adapters.judge: {other_base}" in error
        assert not (tmp_path / "registry").exists()
    code, _, error = _run(capsys, _without_log(config), "adopt", str(BETTER), "--adapter", "judge", "--shadow")
    assert code == ExitCode.BAD_INPUT
    assert "the config has none. Give it a [log]" in error
    assert not (tmp_path / "registry").exists()
    assert _run(capsys, config, "adopt", str(BETTER), "--adapter", "judge")[0] == ExitCode.DONE
    code, _, error = _run(capsys, config, "adopt", "judge/0001", "--adapter", "other")
    assert code == ExitCode.BAD_INPUT
    assert "is a version of 'judge'" in error


def test_other_markers_are_told(tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was trained under the marker of another question is kept, with a word of warning."""
    config = write_config(tmp_path, worse)
    code, _, error = _run(capsys, config, "adopt", str(FOLDER / "primary.gguf"), "--adapter", "judge")
    assert code == ExitCode.DONE
    assert "cascade.c: adapter 'judge' is asked under the marker 'relevant', and was trained under" in error


def test_what_is_live_is_not_promoted_again(
    tmp_path: Path, worse: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A version is not compared with itself, wherever the live file is; at another scale it is another one."""
    config = write_config(tmp_path, worse)
    promote = ("--promote", "--data", str(dataset), "--at-least", "-1")
    code, _, error = _run(capsys, config, "adopt", str(worse), "--adapter", "judge", *promote)
    assert (code, read_state(tmp_path / "registry").number) == (ExitCode.BAD_INPUT, 0)
    assert "judge/0001 is live already" in error
    code, out, _ = _run(capsys, config, "adopt", "judge", "--scale", "0.5", *promote)
    assert (code, read_state(tmp_path / "registry").number) == (ExitCode.DONE, 1)
    assert "c: no thresholds are tuned, since none in use have a guarantee to keep" in out
    code, _, error = _run(capsys, config, "adopt", "judge", "--scale", "0.5", *promote)
    assert (code, read_state(tmp_path / "registry").number) == (ExitCode.BAD_INPUT, 1)
    assert "judge/0001 is live already" in error


def test_an_unknown_adapter_is_not_listed(tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that nobody has is refused; one of the map without versions has none."""
    config = write_config(tmp_path, worse)
    assert "no versions" in _run(capsys, config, "adapters", "list", "judge")[1]
    code, out, error = _run(capsys, config, "adapters", "list", "nosuch")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert "Unknown adapter 'nosuch'; there are judge." in error


def test_a_registry_belongs_to_one_config(tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another config of the folder is told so by every command, and one that extends it adopts nothing there."""
    config = write_config(tmp_path, worse)
    assert _run(capsys, config, "adopt", str(BETTER), "--adapter", "judge", "--shadow")[0] == ExitCode.DONE
    other, extending = _without_log(config), tmp_path / "extending.toml"
    belongs = f"{tmp_path / 'registry/live.toml'} belongs to {config}. Each config needs a registry of its own"
    for arguments in (("config", "show", "c"), ("adopt", "judge", "--shadow"), ("adapters", "list")):
        code, out, error = _run(capsys, other, *arguments)
        assert (code, out) == (ExitCode.BAD_INPUT, "")
        assert f"{other}: {belongs}" in error
    extending.write_text('extends = "my.toml"\n')
    assert _run(capsys, extending, "config", "show", "c")[0] == ExitCode.DONE
    for option in ("--shadow", "--promote"):
        code, _, error = _run(capsys, extending, "adopt", str(worse), "--adapter", "judge", option)
        assert code == ExitCode.BAD_INPUT
        assert f"{extending}: {belongs}" in error
    assert len(Registry(tmp_path / "registry").versions()) == 1


def test_an_ended_shadow_decides_nothing(tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Empty tables of live.toml are said to come from no file."""
    config = write_config(tmp_path, worse)
    _run(capsys, config, "adopt", str(BETTER), "--adapter", "judge", "--shadow")
    _, out, _ = _run(capsys, config, "config", "show", "c", "--json")
    assert json.loads(out)["sources"][str(tmp_path / "registry/live.toml")] == ["shadow"]
    _run(capsys, config, "adopt", "--stop")
    _, out, _ = _run(capsys, config, "config", "show", "c", "--json")
    assert "shadow" not in [key for keys in json.loads(out)["sources"].values() for key in keys]


def test_versions_are_compared(tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Diff names what two versions do not share; show has the hashes."""
    config = write_config(tmp_path, worse)
    for file in (BETTER, worse):
        assert _run(capsys, config, "adopt", str(file), "--adapter", "judge")[0] == ExitCode.DONE
    _, out, _ = _run(capsys, config, "adapters", "diff", "judge/1", "judge/2", "--json")
    assert "sha256" in json.loads(out)["differs"]
    _, out, _ = _run(capsys, config, "adapters", "show", "judge")
    assert "name: judge/0002" in out
    _, out, _ = _run(capsys, config, "adapters", "list")
    assert "2 versions; the config's own files are live" in out


def test_figures_of_a_training_are_readable(tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The list has those of the validation part, and what is shown of a version has each by its name."""
    config = write_config(tmp_path, worse)
    look = {"step": 1, "loss": 0.5}
    figures = {"valid": {"log_loss": 0.25, "n": 3}, "before": {"log_loss": 0.5}, "looks": [look, look]}
    Registry(tmp_path / "registry").add("judge", BETTER, figures=figures, parents=["ef" * 32])
    _, out, _ = _run(capsys, config, "adapters", "list")
    assert "log_loss 0.25, n 3" in out
    assert "efefefefefef" in out
    assert "ef" * 7 not in out
    assert "{" not in out
    _, out, _ = _run(capsys, config, "adapters", "show", "judge")
    assert "figures.before.log_loss: 0.5\nfigures.looks: 2 entries, which --json shows" in out
