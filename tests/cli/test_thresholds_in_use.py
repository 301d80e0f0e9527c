"""What `cascade tune` says is kept is what the cascade went by before: thresholds, curves, the prior and its bounds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.schema import shipped_config
from cascade.config.thresholds import CalibrationConfig, ThresholdsFile, read_thresholds, write_thresholds
from cascade.probability import KNOTS
from cascade.stages import Limits
from tests.helpers.shipped import CASCADES

pytestmark = pytest.mark.slow

TIERS = ("dependency", "co_change", "metadata")
CURVE = CalibrationConfig(kind="beta", values=tuple((KNOTS / 2).round(6).tolist()))


def data_of(folder: Path, items: Sequence[Mapping[str, object]], n_tasks: int) -> list[str]:
    """Labelled tasks with these items, as an option."""
    lines = [json.dumps({"task": f"read the config file {at}", "items": items}) for at in range(n_tasks)]
    (folder / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return ["--data", str(folder / "data.jsonl")]


def changed(folder: Path, name: str, **changes: object) -> list[str]:
    """A copy of the shipped set, with other thresholds of a cascade, as options."""
    shipped = shipped_config().parent
    for file in (*shipped.glob("*.toml"), *shipped.glob("*.gguf")):
        (shutil.copy if file.suffix == ".toml" else Path.symlink_to)(*_pair(file, folder))
    path = folder / f"{name}.thresholds.toml"
    write_thresholds(read_thresholds(path).model_copy(update=changes), path, "From a test.")
    return ["--cascade", name, "--config", str(folder / "map.toml")]


def _pair(file: Path, folder: Path) -> tuple[Path, Path]:
    return (file, folder / file.name) if file.suffix == ".toml" else (folder / file.name, file.resolve())


def symbols(n: int) -> list[dict[str, object]]:
    """Items of which the first matters."""
    names = ["read_config", "open_socket", "close_socket", "draw", "send"][:n]
    labels = ["primary", *["excluded"] * n]
    return [{"id": name, "kind": "function", "name": name, "label": labels[at]} for at, name in enumerate(names)]


def written(folder: Path, *command: str) -> ThresholdsFile:
    """What `cascade tune` writes."""
    out = folder / "out.toml"
    assert main(["tune", *command, "--out", str(out), "--force", "--scores", str(folder / "s.npz")]) == ExitCode.DONE
    return read_thresholds(out)


def test_thresholds_from_few_tasks_keep_what_was_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The prior stage's bounds and weights, the curves, and thresholds that the target does not depend on."""
    thresholds = {"relevant": {"": 0.2}, "primary": {"": 0.61}, "supporting": {"": 0.62}}
    thresholds |= {"prior": {"lower": 0.07, "upper": 0.83}}
    config = changed(tmp_path, "precision", thresholds=thresholds, calibration={"primary": {"": CURVE}})
    before = read_thresholds(tmp_path / "precision.thresholds.toml")
    data = data_of(tmp_path, symbols(4), 6)
    for target in ("macro_f1", "recall=0.5"):
        found = written(tmp_path, *config, *data, "--no-guarantee", "--target", target)
        assert found.thresholds["prior"] == before.thresholds["prior"]
        assert found.prior == before.prior
        assert found.calibration == before.calibration
        assert "kept as it was (no below 0.07, yes from 0.83)" in capsys.readouterr().out
    assert (found.thresholds["primary"], found.thresholds["supporting"]) == ({"": 0.61}, {"": 0.62})


def test_tiers_that_nobody_is_asked_keep_their_thresholds(tmp_path: Path) -> None:
    """Of three tiers two are never asked: theirs are those in use, and not those of the config."""
    thresholds = {"relevant": {tier: 0.5 + at / 10 for at, tier in enumerate(TIERS)}}
    thresholds |= {"prior": {"no_below": 0.0001, "yes_from": 0.9999}}
    config = changed(tmp_path, "scope", thresholds=thresholds)
    rows = [{"id": name, "kind": "file", "name": name, "tiers": ["dependency"]} for name in ("a.py", "b.py", "c.py")]
    items = [row | {"label": "relevant" if at == 0 else "irrelevant"} for at, row in enumerate(rows)]
    found = written(tmp_path, *config, *data_of(tmp_path, items, 6), "--no-guarantee", "--target", "macro_f1")
    kept = {tier: found.thresholds["relevant"][tier] for tier in TIERS[1:]}
    assert kept == {tier: thresholds["relevant"][tier] for tier in TIERS[1:]}
    assert found.limits()["prior", ""] == Limits(0.0001, 0.9999)


def test_a_guarantee_keeps_what_it_does_not_depend_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recall depends on the first question alone: the others keep their thresholds in use, and their curves."""
    thresholds = {"relevant": {"": 0.2}, "primary": {"": 0.61}, "supporting": {"": 0.62}}
    config = changed(tmp_path, "precision", thresholds=thresholds, calibration={"supporting": {"": CURVE}})
    text = (tmp_path / "map.toml").read_text(encoding="utf-8")
    cut = text.index('[[cascade.precision.stages]]\nkind = "prior"')
    rest = text[text.index("[[cascade.precision.stages]]\nname") :]
    (tmp_path / "map.toml").write_text(text[:cut] + rest, encoding="utf-8")
    command = [*config, *data_of(tmp_path, symbols(4), 12), "--target", "recall=0.5", "--delta", "0.3"]
    own = {"": CASCADES["precision"].stage("primary").questions[""].threshold}
    assert own != thresholds["primary"]
    found = written(tmp_path, *command)
    assert (found.thresholds["primary"], found.thresholds["supporting"]) == ({"": 0.61}, {"": 0.62})
    assert found.calibration["supporting"] == {"": CURVE}
    shown = " ".join(capsys.readouterr().out.split())
    assert "primary kept 0.61" in shown
    assert "supporting kept 0.62 kept" in shown
    path = tmp_path / "precision.thresholds.toml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace(f'model = "{found.made_for.model}"', 'model = "other"'), encoding="utf-8")
    assert written(tmp_path, *command).thresholds["primary"] == own
    told = " ".join(capsys.readouterr().err.split())
    assert "are not in use: they were made for something else (model); what is kept is the config's own" in told
    path.write_text("no TOML", encoding="utf-8")
    assert written(tmp_path, *command).thresholds["primary"] == own
    assert "are not in use: " in capsys.readouterr().err
    path.unlink()
    assert written(tmp_path, *command).thresholds["primary"] == own
    assert "not in use" not in capsys.readouterr().err
