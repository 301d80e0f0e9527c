"""The adapter map: adapters are checked against their model, switched on where they must, found and hashed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFValueType

from cascade.config.schema import AdapterConfig, Config, ModelConfig
from cascade.errors import ConfigError, ModelFileError
from cascade.machine import install_extra
from cascade.models.base_model import ModelInfo, check_model
from cascade.models.gguf import GGUFFile, MetaValue, TensorInfo, read_gguf
from cascade.models.lora import AdapterInfo, check_adapter
from cascade.models.model_set import Hub, file_hash, load_model_set, load_model_sets, unchanged
from tests.helpers.gguf_files import TOKENS, Lora, array, changed, count, single, text, write_adapter, write_model

BASE_HASH = "ab" * 32
Q_A, Q_B = "blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="module")
def model(model_path: Path) -> ModelInfo:
    """Its facts."""
    return check_model(read_gguf(model_path))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> GGUFFile:
    """The header of a sound activated adapter."""
    lora = Lora(invocation=(7, 8), base_sha256=BASE_HASH)
    return read_gguf(write_adapter(tmp_path_factory.mktemp("adapter") / "tiny.gguf", lora))


def with_tensors(file: GGUFFile, tensors: Mapping[str, TensorInfo | None]) -> GGUFFile:
    """The same header with other tensors; None takes one away."""
    return replace(file, tensors={k: v for k, v in {**file.tensors, **tensors}.items() if v is not None})


def tensor(*shape: int, type_: GGMLQuantizationType = GGMLQuantizationType.F16) -> TensorInfo:
    """A tensor of a shape in ggml's order."""
    return TensorInfo(shape=shape, type=type_, offset=0, n_bytes=2 * int(np.prod(shape)))


def config(model: ModelConfig | Path, **adapters: Path) -> Config:
    """A config of a model and adapters; no cascade."""
    source = model if isinstance(model, ModelConfig) else ModelConfig(path=model)
    return Config(model=source, adapters={k: AdapterConfig(path=v, scale=2.0) for k, v in adapters.items()}, cascade={})


def test_adapter_facts(adapter: GGUFFile, model: ModelInfo) -> None:
    """A sound adapter's facts are those it was written with."""
    info = check_adapter(adapter, model, BASE_HASH)
    n_bytes = 2 * 2 * (4 * (32 + 32) + 4 * (32 + 16))
    assert info == AdapterInfo(rank=4, alpha=8.0, invocation_tokens=(7, 8), n_bytes=n_bytes, base_sha256=BASE_HASH)
    assert info.is_activated
    assert info.is_base_verified


def test_an_adapter_says_which_markers_it_was_trained_under(adapter: GGUFFile, model: ModelInfo) -> None:
    """An adapter is trained for the markers that it names, and for any if it names none."""
    named = MetaValue(type=GGUFValueType.STRING, value=(b"relevant", "größe".encode()), is_array=True)
    info = check_adapter(changed(adapter, {"cascade.markers": named}), model, BASE_HASH)
    assert info.markers == ("relevant", "größe")
    assert info.is_trained_for("größe")
    assert not info.is_trained_for("quick")
    assert check_adapter(adapter, model, BASE_HASH).is_trained_for("quick")


def test_others_adapters_are_taken_unverified(adapter: GGUFFile, model: ModelInfo) -> None:
    """An adapter that does not name its base by hash is accepted, and says so."""
    info = check_adapter(changed(adapter, {"cascade.base_model.sha256": None}), model, BASE_HASH)
    assert not info.is_base_verified


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("general.type", None, "has no general.type"),
        ("general.type", text("model"), "general.type is 'model', where 'adapter' is due"),
        ("general.type", count(1), "has the type uint32"),
        ("adapter.type", text("control_vector"), "where 'lora' is due"),
        ("adapter.type", single(GGUFValueType.BOOL, value=True), "takes only string"),
        ("general.architecture", text("llama"), "'llama', where 'qwen3' is due"),
        ("adapter.lora.alpha", None, "has no adapter.lora.alpha"),
        (
            "adapter.lora.alpha",
            single(GGUFValueType.FLOAT64, 8.0),
            "has the type float64. llama.cpp takes only float32",
        ),
        ("adapter.lora.alpha", single(GGUFValueType.INT32, 8), "has the type int32"),
        ("adapter.lora.alpha", array(GGUFValueType.FLOAT32, 8.0), "has the type array of float32"),
        ("adapter.lora.alpha", single(GGUFValueType.FLOAT32, 0.0), "must be above 0"),
        ("adapter.lora.alpha", single(GGUFValueType.FLOAT32, float("nan")), "is nan"),
        ("adapter.alora.invocation_tokens", array(GGUFValueType.INT32, 7, 8), "takes only array of uint32"),
        ("adapter.alora.invocation_tokens", count(7), "has the type uint32"),
        ("adapter.alora.invocation_tokens", array(GGUFValueType.UINT32), "is []; it needs at least one"),
        ("adapter.alora.invocation_tokens", array(GGUFValueType.UINT32, len(TOKENS)), "each below 260"),
        ("cascade.base_model.sha256", text("cd" * 32), f"SHA-256 {'cd' * 32}; the given base model has {BASE_HASH}"),
        ("cascade.base_model.sha256", count(1), "takes only string"),
        ("cascade.markers", text("relevant"), "takes only array of string"),
        ("cascade.markers", MetaValue(type=GGUFValueType.STRING, value=(b"\xff",), is_array=True), "no UTF-8"),
    ],
)
def test_unfit_metadata_is_refused(
    adapter: GGUFFile, model: ModelInfo, key: str, value: MetaValue | None, part: str
) -> None:
    """Metadata that llama.cpp refuses or aborts on, or that names another base, is refused by name."""
    with pytest.raises(ModelFileError) as refusal:
        check_adapter(changed(adapter, {key: value}), model, BASE_HASH)
    assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("tensors", "part"),
    [
        ({Q_B: None}, f"{Q_A!r} lacks its other half {Q_B!r}"),
        ({Q_A: None}, f"{Q_B!r} lacks its other half {Q_A!r}"),
        ({Q_A: tensor(16, 4)}, "lora_a (16, 4) and lora_b (4, 32), which do not fit the base's (32, 32)"),
        ({Q_B: tensor(4, 16)}, "do not fit"),
        ({Q_A: tensor(32, 8)}, "do not fit"),
        ({Q_A: tensor(4, 32), Q_B: tensor(32, 4)}, "do not fit"),
        ({Q_A: tensor(32, 4, 2)}, "do not fit"),
        ({Q_A: tensor(32), Q_B: tensor(32)}, "Only matrices take LoRA"),
        ({Q_A: tensor(32, 4, type_=GGMLQuantizationType.I32)}, "F32, F16, BF16, Q8_0 are allowed"),
        ({"blk.9.attn_q.weight.lora_a": tensor(32, 4), "blk.9.attn_q.weight.lora_b": tensor(4, 32)}, "model lacks"),
        ({"blk.0.attn_q.weight": tensor(32, 32)}, "no LoRA matrix"),
        ({"blk.0.attn_q.weight.lora_c": tensor(32, 32)}, "no LoRA matrix"),
        ({"token_embd.weight.lora_a": tensor(4, 260), "token_embd.weight.lora_b": tensor(4, 32)}, "as its output"),
    ],
)
def test_unfit_tensors_are_refused(
    adapter: GGUFFile, model: ModelInfo, tensors: dict[str, TensorInfo | None], part: str
) -> None:
    """Matrices without a pair, for another tensor, of another shape or type are refused by name."""
    with pytest.raises(ModelFileError) as refusal:
        check_adapter(with_tensors(adapter, tensors), model, BASE_HASH)
    assert part in str(refusal.value)


def test_fit_tensors_pass(adapter: GGUFFile, model: ModelInfo) -> None:
    """Pairs of different rank, embedding pairs the other way round and norms that llama.cpp skips are no fault."""
    more: dict[str, TensorInfo | None] = {
        Q_A: tensor(32, 6),
        Q_B: tensor(6, 32),
        "token_embd.weight.lora_a": tensor(2, 260),
        "token_embd.weight.lora_b": tensor(2, 32),
        "output_norm.weight": tensor(32),
    }
    untied = replace(model, shapes={**model.shapes, "output.weight": (32, 260)})
    assert check_adapter(with_tensors(adapter, more), untied, BASE_HASH).rank == 6
    with pytest.raises(ModelFileError, match="do not fit"):
        check_adapter(with_tensors(adapter, more | {"token_embd.weight.lora_a": tensor(260, 2)}), untied, BASE_HASH)


def test_no_matrices_is_refused(adapter: GGUFFile, model: ModelInfo) -> None:
    """An adapter without any pair is refused."""
    with pytest.raises(ModelFileError, match="has no LoRA matrices"):
        check_adapter(replace(adapter, tensors={}), model, BASE_HASH)


@pytest.mark.parametrize(
    ("tokens", "start"), [((7, 8), 0), ((1, 7, 8, 2), 1), ((7, 8, 7, 8, 3), 2), ((7, 7, 8), 1), ((8, 7, 8), 1)]
)
def test_activation_starts_at_the_last_invocation(
    adapter: GGUFFile, model: ModelInfo, tokens: tuple[int, ...], start: int
) -> None:
    """An activated adapter acts from the last place where all its invocation tokens stand."""
    info = check_adapter(adapter, model, BASE_HASH)
    assert info.activation_start(tokens) == start


@pytest.mark.parametrize("tokens", [(), (7,), (8, 7), (7, 1, 8)])
def test_a_missing_invocation_is_refused(adapter: GGUFFile, model: ModelInfo, tokens: tuple[int, ...]) -> None:
    """A question that would leave its adapter off is refused, and a plain LoRA acts everywhere."""
    info = check_adapter(adapter, model, BASE_HASH)
    with pytest.raises(ConfigError, match=r"do not hold the adapter's invocation tokens \[7, 8\].*never switch on"):
        info.activation_start(tokens)
    assert replace(info, invocation_tokens=()).activation_start(tokens) is None


def test_model_set(tmp_path: Path, model_path: Path) -> None:
    """A config's files come back checked, hashed and with their scale."""
    sha256 = hashlib.sha256(model_path.read_bytes()).hexdigest()
    plain = write_adapter(tmp_path / "plain.gguf")
    own = write_adapter(tmp_path / "own.gguf", Lora(base_sha256=sha256, invocation=(1,)))
    models = load_model_set(config(model_path, plain=plain, own=own))
    assert (models.model_path, models.model_sha256, models.model.name) == (model_path, sha256, "Tiny")
    assert list(models.adapters) == ["plain", "own"]
    assert models.adapters["own"].info.is_base_verified
    assert not models.adapters["plain"].info.is_base_verified
    assert models.adapters["plain"].scale == 2.0
    assert models.adapters["plain"].sha256 == hashlib.sha256(plain.read_bytes()).hexdigest()


def test_faults_name_the_config_key(tmp_path: Path, model_path: Path) -> None:
    """A missing or unfit file is refused with the key that names it, its path and what to do."""
    missing = tmp_path / "missing.gguf"
    with pytest.raises(ModelFileError) as refusal:
        load_model_set(config(missing))
    assert str(refusal.value) == (
        f"model.path: {missing}: cannot be read (No such file or directory). Give the path of a GGUF file."
    )
    with pytest.raises(ModelFileError, match=r"^adapters\.relevant: .*missing.gguf: cannot be read"):
        load_model_set(config(model_path, relevant=missing))
    with pytest.raises(ModelFileError, match=r"^adapters\.relevant: .*where 'adapter' is due"):
        load_model_set(config(model_path, relevant=model_path))
    with pytest.raises(ConfigError, match=r"^adapters\.base: .*Choose another name"):
        load_model_set(config(model_path, base=missing))


def test_an_adapter_of_another_base_is_refused(tmp_path: Path, model_path: Path) -> None:
    """An adapter that names the hash of another base file is refused with both hashes."""
    other = write_adapter(tmp_path / "other.gguf", Lora(base_sha256=BASE_HASH))
    with pytest.raises(ModelFileError, match=f"SHA-256 {BASE_HASH}; the given base model has {file_hash(model_path)}"):
        load_model_set(config(model_path, relevant=other))


def test_labels_must_be_tokens(tmp_path: Path) -> None:
    """A model whose vocabulary lacks the prompt format's labels is refused before it is loaded."""
    path = write_model(tmp_path / "mute.gguf", tuple(word for word in TOKENS if word != "yes"))
    with pytest.raises(ModelFileError, match="has no token for the label 'yes'"):
        load_model_set(config(path))


def test_hash_follows_the_file(tmp_path: Path) -> None:
    """A file that changes has another hash, also when its size stays."""
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = file_hash(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert first == hashlib.sha256(b"one").hexdigest()
    assert file_hash(path) == hashlib.sha256(b"two").hexdigest()
    with pytest.raises(ModelFileError, match="cannot be read"):
        file_hash(tmp_path / "missing")


def test_a_hash_does_not_outlive_its_file(tmp_path: Path) -> None:
    """Another file of the same size and time has its own hash, written over the first or renamed to its path."""
    path, other = tmp_path / "file", tmp_path / "other"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
        assert file_hash(path) == hashlib.sha256(content).hexdigest()
    other.write_bytes(b"six")
    os.utime(other, ns=(1, 1))
    other.replace(path)
    assert file_hash(path) == hashlib.sha256(b"six").hexdigest()


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """What two reads of a file give must be of one file; one that stays, or was never there, is none of this."""
    path = tmp_path / "file"
    with unchanged(path):
        assert not path.exists()
    path.write_bytes(b"one")
    with unchanged(path):
        path.read_bytes()
    for change in (lambda: path.write_bytes(b"more"), path.unlink):
        with pytest.raises(ModelFileError, match="file: changed while it was opened"), unchanged(path):
            change()


HUB_MODEL = ModelConfig(repo_id="Qwen/Qwen3-0.6B-GGUF", filename="Qwen3-0.6B-Q8_0.gguf")


@pytest.mark.slow
def test_a_missing_hub_package_is_named() -> None:
    """Without huggingface_hub the error has the command that installs it."""
    code = (
        "import sys; sys.modules['huggingface_hub'] = None; from cascade.models.model_set import Hub; "
        "from cascade.config.model import ModelConfig; Hub().download(ModelConfig(repo_id='a/b', filename='c'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"Run `{install_extra('hub')}`, or give model.path." in done.stderr


def test_an_unreachable_hub_is_told(tmp_path: Path) -> None:
    """A model that is not there is refused offline, with its names and what to do."""
    pytest.importorskip("huggingface_hub")
    hub = Hub(endpoint="http://127.0.0.1:9", cache_dir=tmp_path, is_offline=True)
    with pytest.raises(ModelFileError, match=r"^model\.repo_id: 'Qwen3-0.6B-Q8_0.gguf' of .*give model\.path"):
        load_model_set(config(HUB_MODEL), hub)


class _Nothing(BaseHTTPRequestHandler):
    """A hub that has no repository."""

    def do_HEAD(self) -> None:
        """Answer that it is not there."""
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.mark.slow
def test_a_repository_that_does_not_exist_is_told(tmp_path: Path) -> None:
    """A hub's answer that it has no such repository becomes an error of this library."""
    pytest.importorskip("huggingface_hub")
    with HTTPServer(("127.0.0.1", 0), _Nothing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        hub = Hub(endpoint=f"http://127.0.0.1:{server.server_port}", cache_dir=tmp_path)
        with pytest.raises(ModelFileError, match=r"at revision main cannot be had \(.*Check the names"):
            hub.download(HUB_MODEL)
        server.shutdown()


class _Short(BaseHTTPRequestHandler):
    """A hub that breaks off in the middle of a file."""

    def do_HEAD(self) -> None:
        """Say what would come."""
        self.send_response(200)
        for name, value in (("ETag", '"0"'), ("X-Repo-Commit", "0" * 40), ("Content-Length", "1000")):
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        """Send the beginning."""
        self.do_HEAD()
        self.wfile.write(b"GGUF")

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.mark.slow
def test_a_hub_that_fails_in_its_own_way_is_told(tmp_path: Path) -> None:
    """Errors of the hub's HTTP library, and of the folder where files are kept, become errors of this library."""
    pytest.importorskip("huggingface_hub")
    (tmp_path / "file").touch()
    with HTTPServer(("127.0.0.1", 0), _Short) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        for endpoint, folder in (("http://[::1", tmp_path), (here, tmp_path / "file")):
            with pytest.raises(ModelFileError, match="HF_HOME"):
                Hub(endpoint=endpoint, cache_dir=folder).download(HUB_MODEL)
        server.shutdown()


def test_a_cached_hub_file_is_used(tmp_path: Path, model_path: Path) -> None:
    """A file that the hub's cache holds is found without a network."""
    pytest.importorskip("huggingface_hub")
    commit = "0" * 40
    folder = tmp_path / "models--Qwen--Qwen3-0.6B-GGUF" / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "Qwen3-0.6B-Q8_0.gguf").write_bytes(model_path.read_bytes())
    pinned = HUB_MODEL.model_copy(update={"revision": commit})
    models = load_model_set(config(pinned), Hub(cache_dir=tmp_path, is_offline=True))
    assert models.model_path == folder / "Qwen3-0.6B-Q8_0.gguf"


def test_a_wrong_repository_name_is_told(tmp_path: Path) -> None:
    """A name that no repository can have is refused like one that does not exist."""
    pytest.importorskip("huggingface_hub")
    wrong = HUB_MODEL.model_copy(update={"repo_id": "not a/repo/at all"})
    with pytest.raises(ModelFileError, match="cannot be had"):
        Hub(cache_dir=tmp_path, is_offline=True).download(wrong)


def test_a_check_hashes_models_only_for_their_adapters(model_path: Path, tmp_path: Path) -> None:
    """A model without adapters may be large, and nothing asks for its hash until it is loaded."""
    alone = config(model_path)
    assert [each.model_sha256 for each in load_model_sets(alone, is_check=True).values()] == [""]
    assert [each.model_sha256 for each in load_model_sets(alone).values()] == [file_hash(model_path)]
    other = write_adapter(tmp_path / "other.gguf", Lora(base_sha256=BASE_HASH))
    with pytest.raises(ModelFileError, match=r"adapters\.near: "):
        load_model_sets(config(model_path, near=other), is_check=True)
