"""``cascade config`` and what all commands share: streams, exit codes, one readable line for an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from adapters.recipe.tiny_encoder import write_tiny
from cascade.cli import main
from cascade.cli.output import ExitCode, Settings, guarded, plain, progress
from cascade.errors import BackendError, CascadeError, ConfigError, DecodeError, ItemError
from cascade.models.model_set import file_hash
from tests.helpers.gguf_files import Lora, write_adapter, write_model
from tests.helpers.shipped import CASCADES

CONFIG = """
[model]
path = "base.gguf"

[adapters]
near = "near.gguf"

[cascade.files]
instructions = "Which files matter?"
labels = ["drop", "keep", "read"]

[[cascade.files.stages]]
name = "relevant"
question = { near = "is it near?", far = "does [it] matter?" }
adapter = { near = "near", far = "base" }
threshold = { near = 0.25, far = 0.5 }
yes = { stage = "change" }
no = { label = "drop" }

[[cascade.files.stages]]
name = "change"
question = "must it change?"
adapter = "base"
yes = { label = "keep" }
no = { label = "read" }
"""

DRAWING = """\
files: Which files matter?
└── relevant: asked by tier, answers combined by any
    ├── tier near: is it near? [adapter near, yes from 0.25]
    ├── tier far: does [it] matter? [base model, yes from 0.5]
    ├── yes -> change: must it change? [base model, yes from 0.5]
    │   ├── yes -> keep
    │   └── no -> read
    └── no -> drop
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A good config file whose model and adapter do not exist."""
    path = tmp_path / "cascade.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_check_of_a_good_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that can be used says so on stdout; files that scoring would miss are noted on stderr."""
    assert main(["config", "check", str(config)]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert out == f"{config}: can be used (1 cascade, 1 adapter)\n"
    assert err.startswith("note: scoring needs files that are not there: ")
    assert str(config.parent / "base.gguf") in err
    assert "Whether models and adapters fit each other was not checked" in err


def test_check_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the outcome of a check is one object on stdout."""
    assert main(["config", "check", str(config), "--json"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "file": str(config),
        "ok": True,
        "extends": [],
        "cascades": ["files"],
        "adapters": ["near"],
        "missing_files": [str(config.parent / "base.gguf"), str(config.parent / "near.gguf")],
        "unchecked": f"scoring needs files that are not there: {config.parent / 'base.gguf'}, "
        f"{config.parent / 'near.gguf'}",
        "warnings": [],
    }
    assert not err


def test_check_finds_files_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One model under two names, and an adapter that names neither, cannot be opened, which the check finds out."""
    base = write_model(tmp_path / "base.gguf")
    adapter = write_adapter(tmp_path / "near.gguf", Lora(base_sha256=file_hash(base)))
    models = '[models.small]\npath = "base.gguf"\n[models.large]\npath = "base.gguf"\n'
    stages = CONFIG[CONFIG.index("[cascade.files]") :].replace('"base"', '"small/base"')
    path = tmp_path / "two.toml"
    path.write_text(f'{models}[adapters]\nnear = "near.gguf"\n{stages}', encoding="utf-8")
    assert main(["config", "check", str(path)]) == ExitCode.BAD_INPUT
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"error: {path}: adapters.near: {adapter}: was made for the base model 'small' or 'large'")
    assert 'Set model = "small" or model = "large".' in err
    assert main(["config", "check", str(path), "--json"]) == ExitCode.BAD_INPUT
    assert json.loads(capsys.readouterr().out)["ok"] is False
    near = 'near = { path = "near.gguf", model = "large" }'
    path.write_text(f"{models}[adapters]\n{near}\n{stages}", encoding="utf-8")
    assert main(["config", "check", str(path)]) == ExitCode.DONE
    assert capsys.readouterr() == (f"{path}: can be used (1 cascade, 1 adapter)\n", "")


def test_check_warns_of_pairs_that_an_encoder_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Limits that allow more tokens than the encoder has positions are told of before an item is that long."""
    write_tiny(tmp_path / "tiny.gguf")
    ways = 'threshold = 0.5\nyes = { label = "yes" }\nno = { label = "no" }\n'
    stages = f'[[cascade.one.stages]]\nname = "a"\nquestion = "is it?"\nadapter = "base"\n{ways}'
    stages = f'[cascade.one]\nlabels = ["no", "yes"]\n{stages}'
    path = tmp_path / "reader.toml"
    for limits, most in (("task = 40, group = 16, item = 35", 96), ("task = 40, group = 16, item = 36", 97)):
        model = f'[models.reader]\npath = "tiny.gguf"\nlimits = {{ {limits} }}\n'
        path.write_text(f"{model}{stages}", encoding="utf-8")
        assert main(["config", "check", str(path), "--json"]) == ExitCode.DONE
        warnings = json.loads(capsys.readouterr().out)["warnings"]
        assert bool(warnings) is (most > 96)
    assert warnings[0].startswith("models.reader.limits: a pair may have 97 tokens, and the encoder reads 96;")


def test_check_warns_of_a_marker_that_an_adapter_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An adapter that was trained under other markers is a warning with stage, adapter and remedy."""
    write_model(tmp_path / "base.gguf")
    write_adapter(tmp_path / "near.gguf", Lora(markers=("one", "two")))
    stages = CONFIG[CONFIG.index("[cascade.files]") :].replace('"base"', '"near"')
    path = tmp_path / "odd.toml"
    path.write_text(f'[model]\npath = "base.gguf"\n[adapters]\nnear = "near.gguf"\n{stages}', encoding="utf-8")
    assert main(["config", "check", str(path)]) == ExitCode.DONE
    err = capsys.readouterr().err
    assert "cascade.files: adapter 'near' is asked under the marker" in err
    assert "trained under 'one', 'two'" in err
    assert main(["config", "check", str(path), "--json"]) == ExitCode.DONE
    assert "Give the stage that name" in json.loads(capsys.readouterr().out)["warnings"][0]


def test_check_says_what_it_does_not_fetch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model on the hub is not fetched for a check, and a note says that its fit was not checked."""
    path = tmp_path / "hub.toml"
    stages = CONFIG[CONFIG.index("[cascade.files]") :].replace('near = "near"', 'near = "base"')
    path.write_text(f'[model]\nrepo_id = "a/b"\nfilename = "c.gguf"\n[adapters]\n{stages}', encoding="utf-8")
    assert main(["config", "check", str(path)]) == ExitCode.DONE
    err = capsys.readouterr().err
    assert "a file on the Hugging Face hub, which is not fetched here" in err
    assert "was not checked" in err


def test_check_of_a_bad_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong key is one line on stderr with file, key and remedy, and exit code 2; JSON tells the same."""
    config.write_text(CONFIG.replace("0.25", "25"), encoding="utf-8")
    message = (
        f"{config}: cascade.files.stages.relevant.threshold.near: 25.0 is outside (0, 1). "
        "Give a number between the two."
    )
    assert main(["config", "check", str(config)]) == ExitCode.BAD_INPUT
    assert capsys.readouterr() == ("", f"error: {message}\n")
    assert main(["config", "check", str(config), "--json"]) == ExitCode.BAD_INPUT
    out, err = capsys.readouterr()
    assert json.loads(out) == {"file": str(config), "ok": False, "error": message}
    assert err == f"error: {message}\n"


def test_show_draws_the_cascade(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The drawing has every stage, question, adapter, threshold and label, uncut in a pipe."""
    assert main(["config", "show", "files", "--config", str(config)]) == ExitCode.DONE
    assert capsys.readouterr() == (DRAWING, "")


def test_show_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the cascade is one object."""
    assert main(["config", "show", "files", "--config", str(config), "--json"]) == ExitCode.DONE
    shown = json.loads(capsys.readouterr().out)
    assert shown["labels"] == ["drop", "keep", "read"]
    assert shown["dropped"] == "drop"
    assert shown["stages"][0]["questions"][0] == {
        "tier": "near",
        "marker": "near",
        "wording": "is it near?",
        "adapter": "near",
        "threshold": 0.25,
    }
    assert shown["stages"][1]["yes"] == {"label": "keep"}
    assert shown["stages"][0]["yes"] == {"stage": "change"}


def test_show_has_the_map(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each question says which adapter of which base model answers; as a table where there are several."""
    assert main(["config", "show", "files", "--config", str(config), "--json"]) == ExitCode.DONE
    rows = json.loads(capsys.readouterr().out)["map"]
    assert rows[0] == {"model": "model", "stage": "relevant", "tier": "near", "adapter": "near", "is_encoder": None}
    assert [row["model"] for row in rows] == ["model"] * 3
    large = '[models.large]\npath = "large.gguf"\n[adapters]'
    text = CONFIG.replace("[adapters]", large).replace('far = "base"', 'far = "large/base"')
    config.write_text(text.replace('"near.gguf"', '{ path = "near.gguf", model = "large" }'), encoding="utf-8")
    assert main(["config", "show", "files", "--config", str(config)]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()[-4:]] == [
        ["base", "model", "stage", "tier", "adapter"],
        ["large", "relevant", "near", "near"],
        ["large", "relevant", "far", "large/base"],
        ["model", "change", "base"],
    ]
    assert "tier near: is it near? [adapter near of large, yes from 0.25]" in out
    assert "must it change? [base model model, yes from 0.5]" in out
    assert not err
    config.write_text(text, encoding="utf-8")
    assert main(["config", "show", "files", "--config", str(config)]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert out.splitlines()[-3].split() == ["not", "known", "relevant", "near", "near"]
    assert err.startswith("note: the base model of near is not known: model.path: ")


def test_show_says_which_model_is_an_encoder(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An encoder is named as such in drawing, table and JSON: alone, and beside a decoder, with its adapters."""
    write_tiny(config.parent / "reader.gguf")
    write_model(config.parent / "small.gguf")
    alone = CONFIG.replace('path = "base.gguf"', 'path = "reader.gguf"')
    for text, first, second in (
        (alone, "[adapter near of encoder, yes", "[encoder, yes from 0.5]"),
        (
            alone.replace("[model]", '[models.small]\npath = "small.gguf"\n[models.reader]')
            .replace('"near.gguf"', '{ path = "near.gguf", model = "reader" }')
            .replace('"base"', '"small/base"'),
            "[adapter near of encoder reader, yes",
            "[base model small, yes from 0.5]",
        ),
    ):
        config.write_text(text, encoding="utf-8")
        assert main(["config", "show", "files", "--config", str(config)]) == ExitCode.DONE
        out = capsys.readouterr().out
        assert (first in out, second in out) == (True, True), out
        assert ("reader (encoder)" in out) == ("models.reader" in text)
        assert main(["config", "show", "files", "--config", str(config), "--json"]) == ExitCode.DONE
        rows = json.loads(capsys.readouterr().out)["map"]
        assert [row["is_encoder"] for row in rows] == ([True, False, False] if "models.reader" in text else [True] * 3)


def test_show_draws_a_shared_stage_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stage that two answers lead to is drawn once and then referred to."""
    text = CONFIG.replace('["drop", "keep", "read"]', '["read", "keep"]')
    config.write_text(text.replace('no = { label = "drop" }', 'no = { stage = "change" }'), encoding="utf-8")
    assert main(["config", "show", "files", "--config", str(config)]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.count("must it change?") == 1
    assert out.endswith("└── no -> change (drawn above)\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASCADES)
def test_show_of_the_shipped_cascades(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --config the shipped cascades are shown."""
    assert main(["config", "show", name]) == ExitCode.DONE
    assert capsys.readouterr().out.startswith(f"{name}: ")


def test_show_of_an_unknown_cascade(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name is bad input; the message lists the names there are."""
    assert main(["config", "show", "symbols", "--config", str(config)]) == ExitCode.BAD_INPUT
    out, err = capsys.readouterr()
    assert not out
    assert err == f"error: {config}: Unknown cascade 'symbols'; there are files.\n"


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema is JSON on stdout, on one line with --json."""
    assert main(["config", "schema"]) == ExitCode.DONE
    schema = json.loads(capsys.readouterr().out)
    keys = {"extends", "servers", "model", "models", "adapters", "engine", "log", "registry", "shadow", "service"}
    assert set(schema["properties"]) == keys | {"cascade"}
    assert main(["config", "schema", "--json"]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == schema


def raising(error: BaseException) -> Callable[[], object]:
    """A command that ends in an error."""

    def command() -> object:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("a.toml: key: wrong. Mend it."), ExitCode.BAD_INPUT, "a.toml: key: wrong. Mend it."),
        (ItemError("two\nlines"), ExitCode.BAD_INPUT, "two lines"),
        (BackendError("no"), ExitCode.FAILURE, "no"),
        (DecodeError("no"), ExitCode.FAILURE, "no"),
        (CascadeError("no"), ExitCode.FAILURE, "no"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted"),
        (
            OSError(28, "No space left on device"),
            ExitCode.FAILURE,
            "[Errno 28] No space left on device. Run again with `cascade --verbose` for the traceback.",
        ),
        (
            ZeroDivisionError("oh \x1b[31m"),
            ExitCode.FAILURE,
            "unexpected ZeroDivisionError: oh [31m. Run again with `cascade --verbose` for the traceback.",
        ),
    ],
)
def test_outcomes(error: BaseException, code: ExitCode, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """However a command fails, it is an exit code and one line without control characters on stderr."""
    assert guarded(raising(error), Settings()) == code
    assert capsys.readouterr() == ("", f"error: {line}\n")


def test_an_interrupt_inside_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C during a command is exit code 130 and one line, whatever typer makes of it on the way."""
    app = typer.Typer()
    app.command()(raising(KeyboardInterrupt()))
    code = guarded(lambda: get_command(app).main([], standalone_mode=False), Settings())
    assert code == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.slow
def test_verbose_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """With --verbose an error shows where it came from, before its line."""
    assert main(["--verbose", "config", "check", "/nowhere/at-all.toml"]) == ExitCode.BAD_INPUT
    err = capsys.readouterr().err
    assert "FileNotFoundError" in err
    assert err.splitlines()[-1].startswith("error: /nowhere/at-all.toml: cannot be read")


def test_plain_text_has_nothing_for_a_terminal_to_act_on() -> None:
    """Text from outside is shown without controls and line ends, and with an escape for half a surrogate pair."""
    assert plain(" two  spaces ") == "two  spaces"
    assert plain("a\x1b[31m\r\nb\u202e \ud800c\u00e9") == "a [31m b \\ud800c\u00e9"


def test_progress_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Where stderr is no terminal, a progress bar draws nothing."""
    with progress() as bar:
        bar.advance(bar.add_task("queries", total=2))
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_the_command_answers_without_llama_cpp() -> None:
    """Config commands do not load llama_cpp, which takes its time."""
    code = (
        "import sys\n"
        "from cascade.cli import main\n"
        "code = main(['config', 'show', 'precision'])\n"
        "sys.exit(code or ('llama_cpp' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("precision: ")
    assert done.returncode == ExitCode.DONE
