"""What is live: one file decides, a kill at any point leaves the old state or the new one, and a rollback goes back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cascade.cli.output import ExitCode
from cascade.config.registry import LIVE, owner_of
from cascade.config.schema import read_config
from cascade.errors import ConfigError, InputError
from cascade.registry.live import Entry, Live, changing, put_live, read_state, state_before
from tests.helpers.rights import without_rights
from tests.helpers.shipped import SHIPPED

NEW = Entry(version="relevant/0002", path="relevant/0002/adapter.gguf", scale=0.5)


def _put(folder: Path, live: Live, what: str = "a test") -> Live:
    with changing(folder):
        return put_live(folder, live, what)


def test_what_is_live_is_laid_over_the_config(tmp_path: Path) -> None:
    """Adapters and a shadow come from the registry beside the file; without one, from the file itself."""
    config = tmp_path / "my.toml"
    config.write_text('extends = "shipped"\n')
    assert read_config(config).adapters == SHIPPED.adapters
    _put(tmp_path / "registry", Live(adapters={"relevant": NEW}, shadow={"primary": replace(NEW, scale=1.0)}))
    now = read_config(config)
    file = tmp_path / "registry" / "relevant" / "0002" / "adapter.gguf"
    assert (now.files["relevant"].path, now.files["relevant"].scale) == (file, 0.5)
    assert now.files["primary"] == SHIPPED.files["primary"]
    assert now.shadows()["primary"].path == file
    assert now.cascade["scope"] == SHIPPED.cascade["scope"]


def test_a_config_may_name_its_registry(tmp_path: Path) -> None:
    """[registry] path is another folder, relative to the file; that beside it then counts for nothing."""
    config = tmp_path / "my.toml"
    config.write_text('extends = "shipped"\n[registry]\npath = "kept/here"\n')
    _put(tmp_path / "registry", Live(adapters={"primary": NEW}))
    _put(tmp_path / "kept" / "here", Live(adapters={"relevant": NEW}))
    now = read_config(config)
    assert now.files["relevant"].path == tmp_path / "kept/here/relevant/0002/adapter.gguf"
    assert now.files["primary"] == SHIPPED.files["primary"]


def test_what_is_live_belongs_to_one_config(tmp_path: Path) -> None:
    """Another config of the folder is refused unless it extends that one, has its own registry, or that one is gone."""
    registry, config, other = tmp_path / "registry", tmp_path / "my.toml", tmp_path / "other.toml"
    for path in (config, other):
        path.write_text('extends = "shipped"\n')
    _put(registry, Live(adapters={"relevant": NEW}))
    assert read_config(other).files["relevant"].scale == 0.5  # an older release named no config
    owner = owner_of(registry, config)
    first = _put(registry, replace(read_state(registry), before=1, config=owner))
    assert (owner, read_state(registry).config) == ("../my.toml", owner)
    assert state_before(registry, first).config == owner
    assert read_config(config).files["relevant"].scale == 0.5
    with pytest.raises(ConfigError, match=r"other\.toml: .*live\.toml belongs to .*my\.toml\. Each config needs"):
        read_config(other)
    other.write_text('extends = "shipped"\n[registry]\npath = "own"\n')
    assert read_config(other).adapters == SHIPPED.adapters
    other.write_text('extends = "my.toml"\n')
    assert read_config(other).files["relevant"].scale == 0.5
    config.rename(tmp_path / "renamed.toml")
    assert read_config(tmp_path / "renamed.toml").files["relevant"].scale == 0.5


def test_a_shadow_alone_leads_to_stop(tmp_path: Path) -> None:
    """Where nothing was promoted a rollback names what ends the shadow, and so does the head of the file."""
    live = _put(tmp_path, Live(shadow={"relevant": NEW}))
    with pytest.raises(InputError, match=r"nothing was promoted.* relevant/0002 answers in the shadow, which .*--stop"):
        state_before(tmp_path, live)
    assert "`cascade adopt --stop` ends a shadow" in (tmp_path / LIVE).read_text().partition("\n")[0]


def test_a_rollback_goes_back_step_by_step(tmp_path: Path) -> None:
    """Each state leads to the one before the last promotion, without a shadow, and the first one to nothing."""
    first = _put(tmp_path, Live(adapters={"relevant": NEW}))
    second = _put(tmp_path, replace(first, before=first.number, adapters={"relevant": NEW, "primary": NEW}))
    third = _put(tmp_path, replace(second, shadow={"relevant": NEW}))
    assert (first.number, second.number, third.number) == (1, 2, 3)
    back = _put(tmp_path, state_before(tmp_path, third))
    assert (back.adapters, back.shadow, back.number) == (first.adapters, {}, 4)
    last = _put(tmp_path, state_before(tmp_path, back))
    assert not last.adapters
    with pytest.raises(InputError, match="nothing to go back to"):
        state_before(tmp_path, last)


def test_a_kill_at_any_point_leaves_one_whole_state(tmp_path: Path) -> None:
    """A process that ends before the n-th file operation of a change leaves what was live, or what was to be live."""
    old = _put(tmp_path, Live(adapters={"relevant": NEW}))
    seen = set()
    for n in range(60):
        code = _in_a_child(partial(_change_and_die, tmp_path, n))
        now = read_state(tmp_path)
        assert now.adapters in (old.adapters, {})
        seen.add((code, bool(now.adapters)))
        if code == 0:
            break
        if not now.adapters:
            _put(tmp_path, old)
    assert {(9, True), (0, False)} <= seen


def _in_a_child(work: Callable[[], None]) -> int:
    """The exit code of a process that does some work."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _change_and_die(folder: Path, left: int) -> None:
    """Make another state live in a process that ends before a file operation of it."""

    def watch(event: str, _: object) -> None:
        nonlocal left
        if event in {"open", "os.rename", "os.mkdir", "os.remove", "os.chmod"}:
            left -= 1
            if left < 0:
                os._exit(9)

    with changing(folder) as live:
        sys.addaudithook(watch)
        put_live(folder, replace(live, before=live.number, adapters={}), "all of them gone")


@pytest.mark.parametrize("text", ["number", "[adopted]\nnumber = 1\n", "[models.x]\npath = 'a'\n"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """The message names the file, for the config and for the commands."""
    config = tmp_path / "my.toml"
    config.write_text('extends = "shipped"\n')
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / LIVE).write_text(text)
    with pytest.raises(ConfigError, match=r"live\.toml: .* Copy the latest file of the folder states"):
        read_state(tmp_path / "registry")
    if "adopted" not in text:
        with pytest.raises(ConfigError, match=r"live\.toml: .* Copy the latest file of the folder states"):
            read_config(config)


def test_a_damaged_state_says_what_to_do(tmp_path: Path) -> None:
    """The message leads to the states that are kept, whether the config or the registry is read."""
    config = tmp_path / "my.toml"
    config.write_text('extends = "shipped"\n')
    live = tmp_path / "registry" / LIVE
    live.parent.mkdir()
    live.write_text("[adopted]\n")
    with pytest.raises(ConfigError, match=r"live\.toml: .* Copy the latest file of the folder states"):
        read_state(live.parent)
    live.write_text("[adapters]\n")
    with pytest.raises(ConfigError, match=r"has no table \[adopted\], .* Copy the latest file of the folder states"):
        read_config(config)
    live.write_text("[engine]\n")
    with pytest.raises(ConfigError, match=r"live\.toml: engine: .* Copy the latest file of the folder states"):
        read_config(config)


def test_a_registry_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    """The commands that list or add versions say which folder it is, where only its owner could read it."""
    config = tmp_path / "my.toml"
    config.write_text('extends = "shipped"\n')
    folder = tmp_path / "registry"
    folder.mkdir(mode=0)
    command = without_rights(sys.executable, "-m", "cascade", "adapters", "list", "--config", str(config))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    folder.chmod(0o700)
    assert done.returncode == ExitCode.BAD_INPUT
    assert f"{folder}: cannot be read (Permission denied)" in " ".join(done.stderr.split())
