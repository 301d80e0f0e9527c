"""What a true label says of a tree's stages, read from the tree as the log has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ANSWERS: dict[str, bool | str] = {"yes": True, "no": False}


def truths(tree: Mapping[str, Any], label: str) -> dict[str, bool | str]:
    """Stage -> the answer that is true, where the label can be reached under that answer alone.

    Args:
        tree: As ``Cascade.as_dict``; empty where it is not known.
        label: The true label.

    Returns:
        True or False for yes/no, the value of a choice. A stage is left out where the label can be reached under
        several answers or under none, and a score as well, since a part of its scale is no level.
    """
    stages = {stage["name"]: stage for stage in tree.get("stages", ())}
    found: dict[str, bool | str] = {}
    for name, stage in stages.items():
        ways = _ways(stage)
        under = [answer for answer, target in ways.items() if label in _labels(target, stages)]
        if len(under) == 1 and len(ways) > 1 and stage["kind"] != "score":
            found[name] = _ANSWERS.get(under[0], under[0]) if "next" not in stage else under[0]
    return found


def _ways(stage: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    """Answer in words -> where it leads; uncertain is never true."""
    return stage["next"] if "next" in stage else {word: stage[word] for word in _ANSWERS}


def _labels(target: Mapping[str, str], stages: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The labels that can be reached from a target; trees have no cycles."""
    if "label" in target:
        return {target["label"]}
    return {label for onward in _ways(stages[target["stage"]]).values() for label in _labels(onward, stages)}
