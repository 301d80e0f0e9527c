"""``card.md``: what a dataset is, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cascade.dataset.known import REST
from cascade.errors import counted

FEW_TASKS, FEW_ITEMS = 30, 200
"""Below so many tasks or items in the test part a comparison tells little."""

_SHOWN = 10  # conflicts and reasons


def card(manifest: Mapping[str, Any], conflicts: Sequence[Mapping[str, Any]]) -> str:
    """The card of a dataset, in Markdown.

    Args:
        manifest: Its manifest.
        conflicts: Where sources differ.
    """
    of = f"adapter {manifest['adapter']} of " if "adapter" in manifest else ""
    parts = [
        [f"# Labelled tasks for {of}cascade {manifest['cascade']}", "", f"Made {manifest['made']}{_age(manifest)}."],
        _parts(manifest),
        _answers(manifest),
        _sources(manifest),
        _selection(manifest),
        _rates(manifest),
        _rest(manifest, conflicts),
        _warnings(manifest),
    ]
    return "\n\n".join("\n".join(map(_line, lines)) for lines in parts if lines) + "\n"


def _line(text: str) -> str:
    """A line with a space for each sign of a name from outside that a terminal would act on, or no file can hold."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else " " for sign in text)


def warnings(manifest: Mapping[str, Any]) -> list[str]:
    """What a user should know before training on it, a sentence each."""
    return [line.removeprefix("- ") for line in _warnings(manifest)[2:]]


def _age(manifest: Mapping[str, Any]) -> str:
    """How old its tasks are."""
    times = [part[end] for part in manifest["parts"].values() for end in ("first", "last") if end in part]
    if not times:
        return ""
    made, *ends = (datetime.fromisoformat(time) for time in (manifest["made"], max(times), min(times)))
    newest, oldest = ((made - end).days for end in ends)
    return f"; its tasks are {newest:,} to {counted(oldest, 'day')} old"


def _parts(manifest: Mapping[str, Any]) -> list[str]:
    labels = manifest["labels"]
    rows = []
    for name, part in manifest["parts"].items():
        shares = [_share(part["labels"].get(label, 0), part["items"]) for label in labels]
        times = f"{part['first'][:10]} to {part['last'][:10]}" if part.get("first") else "no time"
        rows.append([name, f"{part['tasks']:,}", f"{part['items']:,}", *shares, times])
    return ["## Parts", "", *_table(["part", "tasks", "items", *labels, "tasks from"], rows)]


def _answers(manifest: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, part in manifest["parts"].items():
        for adapter, answers in part["answers"].items():
            n = sum(answers.values())
            told = ", ".join(f"{answer} {_share(each, n)}" for answer, each in answers.items())
            rows.append([adapter, name, f"{n:,}", told])
    head = ["adapter", "part", "items", "true answers"]
    return ["## What each adapter is asked", "", *_table(head, sorted(rows, key=lambda row: row[0]))] if rows else []


def _sources(manifest: Mapping[str, Any]) -> list[str]:
    rows = []
    for one in manifest["sources"]:
        times = f"{one['first'][:10]} to {one['last'][:10]}" if one.get("first") else "no time"
        what = f", {one['labelled_tasks']:,} of them with labels" if "labelled_tasks" in one else ""
        rows.append([f"{one['kind']} `{one['path']}`", f"{one['tasks']:,}{what}", times])
    labelled = ", ".join(f"{name} {n:,}" for name, n in manifest["label_sources"].items())
    table = _table(["source", "tasks", "tasks from"], rows)
    return ["## Sources", "", *table, "", f"Who says what is true, in items of this build: {labelled or 'nobody'}."]


def _selection(manifest: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            one["given"] or "none", f"{one['judged']:,}", f"{one['labelled']:,}",
            _share(one["labelled"], one["judged"]), "-" if one["weight"] is None else f"{one['weight']:.2f}",
        ]
        for one in manifest["selection"]
    ]  # fmt: skip
    if not rows:
        return []
    return [
        "## What is labelled of what was judged",
        "",
        "Outcomes are known of some items alone, mostly of those that were shown. Items of each given label count by",
        "how many of them there are for each labelled one.",
        "",
        *_table(["label given", "judged", "labelled", "share", "weight"], rows),
    ]


def _rates(manifest: Mapping[str, Any]) -> list[str]:
    found = manifest["rates"]
    if not found:
        return []
    n = counted(found["drawn"], "item")
    told = f"{n} drawn, {found['labelled']:,} of them labelled, {found['by_oracle']:,} of these by an oracle"
    lines = ["## Rates, from items drawn at random", "", f"{told}; 95 % intervals.", ""]
    shares = [(f"truly {label}", each) for label, each in found["labels"].items()]
    shares += [("given label is wrong", found["wrong"])] if found["wrong"] else []
    return lines + _table(
        ["of all judged items", "share"],
        [[name, f"{each['value']:.1%} ({100 * each['low']:.1f} to {100 * each['high']:.1f})"] for name, each in shares],
    )


def _rest(manifest: Mapping[str, Any], conflicts: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"- {counted(n, 'item')}: {why}" for why, n in manifest["left_out"].items()]
    strange = manifest["strange_labels"]
    lines += [f"- {counted(n, 'outcome')}: the label {label!r} is none of the cascade" for label, n in strange.items()]
    found = ["## Left out", "", *lines] if lines else []
    if conflicts:
        found += [
            "",
            "## Conflicts",
            "",
            f"{counted(len(conflicts), 'item has', 'items have')} labels that differ:",
            "",
        ]
        for one in conflicts[:_SHOWN]:
            said = ", ".join(f"{who} says {label}" for who, label in one["labels"].items())
            found.append(f"- `{one['item']}` of task {one['task'][:12]} ({one['why']}): {said}; {one['kept']} counts")
        if len(conflicts) > _SHOWN:
            found.append(f"- and {len(conflicts) - _SHOWN:,} more, in `conflicts.jsonl`")
    return found


def _warnings(manifest: Mapping[str, Any]) -> list[str]:
    lines = [*_of_parts(manifest), *_of_selection(manifest)]
    lines += [f"{change}; the labels are kept." for change in manifest["changed_questions"]]
    if manifest["test_differs"]:
        n = counted(manifest["test_differs"], "label")
        lines.append(f"{n} of tasks in the test part would differ now; `--correct-test` takes them over.")
    if manifest["label_sources"].get(REST):
        n, of = manifest["label_sources"][REST], sum(manifest["label_sources"].values())
        lines.append(
            f"{n:,} of {counted(of, 'label')} of this build are that of `--rest`: nobody says so of the item itself, "
            "and where outcomes are incomplete they are wrong."
        )
    if manifest["redacted_items"]:
        lines.append(f"{counted(manifest['redacted_items'], 'item')} had a secret, which reads [redacted].")
    if "adapter" in manifest:
        lines.append(
            f"Only items that tell something of adapter {manifest['adapter']} are in it, so it is for training that "
            "adapter; tune a cascade on a dataset without an adapter."
        )
    return ["## Mind", "", *(f"- {line}" for line in lines)] if lines else []


def _of_parts(manifest: Mapping[str, Any]) -> Iterator[str]:
    parts = manifest["parts"]
    test = parts["test"]
    if test["tasks"] < FEW_TASKS or test["items"] < FEW_ITEMS:
        has = f"{counted(test['tasks'], 'task')} and {counted(test['items'], 'item')}"
        yield f"The test part has {has}; with fewer than {FEW_TASKS} and {FEW_ITEMS:,} a comparison tells little."
    train = parts["train"]
    if len(train["labels"]) == 1:
        yield f"Every item to train on is {next(iter(train['labels']))!r}; nothing can be learned from one class."
    else:
        for adapter, answers in train["answers"].items():
            if len(answers) == 1:
                yield f"The true answer to adapter {adapter} is always {next(iter(answers))} in what is trained on."


def _of_selection(manifest: Mapping[str, Any]) -> Iterator[str]:
    unknown = [one for one in manifest["selection"] if not one["labelled"]]
    if unknown:
        told = ", ".join(f"{one['given'] or 'none'} ({one['judged']:,})" for one in unknown)
        yield (
            f"No item is labelled of those that were given {told}, so nothing here shows what the cascade misses "
            "there. `cascade dataset review` draws some at random."
        )
    elif any(one["labelled"] < one["judged"] for one in manifest["selection"]) and not manifest["rates"]:
        yield (
            "Which items are labelled was no random choice, so base rates here are not those of the work. "
            "`cascade dataset review` draws items at random, from which rates can be estimated."
        )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _share(n: int, of: int) -> str:
    return f"{n:,} ({n / of:.1%})" if of else "0"
