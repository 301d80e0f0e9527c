"""Which base model an adapter belongs to, where a config has several."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade.config.schema import AdapterConfig, Config, ModelConfig
from cascade.errors import ConfigError, ModelFileError
from cascade.models.model_set import file_hash, load_model_set, load_model_sets
from tests.helpers.gguf_files import TOKENS, Lora, write_adapter, write_model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two sound models, and adapters that carry the hash of either, of none, and of another file."""
    folder = tmp_path_factory.mktemp("owners")
    small = write_model(folder / "small.gguf")
    large = write_model(folder / "large.gguf", (*TOKENS, "more"))
    hashes = {"for_small": file_hash(small), "for_large": file_hash(large), "silent": None, "strange": "ab" * 32}
    adapters = {name: write_adapter(folder / f"{name}.gguf", Lora(base_sha256=sha)) for name, sha in hashes.items()}
    return {"small": small, "large": large, **adapters}


def config(files: dict[str, Path], **adapters: str | None) -> Config:
    """A config of both models, and of adapters with the model that each names."""
    return Config(
        models={name: ModelConfig(path=files[name]) for name in ("small", "large")},
        adapters={name: AdapterConfig(path=files[name], model=model) for name, model in adapters.items()},
        cascade={},
    )


def test_found_by_hash_or_named(files: dict[str, Path]) -> None:
    """An adapter belongs to the model whose hash it carries; one that carries none, to the model that it names."""
    sets = load_model_sets(config(files, for_small=None, for_large=None, silent="large"))
    assert {name: list(each.adapters) for name, each in sets.items()} == {
        "small": ["for_small"],
        "large": ["for_large", "silent"],
    }
    assert {name: each.base for name, each in sets.items()} == {"small": "small/base", "large": "large/base"}
    assert sets["large"].model_sha256 == file_hash(files["large"])


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("for_large", "small", r"made for the base model 'large', and not for 'small'; .*Set model = \"large\""),
        ("silent", None, r"does not say which base model it was made for; .*small \(.*large \(.*model = \"NAME\""),
        ("strange", None, r"base model with SHA-256 (ab){32}; the models here are small .* Add that base model"),
        ("strange", "large", r"SHA-256 (ab){32}, and not for 'large'"),
    ],
)
def test_a_wrong_model_is_refused(files: dict[str, Path], name: str, model: str | None, message: str) -> None:
    """The refusal names the key, the model that the adapter was made for, and the models that are here."""
    with pytest.raises(ModelFileError, match=rf"^adapters\.{name}: .*was made for|^adapters\.{name}: .*does not say"):
        load_model_sets(config(files, **{name: model}))
    with pytest.raises(ModelFileError, match=message):
        load_model_sets(config(files, **{name: model}))


def test_one_model_under_two_names(files: dict[str, Path]) -> None:
    """Where a hash fits two names, the adapter has to say which it belongs to."""
    twice = Config(
        models={name: ModelConfig(path=files["small"]) for name in ("one", "two")},
        adapters={"for_small": AdapterConfig(path=files["for_small"])},
        cascade={},
    )
    with pytest.raises(
        ModelFileError, match=r"made for the base model 'one' or 'two'; .*Set model = \"one\" or model = \"two\"\."
    ):
        load_model_sets(twice)
    named = twice.model_copy(update={"adapters": {"for_small": AdapterConfig(path=files["for_small"], model="two")}})
    assert [list(each.adapters) for each in load_model_sets(named).values()] == [[], ["for_small"]]


def test_where_one_model_is_needed(files: dict[str, Path]) -> None:
    """What can use one model alone refuses a config with several."""
    with pytest.raises(ConfigError, match=r"^models: there are small, large, and one alone can be used here"):
        load_model_set(config(files))


def test_faults_name_the_models_key(files: dict[str, Path], tmp_path: Path) -> None:
    """A model file that is missing is refused under its own key."""
    gone = config(files).model_copy(update={"models": {"large": ModelConfig(path=tmp_path / "gone.gguf")}})
    with pytest.raises(ModelFileError, match=r"^models\.large\.path: .*gone\.gguf: cannot be read"):
        load_model_sets(gone)
