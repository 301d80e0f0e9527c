"""TOML files: configs, and the thresholds and profiles that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from cascade.config.schema import read_config
from cascade.probability import N_KNOTS
from tests.fuzz.answers import check_answers
from tests.fuzz.damage import damaged_bytes, damaged_tree
from tests.fuzz.target import Files, Target
from tests.fuzz.toml_text import toml_text

_YES_NO = {"yes": {"label": "change"}, "no": {"label": "read"}}
_CONFIG: dict[str, Any] = {
    "model": {"path": "base.gguf", "format": "qwen3", "n_ctx": 512, "limits": {"task": 64}},
    "servers": {"near": {"kind": "llama-server", "url": "http://127.0.0.1:9", "in_flight": 2, "timeout_s": 1.5}},
    "adapters": {
        "relevant": "relevant.gguf",
        "co_change": {"path": "co.gguf", "scale": 0.5},
        "far": {"server": "near", "name": "a"},
    },
    "engine": {
        "max_requests": 8,
        "overload": "refuse",
        "f1_points_per_100ms": 1.5,
        "on_threshold_mismatch": "warn",
        "ask_ahead": True,
    },
    "log": {"path": "log.sqlite3", "texts": "full", "redact": False, "reuse": True, "max_waiting": 10},
    "cascade": {
        "files": {
            "instructions": "Which files matter?",
            "labels": ["skip", "read", "change"],
            "dropped": "skip",
            "budget_ms": 250.0,
            "max_depth": 3,
            "profile": {"pass_rates": {"relevant": 0.2}, "prior": {"bias": -1.0, "weights": {"imports the seed": 1.5}}},
            "stages": [
                {
                    "kind": "prior",
                    "source": "evidence",
                    "lower": 0.02,
                    "upper": 0.98,
                    "yes": {"stage": "change"},
                    "no": {"label": "skip"},
                },
                {
                    "name": "relevant",
                    "negated": "can it be left aside?",
                    "combine": "any",
                    "question": {"dependency": "does this neighbour matter?", "co_change": "does it change too?"},
                    "adapter": {"dependency": "relevant", "co_change": "co_change"},
                    "threshold": {"dependency": 0.2, "co_change": 0.1},
                    "yes": {"stage": "change"},
                    "no": {"label": "skip"},
                },
                {
                    "name": "change",
                    "question": "must it be changed?",
                    "marker": "change",
                    "adapter": "base",
                    "threshold": 0.5,
                    **_YES_NO,
                },
            ],
        },
        "plain": {
            "labels": ["read", "change"],
            "stages": [{"name": "change", "question": "must it change?", "adapter": "base", **_YES_NO}],
        },
    },
}
_TREE: dict[str, Any] = {
    "model": {"path": "base.gguf"},
    "adapters": {"relevant": "r.gguf", "primary": "p.gguf"},
    "cascade": {
        "precision": {
            "labels": ["excluded", "other", "primary"],
            "stages": [
                {
                    "kind": "prior",
                    "yes": {"stage": "primary"},
                    "no": {"label": "excluded"},
                },
                {
                    "name": "relevant",
                    "question": "does it matter?",
                    "adapter": "relevant",
                    "yes": {"stage": "primary"},
                    "no": {"label": "excluded"},
                },
                {
                    "name": "primary",
                    "question": "must it be changed?",
                    "adapter": "primary",
                    "yes": {"label": "primary"},
                    "no": {"label": "other"},
                },
            ],
        }
    },
}
_KNOTS = [round(knot / (N_KNOTS - 1), 6) for knot in range(N_KNOTS)]
_FIGURES = {
    "asked": [0.5, 1.0],
    "mean": [-1.0, 0.5, 1.0],
    "spread": [0.1, 0.2],
    "bounds": [-1.0, 0.0, 2.0],
    "shares": [0.25, 0.25, 0.25, 0.25],
}
_THRESHOLDS: dict[str, Any] = {
    "guarantee": {"recall_per_task": 0.9, "delta": 0.05, "p_value": 0.01, "tasks": 100, "minimised": "calls"},
    "held_out": {
        "recall_per_task": 0.93,
        "calls_per_item": 1.5,
        "false_positives_per_item": 0.2,
        "precision_per_task": 0.5,
        "misses": 0.1,
    },
    "made_for": {"model": "ab" * 32, "data": "cd" * 32, "questions": "ef" * 32, "adapters": {"relevant": "ab" * 32}},
    "thresholds": {"prior": {"lower": 0.01, "upper": 0.95}, "relevant": {"": 0.1}, "primary": {"": 0.4}},
    "prior": {"bias": -1.0, "weights": {"imports the seed": 1.5, "kind:class": -0.2}},
    "calibration": {"relevant": {"": {"kind": "platt", "values": _KNOTS}}},
    "inputs": {
        "tasks": 100,
        "items": [3.0, 10.0, 20.0],
        "matters": [0.1, 0.2, 0.3],
        "questions": {"relevant": {"": _FIGURES}, "primary": {"": _FIGURES}, "prior": {"": _FIGURES}},
    },
}
_PROFILE: dict[str, Any] = {
    "pass_rates": {"relevant": 0.2, "primary": 0.4},
    "label_shares": {
        "relevant": {"excluded": 0.8, "primary": 0.1, "other": 0.1},
        "primary": {"primary": 0.5, "other": 0.5},
    },
    "prior": {"bias": -1.0, "weights": {"imports the seed": 1.5, "kind:class": -0.2, "group:changes with it": 0.1}},
}


@st.composite
def _damaged_toml(draw: DrawFn, table: Any) -> bytes:
    text = toml_text(draw(damaged_tree(table)))
    return draw(damaged_bytes(text, 2)) if draw(st.integers(0, 3)) == 0 else text


_EXTENSION: dict[str, Any] = {
    "extends": "base.toml",
    "model": {"n_ctx": 1024},
    "adapters": {"relevant": {"path": "other.gguf", "scale": 2.0}},
    "engine": {"overload": "shallower"},
    "cascade": {"files": {"profile": "", "max_depth": 1}, "plain": {"labels": ["change", "read"]}},
}
_BASES = ("base.toml", "base.toml", "base.toml", "config.toml", "shipped", "none.toml", "/", "~nobody", "base.toml/x")


@st.composite
def _configs(draw: DrawFn) -> Files:
    """A damaged config, or one that extends another, either of them damaged."""
    if draw(st.integers(0, 2)):
        return {"config.toml": draw(_damaged_toml(_CONFIG))}
    base = draw(_damaged_toml(_CONFIG)) if draw(st.booleans()) else toml_text(_CONFIG)
    extension = _EXTENSION | {"extends": _BASES[draw(st.integers(0, len(_BASES) - 1))]}
    return {"config.toml": draw(_damaged_toml(extension)), "base.toml": base}


@st.composite
def _beside(draw: DrawFn, key: str, *tables: Any) -> Files:
    """A sound config that names a damaged file."""
    stages = _TREE["cascade"]["precision"]
    config = _TREE | {"cascade": {"precision": stages | {key: f"{key}.toml"}}}
    return {"config.toml": toml_text(config), f"{key}.toml": draw(_damaged_toml(draw(st.sampled_from(tables))))}


def take_config(folder: Path) -> bool:
    """Read a config and classify by all its cascades."""
    config = read_config(folder / "config.toml")
    cascades = config.cascades()
    for cascade in cascades.values():
        cascade.check_is_tuned()
    check_answers(cascades)
    check_answers(cascades, budget=1e-9)
    return True


TARGETS = (
    Target(name="config", share=12, files=_configs(), take=take_config),
    Target(name="thresholds", share=8, files=_beside("thresholds", _THRESHOLDS), take=take_config),
    Target(name="profile", share=6, files=_beside("profile", _PROFILE), take=take_config),
)
