"""Versions of adapters on disk: added whole, found by name, never changed."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cascade.errors import InputError, ModelFileError
from cascade.registry.versions import FACTS, Registry
from tests.helpers.gguf_files import Lora, write_adapter


def test_versions_are_counted_by_adapter(tmp_path: Path) -> None:
    """Each new file is the next version, with its hashes, parents, data and figures; a known one is what it was."""
    registry = Registry(tmp_path / "registry")
    assert registry.versions() == []
    one = registry.add("relevant", write_adapter(tmp_path / "a.gguf", Lora(base_sha256="ab" * 32)))
    two = registry.add(
        "relevant", write_adapter(tmp_path / "b.gguf", Lora(rank=2)), parents=["relevant/0001"], data="cd" * 32,
        figures={"auc_per_task": 0.75},
    )  # fmt: skip
    other = registry.add("primary", tmp_path / "a.gguf")
    assert registry.add("relevant", tmp_path / "a.gguf") == one
    assert [each.name for each in registry.versions()] == ["primary/0001", "relevant/0001", "relevant/0002"]
    assert (one.facts.base_sha256, two.facts.base_sha256) == ("ab" * 32, None)
    assert (two.facts.parents, two.facts.data, two.facts.figures) == (
        ("relevant/0001",), "cd" * 32, {"auc_per_task": 0.75},
    )  # fmt: skip
    assert other.facts.sha256 == one.facts.sha256
    assert two.path.read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert json.loads((two.folder / FACTS).read_text())["version"] == "0002"


def test_a_version_is_found_by_name_number_or_adapter(tmp_path: Path) -> None:
    """The adapter alone means its latest; zeros may be left away; of an unknown one is said what there is."""
    registry = Registry(tmp_path)
    for rank in (1, 2):
        registry.add("relevant", write_adapter(tmp_path / f"{rank}.gguf", Lora(rank=rank)))
    assert [registry.version(name).name for name in ("relevant", "relevant/2", "relevant/0001")] == [
        "relevant/0002", "relevant/0002", "relevant/0001",
    ]  # fmt: skip
    for name in ("relevant/3", "primary", "../relevant", ""):
        with pytest.raises(InputError, match=r"there are relevant/0001, relevant/0002"):
            registry.version(name)


def test_what_is_left_of_a_process_that_was_killed_is_no_version(tmp_path: Path) -> None:
    """A folder that was never renamed is passed over, and the same file can be added again."""
    registry, file = Registry(tmp_path / "registry"), write_adapter(tmp_path / "a.gguf")
    first = registry.add("relevant", file)
    part = first.folder.rename(first.folder.parent / f"{first.facts.sha256[:12]}.next")
    assert registry.versions() == []
    assert registry.add("relevant", file).name == "relevant/0001"
    assert not part.exists()


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    """A version whose bytes are not those that were added says so."""
    version = Registry(tmp_path / "registry").add("relevant", write_adapter(tmp_path / "a.gguf"))
    version.check()
    version.path.write_bytes(version.path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="was changed"):
        version.check()


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "ä"])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing is written under a name that could lead elsewhere."""
    with pytest.raises(InputError, match="cannot be a folder"):
        Registry(tmp_path / "registry").add(name, write_adapter(tmp_path / "a.gguf"))
    assert not (tmp_path / "registry").exists()


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    """A file that is no GGUF file, a parent that is not there and facts that are damaged are refused by name."""
    registry = Registry(tmp_path / "registry")
    (tmp_path / "bad.gguf").write_bytes(b"no")
    with pytest.raises(ModelFileError):
        registry.add("relevant", tmp_path / "bad.gguf")
    with pytest.raises(InputError, match="no version 'relevant/0009'"):
        registry.add("relevant", write_adapter(tmp_path / "a.gguf"), parents=["relevant/0009"])
    version = registry.add("relevant", tmp_path / "a.gguf")
    (version.folder / FACTS).write_text('{"adapter": "relevant"}')
    with pytest.raises(InputError, match=r"version\.json: "):
        registry.versions()


def test_what_was_trained_is_added_with_its_facts(tmp_path: Path) -> None:
    """The folder of ``cascade train`` brings data, figures and parents; a file that is another is refused."""
    registry, trained = Registry(tmp_path / "registry"), tmp_path / "trained"
    trained.mkdir()
    parent = registry.add("relevant", write_adapter(tmp_path / "a.gguf"))
    file = write_adapter(trained / "relevant.gguf", Lora(rank=2))
    facts = {
        "adapter": "relevant", "version": "abc", "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "base_sha256": "ab" * 32, "parents": [parent.facts.sha256, "ef" * 32], "data": "cd" * 32,
        "figures": {"log_loss": 0.4}, "made": "2026-11-29T12:00:00+00:00",
    }  # fmt: skip
    (trained / FACTS).write_text(json.dumps(facts))
    found = registry.add_trained(trained)
    assert (found.name, found.facts.parents) == ("relevant/0002", ("relevant/0001", "ef" * 32))
    assert (found.facts.data, found.facts.figures) == ("cd" * 32, {"log_loss": 0.4})
    write_adapter(file, Lora(rank=3))
    with pytest.raises(InputError, match=r"relevant\.gguf: is not the file"):
        registry.add_trained(trained)


def test_the_folder_of_a_version_is_that_version(tmp_path: Path) -> None:
    """The path of a version's folder may be given as that of a trained adapter; another registry takes it over."""
    registry, other = Registry(tmp_path / "registry"), Registry(tmp_path / "other")
    first = registry.add("relevant", write_adapter(tmp_path / "a.gguf"), figures={"auc": 0.5})
    assert registry.add_trained(first.folder) == first
    assert other.add_trained(first.folder).facts.figures == {"auc": 0.5}


def test_a_version_without_its_facts_is_named(tmp_path: Path) -> None:
    """A deleted version.json is told, and no other version takes the number."""
    registry = Registry(tmp_path / "registry")
    version = registry.add("relevant", write_adapter(tmp_path / "a.gguf"))
    (version.folder / FACTS).unlink()
    for ask in (registry.versions, lambda: registry.add("relevant", tmp_path / "a.gguf")):
        with pytest.raises(InputError, match=r"relevant/0001/version\.json: cannot be read .* Restore it"):
            ask()
    assert version.path.exists()


@pytest.mark.parametrize(
    "facts",
    ["", "[1]", "{}", "[" * 100_000, '{"figures": {"x": NaN}}', '{"adapter": "primary"}', '{"version": "0002"}'],
    ids=["empty", "array", "nothing", "deep", "nan", "adapter", "version"],
)
def test_facts_that_lie_are_refused(tmp_path: Path, facts: str) -> None:
    """What is no JSON, no object, not whole, or about another version is refused with the file's name."""
    registry = Registry(tmp_path / "registry")
    version = registry.add("relevant", write_adapter(tmp_path / "a.gguf"))
    file = version.folder / FACTS
    known = json.loads(file.read_text())
    given = json.loads(facts) if facts.startswith('{"') else None
    file.write_text(json.dumps(known | given) if given is not None else facts)
    with pytest.raises(InputError, match=r"relevant/0001/version\.json: "):
        registry.versions()


def test_many_add_at_once(tmp_path: Path) -> None:
    """Each file is one version, whoever brings it first, and nothing half-made is left."""
    registry = Registry(tmp_path / "registry")
    files = [write_adapter(tmp_path / f"{rank}.gguf", Lora(rank=rank)) for rank in (1, 2, 3)] * 4
    with ThreadPoolExecutor(len(files)) as pool:
        found = list(pool.map(lambda file: registry.add("relevant", file).name, files))
    assert sorted(set(found)) == ["relevant/0001", "relevant/0002", "relevant/0003"]
    assert found[:3] * 4 == found
    assert sorted(each.name for each in (registry.folder / "relevant").iterdir()) == ["0001", "0002", "0003"]
