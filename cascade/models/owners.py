"""Which base model each adapter of a config belongs to: the one that it names, or that whose hash its file carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFValueType

from cascade.config.base_models import main_model, model_of
from cascade.config.schema import Config
from cascade.errors import ModelFileError
from cascade.models.base_model import ModelInfo
from cascade.models.gguf import read_gguf
from cascade.models.lora import BASE_HASH_KEY


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base model's file; it was checked.

    Attributes:
        path: The file.
        sha256: Its SHA-256, in hex; empty where nobody asks for it.
        info: What it says.
    """

    path: Path
    sha256: str
    info: ModelInfo


def find_owners(config: Config, bases: Mapping[str, Base]) -> dict[str, str]:
    """Adapter -> name of its base model, for all of a config's map.

    Args:
        config: Its paths are absolute.
        bases: The base models that have files, by name.

    Raises:
        ModelFileError: A file is missing or damaged, or was not made for one of them; names the config key.
    """
    return {name: find_owner(config, name, bases) for name in config.adapters}


def find_owner(config: Config, name: str, bases: Mapping[str, Base]) -> str:
    """The base model of one adapter; see ``find_owners``."""
    models = config.base_models
    given = model_of(config.adapters[name])
    if name in config.served:
        return given or main_model(models) or ""  # a config without either was refused
    if len(models) == 1:
        return next(iter(models))
    with named_key(f"adapters.{name}"):
        return _checked_owner(config.files[name].path, given, bases)


def _checked_owner(path: Path, given: str | None, bases: Mapping[str, Base]) -> str:
    """The owner of a file among several models.

    Raises:
        ModelFileError: It carries the hash of another model than the given one, of none that is here, or no hash.
    """
    file = read_gguf(path)
    sha256 = file.get(BASE_HASH_KEY, GGUFValueType.STRING)
    fitting = [name for name, base in bases.items() if base.sha256 == sha256]
    # A copy in another format is only meant where the original is not here.
    fitting = fitting or [name for name, base in bases.items() if sha256 and base.info.source_sha256 == sha256]
    if given is not None and given in bases and sha256 in {None, bases[given].sha256, bases[given].info.source_sha256}:
        return given
    if given is None and len(fitting) == 1:
        return fitting[0]
    here = "the models here are " + ", ".join(f"{name} ({base.sha256[:12]})" for name, base in bases.items())
    if sha256 is None:
        file.refuse(f"does not say which base model it was made for; {here}", 'Say it, as in model = "NAME"')
    what = " or ".join(map(repr, fitting)) or f"with SHA-256 {sha256}"
    but = f", and not for {given!r}" if given is not None else ""
    choices = " or ".join(f'model = "{name}"' for name in fitting)
    remedy = f"Set {choices}" if fitting else "Add that base model, or give an adapter made for one here"
    return file.refuse(f"was made for the base model {what}{but}; {here}", remedy)


@contextmanager
def named_key(key: str) -> Iterator[None]:
    """Puts a config key before what is wrong with its file."""
    try:
        yield
    except ModelFileError as error:
        msg = f"{key}: {error}"
        raise ModelFileError(msg) from error
