"""The adapter map with its files: which model, which adapters, their hashes; all checked before llama.cpp."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cascade.config.base_models import ONLY, base_adapter, key_of
from cascade.config.schema import AdapterConfig, Config, ModelConfig
from cascade.errors import ConfigError, ModelFileError
from cascade.files import sha256_of
from cascade.machine import install_extra
from cascade.models.base_model import ModelInfo, check_labels, check_model
from cascade.models.gguf import GGUFFile, read_gguf
from cascade.models.lora import AdapterInfo, check_adapter, check_weights
from cascade.models.owners import Base, find_owners, named_key
from cascade.prompt import prompt_format
from cascade.report import Provenance
from cascade.stages import BASE
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One entry of the adapter map.

    Attributes:
        name: What stages call it.
        path: Its file.
        scale: Factor on its alpha / rank.
        sha256: SHA-256 of the file, in hex.
        info: What the file says.
    """

    name: str
    path: Path
    scale: float
    sha256: str
    info: AdapterInfo

    def check_file(self) -> None:
        """Refuse a file that is not what it was when it was read; to be called once it is loaded.

        Raises:
            ModelFileError: It changed.
        """
        if file_hash(self.path) != self.sha256:
            raise _changed(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """A base model and the adapters that change it; all were checked.

    Attributes:
        base: What stages call the model without an adapter.
        model_path: The base model's file.
        model_sha256: SHA-256 of that file, in hex.
        model: What the file says.
        adapters: Name -> adapter.
    """

    model_path: Path
    model_sha256: str
    model: ModelInfo
    adapters: Mapping[str, Adapter]
    base: str = BASE

    @property
    def scales(self) -> dict[str, float]:
        """Adapter -> factor on its alpha / rank."""
        return {name: adapter.scale for name, adapter in self.adapters.items()}

    @property
    def invocations(self) -> dict[str, tuple[int, ...]]:
        """Activated adapter -> tokens that switch it on."""
        return {name: own for name, each in self.adapters.items() if (own := each.info.invocation_tokens)}

    @property
    def prefix_adapters(self) -> dict[str, str]:
        """Adapter, or base model -> what computes the prompt before its questions.

        An activated adapter acts from its invocation on, so the base model computes all before it.
        """
        own = {name: self.base if each.info.is_activated else name for name, each in self.adapters.items()}
        return {self.base: self.base, **own}

    def read_adapter(self, name: str, path: Path, scale: float) -> Adapter:
        """Another adapter for this base model, checked; the set stays as it is.

        Raises:
            ModelFileError: Names the adapter, and says what is wrong with its file.
        """
        base = Base(path=self.model_path, sha256=self.model_sha256, info=self.model)
        return _load_adapter(name, AdapterConfig(path=path, scale=scale), base)

    def provenance(self, prompt_format: str, label_tokens: tuple[int, int]) -> Provenance:
        """What answers with these files, for prompts of a format whose labels have these tokens."""
        return Provenance(
            model=self.model_sha256,
            adapters={name: adapter.sha256 for name, adapter in self.adapters.items()},
            prompt_format=prompt_format,
            label_tokens=label_tokens,
        )

    def check_files(self) -> None:
        """Refuse files that are not what they were when the set was made; to be called once they are loaded.

        Raises:
            ModelFileError: Names the file that changed.
        """
        if file_hash(self.model_path) != self.model_sha256:
            raise _changed(self.model_path)
        for adapter in self.adapters.values():
            adapter.check_file()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where models that a config names by repository come from.

    Attributes:
        endpoint: Address of the hub; None for huggingface_hub's own choice.
        cache_dir: Where files are kept; None for huggingface_hub's own choice.
        is_offline: Whether only files that are already there may be used.
    """

    endpoint: str | None = None
    cache_dir: Path | None = None
    is_offline: bool = False

    def download(self, model: ModelConfig, key: str = ONLY) -> Path:
        """The local file of a model, downloaded if it is not there yet.

        Args:
            model: Its entry in the config.
            key: Where that stands.

        Raises:
            ConfigError: The package huggingface_hub is missing.
            ModelFileError: The file is not there and cannot be had.
        """
        try:
            hub = importlib.import_module("huggingface_hub")
        except ImportError as error:
            msg = (
                f"{key}.repo_id: {model.repo_id!r} needs the package huggingface_hub. "
                f"Run `{install_extra('hub')}`, or give {key}.path."
            )
            raise ConfigError(msg) from error
        try:
            file = hub.hf_hub_download(
                model.repo_id,
                model.filename,
                revision=model.revision,
                endpoint=self.endpoint,
                cache_dir=self.cache_dir,
                local_files_only=self.is_offline,
            )
        except Exception as error:
            cause = str(error).strip().partition("\n")[0] or type(error).__name__
            msg = (
                f"{key}.repo_id: {model.filename!r} of {model.repo_id!r} at revision {model.revision or 'main'} "
                f"cannot be had ({cause}). Check the names, the network, and that files can be written where HF_HOME "
                f"says, or download it and give {key}.path."
            )
            raise ModelFileError(msg) from error
        return Path(file)


def load_model_set(config: Config, hub: Hub | None = None) -> ModelSet:
    """The files of a config with one base model; see ``load_model_sets``.

    Raises:
        ConfigError: As ``load_model_sets``, or the config has several base models.
        ModelFileError: As ``load_model_sets``.
    """
    found = load_model_sets(config, hub)
    if not found:
        msg = "model.path: no model is given here, servers answer everything. Give one for what this process shall do."
        raise ConfigError(msg)
    if len(found) > 1:
        msg = f"models: there are {', '.join(found)}, and one alone can be used here. Give a config with one [model]."
        raise ConfigError(msg)
    return next(iter(found.values()))


def load_model_sets(config: Config, hub: Hub | None = None, *, is_check: bool = False) -> dict[str, ModelSet]:
    """The files that a config names, each hashed and checked; llama.cpp may load what comes back.

    Args:
        config: Its paths are absolute, as ``read_config`` leaves them.
        hub: Where models named by repository come from; the public hub if None.
        is_check: Whether nothing is loaded: base models are then hashed only where there are adapters to hold against.

    Returns:
        Name -> base model with the adapters that belong to it; models without a file, which servers have, left out.

    Raises:
        ConfigError: The config is wrong, or a package is missing.
        ModelFileError: A file is missing, damaged or does not fit; names the config key.
    """
    if BASE in config.adapters:
        msg = f"adapters.{BASE}: this name means the base model without an adapter. Choose another name."
        raise ConfigError(msg)
    named, bases = config.base_models, load_bases(config, hub, is_hashed=bool(config.files) or not is_check)
    owners = find_owners(config, bases)
    found = {}
    for name, base in bases.items():
        own = {adapter: entry for adapter, entry in config.files.items() if owners[adapter] == name}
        adapters = {adapter: _load_adapter(adapter, entry, base) for adapter, entry in own.items()}
        found[name] = ModelSet(
            base=base_adapter(name, named),
            model_path=base.path,
            model_sha256=base.sha256,
            model=base.info,
            adapters=adapters,
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class OddMarker:
    """A question that an adapter was not trained to answer under its marker.

    Attributes:
        cascade: Name of the cascade that asks it.
        adapter: What is asked.
        marker: The question's marker.
        trained_under: The markers that the adapter's file names.
    """

    cascade: str
    adapter: str
    marker: str
    trained_under: tuple[str, ...]

    def __str__(self) -> str:
        known = ", ".join(map(repr, self.trained_under))
        return (
            f"cascade.{self.cascade}: adapter {self.adapter!r} is asked under the marker {self.marker!r}, and was "
            f"trained under {known}; it may answer badly. Give the stage that name, or set its `marker`"
        )


def odd_markers(cascade: Cascade, adapters: Mapping[str, Adapter]) -> list[OddMarker]:
    """The questions of a cascade whose adapter was trained under other markers, as far as its file says."""
    found = []
    for question in cascade.questions():
        adapter = adapters.get(question.adapter)
        if adapter and not adapter.info.is_trained_for(question.marker):
            found.append(
                OddMarker(
                    cascade=cascade.name,
                    adapter=question.adapter,
                    marker=question.marker,
                    trained_under=adapter.info.markers,
                )
            )
    return found


def load_bases(config: Config, hub: Hub | None = None, *, is_hashed: bool = True) -> dict[str, Base]:
    """Name -> file of each base model, checked, and hashed unless nobody asks; see ``load_model_sets``."""
    return {
        name: _load_base(model, key_of(name, config.models), hub or Hub(), is_hashed=is_hashed)
        for name, model in config.base_models.items()
        if model.has_source
    }


def _load_base(model: ModelConfig, key: str, hub: Hub, *, is_hashed: bool) -> Base:
    path = model.path or hub.download(model, key)
    with named_key(f"{key}.path" if model.path else f"{key}.repo_id"), unchanged(path):
        file = read_gguf(path)
        info = check_model(file)
        form = prompt_format(model.format_for(key, is_encoder=info.is_encoder))
        if not info.is_encoder:
            check_labels(file, (form.yes, form.no))
        return Base(path=path, sha256=file_hash(path) if is_hashed else "", info=info)


def _load_adapter(name: str, entry: AdapterConfig, base: Base) -> Adapter:
    with named_key(f"adapters.{name}"), unchanged(entry.path):
        file = read_gguf(entry.path)
        info = check_adapter(file, base.info, base.sha256)
        check_weights(file, _read_weights(file))
        return Adapter(name=name, path=entry.path, scale=entry.scale, sha256=file_hash(entry.path), info=info)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex; kept until another file is at its path, or its size or a time changes.

    Raises:
        ModelFileError: The file cannot be read.
    """
    try:
        return _hash(path, *_identity(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_weights(file: GGUFFile) -> Iterator[tuple[str, bytes]]:
    """The tensors of a file, each with its bytes.

    Raises:
        ModelFileError: The file cannot be read.
    """
    try:
        with file.path.open("rb") as handle:
            for name, tensor in file.tensors.items():
                handle.seek(tensor.offset)
                yield name, handle.read(tensor.n_bytes)
    except OSError as error:
        raise _unreadable(file.path, error) from error


def _unreadable(path: Path, error: OSError) -> ModelFileError:
    return ModelFileError(f"{path}: cannot be read ({error.strerror}). Give the path of a readable file.")


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Refuse a file that changes while it is read in parts, which would not be of one file.

    Raises:
        ModelFileError: It changed.
    """
    before = _seen(path)
    yield
    if _seen(path) != before:
        raise _changed(path)


def _changed(path: Path) -> ModelFileError:
    return ModelFileError(f"{path}: changed while it was opened. Replace files by renaming, and open it again.")


def _seen(path: Path) -> tuple[int, ...] | None:
    """The identity of a file; None where there is none, which whoever reads it says better."""
    try:
        return _identity(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return None


def _identity(path: Path) -> tuple[int, ...]:
    """What differs once a file is replaced or written to: device, inode, bytes, and both times in nanoseconds."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=256)
def _hash(path: Path, *_identity: int) -> str:
    return sha256_of(path)
