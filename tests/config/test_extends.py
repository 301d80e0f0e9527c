"""Config files that extend others, and thresholds that are given on the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from cascade import Config, Engine, Item
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.cli.tune_output import written
from cascade.config.extends import read_layers
from cascade.config.schema import read_config, shipped_config
from cascade.config.thresholds import NoGuaranteeConfig, ThresholdsFile, write_thresholds
from cascade.errors import ConfigError
from tests.helpers.shipped import shipped_text

SHIPPED = read_config(shipped_config())
MINE = 0.7654321
BASE = """
[model]
path = "models/base.gguf"
n_ctx = 1024
n_batch = 64

[adapters]
one = "one.gguf"
two = { path = "two.gguf", scale = 0.5 }

[cascade.f]
labels = ["no", "yes"]
budget_ms = 100
stages = [{ name = "s", question = "q?", adapter = "one", yes = { label = "yes" }, no = { label = "no" } }]
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder whose folder `base` has a config file."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/base.toml").write_text(BASE, encoding="utf-8")
    return tmp_path


def over(folder: Path, text: str, name: str = "over.toml", extends: str = "base/base.toml") -> Path:
    """A file that extends another."""
    path = folder / name
    path.write_text(f'extends = "{extends}"\n{text}', encoding="utf-8")
    return path


def thresholds(folder: Path, cascade: str = "precision", **changes: Any) -> Path:
    """The shipped thresholds of a cascade with another one for its question `relevant`, which all items are asked."""
    entry = SHIPPED.cascade[cascade].thresholds
    assert isinstance(entry, ThresholdsFile)
    relevant = dict.fromkeys(entry.thresholds["relevant"], MINE)
    mine = {**entry.thresholds, "relevant": relevant, "prior": {"lower": 0.0, "upper": 1.0}}
    path = folder / f"my {cascade}.thresholds.toml"
    write_thresholds(entry.model_copy(update={"thresholds": mine} | changes), path, "From a test.")
    return path


def asked_at(config: Config, cascade: str = "precision") -> set[float]:
    """The thresholds of a cascade's question `relevant`."""
    return {question.threshold for question in config.cascades()[cascade].stage("relevant").questions.values()}


def test_tables_are_laid_over_those_of_the_base(base: Path) -> None:
    """What only one file says stays, what both say is the extending file's, and paths belong to their own file."""
    config = read_config(
        over(
            base,
            '[model]\nn_batch = 128\n[adapters]\none = "mine.gguf"\n[cascade.f]\nmax_depth = 1\n'
            "[engine]\nf1_points_per_100ms = 2",
        )
    )
    assert config.model.path == base / "base/models/base.gguf"
    assert (config.model.n_ctx, config.model.n_batch) == (1024, 128)
    assert {name: entry.path for name, entry in config.files.items()} == {
        "one": base / "mine.gguf",
        "two": base / "base/two.gguf",
    }
    assert config.adapter("two").scale == 0.5
    assert (config.cascade["f"].budget_ms, config.cascade["f"].max_depth, config.engine.f1_points_per_100ms) == (
        100,
        1,
        2,
    )


def test_arrays_and_adapters_are_replaced_as_a_whole(base: Path) -> None:
    """Stages are no table to merge, and an adapter's entry is one thing."""
    stage = '{ name = "t", question = "r?", adapter = "two", yes = { label = "yes" }, no = { label = "no" } }'
    config = read_config(over(base, f'[adapters]\ntwo = {{ path = "2.gguf" }}\n[cascade.f]\nstages = [{stage}]'))
    assert [entry.name for entry in config.cascade["f"].stages] == ["t"]
    assert (config.adapter("two").path, config.adapter("two").scale) == (base / "2.gguf", 1.0)


def test_a_model_of_the_hub_replaces_one_from_a_file(base: Path) -> None:
    """And the other way round; both at once in one file are still refused."""
    hub = over(base, '[model]\nrepo_id = "a/b"\nfilename = "c.gguf"', "hub.toml")
    assert (read_config(hub).model.path, read_config(hub).model.repo_id) == (None, "a/b")
    again = read_config(over(base, '[model]\npath = "d.gguf"', extends="hub.toml"))
    assert (again.model.path, again.model.repo_id, again.model.n_ctx) == (base / "d.gguf", None, 1024)
    with pytest.raises(ConfigError, match="give exactly one of path and repo_id"):
        read_config(over(base, '[model]\npath = "d.gguf"\nrepo_id = "a/b"\nfilename = "c.gguf"'))


def test_a_chain_and_the_shipped_config(base: Path) -> None:
    """A file may extend one that extends the shipped config; a file named so is meant by its path."""
    over(base, "[engine]\nf1_points_per_100ms = 3", "middle.toml", extends="shipped")
    config = read_config(over(base, "[engine]\nmax_requests = 7", extends="middle.toml"))
    assert (config.engine.f1_points_per_100ms, config.engine.max_requests) == (3, 7)
    assert config.cascades() == SHIPPED.cascades()
    over(base, "", "shipped")
    assert list(read_config(over(base, "", extends="./shipped")).cascade) == ["f"]


@pytest.mark.slow
def test_thresholds_of_the_base_can_be_replaced_and_left_away(tmp_path: Path) -> None:
    """By one line each."""
    mine = thresholds(tmp_path)
    config = read_config(over(tmp_path, f'[cascade.precision]\nthresholds = "{mine.name}"', extends="shipped"))
    assert asked_at(config) == {MINE}
    without = read_config(over(tmp_path, '[cascade.precision]\nthresholds = ""', extends="shipped"))
    assert without.cascade["precision"].thresholds is None
    assert without.cascade["precision"].profile is not None


@pytest.mark.parametrize(
    ("extends", "text", "said"),
    [
        (
            "none.toml",
            "",
            r"over\.toml: extends: .*none\.toml: cannot be read \(No such.*Let extends name",
        ),
        (
            "over.toml",
            "",
            r"over\.toml: extends: .* each other in a circle \(.*over\.toml -> .*over\.toml",
        ),
        ("b.toml", "", r"in a circle \(.*over\.toml -> .*b\.toml -> .*over\.toml\)"),
        ("bad.toml", "", r"over\.toml: extends: .*bad\.toml: is not TOML"),
        ("", "", r"over\.toml: extends: the path of a config file, or \"shipped\", is needed \(given ''\)"),
        ("a\\u0000b", "", r"over\.toml: extends: .*cannot be read"),
        ("~nobody-at-all/c.toml", "", r"over\.toml: .*Write the folder in full"),
        (
            "wrong.toml",
            "[engine]\nf1_points_per_100ms = 2",
            r"over\.toml: model\.n_ctx: .*\(given 'x'\) in .*wrong\.toml$",
        ),
        ("base/base.toml", "[model]\nn_ctx = 'x'", r"over\.toml: model\.n_ctx: .*\(given 'x'\)$"),
        ("base/base.toml", "[cascade.f]\nextends = 'x'", r"over\.toml: cascade\.f\.extends: unknown key"),
    ],
)
def test_refused(extends: str, text: str, said: str, base: Path) -> None:
    """A base that is missing, wrong, or extends in a circle is named with the file that names it."""
    over(base, "", "b.toml", extends="over.toml")
    over(base, "[model]\nn_ctx = 'x'", "wrong.toml")
    (base / "bad.toml").write_text("a = = 1", encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        read_config(over(base, text, extends=extends))


def test_extends_must_be_a_text(base: Path) -> None:
    """Anything else is refused with what was given."""
    (base / "over.toml").write_text("extends = 3", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"is needed \(given 3\)"):
        read_config(base / "over.toml")


def test_it_is_known_which_file_says_what(base: Path) -> None:
    """By table where one file makes all of it, otherwise by key."""
    path = over(base, "[model]\nn_batch = 128\n[engine]\nf1_points_per_100ms = 2")
    assert read_layers(path).sources("f") == {
        path: ["model.n_batch", "engine"],
        base / "base/base.toml": ["model.path", "model.n_ctx", "adapters", "cascade.f"],
    }


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """A command's exit code, stdout and stderr."""
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_commands_say_what_is_extended(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`config check` names the files; `config show` what comes from which, where there are several."""
    path = over(base, "[cascade.f]\nbudget_ms = 50")
    _, out, _ = run(capsys, "config", "check", path)
    assert out == f"{path}, which extends {base / 'base/base.toml'}: can be used (1 cascade, 2 adapters)\n"
    _, out, _ = run(capsys, "config", "check", path, "--json")
    assert json.loads(out)["extends"] == [str(base / "base/base.toml")]
    _, out, _ = run(capsys, "config", "show", "f", "--config", path)
    assert out.splitlines()[-2:] == [
        f"From {path}: cascade.f.budget_ms",
        f"From {base / 'base/base.toml'}: model, adapters, cascade.f.labels, cascade.f.stages",
    ]
    _, out, _ = run(capsys, "config", "show", "f", "--config", path, "--json")
    assert json.loads(out)["sources"][str(path)] == ["cascade.f.budget_ms"]


ITEMS = "".join(f'{{"id": "{n}", "kind": "function", "name": "print_part_{n}"}}\n' for n in range(4))
TASKS = json.dumps({"task": "parts", "items": [{"id": "1", "name": "a", "label": "primary"}]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with items and labelled tasks."""
    (tmp_path / "items.jsonl").write_text(ITEMS, encoding="utf-8")
    (tmp_path / "tasks.jsonl").write_text(TASKS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def used(report: str) -> set[float]:
    """The thresholds that the first question was asked at."""
    steps = [step for row in json.loads(report)["decisions"] for step in row["steps"]]
    return {step["threshold"] for step in steps if step["stage"] == "relevant"}


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--thresholds", "my precision.thresholds.toml"], ["--config", "over.toml"]])
def test_tuned_thresholds_are_put_to_use(
    options: Sequence[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By an option, or by a config of three lines, without a copy of the shipped map."""
    over(folder, f'[cascade.precision]\nthresholds = "{thresholds(folder).name}"', extends="shipped")
    code, out, _ = run(
        capsys, "classify", "--task", "the receipt is empty", "--items", "items.jsonl", "--json", *options
    )
    assert code == ExitCode.DONE
    assert used(out) == {MINE}


@pytest.mark.slow
def test_from_python(folder: Path) -> None:
    """An engine opens a file that extends another, and a config with other thresholds."""
    mine = thresholds(folder)
    items = [Item(id="1", kind="function", name="print_part")]
    for config in (
        over(folder, f'[cascade.precision]\nthresholds = "{mine.name}"', extends="shipped"),
        read_config(shipped_config(), {"precision": mine}),
    ):
        with Engine.open(config) as engine:
            steps = engine.classify("the receipt is empty", items).decisions[0].steps
        assert MINE in {step.threshold for step in steps}


@pytest.mark.slow
def test_the_lock_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Thresholds of another model are refused wherever they come from, and so are those of other questions."""
    entry = SHIPPED.cascade["precision"].thresholds
    assert isinstance(entry, ThresholdsFile)
    other = thresholds(folder, made_for=entry.made_for.model_copy(update={"model": "0" * 64}))
    classify = ("classify", "--task", "x", "--items", "items.jsonl")
    code, _, err = run(capsys, *classify, "--thresholds", other)
    assert code == ExitCode.BAD_INPUT
    assert "cascade.precision.thresholds: the model is not what these thresholds were tuned with" in err
    code, _, err = run(capsys, *classify, "--thresholds", thresholds(folder, "scope"))
    assert code == ExitCode.BAD_INPUT
    assert "my scope.thresholds.toml: these thresholds are for the cascade 'scope', not for 'precision'" in err


@pytest.mark.slow
def test_a_thresholds_file_that_cannot_be_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is missing, and one for a cascade that there is not, are named."""
    classify = ("classify", "--task", "x", "--items", "items.jsonl")
    code, _, err = run(capsys, *classify, "--thresholds", "none.toml")
    assert code == ExitCode.BAD_INPUT
    assert err.startswith("error: none.toml: cannot be read (No such file")
    code, _, err = run(capsys, *classify, "--thresholds", "precision=none.toml")
    assert code == ExitCode.BAD_INPUT
    assert err == (
        "error: --thresholds 'precision=none.toml' is no file. Give the file alone: the command names the cascade.\n"
    )
    code, _, err = run(capsys, *classify, "--thresholds", thresholds(folder), "--cascade", "nope")
    assert code == ExitCode.BAD_INPUT
    assert "Unknown cascade 'nope'; there are precision, scope, " in err


@pytest.mark.slow
def test_other_commands_take_thresholds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """evaluate, depth, audit, check and config show go by the file."""
    mine = thresholds(folder)
    data = ("--data", "tasks.jsonl", "--json", "--thresholds", str(mine))
    for command in ("evaluate", "depth", "audit"):
        code, _, err = run(capsys, command, "--cascade", "precision", *data)
        assert code == ExitCode.DONE, err
        code, _, err = run(capsys, command, "--cascade", "scope", *data)
        assert code == ExitCode.BAD_INPUT
        assert "these thresholds are for the cascade 'precision', not for 'scope'. Name that cascade" in err
    assert run(capsys, "check", "precision", *data)[0] in {ExitCode.DONE, ExitCode.FAILURE}
    none = NoGuaranteeConfig(text="Without guarantee.", target="macro_f1", expected=0.5, tasks=8)
    unguaranteed = thresholds(folder, guarantee=None, held_out=None, no_guarantee=none)
    code, _, err = run(capsys, "check", "precision", "--data", "tasks.jsonl", "--thresholds", unguaranteed)
    assert (code, "carry no guarantee" in err) == (ExitCode.BAD_INPUT, True)
    _, out, _ = run(capsys, "config", "show", "precision", "--thresholds", mine)
    assert f"yes from {MINE:g}]" in out
    assert f"From {mine}: cascade.precision.thresholds\n" in out


@pytest.mark.slow
def test_the_service_takes_thresholds(folder: Path) -> None:
    """Of each cascade by its name; what it answers goes by them."""
    command = [sys.executable, "-m", "cascade", "serve", "--port", "0", "--json", "--thresholds"]
    with subprocess.Popen(
        [*command, f"precision={thresholds(folder)}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        said = "".join(iter(process.stdout.readline, "}\n")) + "}" if process.stdout else "{}"
        url = json.loads(said)["url"]
        body = {"task": "the receipt is empty", "items": [{"id": "1", "kind": "function", "name": "print_part"}]}
        report = httpx.post(f"{url}/v1/cascades/precision", json=body, timeout=60).text
        process.send_signal(signal.SIGTERM)
    assert used(report) == {MINE}


@pytest.mark.parametrize("given", [["my.toml"], ["=my.toml"], ["a="], ["a=b", "a=c"]])
def test_the_service_wants_a_name_and_a_file(given: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each cascade once."""
    code, _, err = run(capsys, "serve", *(part for text in given for part in ("--thresholds", text)))
    assert code == ExitCode.BAD_INPUT
    assert "Give each cascade and its file once, such as precision=my.thresholds.toml." in err


def test_a_written_file_comes_with_its_command(folder: Path) -> None:
    """What `tune --out` notes can be pasted into a shell."""
    said = written(folder / "a b.toml", "precision", has_guarantee=True)
    assert f"`cascade classify --cascade precision --thresholds '{folder}/a b.toml' ...`" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["config", "show", "precision", "--thresholds", "-"], f"yes from {MINE:g}]"),
        (["config", "check", "-"], "stdin: can be used (1 cascade, 2 adapters)"),
    ],
)
def test_a_dash_is_stdin_for_thresholds_and_configs(arguments: Sequence[str], words: str, folder: Path) -> None:
    """`-` for --thresholds and for the file of `config check`."""
    given = BASE.encode() if "check" in arguments else thresholds(folder).read_bytes()
    done = subprocess.run([sys.executable, "-m", "cascade", *arguments], input=given, capture_output=True, check=True)
    assert words in done.stdout.decode()


def test_an_empty_name_without_a_base_names_no_file(tmp_path: Path) -> None:
    """``profile = ""`` leaves away the base's; a file that extends none has nothing to leave away."""
    path = tmp_path / "one.toml"
    table = '[cascade.precision]\nprofile = ""\nthresholds = ""'
    text = shipped_text(profile=False).replace("[cascade.precision]", table, 1)
    path.write_text(text, encoding="utf-8")
    found = read_config(path).cascade["precision"]
    assert (found.profile, found.thresholds) == (None, None)
