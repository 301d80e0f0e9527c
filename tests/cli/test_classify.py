"""``cascade classify``, ``evaluate`` and ``doctor`` with the shipped model, as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.repository.languages import READ_LANGUAGES
from tests.evaluation.test_dataset import COMMIT
from tests.helpers.rights import without_rights
from tests.helpers.shipped import shipped_text

pytestmark = pytest.mark.slow

SOURCES = {
    "app/__init__.py": "",
    "app/config.py": '"""Config files."""\nfrom app.errors import ConfigError\n\n\n'
    'def read_config(path):\n    """Read a config file."""\n    raise ConfigError(path)\n',
    "app/errors.py": 'class ConfigError(ValueError):\n    """A config is wrong."""\n',
    "app/other.py": "def unrelated(x):\n    return x\n",
}
STATS = {
    "items", "calls", "calls_per_item", "decode_calls", "adapter_swaps", "tokens_decoded", "tokens_reused",
    "elapsed_ms",
}  # fmt: skip


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small git repository with one commit, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "repo"
    for name, text in SOURCES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "all"],
    ):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(arguments) == ExitCode.DONE
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_repositorys_symbols_are_labelled(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON has the documented shape, a decision for every symbol, and steps that explain it."""
    found = _json(
        capsys, "classify", "--repo", str(repo), "--task", "read the config file", "--from", "app/config.py", "--json"
    )
    assert {decision["id"] for decision in found["decisions"]} == {
        "app/config.py::read_config", "app/errors.py::ConfigError", "app/other.py::unrelated",
    }  # fmt: skip
    assert set(found["stats"]) >= STATS
    for decision in found["decisions"]:
        assert set(decision) == {
            "id", "label", "status", "steps", "kind", "span", "evidence", "reasons", "order", "p",
        }  # fmt: skip
        assert decision["status"] == "decided"
        assert set(decision["steps"][0]) - {"p_calibrated"} == {"stage", "adapter", "p_yes", "threshold", "answer"}
        assert all(0 <= step["p_yes"] <= 1 for step in decision["steps"])
    steps = [step for decision in found["decisions"] for step in decision["steps"]]
    assert found["stats"]["calls"] == sum(step["adapter"] != "" for step in steps)


@pytest.mark.parametrize(
    ("cascade", "kind", "ids"),
    [
        ("routing", "stage", {"dependency", "co_change", "metadata"}),
        ("refilter", "file", {"app/config.py"}),
        ("module", "folder", {"app"}),
        ("edge", "edge", {"app/config.py -> app/errors.py", "app/errors.py -> app/config.py"}),
    ],
)
def test_a_repositorys_stages_files_folders_and_pairs_are_labelled(
    cascade: str, kind: str, ids: set[str], repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each further cascade asks about its own kind of item, and every decision has a reason."""
    starts = ["--from", "app/config.py", "--from", "app/errors.py"] if cascade == "edge" else []
    found = _json(
        capsys,
        "classify",
        "--cascade",
        cascade,
        "--repo",
        str(repo),
        "--task",
        "read the config file",
        *starts,
        "--json",
    )
    decisions = found["decisions"]
    assert {one["id"] for one in decisions} >= ids
    assert {one["kind"] for one in decisions} == {kind}
    assert all(one["reasons"] or kind == "file" for one in decisions)
    assert all(one["p"] == pytest.approx(one["steps"][0]["p_yes"], abs=1e-6) for one in decisions)
    if cascade == "edge":
        assert {one["id"]: one["label"] for one in decisions} == {
            "app/config.py -> app/errors.py": "depends", "app/errors.py -> app/config.py": "independent",
        }  # fmt: skip


def test_files_are_kept_within_a_token_budget(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What fits is shown, the likeliest first; a candidate without a size, or a text, is bad input."""
    asked = ("classify", "--cascade", "refilter", "--repo", str(repo), "--task", "read the config file", "--json")
    everything = _json(capsys, *asked, "--fit", "1000")["decisions"]
    assert [one["order"] for one in everything] == sorted(one["order"] for one in everything)
    first = everything[0]["id"]
    room = -(-(repo / first).stat().st_size // 4)
    assert main([*asked, "--fit", str(room)]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert json.loads(out)["decisions"][0]["id"] == first
    assert f"candidates fit into {room} tokens, with about {room}" in err
    assert (
        main(["classify", "--cascade", "module", "--repo", str(repo), "--task", "x", "--fit", "9"])
        == ExitCode.BAD_INPUT
    )
    assert "folders have no size of their own" in capsys.readouterr().err
    items = tmp_path / "items.jsonl"
    items.write_text('{"id": "1", "name": "a"}\n', encoding="utf-8")
    assert main(["classify", "--items", str(items), "--task", "x", "--fit", "9"]) == ExitCode.BAD_INPUT
    assert "item '1' has no text" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["closed", "no folder"])
def test_a_cache_that_cannot_be_used_costs_a_note(kind: str, repo: Path, tmp_path: Path) -> None:
    """Whatever the user's home is, the answer comes; what cannot be kept is told in a note."""
    home = tmp_path / "home"
    cache = home / ".cache" / "binary-cascade"
    cache.mkdir(parents=True)
    cache.chmod(0)
    home = home if kind == "closed" else Path("/dev/null")
    command = [sys.executable, "-m", "cascade.cli", "classify", "--repo", str(repo), "--task", "read the config"]
    known = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    done = subprocess.run(
        without_rights(*command), env=known | {"HOME": str(home)}, capture_output=True, text=True, check=False
    )
    cache.chmod(0o700)
    assert done.returncode == ExitCode.DONE, done.stderr
    assert "read_config" in done.stdout
    assert done.stderr.count("note: Without the cache") == 1
    assert "Traceback" not in done.stderr


@pytest.fixture
def questions(tmp_path: Path) -> str:
    """A config of the shipped cascades without prior stages."""
    path = tmp_path / "questions.toml"
    path.write_text(shipped_text(), encoding="utf-8")
    return str(path)


def test_a_repositorys_files_are_labelled(repo: Path, questions: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The scope cascade asks each file in every tier that found it, and never the seed."""
    found = _json(
        capsys, "classify", "--repo", str(repo), "--task", "read the config", "--from", "app/config.py",
        "--cascade", "scope", "--config", questions, "--json",
    )  # fmt: skip
    tiers = {decision["id"]: [step["tier"] for step in decision["steps"]] for decision in found["decisions"]}
    assert "dependency" in tiers["app/errors.py"]
    assert "app/config.py" not in tiers


def test_a_table_is_shown(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json there is a table of the top candidates and a summary."""
    assert main(["classify", "--repo", str(repo), "--task", "read the config", "--top", "2"]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert len([line for line in shown.splitlines() if " app/" in line]) == 2
    assert "3 candidates:" in shown
    assert "per candidate" in shown


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ([], "say more in the task, or name a file that the work starts from with --from."),
        (["--from", "app/other.py"], "or name another file with --from, as nothing seems to go with that file."),
        (
            ["--from", "app/other.py", "--from", "app/errors.py", "--files"],
            "or name another file with --from, as nothing seems to go with those 2 files.",
        ),
    ],
)
def test_what_may_be_said_yet_follows_what_was_said(
    named: list[str], words: str, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing is likely enough, the advice is not to name a file if one is named already."""
    assert main(["classify", "--repo", str(repo), "--task", "zebra", *named]) == ExitCode.DONE
    err = " ".join(capsys.readouterr().err.split())
    assert "is likely enough to matter. --all shows them; say more in the task" in err
    assert words in err


def test_a_dropped_file_says_why(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a token budget shows beside what is kept has a reason in words; no files are meant where none is named."""
    (repo / "app/__init__.py").unlink()  # a word of two files out of three is too common to be a reason
    command = ["classify", "--repo", str(repo), "--task", "read_config", "--cascade", "refilter"]
    assert main([*command, "--fit", "5000"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert re.search(r"dropped .*app/errors\.py +little ties it to the task", out)
    assert "files compete; 2 are tied to the task.\n" in err


def test_what_is_left_out_is_told(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Notes stand on stderr, and the JSON has them with a count and examples for each reason."""
    (repo / "lib").mkdir()
    (repo / "lib/basket.lua").write_text("basket = {}", encoding="utf-8")
    arguments = ["classify", "--repo", str(repo), "--task", "read the config", "--from", "app/config.py", "--json"]
    assert main(arguments) == ExitCode.DONE
    shown = capsys.readouterr()
    languages = f"{', '.join(READ_LANGUAGES[:-1])} and {READ_LANGUAGES[-1]}"
    line = f"1 file is in a language that is not read: Lua 1 (.lua). Read are {languages}."
    assert f"note: {line}\n" in shown.err
    assert json.loads(shown.out)["repository"] == {
        "files_read": 4,
        "symbols_read": 3,
        "starting_points": {"app/config.py": "given by the caller"},
        "left_out": {
            "unread_language": {
                "unit": "file", "count": 1, "examples": ["lib/basket.lua"], "languages": {"Lua": 1}, "message": line,
            }
        },
        "messages": [line],
    }  # fmt: skip


def test_no_candidates_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A repository in a language that is not read has no table, and notes say why and what to do."""
    (tmp_path / "basket.lua").write_text("basket = {}", encoding="utf-8")
    assert main(["classify", "--repo", str(tmp_path), "--task", "the basket"]) == ExitCode.FAILURE
    shown = capsys.readouterr()
    assert "Lua 1 (.lua)" in shown.err
    assert "give items of your own" in shown.err
    assert "evidence" not in shown.out
    assert shown.out.startswith("0 candidates")
    (tmp_path / "plain.py").write_text("x = 1", encoding="utf-8")
    for cascade in ("precision", "scope"):
        found = _json(capsys, "classify", "--repo", str(tmp_path), "--task", "unheard", "--cascade", cascade, "--json")
        assert found["decisions"] == []
        assert "There are no candidates" in found["repository"]["messages"][-1]


def test_one_is_said_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One candidate, one call: no plural stands behind a one."""
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": "1", "name": "parse"}', encoding="utf-8")
    assert main(["classify", "--task", "fix the parser", "--items", str(path)]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "1 candidate: " in shown
    assert not re.search(r"(?<![\d.,])1 (candidates|calls|decode calls|adapter swaps|tokens)", shown)


def test_no_items_are_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As over HTTP and from Python, no items get a report without decisions; a note says that there were none."""
    for content in ("", "\n \n"):
        path = tmp_path / "items.jsonl"
        path.write_text(content, encoding="utf-8")
        command = ["classify", "--task", "t", "--items", str(path)]
        assert main(command) == ExitCode.DONE
        shown = capsys.readouterr()
        assert shown.out.startswith("0 candidates")
        assert f"{path}: has no items" in " ".join(shown.err.split())
        assert main([*command, "--json"]) == ExitCode.DONE
        found = json.loads(capsys.readouterr().out)
        assert (found["decisions"], found["stats"]["items"]) == ([], 0)


def test_items_come_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--items replaces the repository; the decisions keep the file's order."""
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps({"id": str(at), "name": f"f{at}"}) for at in range(5)), encoding="utf-8")
    found = _json(capsys, "classify", "--items", str(path), "--task", "a task", "--json")
    assert [decision["id"] for decision in found["decisions"]] == list("01234")


def test_what_a_prompt_cuts_off_is_said_once(
    repo: Path, questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A note says how much of a long task the model reads, and of how many items a part; so do the statistics."""
    path, task, log = tmp_path / "items.jsonl", tmp_path / "task.txt", tmp_path / "log.txt"
    path.write_text(json.dumps({"id": "1", "name": "parse", "doc": "word " * 100}), encoding="utf-8")
    task.write_text("fix the parser " * 50, encoding="utf-8")
    log.write_text("fix the parser " * 100_000, encoding="utf-8")
    assert main(["classify", "--items", str(path), "--task-file", str(task), "--json"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    stats = json.loads(out)["stats"]
    n = 128 + stats["task_tokens_cut"]
    assert (stats["task_tokens_read"], stats["task_is_longer"], stats["items_cut"]) == (128, False, 1)
    read = f"the model reads the first 128 of {n} tokens of the task and the beginning of 1 candidate"
    assert err.splitlines() == [f"note: {read}; evidence is made from all of it"]
    asked = ["classify", "--repo", str(repo), "--task-file", str(log), "--config", questions, "--json"]
    assert main(asked) == ExitCode.DONE
    out, err = capsys.readouterr()
    stats = json.loads(out)["stats"]
    assert (stats["task_is_longer"], stats["items_cut"]) == (True, 0)
    told = rf"note: the model reads the first 128 of more than {128 + stats['task_tokens_cut']:,} tokens of the task"
    assert err.count(f"{told}; evidence is made from all of it\n") == 1


def test_evidence_that_is_made_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the cascade makes evidence, items without any are asked with it, and a note says what it is made from."""
    path, config, log = tmp_path / "items.jsonl", tmp_path / "made.toml", tmp_path / "log.txt"
    rows = [{"id": "1", "name": "parser", "text": "def parser(): ..."}, {"id": "2", "name": "cache"}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    log.write_text("fix the parser " * 100, encoding="utf-8")
    text = 'extends = "shipped"\n[cascade.precision]\nevidence = "made"\nthresholds = ""\n'
    config.write_text(text, encoding="utf-8")
    arguments = ["classify", "--items", str(path), "--task-file", str(log), "--config", str(config), "--json"]
    assert main(arguments) == ExitCode.DONE
    out, err = capsys.readouterr()
    told = {row["id"]: row["evidence"] for row in json.loads(out)["decisions"]}
    assert set(told["1"]) - set(told["2"])
    assert "tokens of the task; evidence is made from all of it\n" in err


def test_task_and_items_come_from_files_and_stdin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answers are those of the same text on the command line, also for a task that begins with @."""
    path, task = tmp_path / "items.jsonl", tmp_path / "task.txt"
    path.write_text('{"id": "1", "name": "parse"}', encoding="utf-8")
    task.write_bytes(b"\xef\xbb\xbf@someone: fix the parser\r\n")
    command = ["classify", "--json", "--items"]
    known = _json(capsys, *command, str(path), "--task", "@someone: fix the parser")["decisions"]
    assert _json(capsys, *command, str(path), "--task-file", str(task))["decisions"] == known
    for arguments, stdin in ((["-", "--task-file", str(task)], path), ([str(path), "--task-file", "-"], task)):
        with stdin.open("rb") as given:
            done = subprocess.run(
                [sys.executable, "-m", "cascade.cli", *command, *arguments],
                stdin=given,
                capture_output=True,
                check=True,
            )
        assert json.loads(done.stdout)["decisions"] == known


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "t"], "--repo and --items"),
        (["--task", "t", "--repo", "absent"], "absent"),
        (["--task", "t", "--items", "absent.jsonl"], "absent.jsonl"),
        (["--task", "t", "--repo", ".", "--cascade", "nope"], "precision, scope"),
        (["--task", "t", "--repo", ".", "--config", "absent.toml"], "absent.toml"),
        (["--task", "t", "--repo", ".", "--from", "absent.py"], "absent.py"),
        (["--repo", "."], "--task and --task-file"),
        (["--task", "t", "--task-file", "absent.txt", "--repo", "."], "absent.txt"),
        (["--task", "t", "--task-file", __file__, "--repo", "."], "--task and --task-file"),
        (["--task", "-", "--repo", "."], "--task-file -"),
        (["--task", "t", "--repo", ".", "--budget", "0"], "error: --budget: A budget of 0.0 ms; allowed is any finite"),
        (["--task", "t", "--repo", ".", "--budget", "nan"], "error: --budget: A budget of nan ms"),
        (["--task", "t", "--repo", ".", "--depth", "0"], "'--depth': Input should be greater than or equal to 1"),
        (["--task", " \t\n", "--repo", "."], "--task: the task is empty"),
        (["--task-file", "/dev/null", "--repo", "."], "/dev/null: the task is empty"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing stands on stdout, one line on stderr says what was wrong."""
    assert main(["classify", *arguments]) == ExitCode.BAD_INPUT
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert "Traceback" not in shown.err


def test_evaluate_reports_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON has the documented keys for both cascades."""
    path = tmp_path / "tasks.jsonl"
    again = COMMIT | {"task": f"{COMMIT['task']} again"}
    path.write_text(json.dumps(COMMIT) + "\n" + json.dumps(again), encoding="utf-8")
    precision = _json(capsys, "evaluate", "--cascade", "precision", "--data", str(path), "--json")
    scope = _json(capsys, "evaluate", "--cascade", "scope", "--data", str(path), str(path), "--json")
    assert (precision["tasks"], precision["items"], scope["tasks"]) == (2, 4, 2)
    stage = precision["stages"]["relevant"]
    assert set(stage) == {"n", "base_rate", "auc_over_rows", "auc_per_task", "ece", "f1_over_rows", "by_tier"}
    assert (stage["n"], stage["base_rate"]) == (4, 0.5)
    assert scope["stages"]["relevant"]["by_tier"]["metadata"]["n"] == 2
    assert main(["evaluate", "--cascade", "precision", "--data", str(path)]) == ExitCode.DONE
    assert "macro F1" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "words"), [("absent.jsonl", "cannot be read"), ("/dev/null", "has no tasks")])
@pytest.mark.parametrize("command", ["evaluate", "depth", "audit", "tune"])
def test_a_missing_or_empty_file_is_refused(
    command: str, name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of tasks that is not there, or has none, is bad input for every command that takes one."""
    arguments = [command, "--cascade", "precision", "--data", name]
    arguments += ["--target", "recall=0.9"] if command == "tune" else []
    assert main(arguments) == ExitCode.BAD_INPUT
    assert f"error: {name}: {words}" in capsys.readouterr().err


def test_doctor_finds_model_adapters_and_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that is shipped is found, and the self-test scores."""
    found = _json(capsys, "doctor", "--json")
    by_name = {finding["name"]: finding for finding in found["findings"]}
    assert found["ok"]
    assert {
        "python",
        "llama-cpp-python",
        "llama.cpp",
        "model",
        "adapter relevant",
        "self-test",
        "tuning",
        "format",
    } <= set(by_name)
    assert "calls/s" in by_name["self-test"]["value"]


def test_doctor_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that is not there is a problem with a remedy and exit code 1."""
    path = tmp_path / "mine.toml"
    path.write_text(
        '[model]\npath = "absent.gguf"\n[cascade.c]\nlabels = ["a", "b"]\n[[cascade.c.stages]]\nname = "s"\n'
        'question = "q?"\nadapter = "base"\nyes = { label = "b" }\nno = { label = "a" }\n',
        encoding="utf-8",
    )
    assert main(["doctor", "--config", str(path), "--json"]) == ExitCode.FAILURE
    found = json.loads(capsys.readouterr().out)
    problem = next(finding for finding in found["findings"] if not finding["ok"])
    assert "absent.gguf" in problem["remedy"]


def test_a_budget_cuts_ways_short_and_says_so(repo: Path, questions: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Candidates that were not asked to the end carry status and probability, in JSON and on the screen."""
    arguments = ["classify", "--repo", str(repo), "--task", "read the config file", "--from", "app/config.py"]
    arguments += ["--config", questions]
    found = _json(capsys, *arguments, "--budget", "0.001", "--json")
    assert {decision["status"] for decision in found["decisions"]} == {"deadline"}
    assert all(0 < decision["p_label"] <= 1 and not decision["steps"] for decision in found["decisions"])
    assert main([*arguments, "--budget", "0.001"]) == ExitCode.DONE
    assert "3 deadline, with the likeliest label that is left" in capsys.readouterr().out
    found = _json(capsys, *arguments, "--depth", "1", "--json")
    assert all(len(decision["steps"]) == 1 for decision in found["decisions"])


@pytest.mark.parametrize(("option", "value"), [("--budget", "0"), ("--budget", "nan"), ("--depth", "0")])
def test_a_bad_budget_is_bad_input(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the option and says what is allowed, before any model is loaded."""
    assert main(["classify", "--repo", ".", "--task", "x", option, value]) == ExitCode.BAD_INPUT
    assert re.search("--budget: .* allowed is|'--depth': .* greater than or equal to 1", capsys.readouterr().err)
