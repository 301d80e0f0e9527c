"""Several base models in one config file: their names, their keys, and what stages call each of them alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade.config.extends import read_layers
from cascade.config.schema import read_config
from tests.config.test_schema import PRECISION, refusal, write

MODELS = """
[models.small]
path = "small.gguf"

[models.large]
path = "large.gguf"
format = "qwen3"
limits = { item = 40 }

[adapters]
relevant = { path = "relevant.gguf", model = "small" }
primary = "primary.gguf"
"""
ASKED = PRECISION.replace('adapter = "base"', 'adapter = "large/base"')


def test_named_models(tmp_path: Path) -> None:
    """Models stand under their names with paths made absolute, and a stage asks one of them alone by its name."""
    config = read_config(write(tmp_path, MODELS + ASKED))
    assert list(config.base_models) == ["small", "large"]
    assert config.base_models["large"].path == tmp_path / "large.gguf"
    assert [stage.question("").adapter for stage in config.cascades()["precision"].stages] == ["relevant", "large/base"]
    assert config.cascades()["precision"].adapters() == ["relevant"]


@pytest.mark.parametrize(
    ("head", "asked", "called"),
    [
        ('[models.small]\npath = "small.gguf"', "base", "base"),
        ('[models.small]\npath = "small.gguf"', "small/base", "base"),
        ('[model]\npath = "small.gguf"', "model/base", "base"),
        ('[model]\npath = "small.gguf"\n[models.large]\npath = "large.gguf"', "base", "base"),
        ('[model]\npath = "small.gguf"\n[models.large]\npath = "large.gguf"', "large/base", "large/base"),
    ],
)
def test_the_base_has_one_name(head: str, asked: str, called: str, tmp_path: Path) -> None:
    """The model under [model], or the only one, is "base"; another one has its own name before that word."""
    cascade = PRECISION.replace('adapter = "base"', f'adapter = "{asked}"')
    config = read_config(write(tmp_path, f'{head}\n[adapters]\nrelevant = "relevant.gguf"\n{cascade}'))
    assert config.cascades()["precision"].stages[1].question("").adapter == called


def test_a_model_of_its_own_is_read_alone(tmp_path: Path) -> None:
    """The config of one model has that model under [model], and of the adapters those that are given."""
    own = read_config(write(tmp_path, MODELS + ASKED)).of_model("large", {"primary"})
    assert (own.model.path, list(own.base_models), list(own.adapters)) == (
        tmp_path / "large.gguf",
        ["model"],
        ["primary"],
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (
            "[adapters]\nrelevant = 'relevant.gguf'" + PRECISION,
            "model: is missing. Add [model], or a table [models.NAME]",
        ),
        (
            MODELS + PRECISION,
            'cascade.precision.stages.primary.adapter: "base" is the model alone, and there are several',
        ),
        (
            MODELS.replace('model = "small"', 'model = "tiny"') + ASKED,
            "adapters.relevant.model: there is no base model",
        ),
        (MODELS.replace("models.small", 'models."a/b"') + ASKED, "models.a/b: a name must not be empty"),
        (MODELS.replace("models.small", "models.base") + ASKED, "models.base: a name must not be empty"),
        (
            '[model]\npath = "m"\n' + MODELS.replace("models.large", "models.model") + ASKED,
            "models.model: this is the name",
        ),
        (MODELS + '"x/base" = "x.gguf"\n' + ASKED, 'adapters.x/base: names that end in "/base" mean a base model'),
        (
            MODELS.replace('path = "small.gguf"', "") + ASKED,
            "models: give exactly one of path and repo_id, or [servers]",
        ),
    ],
)
def test_refusals(text: str, start: str, tmp_path: Path) -> None:
    """What does not hold together is refused with its key and what is allowed."""
    assert refusal(tmp_path, text).startswith(start)


def test_a_served_adapter_names_its_model(tmp_path: Path) -> None:
    """With several models and none under [model], an adapter on a server says whose prompt format it reads."""
    far = '[servers.far]\nkind = "llama-server"\nurl = "http://127.0.0.1:1"\n'
    text = far + MODELS.replace('primary = "primary.gguf"', 'primary = { server = "far" }') + ASKED
    assert refusal(tmp_path, text).startswith("adapters.primary.model: is missing. Say which of small, large")
    named = text.replace('{ server = "far" }', '{ server = "far", model = "large" }')
    assert read_config(write(tmp_path, named)).served["primary"].model == "large"


def test_a_file_that_extends_another_adds_a_model(tmp_path: Path) -> None:
    """Tables of a named model are merged key by key, and a path takes the place of another source."""
    write(tmp_path, MODELS.replace('path = "large.gguf"', 'repo_id = "a/b"\nfilename = "f.gguf"') + ASKED)
    over = tmp_path / "own" / "over.toml"
    over.parent.mkdir()
    more = '[models.large]\npath = "x.gguf"\nlimits = { task = 9 }\n'
    over.write_text(f'extends = "../cascade.toml"\n{more}[models.third]\npath = "t.gguf"', encoding="utf-8")
    config = read_config(over)
    large = config.base_models["large"]
    assert (large.path, large.repo_id, large.format) == (over.parent / "x.gguf", None, "qwen3")
    assert (large.limits.item, large.limits.task) == (40, 9)
    assert config.base_models["third"].path == over.parent / "t.gguf"
    assert "models.third" in read_layers(over).sources("precision")[over]
